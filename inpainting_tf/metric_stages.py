"""What metrics are computed with: levels, the window that differs, exact sums, SSIM's map.

Everything is computed in float64 and rounded to float32 at the end, and sums are taken
over whole numbers, which add up alike in any order: an image gets the same number alone
or in a batch, in one thread or many. Where the machine may choose an order (the filter
of SSIM, logarithms), results differ far below what float32 keeps.

Known pixels are restored before anything is measured, so most of the two images is the
same. Where they are, a difference is exactly 0 and SSIM exactly 1, and only a window
round what differs is computed: the same number, in a fraction of the time. The window
is found in the images, whatever mask or method made them.

In order: levels and missing pixels; the window; sums and what is made of them; SSIM's map
and its surroundings.
"""

import math

import tensorflow as tf

from inpainting_tf import images

# Window of Wang et al. 2004: Gaussian of sigma 1.5, 11 wide.
RADIUS = 5
_GAUSSIAN = [math.exp(-(k**2) / (2 * 1.5**2)) for k in range(-RADIUS, RADIUS + 1)]
_GAUSSIAN_WEIGHTS = [weight / sum(_GAUSSIAN) for weight in _GAUSSIAN]


def levels(image):
    """float [B, H, W, C] in [-1, 1] -> float64 whole levels 0..255."""
    return tf.cast(images.to_uint8(image), tf.float64)


def missing_pixels(mask):
    """mask [B, H, W, 1], above 0 = missing -> float64 of 0 and 1."""
    return tf.cast(tf.convert_to_tensor(mask) > 0, tf.float64)


def missing_values(mask):
    """Missing values of 3 channels [B]; those of one pixel where there is no hole."""
    return 3.0 * tf.maximum(exact_sum(missing_pixels(mask)), 1.0)


class DifferingWindow:
    """The part of a batch that holds every pixel in which two images differ.

    Windows have one size, that of the largest, and a place for each example. They hold
    two radii of SSIM's window more on every side, unless the image ends before: all
    pixels whose SSIM is not 1, and all that it depends on.
    """

    def __init__(self, x, y):
        """Finds the windows of x, y [B, H, W, C], of any type."""
        differs = tf.reduce_any(tf.not_equal(x, y), axis=3)
        self._rows = _interval(tf.reduce_any(differs, axis=2))
        self._columns = _interval(tf.reduce_any(differs, axis=1))

    def cut(self, x):
        """[B, H, W, C] -> the windows, [B, h, w, C]."""
        x = tf.gather(x, self._rows, axis=1, batch_dims=1)
        return tf.gather(x, self._columns, axis=2, batch_dims=1)


def _interval(differs):
    """The places [B, n] of the windows along one side; `differs` is [B, N]."""
    size = tf.shape(differs)[1]
    number = tf.range(size)
    first = tf.reduce_min(tf.where(differs, number, size), axis=1)
    last = tf.reduce_max(tf.where(differs, number, -1), axis=1)
    margin = 2 * RADIUS
    longest = tf.maximum(tf.reduce_max(last - first + 1), 0)
    length = tf.minimum(longest + 2 * margin, size)
    start = tf.clip_by_value(first - margin, 0, size - length)
    return start[:, None] + tf.range(length)


def differing_levels(image, completed, mask=None):
    """The levels of both images where they may differ, and the missing pixels there.

    Returns:
      x, y: float64 [B, h, w, 3]; elsewhere they are equal.
      missing: float64 [B, h, w, 1] of 0 and 1; None without a mask.
    """
    image, completed = tf.convert_to_tensor(image), tf.convert_to_tensor(completed)
    window = DifferingWindow(image, completed)
    missing = (
        None if mask is None else missing_pixels(window.cut(tf.convert_to_tensor(mask)))
    )
    return levels(window.cut(image)), levels(window.cut(completed)), missing


def exact_sum(x):
    """Sum of whole numbers [B, ...] per example: exact, in any order of additions."""
    return tf.reduce_sum(x, axis=list(range(1, x.shape.rank)))


def rounded_sum(x):
    """Sum of [B, ...] of order one per example, the same in any order of additions.

    They are rounded to multiples of 2^-30, so that every partial sum up to 2^23 is
    exact in float64.
    """
    return exact_sum(tf.round(x * 2.0**30)) * 2.0**-30


def value_count(x):
    """Number of values of one example of [B, ...], float64."""
    return tf.cast(tf.size(x[0]), tf.float64)


def to_float32(x):
    """What a metric returns: rounded once, at its end."""
    return tf.cast(x, tf.float32)


def decibel(error, count):
    """PSNR of mean squared errors [B] in levels, float32 [B] in dB; an error counts as
    at least one level in one of `count` values."""
    error = tf.maximum(error, 1.0 / count)
    return to_float32(10.0 / math.log(10.0) * tf.math.log(255.0**2 / error))


def gradients(x):
    """Absolute differences to the neighbours below and right, [B, H-1, W, 3] and
    [B, H, W-1, 3]."""
    return tf.abs(x[:, 1:] - x[:, :-1]), tf.abs(x[:, :, 1:] - x[:, :, :-1])


def refuse_too_small(image, name):
    """Raises ValueError, with a metric's name, for [B, H, W, 3] below SSIM's window."""
    shape = tf.convert_to_tensor(image).shape
    if any(side is not None and side <= 2 * RADIUS for side in shape[1:3]):
        raise ValueError(
            f"{name}: images of {shape[1]}x{shape[2]} are smaller than its 11x11 "
            "window; leave this metric out or measure larger images"
        )


def mean_similarity(x, y, count):
    """Mean of an SSIM map of `count` values, of which those outside x, y are 1.

    Args:
      x, y: levels, float64 [B, H, W, C].
      count: float64.

    Returns:
      float32 [B].
    """
    luminance, structure = similarity_maps(x, y)
    similarity = luminance * structure
    return to_float32(
        (rounded_sum(similarity) + (count - value_count(similarity))) / count
    )


def similarity_maps(x, y):
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
    tap = tf.range(size)[:, None] - tf.range(size - 2 * RADIUS)
    weights = tf.gather(
        tf.constant(_GAUSSIAN_WEIGHTS, tf.float64), tf.clip_by_value(tap, 0, 2 * RADIUS)
    )
    return tf.where((tap >= 0) & (tap <= 2 * RADIUS), weights, 0.0)


def surround(x, value=None):
    """[B, H, W, C] with SSIM's radius round it: mirrored (the edge pixel twice), or all
    of one value."""
    around = [[0, 0], [RADIUS] * 2, [RADIUS] * 2, [0, 0]]
    if value is None:
        return tf.pad(x, around, "SYMMETRIC")
    return tf.pad(x, around, constant_values=value)


def inside_border(missing):
    """[B, H, W, 1] -> [B, 1, H-10, W-10], as SSIM's map lies."""
    inside = slice(RADIUS, -RADIUS)
    return tf.transpose(missing[:, inside, inside], [0, 3, 1, 2])


def halve(x):
    """[B, H, W, C] -> [B, ceil(H / 2), ceil(W / 2), C], 2x2 means; an odd last row or
    column is doubled."""
    odd = [[0, side % 2] for side in x.shape[1:3]]
    x = tf.pad(x, [[0, 0], *odd, [0, 0]], "SYMMETRIC")
    rows = x[:, ::2] + x[:, 1::2]
    return (rows[:, :, ::2] + rows[:, :, 1::2]) / 4.0
