"""Losses as pure functions of tensors; their weights appear where they are summed.

Images are float32 [B, H, W, 3] in [-1, 1], masks [B, H, W, 1] with 1 = missing, logits
[B, 1] before the sigmoid. Every loss is a scalar: the mean over the B examples given.
"""

import numpy as np
import tensorflow as tf


def context_loss(image, predicted, mask):
    """Squared distance on the missing pixels, summed over pixels and channels.

    Eq. 1 of "Image Inpainting using Deep Learning Models":
    || M (C(x, M) - x) ||^2, mean over examples.

    Args:
      image: ground truth [B, H, W, 3].
      predicted: raw network output [B, H, W, 3].
      mask: [B, H, W, 1], 1 = missing.

    Returns:
      float32 scalar.
    """
    squared = tf.square((predicted - image) * mask)
    return tf.reduce_mean(tf.reduce_sum(squared, axis=[1, 2, 3]))


def minimax_discriminator_loss(real_logits, fake_logits):
    """-log D(real) - log(1 - D(fake)), the discriminator's side of eq. 2.

    Args:
      real_logits: [B, 1], ground-truth images.
      fake_logits: [B, 1], completed images.

    Returns:
      float32 scalar; 2 log 2 for a discriminator that cannot tell.
    """
    # softplus(-l) = -log sigmoid(l), without overflow at either end.
    return tf.reduce_mean(tf.nn.softplus(-real_logits)) + tf.reduce_mean(
        tf.nn.softplus(fake_logits)
    )


def minimax_generator_loss(fake_logits):
    """-log D(fake), the completion network's side of eq. 2.

    The non-saturating form (Goodfellow et al. 2014, section 3): minimising
    log(1 - D) as printed gives no gradient once the discriminator wins.

    Args:
      fake_logits: [B, 1], completed images.

    Returns:
      float32 scalar; log 2 for a discriminator that cannot tell.
    """
    return tf.reduce_mean(tf.nn.softplus(-fake_logits))


def wasserstein_critic_loss(real_scores, fake_scores):
    """mean C(fake) - mean C(real), the critic's side of a Wasserstein GAN.

    Arjovsky et al. 2017 (arXiv 1701.07875), eq. 2, negated to be minimised.

    Args:
      real_scores: [B, 1], unbounded, ground-truth images.
      fake_scores: [B, 1], completed images.

    Returns:
      float32 scalar; 0 for a critic that cannot tell.
    """
    return tf.reduce_mean(fake_scores) - tf.reduce_mean(real_scores)


def wasserstein_generator_loss(fake_scores):
    """-mean C(fake), the generator's side of a Wasserstein GAN.

    Args:
      fake_scores: [B, 1], unbounded, completed images.

    Returns:
      float32 scalar.
    """
    return -tf.reduce_mean(fake_scores)


def masked_gradient_penalty(critic, real, fake, mask, mixing):
    """Keeps a critic's slope on the missing pixels near 1 between real and fake.

    Gulrajani et al. 2017 (arXiv 1704.00028), eq. 3, without its weight; only missing
    pixels count, as in Yu et al. 2018 (arXiv 1801.07892), eq. 5.

    Args:
      critic: function from images to scores [B, 1].
      real: ground-truth images or patches [B, H, W, 3].
      fake: completed images or patches, likewise.
      mask: [B, H, W, 1], 1 = missing; all ones for the usual penalty.
      mixing: [B, 1, 1, 1] in [0, 1], place between real (0) and fake (1).

    Returns:
      float32 scalar, mean of (slope - 1)^2 over examples; differentiable with respect
      to the critic's weights.
    """
    between = tf.convert_to_tensor(real + mixing * (fake - real))
    with tf.GradientTape() as tape:
        tape.watch(between)
        scores = critic(between)
    gradient = tape.gradient(scores, between)
    squared_slope = tf.reduce_sum(tf.square(gradient) * mask, axis=[1, 2, 3])
    # The root has no derivative at 0, where an example without missing pixels is.
    slope = tf.sqrt(tf.maximum(squared_slope, 1e-12))
    return tf.reduce_mean(tf.square(slope - 1.0))


