"""Whole methods on top of a latent search: search, Poisson blending, compose.

Yeh et al., CVPR 2017 (arXiv 1607.07539), section 3.3: the found image is not pasted
into the hole but blended, so that its colours fit the known ones.

Inputs: a GAN; image [B, S, S, 3] in [-1, 1], mask [B, S, S, 1], 1 = missing; S the
GAN's size. Outputs: the completed image, the found one, z and losses.

Stages: `search_and_blend`; `LatentCompletion`, the same as an object that a method
(`baselines.siidgm`, `symmetric_search`) gives its terms and constants.
"""

import tensorflow as tf

from inpainting_tf import images
from inpainting_tf.blending import poisson_blend
from inpainting_tf.latent_search import check_constants, search

BLENDINGS = ("poisson", "none", "weights")


def search_and_blend(
    gan,
    image,
    mask,
    terms,
    *,
    blending="poisson",
    border="natural",
    clip_blended=True,
    **constants,
):
    """A whole completion: search, then the found image blended into the hole.

    Args:
      gan: has `generate`, `score`, `latent_size` and `image_size`, see
        `baselines.dcgan`.
      image: float32 [B, S, S, 3] in [-1, 1], S the GAN's size; missing pixels may hold
        anything.
      mask: float32 [B, S, S, 1], 1 = missing.
      terms: see `latent_search.search`.
      blending: "poisson"; "none", the found pixels as they are; or "weights", which
        is what the widely used program does without blending: known pixels too are
        mixed with the found ones, by the importance weights.
      border: of `poisson_blend`.
      clip_blended: False lets blended values exceed white, as that program does.
      **constants: of `latent_search.search`.

    Returns:
      dict: `completed` [B, S, S, 3], known pixels untouched (but for "weights"), what is
      filled in within [-1, 1] (but for clip_blended=False); `predicted`, the found image;
      and all that `latent_search.search` returns but `image`.

    Raises:
      ValueError: an unknown blending.
    """
    _check_blending(blending)
    found = search(
        gan.generate, gan.score, terms, latent_size=gan.latent_size, **constants
    )
    predicted = found.pop("image")
    filling = predicted
    if blending == "poisson":
        # Black is 0 here, for the border that takes the outside for black.
        blended = poisson_blend(image + 1.0, predicted + 1.0, mask, border=border)
        filling = tf.maximum(blended - 1.0, -1.0)
        if clip_blended:
            filling = tf.minimum(filling, 1.0)
    completed = images.compose(image, filling, mask)
    if blending == "weights":
        weights = terms[0][1]
        known = images.erase(image, mask)
        completed = weights * known + (1.0 - weights) * predicted
    return {
        "completed": completed,
        "predicted": predicted,
        **found,
    }


def _check_blending(blending):
    if blending not in BLENDINGS:
        raise ValueError(
            f"blending={blending!r} is unknown; choose one of {', '.join(BLENDINGS)}"
        )


class LatentCompletion:
    """A whole method on a trained GAN: `complete(image, mask) -> dict`, compiled too.

    Attributes:
      gan: as given.
    """

    def __init__(self, name, gan, terms, constants):
        """
        Args:
          name: of the method, for messages.
          gan: see `search_and_blend`.
          terms: function (image, mask) -> terms of the context loss, see
            `latent_search.search`.
          constants: dict of the keywords of `search_and_blend` and
            `latent_search.search`, all of them.

        Raises:
          ValueError: constants that cannot be, now and not in the graph.
        """
        check_constants(**constants)
        _check_blending(constants["blending"])
        size = gan.image_size
        image = tf.zeros([1, size, size, 3])
        terms(image, image[..., :1])  # Refuses what importance weights cannot be.
        self.name = name
        self.gan = gan
        self.terms = terms
        self.constants = constants
        self._compiled = tf.function(self.complete, reduce_retracing=True)

    def __call__(self, image, mask):
        """Returns the completed images, see `complete`; compiled."""
        self._check_size(tf.convert_to_tensor(image))
        return self._compiled(image, mask)["completed"]

    def complete(self, image, mask, keys=None, watch=None):
        """Searches and blends; to be called in a graph, which is much faster.

        Args:
          image: float32 [B, S, S, 3] in [-1, 1]; missing pixels may hold anything.
          mask: float32 [B, S, S, 1], 1 = missing.
          keys: int32 [B], see `latent_search.search`.
          watch: see there too.

        Returns:
          dict, see `search_and_blend`.

        Raises:
          ValueError: the image is not of the GAN's size.
        """
        image, mask = tf.convert_to_tensor(image), tf.convert_to_tensor(mask)
        self._check_size(image)
        terms = self.terms(image, mask)
        return search_and_blend(
            self.gan, image, mask, terms, keys=keys, watch=watch, **self.constants
        )

    def _check_size(self, image):
        size = self.gan.image_size
        if not tf.TensorShape([None, size, size, 3]).is_compatible_with(image.shape):
            raise ValueError(
                f"{self.name} searches a GAN of {size}x{size} images; the image has "
                f"shape {tuple(image.shape)}: resize it, or train a dcgan of its size"
            )
