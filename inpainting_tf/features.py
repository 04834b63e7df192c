"""Distances between two sets of images by the features of a network: FID and KID.

Frechet distance of Heusel et al. 2017 (arXiv 1706.08500) and kernel distance of
Binkowski et al. 2018 (arXiv 1801.01401). Inputs are images float32 [B, H, W, 3] in
[-1, 1], rounded to the 256 levels of a picture file first; features are float32 [B, D].

Published FIDs use the Inception network of 2015 in its TensorFlow graph; Keras's
InceptionV3 is trained anew, so the numbers compare with others of this package only.
The FID of N images is biased upwards, the more the smaller N is against D: that of a
few hundred images with 2048 features compares only with others of the same N. KID is
unbiased for two independent sets (completions are not independent of their originals:
docs/metrics.md); with more images than a subset, the spread over subsets says how far it
can be trusted.

Stages: a feature function (`inception_features` or `saved_model_features`);
`FeatureStatistics` over all batches; `frechet_distance`; `FeatureSample` and
`kernel_distance`.
"""

import os
import warnings

import keras
import numpy as np
import tensorflow as tf

from inpainting_tf import images, untrusted

INCEPTION_SIZE = 299
INCEPTION_FILE = "inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"


def inception_features(weights="imagenet"):
    """Features of Keras's InceptionV3: last layer before the classes, mean over places.

    Args:
      weights: "imagenet" (Keras downloads them once), or the path of a weights file,
        .h5 or .keras, of InceptionV3 without top.

    Returns:
      Function from images float32 [B, H, W, 3] in [-1, 1] to float32 [B, 2048]; the
      images are resized to 299x299, bilinear, antialiased when made smaller.

    Raises:
      ValueError: the weights can neither be downloaded nor read.
    """
    if weights != "imagenet" and not os.path.isfile(weights):
        raise ValueError(
            f"--inception_weights={weights}: no such file; give {INCEPTION_FILE} of "
            'keras.applications or "imagenet"'
        )
    try:
        with warnings.catch_warnings():
            # A wrong file brings a warning per layer before it is refused.
            warnings.simplefilter("ignore")
            network = keras.applications.InceptionV3(
                include_top=False,
                weights=weights,
                pooling="avg",
                input_shape=(INCEPTION_SIZE, INCEPTION_SIZE, 3),
            )
    except Exception as error:  # noqa: BLE001 - download and HDF5 raise many types
        reason = str(error).strip().splitlines()
        reason = reason[0] if reason else type(error).__name__
        advice = (
            f"download {INCEPTION_FILE} of keras.applications elsewhere and give "
            "--inception_weights=FILE"
            if weights == "imagenet"
            else f"needs weights of InceptionV3 without top, such as {INCEPTION_FILE}"
        )
        raise ValueError(
            f"--inception_weights={weights}: cannot be had ({reason}); {advice}"
        ) from None

    @tf.function(reduce_retracing=True)
    def features(image):
        # Its preprocessing, x / 127.5 - 1, is the range that images have already.
        return network(_resized(image, INCEPTION_SIZE, INCEPTION_SIZE), training=False)

    return features


