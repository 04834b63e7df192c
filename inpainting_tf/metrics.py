"""Distances between a ground-truth image and a completed one, one number per example.

Inputs are float32 [B, H, W, 3] in [-1, 1]; both images are rounded to the 256 levels
of a picture file first, so that a number measured in memory is the number measured on
the written files. Outputs are float32 [B].
"""

import math

import tensorflow as tf

from inpainting_tf import images


def _levels(image):
    """float [-1, 1] -> float32 whole levels 0..255."""
    return tf.cast(images.to_uint8(image), tf.float32)


def l1(image, completed):
    """Mean absolute difference over pixels and channels, as a share of the range 0..1.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1].

    Returns:
      float32 [B]; 0 for equal images, 1 for black against white.
    """
    difference = tf.abs(_levels(image) - _levels(completed)) / 255.0
    return tf.reduce_mean(difference, axis=[1, 2, 3])


def psnr(image, completed):
    """Peak signal-to-noise ratio, 10 log10(255^2 / mean squared difference).

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1].

    Returns:
      float32 [B] in dB. Equal images, whose ratio is infinite, get that of images that
      differ by one level in one value, so that means over images stay finite.
    """
    squared = tf.square(_levels(image) - _levels(completed))
    smallest = 1.0 / tf.cast(tf.size(squared[0]), tf.float32)
    error = tf.maximum(tf.reduce_mean(squared, axis=[1, 2, 3]), smallest)
    return 10.0 / math.log(10.0) * tf.math.log(255.0**2 / error)


def ssim(image, completed):
    """Structural similarity (Wang et al. 2004): 11x11 Gaussian window of sigma 1.5,
    K1 = 0.01, K2 = 0.03, windows inside the image only, mean over channels.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1], H and W at least 11.

    Returns:
      float32 [B] in [-1, 1]; 1 for equal images.
    """
    return tf.image.ssim(_levels(image), _levels(completed), max_val=255.0)
