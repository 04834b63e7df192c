"""Distances between a ground-truth image and a completed one, one number per example.

Inputs are float32 [B, H, W, 3] in [-1, 1] and a mask float32 [B, H, W, 1], 1 = missing.
Both images are rounded to the 256 levels of a picture file first, so that a number
measured in memory is the number measured on the written files. Outputs are float32 [B].

Everything is computed in float64 and rounded to float32 at the end, and sums are taken
over whole numbers, which add up alike in any order: an image gets the same number alone
or in a batch, in one thread or many. Where the machine may choose an order (the filter
of SSIM, logarithms), results differ far below what float32 keeps.

Known pixels are restored before anything is measured, so most of the two images is the
same. Where they are, a difference is exactly 0 and SSIM exactly 1, and only a window
round what differs is computed: the same number, in a fraction of the time. The window
is found in the images, whatever mask or method made them.

An empty hole counts as a hole of one pixel without error: L1, L2 and TV 0, SSIM 1,
PSNR 52.9 dB. No metric returns NaN for finite images.

Stages: levels, the window that differs, exact sums; the usual metrics on the whole
image; the same on the hole; the definitions of published tables; `METRICS`, which names
them all; their hash.
The formulas, one per line and side by side, are in docs/metrics.md.
"""

import dataclasses
import hashlib
import math
from collections.abc import Callable

import tensorflow as tf

from inpainting_tf import images

# Window of Wang et al. 2004: Gaussian of sigma 1.5, 11 wide.
_RADIUS = 5
_GAUSSIAN = [math.exp(-(k**2) / (2 * 1.5**2)) for k in range(-_RADIUS, _RADIUS + 1)]
_WINDOW = [weight / sum(_GAUSSIAN) for weight in _GAUSSIAN]

# Wang et al. 2003, section 3.2.
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def _levels(image):
    """float [-1, 1] -> float64 whole levels 0..255."""
    return tf.cast(images.to_uint8(image), tf.float64)


def _missing(mask):
    """mask [B, H, W, 1] -> float64 of 0 and 1."""
    return tf.cast(tf.convert_to_tensor(mask) > 0, tf.float64)


def _missing_values(mask):
    """Missing values of 3 channels [B]; those of one pixel where there is no hole."""
    return 3.0 * tf.maximum(_sum(_missing(mask)), 1.0)


class _Window:
    """The part of a batch that holds every pixel in which two images differ.

    Windows have one size, that of the largest, and a place for each example. They hold
    two radii of SSIM's window more on every side, unless the image ends before: all
    pixels whose SSIM is not 1, and all that it depends on.

    Attributes:
      height, width: of the windows, int32.
    """

    def __init__(self, x, y):
        """Finds the windows of x, y [B, H, W, C], of any type."""
        differs = tf.reduce_any(tf.not_equal(x, y), axis=3)
        self._rows, self.height = _interval(tf.reduce_any(differs, axis=2))
        self._columns, self.width = _interval(tf.reduce_any(differs, axis=1))

    def cut(self, x):
        """[B, H, W, C] -> [B, height, width, C]."""
        x = tf.gather(x, self._rows, axis=1, batch_dims=1)
        return tf.gather(x, self._columns, axis=2, batch_dims=1)


def _interval(differs):
    """The places [B, n] of the windows along one side, and n; `differs` is [B, N]."""
    size = tf.shape(differs)[1]
    number = tf.range(size)
    first = tf.reduce_min(tf.where(differs, number, size), axis=1)
    last = tf.reduce_max(tf.where(differs, number, -1), axis=1)
    margin = 2 * _RADIUS
    longest = tf.maximum(tf.reduce_max(last - first + 1), 0)
    length = tf.minimum(longest + 2 * margin, size)
    start = tf.clip_by_value(first - margin, 0, size - length)
    return start[:, None] + tf.range(length), length