def spatial_discount(height, width, gamma):
    """Weights that fall from the border of a patch to its middle.

    gamma^(distance to the nearest border), Yu et al. 2018, section 3.2: the middle of
    a hole has many right answers. As in their program, the first row and column are
    at distance 0 and the last ones at distance 1.

    Args:
      height, width: Python ints, size of the patch in pixels.
      gamma: in (0, 1]; 1 gives ones.

    Returns:
      float32 [1, height, width, 1] in (0, 1].
    """
    rows, columns = np.arange(height)[:, np.newaxis], np.arange(width)
    distance = np.minimum(
        np.minimum(rows, height - rows), np.minimum(columns, width - columns)
    )
    weights = np.float64(gamma) ** distance
    return tf.constant(weights[np.newaxis, ..., np.newaxis], tf.float32)


def weighted_l1_loss(image, predicted, weight):
    """Mean over pixels and channels of |predicted - image| * weight.

    Args:
      image: ground truth [B, H, W, 3].
      predicted: raw network output [B, H, W, 3].
      weight: [B or 1, H, W, 1].

    Returns:
      float32 scalar.
    """
    return tf.reduce_mean(tf.abs(predicted - image) * weight)


def known_pixels_l1_loss(image, predicted, mask):
    """Mean of |predicted - image| over an example's known pixels and channels.

    Args:
      image: ground truth [B, H, W, 3].
      predicted: raw network output [B, H, W, 3].
      mask: [B, H, W, 1], 1 = missing.

    Returns:
      float32 scalar; an example without known pixels counts as 0.
    """
    known = 1.0 - mask
    distance = tf.reduce_mean(tf.abs(predicted - image) * known, axis=[1, 2, 3])
    known_share = tf.reduce_mean(known, axis=[1, 2, 3])
    return tf.reduce_mean(tf.math.divide_no_nan(distance, known_share))


def missing_squared_error(image, predicted, mask, border=0, border_weight=1.0):
    """Weighted mean squared error of the missing values.

    GLCIC's weighted MSE (Iizuka et al. 2017, eq. 2) as a mean, so that it does not grow
    with the hole; with a border the reconstruction loss of Context Encoders (Pathak et
    al. 2016, section 4.1: ten times the weight where the hole meets the known pixels).

    Args:
      image: ground truth [B, H, W, 3].
      predicted: raw network output [B, H, W, 3].
      mask: [B, H, W, 1], 1 = missing.
      border: width in pixels of the band just inside the hole's border; the image's
        edge is no border.
      border_weight: weight of the band's squared errors; it does not count in the
        divisor, the number of missing values.

    Returns:
      float32 scalar: mean over examples; an example without a hole counts 0.
    """
    weights = mask
    if border:
        window = 2 * border + 1
        inside = -tf.nn.max_pool2d(-mask, window, 1, "SAME")
        weights = border_weight * mask + (1.0 - border_weight) * inside
    total = tf.reduce_sum(weights * tf.square(predicted - image), axis=[1, 2, 3])
    count = tf.reduce_sum(mask, axis=[1, 2, 3]) * image.shape[-1]
    return tf.reduce_mean(total / tf.maximum(count, 1.0))


def half_missing_squared_sum(image, predicted, mask):
    """Half the sum of squared errors on the missing values, over the whole batch.

    The loss of the widely used GLCIC program; unlike every other loss here it is a sum,
    which grows with the batch.

    Args:
      image: ground truth [B, H, W, 3].
      predicted: raw network output [B, H, W, 3].
      mask: [B, H, W, 1], 1 = missing.

    Returns:
      float32 scalar.
    """
    return 0.5 * tf.reduce_sum(tf.square((predicted - image) * mask))
