"""Losses as pure functions of tensors; their weights appear where they are summed.

Images are float32 [B, H, W, 3] in [-1, 1], masks [B, H, W, 1] with 1 = missing, logits
[B, 1] before the sigmoid. Every loss is a scalar: the mean over the B examples given.
"""

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