def _differing_levels(image, completed, mask=None):
    """The levels of both images where they may differ, and the missing pixels there.

    Returns:
      x, y: float64 [B, h, w, 3]; elsewhere they are equal.
      missing: float64 [B, h, w, 1] of 0 and 1; None without a mask.
    """
    image, completed = tf.convert_to_tensor(image), tf.convert_to_tensor(completed)
    window = _Window(image, completed)
    missing = None if mask is None else _missing(window.cut(tf.convert_to_tensor(mask)))
    return _levels(window.cut(image)), _levels(window.cut(completed)), missing


def _sum(x):
    """Sum of whole numbers [B, ...] per example: exact, in any order of additions."""
    return tf.reduce_sum(x, axis=list(range(1, x.shape.rank)))


def _rounded_sum(x):
    """Sum of [B, ...] of order one per example, the same in any order of additions.

    They are rounded to multiples of 2^-30, so that every partial sum up to 2^23 is
    exact in float64.
    """
    return _sum(tf.round(x * 2.0**30)) * 2.0**-30


def _size(x):
    """Number of values of one example, float64."""
    return tf.cast(tf.size(x[0]), tf.float64)


def _result(x):
    return tf.cast(x, tf.float32)


def _decibel(error, count):
    """PSNR of mean squared errors in levels; at least one level in one of `count`."""
    error = tf.maximum(error, 1.0 / count)
    return _result(10.0 / math.log(10.0) * tf.math.log(255.0**2 / error))


# --- The whole image ---------------------------------------------------------------


def l1(image, completed, mask=None):
    """Mean absolute difference over pixels and channels, as a share of the range 0..1.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1].
      mask: plays no part; every metric can be called with three arguments.

    Returns:
      float32 [B]; 0 for equal images, 1 for black against white.
    """
    x, y, _ = _differing_levels(image, completed)
    return _result(_sum(tf.abs(x - y)) / (255.0 * _size(image)))


def l2(image, completed, mask=None):
    """Mean squared difference over pixels and channels, range 0..1 (arguments as `l1`).

    Returns:
      float32 [B]; 0 for equal images, 1 for black against white.
    """
    x, y, _ = _differing_levels(image, completed)
    return _result(_sum(tf.square(x - y)) / (255.0**2 * _size(image)))


def psnr(image, completed, mask=None):
    """Peak signal-to-noise ratio, 10 log10(255^2 / mean squared difference).

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1].
      mask: plays no part.

    Returns:
      float32 [B] in dB. Equal images, whose ratio is infinite, get that of images that
      differ by one level in one value, so that means over images stay finite.
    """
    x, y, _ = _differing_levels(image, completed)
    return _decibel(_sum(tf.square(x - y)) / _size(image), _size(image))


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
    _check_window(image, "ssim")
    x, y, _ = _differing_levels(image, completed)
    inside = tf.shape(image)[1:3] - 2 * _RADIUS
    return _mean_similarity(x, y, tf.cast(3 * inside[0] * inside[1], tf.float64))


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
    while scales < len(_SCALE_WEIGHTS) and (side + 1) // 2 > 2 * _RADIUS:
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
    down, right = _gradients(_levels(completed))
    return _result((_sum(down) + _sum(right)) / (255.0 * _size(completed)))


def _check_window(image, name):
    shape = tf.convert_to_tensor(image).shape
    if any(side is not None and side <= 2 * _RADIUS for side in shape[1:3]):
        raise ValueError(
            f"{name}: images of {shape[1]}x{shape[2]} are smaller than its 11x11 "
            "window; leave this metric out or measure larger images"
        )


def _gradients(x):
    """Absolute differences to the neighbours below and right, [B, H-1, W, 3] and
    [B, H, W-1, 3]."""
    return tf.abs(x[:, 1:] - x[:, :-1]), tf.abs(x[:, :, 1:] - x[:, :, :-1])


def _mean_similarity(x, y, count):
    """Mean of an SSIM map of `count` values, of which those outside x, y are 1."""
    luminance, structure = _similarity_maps(x, y)
    similarity = luminance * structure
    return _result((_rounded_sum(similarity) + (count - _size(similarity))) / count)