def saved_model_features(path):
    """Features of any SavedModel.

    Args:
      path: folder of a SavedModel whose signature `serving_default` takes one batch of
        images, [B, H, W, 3] uint8 in 0..255 or floats in [-1, 1], and returns one
        tensor [B, D]. Where it fixes H and W, images are resized to them.

    Returns:
      Function from images float32 [B, H, W, 3] in [-1, 1] to float32 [B, D].

    Raises:
      ValueError: no SavedModel, or not with such a signature.
    """
    try:
        model = untrusted.load_saved_model(path)
    except untrusted.UntrustedError:
        raise
    except Exception as error:  # noqa: BLE001 - loading raises many types
        reason = str(error).strip().splitlines()
        reason = reason[0] if reason else type(error).__name__
        raise ValueError(f"{path}: not a SavedModel ({reason})") from None
    signature = model.signatures.get("serving_default")
    if signature is None:
        raise ValueError(
            f"{path}: has no signature serving_default, only "
            f"{', '.join(model.signatures) or 'none'}; export it with one"
        )
    inputs = signature.structured_input_signature[1]
    outputs = signature.structured_outputs
    specs = [*inputs.values(), *outputs.values()]
    if (
        len(inputs) != 1
        or len(outputs) != 1
        or not specs[0].shape.is_compatible_with([None, None, None, 3])
        or not specs[1].shape.is_compatible_with([None, None])
        or not (specs[0].dtype.is_floating or specs[0].dtype == tf.uint8)
    ):
        found = ", ".join(f"{s.dtype.name} {s.shape}" for s in specs)
        raise ValueError(
            f"{path}: serving_default must take one batch of images [B, H, W, 3], uint8 "
            f"or float, and return one tensor [B, D]; it has {found}"
        )
    (argument,), spec = inputs, specs[0]
    height, width = spec.shape[1:3] if spec.shape.rank else (None, None)

    @tf.function(reduce_retracing=True)
    def features(image):
        size = tf.shape(image)
        image = _resized(
            image,
            size[1] if height is None else height,
            size[2] if width is None else width,
        )
        if spec.dtype == tf.uint8:
            image = images.to_uint8(image)
        (result,) = signature(**{argument: tf.cast(image, spec.dtype)}).values()
        return tf.cast(result, tf.float32)

    # The signature alone does not keep the model's variables alive.
    features.model = model
    return features


def _resized(image, height, width):
    image = images.to_float(images.to_uint8(image))
    # Antialiasing changes nothing when an image grows, and equal sizes change nothing.
    return tf.image.resize(image, [height, width], "bilinear", antialias=True)


class FeatureStatistics:
    """Count, mean and covariance of features seen batch by batch, in float64.

    Memory is that of one D x D matrix (32 MiB for 2048 features) whatever the count.
    """

    def __init__(self):
        self.count = 0
        self._sum = 0.0
        self._products = 0.0

    def update(self, batch):
        """Adds features [B, D] of finite numbers.

        Raises:
          ValueError: another shape, another D than before, or not finite.
        """
        batch = np.asarray(batch, np.float64)
        known = np.shape(self._sum)
        if batch.ndim != 2 or (known and batch.shape[1:] != known):
            wanted = known[0] if known else "D"
            raise ValueError(f"features of shape {batch.shape}: must be [B, {wanted}]")
        if not np.isfinite(batch).all():
            raise ValueError(f"features after {self.count} images are not finite")
        self.count += len(batch)
        self._sum = self._sum + batch.sum(axis=0)
        self._products = self._products + batch.T @ batch

    def mean(self):
        """float64 [D]."""
        self._need(1)
        return self._sum / self.count

    def covariance(self):
        """float64 [D, D], divided by count - 1."""
        self._need(2)
        mean = self.mean()
        centered = self._products - self.count * np.outer(mean, mean)
        return centered / (self.count - 1)

    def _need(self, count):
        if self.count < count:
            raise ValueError(
                f"features of {self.count} images: at least {count} are needed"
            )


