"""Distances between a ground-truth image and a completed one, one number per example.

Inputs are float32 [B, H, W, 3] in [-1, 1] and a mask float32 [B, H, W, 1], 1 = missing.
Both images are rounded to the 256 levels of a picture file first, so that a number
measured in memory is the number measured on the written files. Outputs are float32 [B],
the same for an image alone and in any batch.

An empty hole counts as a hole of one pixel without error: L1, L2 and TV 0, SSIM 1,
PSNR 52.9 dB. No metric returns NaN for finite images.

Stages: the usual metrics on the whole image; the same on the hole. Those of published
tables are in published_metrics.py, all by name in metric_table.py; their formulas, one
per line and side by side, in docs/metrics.md.
"""

import math

import tensorflow as tf

from inpainting_tf.metric_stages import (
    RADIUS,
    DifferingWindow,
    decibel,
    differing_levels,
    exact_sum,
    gradients,
    halve,
    inside_border,
    levels,
    mean_similarity,
    missing_pixels,
    missing_values,
    refuse_too_small,
    rounded_sum,
    similarity_maps,
    surround,
    to_float32,
    value_count,
)

# Wang et al. 2003, section 3.2.
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


# --- The whole image ---------------------------------------------------------------


def l1(image, completed, mask=None):
    """Mean absolute difference over pixels and channels, as a share of the range 0..1.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1].
      mask: plays no part; every metric can be called with three arguments.

    Returns:
      float32 [B]; 0 for equal images, 1 for black against white.
    """
    x, y, _ = differing_levels(image, completed)
    return to_float32(exact_sum(tf.abs(x - y)) / (255.0 * value_count(image)))


def l2(image, completed, mask=None):
    """Mean squared difference over pixels and channels, range 0..1 (arguments as `l1`).

    Returns:
      float32 [B]; 0 for equal images, 1 for black against white.
    """
    x, y, _ = differing_levels(image, completed)
    return to_float32(exact_sum(tf.square(x - y)) / (255.0**2 * value_count(image)))


def psnr(image, completed, mask=None):
    """Peak signal-to-noise ratio, 10 log10(255^2 / mean squared difference).

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1].
      mask: plays no part.

    Returns:
      float32 [B] in dB. Equal images, whose ratio is infinite, get that of images that
      differ by one level in one value, so that means over images stay finite.
    """
    x, y, _ = differing_levels(image, completed)
    return decibel(exact_sum(tf.square(x - y)) / value_count(image), value_count(image))


def ssim(image, completed, mask=None):
    """Structural similarity (Wang et al. 2004): 11x11 Gaussian window of sigma 1.5,
    K1 = 0.01, K2 = 0.03, windows inside the image only, mean over channels.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1], H and W at least 11.
      mask: plays no part.

    Returns:
      float32 [B] in [-1, 1]; 1 for equal images.

    Raises:
      ValueError: the images are smaller than the window.
    """
    refuse_too_small(image, "ssim")
    x, y, _ = differing_levels(image, completed)
    inside = tf.shape(image)[1:3] - 2 * RADIUS
    return mean_similarity(x, y, tf.cast(3 * inside[0] * inside[1], tf.float64))


def ms_ssim(image, completed, mask=None):
    """Multi-scale structural similarity (Wang, Simoncelli and Bovik 2003).

    The contrast and structure term of `ssim` at S scales, each half the size of the one
    before (2x2 mean; an odd last row or column is doubled), and the luminance term at
    the coarsest, as a weighted geometric mean; negative means count as 0. The five
    published scales need 161 pixels on the shorter side. Smaller images have as many as
    the 11x11 window allows: S = 4 from 81 pixels, 3 from 41, 2 from 21, 1 from 11,
    with the first S weights divided by their sum. So a value at 128 (S = 4) or
    64 (S = 3) compares with others of that size only.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1]; H and W known when a graph is
        built and at least 11.
      mask: plays no part.

    Returns:
      float32 [B] in [0, 1]; 1 for equal images.

    Raises:
      ValueError: the images are smaller than the window, or of unknown size.
    """
    return _multi_scale(image, completed, None, "ms_ssim")


def ms_ssim_scales(height, width):
    """Number of scales of `ms_ssim` for an image size: 5 from 161 pixels, 4 from 81, 3
    from 41, 2 from 21, else 1."""
    side, scales = min(height, width), 1
    while scales < len(_SCALE_WEIGHTS) and (side + 1) // 2 > 2 * RADIUS:
        side, scales = (side + 1) // 2, scales + 1
    return scales


def tv(image, completed, mask=None):
    """Total variation of the completed image: how rough it is, not how right.

    Rudin, Osher and Fatemi 1992 in its anisotropic form: absolute differences between
    neighbours below and to the right, divided by the number of values and the range.

    Args:
      image: plays no part, nor does `mask`.
      completed: float32 [B, H, W, 3] in [-1, 1].

    Returns:
      float32 [B]; 0 for one flat colour, up to 2.
    """
    down, right = gradients(levels(completed))
    return to_float32(
        (exact_sum(down) + exact_sum(right)) / (255.0 * value_count(completed))
    )


# --- The hole ----------------------------------------------------------------------


