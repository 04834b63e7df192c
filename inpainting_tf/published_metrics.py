"""Metrics as published tables and their programs define them, to compare with those alone.

Arguments, ranges and rounding to levels as in metrics.py; each says its source, and what
the source leaves open.
"""

import tensorflow as tf

from inpainting_tf import metrics
from inpainting_tf.metric_stages import (
    decibel,
    differing_levels,
    exact_sum,
    levels,
    mean_similarity,
    refuse_too_small,
    rounded_sum,
    surround,
    to_float32,
    value_count,
)


def giica_l1(image, completed, mask=None):
    """Relative L1 error in percent: 100 ||image - completed||_1 / ||image||_1.

    Yu et al. 2018 (GIICA), table 1 "mean l1 loss"; the paper gives no formula and the
    program no code, the first author names a relative l1 error in issue 146 of
    JiahuiYu/generative_inpainting. Region and range are stated nowhere: here the whole
    image in levels 0..255, per image.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1].
      mask: plays no part.

    Returns:
      float32 [B] in percent; an all black image counts as one of a single level.
    """
    x, y = levels(image), levels(completed)
    return to_float32(100.0 * exact_sum(tf.abs(x - y)) / tf.maximum(exact_sum(x), 1.0))


def giica_l2(image, completed, mask=None):
    """Squared relative L2 error in percent, 100 ||image - completed||^2 / ||image||^2.

    Source, gaps, arguments and result as in `giica_l1`; their "mean l2 loss".
    """
    x, y = levels(image), levels(completed)
    squares = tf.maximum(exact_sum(tf.square(x)), 1.0)
    return to_float32(100.0 * exact_sum(tf.square(x - y)) / squares)


def context_encoder_l1(image, completed, mask):
    """100 `metrics.hole_l1`: mean L1 loss in percent on the predicted region.

    Pathak et al. 2016, table 1. The range 0..1 is the one that its columns agree in: a
    mean PSNR is at least the PSNR of the mean L2, and 18.58 dB with 1.96 % in a range
    of -1..1 would not be.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1].
      mask: float32 [B, H, W, 1], 1 = missing; their centre half, or any.

    Returns:
      float32 [B] in percent.
    """
    return 100.0 * metrics.hole_l1(image, completed, mask)


def context_encoder_l2(image, completed, mask):
    """100 `metrics.hole_l2`: mean L2 loss in percent; all else as in `context_encoder_l1`."""
    return 100.0 * metrics.hole_l2(image, completed, mask)


def mmagic_masked_l1(image, completed, mask):
    """Masked mean absolute error of MMagic times 100, range 0..1.

    MMagic (formerly MMEditing 1.x), MAE with a mask and scaling 100, as its inpainting
    configurations set it: sum of |image - completed| over the hole divided by 3 times
    its area. By a comment there, this scaling "seems to align" with the printed tables.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1].
      mask: float32 [B, H, W, 1], 1 = missing, each example its own.

    Returns:
      float32 [B] in 0..100; 0 for an empty hole.
    """
    return 100.0 * metrics.hole_l1(image, completed, mask)


def siidgm_psnr(image, completed, mask=None):
    """PSNR of the whole image, each image first divided by its own largest value.

    Yeh et al. 2017 (SIIDGM), table 1, by `imgsnr.py` of moodoki/semantic_image_inpainting,
    a repository of one of its authors; the paper gives no formula.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1].
      mask: plays no part.

    Returns:
      float32 [B] in dB; equal images as in `metrics.psnr`.
    """
    x, y = levels(image), levels(completed)
    brightest = [
        tf.maximum(tf.reduce_max(z, axis=[1, 2, 3], keepdims=True), 1.0) for z in (x, y)
    ]
    squared = tf.square(x / brightest[0] - y / brightest[1])
    return decibel(255.0**2 * rounded_sum(squared) / value_count(x), value_count(x))


def edgeconnect_mae(image, completed, mask=None):
    """Relative absolute error, sum |image - completed| / sum (image + completed).

    Nazeri et al. 2019 (EdgeConnect), `compare_mae` of its metrics script, also used by
    its successors (RFR and others); a brighter picture scores better.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1].
      mask: plays no part.

    Returns:
      float32 [B] in 0..1; 0 for two black images.
    """
    x, y = levels(image), levels(completed)
    return to_float32(exact_sum(tf.abs(x - y)) / tf.maximum(exact_sum(x + y), 1.0))


def picnet_l1(image, completed, mask=None):
    """255 `metrics.l1`: mean absolute difference of the whole image in levels.

    Zheng et al. 2019 (Pluralistic Image Completion), `util/evaluation.py`. The program
    resizes to 256x256 first and keeps the best of several samples; neither is done here.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1].
      mask: plays no part.

    Returns:
      float32 [B] in levels.
    """
    x, y, _ = differing_levels(image, completed)
    return to_float32(exact_sum(tf.abs(x - y)) / value_count(image))


def picnet_tv(image, completed, mask=None):
    """Mean length of the gradient of the completed image, in levels.

    Source as in `picnet_l1`: isotropic total variation, sqrt(dx^2 + dy^2) per pixel and
    channel, the last row and column next to the first.

    Args:
      image: plays no part, nor does `mask`.
      completed: float32 [B, H, W, 3] in [-1, 1].

    Returns:
      float32 [B] in levels.
    """
    y = levels(completed)
    right, down = y - tf.roll(y, -1, axis=2), y - tf.roll(y, -1, axis=1)
    length = tf.sqrt(tf.square(right) + tf.square(down)) / 255.0
    return to_float32(255.0 * rounded_sum(length) / value_count(y))


def lama_ssim(image, completed, mask=None):
    """`metrics.ssim` with black outside the image, so that border pixels count.

    Suvorov et al. 2022 (LaMa), `evaluation/losses/ssim.py`: same window and constants,
    zero padding, mean over all pixels.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1], H and W at least 11.
      mask: plays no part.

    Returns:
      float32 [B] in [-1, 1]; 1 for equal images.

    Raises:
      ValueError: the images are smaller than the window.
    """
    refuse_too_small(image, "lama_ssim")
    black = -1.0
    x, y, _ = differing_levels(surround(image, black), surround(completed, black))
    return mean_similarity(x, y, value_count(image))