def frechet_distance(mean1, cov1, mean2, cov2):
    """Squared Frechet (2-Wasserstein) distance of two Gaussians; of features: FID.

    |mean1 - mean2|^2 + Tr(cov1 + cov2 - 2 (cov1 cov2)^(1/2)), Heusel et al. 2017, eq. 6
    (Dowson and Landau 1982). The trace of the root is the sum of the roots of the
    eigenvalues of F' cov2 F with cov1 = F F', which is symmetric, so that singular
    covariances (fewer images than features) need no correction.

    Args:
      mean1, mean2: [D].
      cov1, cov2: [D, D], symmetric and positive semidefinite.

    Returns:
      float, at least 0; 0 for equal Gaussians, up to rounding.
    """
    mean1, cov1, mean2, cov2 = (
        np.asarray(x, np.float64) for x in (mean1, cov1, mean2, cov2)
    )
    values, vectors = np.linalg.eigh(cov1)
    # Directions without variance add nothing; without them the second one is small.
    kept = values > values.max() * len(values) * np.finfo(np.float64).eps
    factor = vectors[:, kept] * np.sqrt(values[kept])
    eigenvalues = np.linalg.eigvalsh(factor.T @ cov2 @ factor)
    trace = np.sqrt(np.clip(eigenvalues, 0, None)).sum()
    shift = np.square(mean1 - mean2).sum()
    return float(max(0.0, shift + np.trace(cov1) + np.trace(cov2) - 2 * trace))


class FeatureSample:
    """At most `capacity` features, drawn evenly from all that were seen.

    Every image gets a random key by its position and the smallest keys stay, so the
    sample depends on seed and order, not on the batches; two sets of images in the same
    order are sampled at the same places. Memory does not grow beyond the capacity.
    """

    def __init__(self, capacity=10_000, seed=0):
        self._capacity = capacity
        self._generator = np.random.Generator(np.random.PCG64(seed))
        self._keys = np.empty(0)
        self._features = None

    def update(self, batch):
        """Adds features [B, D]."""
        batch = np.asarray(batch, np.float32)
        keys = np.concatenate([self._keys, self._generator.random(len(batch))])
        if self._features is not None:
            batch = np.concatenate([self._features, batch])
        kept = np.sort(np.argsort(keys, kind="stable")[: self._capacity])
        self._keys, self._features = keys[kept], batch[kept]

    def features(self):
        """float32 [at most capacity, D], in the order seen.

        Raises:
          ValueError: nothing was added.
        """
        if self._features is None:
            raise ValueError("features of 0 images: at least 1 is needed")
        return self._features


def kernel_distance(features1, features2, subset_size=1000, subsets=100, seed=0):
    """Unbiased squared maximum mean discrepancy, mean over random subsets; KID.

    Kernel (x . y / D + 1)^3, Binkowski et al. 2018, section 4; subsets are drawn without
    replacement, independently on both sides. Multiply by 1000 for the usual tables.

    Args:
      features1: [N1, D].
      features2: [N2, D].
      subset_size: images of a subset, 2 to min(N1, N2).
      subsets: how many are drawn.
      seed: of the draws.

    Returns:
      (mean, standard deviation over subsets), floats; the mean can be below 0.

    Raises:
      ValueError: D differs, or a subset is larger than a set or smaller than 2.
    """
    features1, features2 = (np.asarray(x, np.float64) for x in (features1, features2))
    if features1.ndim != 2 or features2.shape[1:] != features1.shape[1:]:
        raise ValueError(
            f"features of shapes {features1.shape} and {features2.shape}: must be "
            "[N1, D] and [N2, D]"
        )
    smaller = min(len(features1), len(features2))
    if not 2 <= subset_size <= smaller or subsets < 1:
        raise ValueError(
            f"{subsets} subsets of {subset_size} of {smaller} images: a subset needs 2 "
            "images to all of them, and at least one subset"
        )
    generator = np.random.Generator(np.random.PCG64(seed))
    distances = [
        _squared_discrepancy(
            features1[generator.permutation(len(features1))[:subset_size]],
            features2[generator.permutation(len(features2))[:subset_size]],
        )
        for _ in range(subsets)
    ]
    return float(np.mean(distances)), float(np.std(distances))


def _squared_discrepancy(x, y):
    count, depth = x.shape

    def kernel(a, b):
        return (a @ b.T / depth + 1) ** 3

    def off_diagonal_mean(k):
        return (k.sum() - np.trace(k)) / (count * (count - 1))

    return (
        off_diagonal_mean(kernel(x, x))
        + off_diagonal_mean(kernel(y, y))
        - 2 * kernel(x, y).mean()
    )