def hole_l1(image, completed, mask):
    """`l1` over the missing values only.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1].
      mask: float32 [B, H, W, 1], 1 = missing, each example its own.

    Returns:
      float32 [B] in 0..1; 0 for an empty hole.
    """
    x, y, missing = differing_levels(image, completed, mask)
    return to_float32(
        exact_sum(tf.abs(x - y) * missing) / (255.0 * missing_values(mask))
    )


def hole_l2(image, completed, mask):
    """`l2` over the missing values only (arguments as `hole_l1`).

    Returns:
      float32 [B] in 0..1; 0 for an empty hole.
    """
    x, y, missing = differing_levels(image, completed, mask)
    squared = tf.square(x - y) * missing
    return to_float32(exact_sum(squared) / (255.0**2 * missing_values(mask)))


def hole_psnr(image, completed, mask):
    """`psnr` of the missing values only (arguments as `hole_l1`).

    Returns:
      float32 [B] in dB; a hole without error gets that of one level in one of its
      values, an empty hole that of one pixel, 52.9.
    """
    x, y, missing = differing_levels(image, completed, mask)
    count = missing_values(mask)
    return decibel(exact_sum(tf.square(x - y) * missing) / count, count)


def hole_ssim(image, completed, mask):
    """Mean of the SSIM map over the missing pixels and channels.

    The window of a missing pixel reaches 5 pixels into the known ones. Every missing
    pixel counts, also at the border of the image, where the window sees the image
    mirrored (the edge pixel twice).

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1], H and W at least 11.
      mask: float32 [B, H, W, 1], 1 = missing, each example its own.

    Returns:
      float32 [B] in [-1, 1]; 1 for equal images and for an empty hole.

    Raises:
      ValueError: the images are smaller than the window.
    """
    refuse_too_small(image, "hole_ssim")
    x, y, missing = differing_levels(
        surround(image), surround(completed), surround(mask, 0.0)
    )
    luminance, structure = similarity_maps(x, y)
    # One minus the loss, so that no missing pixel means 1.
    loss = (1.0 - luminance * structure) * inside_border(missing)
    return to_float32(1.0 - rounded_sum(loss) / missing_values(mask))


def hole_ms_ssim(image, completed, mask):
    """`ms_ssim` with each scale's mean over the missing pixels of that scale.

    A pixel of a coarser scale is missing if any of its four is. At the coarsest scales
    a window covers much of the image, and so mostly known pixels. Borders as in
    `hole_ssim`, scales as in `ms_ssim`.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1]; H and W known when a graph is
        built and at least 11.
      mask: float32 [B, H, W, 1], 1 = missing, each example its own.

    Returns:
      float32 [B] in [0, 1]; 1 for equal images and for an empty hole.

    Raises:
      ValueError: the images are smaller than the window, or of unknown size.
    """
    return _multi_scale(image, completed, mask, "hole_ms_ssim")


def hole_tv(image, completed, mask):
    """`tv` over the pairs of neighbours of which at least one pixel is missing, divided
    by the number of missing values: the hole and its seam (arguments as `hole_l1`).

    Returns:
      float32 [B]; 0 for one flat colour and for an empty hole.
    """
    missing = missing_pixels(mask)
    down, right = gradients(levels(completed))
    down *= tf.maximum(missing[:, 1:], missing[:, :-1])
    right *= tf.maximum(missing[:, :, 1:], missing[:, :, :-1])
    return to_float32(
        (exact_sum(down) + exact_sum(right)) / (255.0 * missing_values(mask))
    )


def _multi_scale(image, completed, mask, name):
    """MS-SSIM inside the image (`mask` None) or over the missing pixels."""
    refuse_too_small(image, name)
    x, y = levels(image), levels(completed)
    if None in x.shape[1:3]:
        raise ValueError(f"{name}: needs a fixed image size, got height or width None")
    missing = None if mask is None else missing_pixels(mask)
    scales = ms_ssim_scales(*x.shape[1:3])
    total = sum(_SCALE_WEIGHTS[:scales])
    product = 1.0
    for scale, weight in enumerate(_SCALE_WEIGHTS[:scales]):
        if scale:
            x, y = halve(x), halve(y)
        seen = (x, y) if mask is None else (surround(x), surround(y))
        window = DifferingWindow(*seen)
        luminance, term = similarity_maps(*map(window.cut, seen))
        if scale == scales - 1:
            term = luminance * term
        loss = 1.0 - term
        if mask is None:
            count = float(math.prod(side - 2 * RADIUS for side in x.shape[1:3]))
        else:
            if scale:
                missing = tf.nn.max_pool2d(missing, 2, 2, "SAME")
            loss *= inside_border(window.cut(surround(missing, 0.0)))
            count = tf.maximum(tf.reduce_sum(missing, axis=[1, 2]), 1.0)
        # Per channel: the weighted product is not the product of the mean channel.
        loss = tf.stack([rounded_sum(loss[:, c]) for c in range(3)], axis=1)
        product *= tf.pow(tf.maximum(1.0 - loss / count, 0.0), weight / total)
    return to_float32(tf.reduce_mean(product, axis=1))