def _similarity_maps(x, y):
    """The two factors of SSIM round every pixel whose window is inside.

    Args:
      x, y: levels, float64 [B, H, W, C].

    Returns:
      luminance term, and contrast times structure term, float64 [B, C, H-10, W-10].
      Both are exactly 1 where the windows of x and y are equal.
    """
    # Images last, for the filter: rows of W, and columns of H, times matrices.
    x, y = (tf.transpose(z, [0, 3, 1, 2]) for z in (x, y))
    moments = tf.stack([x, y, x * x + y * y, x * y])
    moments = tf.matmul(moments, _filter(tf.shape(x)[3]))
    moments = tf.matmul(_filter(tf.shape(x)[2]), moments, transpose_a=True)
    mean_x, mean_y, squares, products = tf.unstack(moments)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_product, mean_squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    luminance = (2 * mean_product + c1) / (mean_squares + c1)
    structure = (2 * (products - mean_product) + c2) / (squares - mean_squares + c2)
    return luminance, structure


def _filter(size):
    """Matrix [size, size - 10] that filters a line with the window, float64."""
    tap = tf.range(size)[:, None] - tf.range(size - 2 * _RADIUS)
    weights = tf.gather(
        tf.constant(_WINDOW, tf.float64), tf.clip_by_value(tap, 0, 2 * _RADIUS)
    )
    return tf.where((tap >= 0) & (tap <= 2 * _RADIUS), weights, 0.0)


def _surround(x, value=None):
    """[B, H, W, C] with SSIM's radius round it: mirrored (the edge pixel twice), or all
    of one value."""
    around = [[0, 0], [_RADIUS] * 2, [_RADIUS] * 2, [0, 0]]
    if value is None:
        return tf.pad(x, around, "SYMMETRIC")
    return tf.pad(x, around, constant_values=value)


def _halve(x):
    odd = [[0, side % 2] for side in x.shape[1:3]]
    x = tf.pad(x, [[0, 0], *odd, [0, 0]], "SYMMETRIC")
    rows = x[:, ::2] + x[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]) / 4.0


# --- The hole ----------------------------------------------------------------------


def hole_l1(image, completed, mask):
    """`l1` over the missing values only.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1].
      mask: float32 [B, H, W, 1], 1 = missing, each example its own.

    Returns:
      float32 [B] in 0..1; 0 for an empty hole.
    """
    x, y, missing = _differing_levels(image, completed, mask)
    return _result(_sum(tf.abs(x - y) * missing) / (255.0 * _missing_values(mask)))


def hole_l2(image, completed, mask):
    """`l2` over the missing values only (arguments as `hole_l1`).

    Returns:
      float32 [B] in 0..1; 0 for an empty hole.
    """
    x, y, missing = _differing_levels(image, completed, mask)
    squared = tf.square(x - y) * missing
    return _result(_sum(squared) / (255.0**2 * _missing_values(mask)))


def hole_psnr(image, completed, mask):
    """`psnr` of the missing values only (arguments as `hole_l1`).

    Returns:
      float32 [B] in dB; a hole without error gets that of one level in one of its
      values, an empty hole that of one pixel, 52.9.
    """
    x, y, missing = _differing_levels(image, completed, mask)
    count = _missing_values(mask)
    return _decibel(_sum(tf.square(x - y) * missing) / count, count)


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
    _check_window(image, "hole_ssim")
    x, y, missing = _differing_levels(
        _surround(image), _surround(completed), _surround(mask, 0.0)
    )
    luminance, structure = _similarity_maps(x, y)
    # One minus the loss, so that no missing pixel means 1.
    loss = (1.0 - luminance * structure) * _inside(missing)
    return _result(1.0 - _rounded_sum(loss) / _missing_values(mask))


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
    missing = _missing(mask)
    down, right = _gradients(_levels(completed))
    down *= tf.maximum(missing[:, 1:], missing[:, :-1])
    right *= tf.maximum(missing[:, :, 1:], missing[:, :, :-1])
    return _result((_sum(down) + _sum(right)) / (255.0 * _missing_values(mask)))


def _inside(missing):
    """[B, H, W, 1] -> [B, 1, H-10, W-10], as SSIM's map lies."""
    inside = slice(_RADIUS, -_RADIUS)
    return tf.transpose(missing[:, inside, inside], [0, 3, 1, 2])


def _multi_scale(image, completed, mask, name):
    """MS-SSIM inside the image (`mask` None) or over the missing pixels."""
    _check_window(image, name)
    x, y = _levels(image), _levels(completed)
    if None in x.shape[1:3]:
        raise ValueError(f"{name}: needs a fixed image size, got height or width None")
    missing = None if mask is None else _missing(mask)
    scales = ms_ssim_scales(*x.shape[1:3])
    total = sum(_SCALE_WEIGHTS[:scales])
    product = 1.0
    for scale, weight in enumerate(_SCALE_WEIGHTS[:scales]):
        if scale:
            x, y = _halve(x), _halve(y)
        seen = (x, y) if mask is None else (_surround(x), _surround(y))
        window = _Window(*seen)
        luminance, term = _similarity_maps(*map(window.cut, seen))
        if scale == scales - 1:
            term = luminance * term
        loss = 1.0 - term
        if mask is None:
            count = float(math.prod(side - 2 * _RADIUS for side in x.shape[1:3]))
        else:
            if scale:
                missing = tf.nn.max_pool2d(missing, 2, 2, "SAME")
            loss *= _inside(window.cut(_surround(missing, 0.0)))
            count = tf.maximum(tf.reduce_sum(missing, axis=[1, 2]), 1.0)
        # Per channel: the weighted product is not the product of the mean channel.
        loss = tf.stack([_rounded_sum(loss[:, c]) for c in range(3)], axis=1)
        product *= tf.pow(tf.maximum(1.0 - loss / count, 0.0), weight / total)
    return _result(tf.reduce_mean(product, axis=1))


# --- Definitions of published tables -----------------------------------------------


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
    x, y = _levels(image), _levels(completed)
    return _result(100.0 * _sum(tf.abs(x - y)) / tf.maximum(_sum(x), 1.0))


def giica_l2(image, completed, mask=None):
    """Squared relative L2 error in percent, 100 ||image - completed||^2 / ||image||^2.

    Source, gaps, arguments and result as in `giica_l1`; their "mean l2 loss".
    """
    x, y = _levels(image), _levels(completed)
    squares = tf.maximum(_sum(tf.square(x)), 1.0)
    return _result(100.0 * _sum(tf.square(x - y)) / squares)


def context_encoder_l1(image, completed, mask):
    """100 `hole_l1`: mean L1 loss in percent on the predicted region.

    Pathak et al. 2016, table 1. The range 0..1 is the one that its columns agree in: a
    mean PSNR is at least the PSNR of the mean L2, and 18.58 dB with 1.96 % in a range
    of -1..1 would not be.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1].
      mask: float32 [B, H, W, 1], 1 = missing; their centre half, or any.

    Returns:
      float32 [B] in percent.
    """
    return 100.0 * hole_l1(image, completed, mask)


def context_encoder_l2(image, completed, mask):
    """100 `hole_l2`: mean L2 loss in percent; all else as in `context_encoder_l1`."""
    return 100.0 * hole_l2(image, completed, mask)


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
    return 100.0 * hole_l1(image, completed, mask)


def siidgm_psnr(image, completed, mask=None):
    """PSNR of the whole image, each image first divided by its own largest value.

    Yeh et al. 2017 (SIIDGM), table 1, by `imgsnr.py` of moodoki/semantic_image_inpainting,
    a repository of one of its authors; the paper gives no formula.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1].
      mask: plays no part.

    Returns:
      float32 [B] in dB; equal images as in `psnr`.
    """
    x, y = _levels(image), _levels(completed)
    brightest = [
        tf.maximum(tf.reduce_max(z, axis=[1, 2, 3], keepdims=True), 1.0) for z in (x, y)
    ]
    squared = tf.square(x / brightest[0] - y / brightest[1])
    return _decibel(255.0**2 * _rounded_sum(squared) / _size(x), _size(x))


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
    x, y = _levels(image), _levels(completed)
    return _result(_sum(tf.abs(x - y)) / tf.maximum(_sum(x + y), 1.0))


def picnet_l1(image, completed, mask=None):
    """255 `l1`: mean absolute difference of the whole image in levels.

    Zheng et al. 2019 (Pluralistic Image Completion), `util/evaluation.py`. The program
    resizes to 256x256 first and keeps the best of several samples; neither is done here.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1].
      mask: plays no part.

    Returns:
      float32 [B] in levels.
    """
    x, y, _ = _differing_levels(image, completed)
    return _result(_sum(tf.abs(x - y)) / _size(image))


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
    y = _levels(completed)
    right, down = y - tf.roll(y, -1, axis=2), y - tf.roll(y, -1, axis=1)
    length = tf.sqrt(tf.square(right) + tf.square(down)) / 255.0
    return _result(255.0 * _rounded_sum(length) / _size(y))


def lama_ssim(image, completed, mask=None):
    """`ssim` with black outside the image, so that border pixels count.

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
    _check_window(image, "lama_ssim")
    black = -1.0
    x, y, _ = _differing_levels(_surround(image, black), _surround(completed, black))
    return _mean_similarity(x, y, _size(image))


# --- All by name -------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Metric:
    """What a number in a table is.

    Attributes:
      function: (image, completed, mask) -> float32 [B].
      formula: one line of ASCII. x is the image and y the completed image, both in
        levels 0..255; M the mask; n the number of values, m = 3 sum(M) that of missing
        values, at least 3.
      unit: "share" (of the range 0..1), "%", "dB", "levels" or "" (a pure number).
      better: "higher" or "lower".
      source: where the definition comes from.
      version: raised when the same formula is computed differently.
    """

    function: Callable
    formula: str
    unit: str
    better: str
    source: str
    version: int = 1


_SSIM_MAP = (
    "S = (2 ux uy + c1) (2 sxy + c2) / ((ux^2 + uy^2 + c1) (sxx + syy + c2)), "
    "c1 = 2.55^2, c2 = 7.65^2, 11x11 Gaussian of sigma 1.5"
)
_MS_SSIM = (
    "mean over channels of prod_j mean(T_j)^(w_j / sum w), T_j the second factor of S at "
    "scale j (2x2 means), S at the coarsest, w = 0.0448 0.2856 0.3001 0.2363 0.1333, as "
    "many scales as leave 11 pixels: 5 from 161, 4 from 81, 3 from 41, 2 from 21"
)

METRICS = {
    "l1": Metric(l1, "sum |x - y| / (255 n)", "share", "lower", "standard"),
    "l2": Metric(l2, "sum (x - y)^2 / (255^2 n)", "share", "lower", "standard"),
    "psnr": Metric(
        psnr,
        "10 log10(255^2 / max(sum (x - y)^2 / n, 1 / n))",
        "dB",
        "higher",
        "standard; MMagic's PSNR",
    ),
    "ssim": Metric(
        ssim,
        f"mean over windows inside the image and channels of {_SSIM_MAP}",
        "",
        "higher",
        "Wang et al. 2004; MMagic's SSIM",
    ),
    "ms_ssim": Metric(
        ms_ssim,
        f"{_MS_SSIM}; windows inside the image",
        "",
        "higher",
        "Wang, Simoncelli, Bovik 2003",
    ),
    "tv": Metric(
        tv,
        "(sum |y[i+1,j] - y[i,j]| + sum |y[i,j+1] - y[i,j]|) / (255 n)",
        "share",
        "lower",
        "Rudin, Osher, Fatemi 1992, anisotropic",
    ),
    "hole_l1": Metric(
        hole_l1, "sum M |x - y| / (255 m)", "share", "lower", "standard, on the hole"
    ),
    "hole_l2": Metric(
        hole_l2,
        "sum M (x - y)^2 / (255^2 m)",
        "share",
        "lower",
        "standard, on the hole",
    ),
    "hole_psnr": Metric(
        hole_psnr,
        "10 log10(255^2 / max(sum M (x - y)^2 / m, 1 / m))",
        "dB",
        "higher",
        "standard, on the hole; Pathak et al. 2016",
    ),
    "hole_ssim": Metric(
        hole_ssim,
        f"sum M S / m, image mirrored at its border, {_SSIM_MAP}",
        "",
        "higher",
        "Wang et al. 2004, on the hole",
    ),
    "hole_ms_ssim": Metric(
        hole_ms_ssim,
        f"{_MS_SSIM}; means over missing pixels (of a coarser scale: any of 2x2), image "
        "mirrored at its border",
        "",
        "higher",
        "Wang, Simoncelli, Bovik 2003, on the hole",
    ),
    "hole_tv": Metric(
        hole_tv,
        "(sum |y[i+1,j] - y[i,j]| + sum |y[i,j+1] - y[i,j]|) / (255 m), pairs with a "
        "missing pixel",
        "share",
        "lower",
        "Rudin, Osher, Fatemi 1992, anisotropic, on the hole",
    ),
    "giica_l1": Metric(
        giica_l1,
        "100 sum |x - y| / max(sum x, 1)",
        "%",
        "lower",
        "Yu et al. 2018, by issue 146 of JiahuiYu/generative_inpainting",
    ),
    "giica_l2": Metric(
        giica_l2,
        "100 sum (x - y)^2 / max(sum x^2, 1)",
        "%",
        "lower",
        "Yu et al. 2018, by issue 146 of JiahuiYu/generative_inpainting",
    ),
    "context_encoder_l1": Metric(
        context_encoder_l1,
        "100 sum M |x - y| / (255 m)",
        "%",
        "lower",
        "Pathak et al. 2016, table 1",
    ),
    "context_encoder_l2": Metric(
        context_encoder_l2,
        "100 sum M (x - y)^2 / (255^2 m)",
        "%",
        "lower",
        "Pathak et al. 2016, table 1",
    ),
    "mmagic_masked_l1": Metric(
        mmagic_masked_l1,
        "100 sum M |x - y| / (255 m)",
        "%",
        "lower",
        "MMagic 1.x, MAE(mask_key='mask', scaling=100)",
    ),
    "siidgm_psnr": Metric(
        siidgm_psnr,
        "10 log10(1 / max(sum (x / max(x) - y / max(y))^2 / n, 1 / (255^2 n)))",
        "dB",
        "higher",
        "Yeh et al. 2017, by imgsnr.py of moodoki/semantic_image_inpainting",
    ),
    "edgeconnect_mae": Metric(
        edgeconnect_mae,
        "sum |x - y| / max(sum (x + y), 1)",
        "share",
        "lower",
        "Nazeri et al. 2019, compare_mae of its program",
    ),
    "picnet_l1": Metric(
        picnet_l1,
        "sum |x - y| / n",
        "levels",
        "lower",
        "Zheng et al. 2019, util/evaluation.py of its program",
    ),
    "picnet_tv": Metric(
        picnet_tv,
        "sum sqrt((y[i,j] - y[i,j+1])^2 + (y[i,j] - y[i+1,j])^2) / n, indices wrap",
        "levels",
        "lower",
        "Zheng et al. 2019, util/evaluation.py of its program",
    ),
    "lama_ssim": Metric(
        lama_ssim,
        f"mean over all pixels and channels, black outside the image, of {_SSIM_MAP}",
        "",
        "higher",
        "Suvorov et al. 2022, evaluation/losses/ssim.py of its program",
    ),
}


def definition_hash(names):
    """Fingerprint of metric definitions, for a protocol to record.

    Args:
      names: keys of `METRICS`, in any order.

    Returns:
      str, 64 hexadecimal digits; another one after any change of a name, formula, unit
      or version.

    Raises:
      ValueError: a name that is not in `METRICS`.
    """
    names = sorted(set(names))
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(
            f"unknown metric {', '.join(unknown)}; known are {', '.join(METRICS)}"
        )
    lines = (
        f"{name} {METRICS[name].version} {METRICS[name].formula} [{METRICS[name].unit}]\n"
        for name in names
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()
