"""The one image path: bytes -> RGB pixels -> crop -> resize -> [-1, 1], and back.

Every program decodes, crops, resizes, rescales and composes with these functions,
so that a picture is the same tensor wherever it is read.

Ranges: pixels are uint8 in 0..255; network images are float32 in [-1, 1], with
x = pixel / 127.5 - 1. Masks are float32, 1 = missing.

Stages: `decode`, `crop_square`, `resize`, `to_float`; then `erase` and
`compose` around a network; `to_uint8` and `write_png` on the way out.
"""

import tensorflow as tf

from inpainting_tf.image_files import (  # noqa: F401 - used as images.decode etc.
    EXTENSIONS,
    ImageError,
    count_by_kind,
    decode,
    find_files,
    header_size,
    in_one_line,
    kind_of,
    read,
    write_png,
)


def crop_region(height, width, crop):
    """Finds the centred square that is cut out of a picture.

    Args:
      height, width: size of the picture in pixels.
      crop: side of the square in pixels (178 for aligned CelebA), or "square" for
        the largest one that fits.

    Returns:
      (top, left, side), ints.

    Raises:
      ImageError: the picture is smaller than the crop.
    """
    shorter = min(height, width)
    side = shorter if crop == "square" else int(crop)
    if side > shorter:
        raise ImageError(
            f"too small: {width}x{height} is smaller than the {side}x{side} crop"
        )
    return (height - side) // 2, (width - side) // 2, side


def crop_square(pixels, crop, size):
    """Cuts out the centred square that will be resized to size x size.

    Args:
      pixels: uint8 array [H, W, 3].
      crop: as in `crop_region`.
      size: side that the square will be resized to.

    Returns:
      uint8 array [side, side, 3].

    Raises:
      ImageError: the crop is larger than the picture, or smaller than `size` (an
        enlarged picture would teach a network blur).
    """
    top, left, side = crop_region(*pixels.shape[:2], crop)
    if side < size:
        raise ImageError(
            f"too small: the {side}x{side} crop is smaller than {size}x{size}"
        )
    return pixels[top : top + side, left : left + side]


def resize(pixels, height, width):
    """Resizes pixels by antialiased bicubic interpolation, rounded to whole levels.

    Args:
      pixels: uint8 [..., H, W, 3]; sizes may be dynamic.
      height, width: wanted size.

    Returns:
      uint8 [..., height, width, 3]; the same values where the size is right already.
    """
    # An equal-size resize has weights of exactly 0 and 1, so nothing changes then.
    resized = tf.image.resize(pixels, [height, width], "bicubic", antialias=True)
    return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)


def to_float(pixels):
    """uint8 pixels of any shape -> float32 in [-1, 1]."""
    return tf.cast(pixels, tf.float32) / 127.5 - 1.0


def color_to_float(levels):
    """A fill colour, red, green, blue in 0..255, as three floats in [-1, 1].

    Raises:
      ValueError: not three numbers in that range.
    """
    if len(levels) != 3 or not all(0 <= level <= 255 for level in levels):
        raise ValueError(
            f"--mean_color={','.join(map(str, levels))}: must be red, green and blue, "
            "each 0..255"
        )
    return [float(level) / 127.5 - 1.0 for level in levels]


def to_uint8(image):
    """float image in [-1, 1] of any shape -> uint8 pixels, rounded and clipped."""
    levels = tf.round((tf.cast(image, tf.float32) + 1.0) * 127.5)
    return tf.cast(tf.clip_by_value(levels, 0.0, 255.0), tf.uint8)


def erase(image, mask):
    """Sets the missing pixels to 0 (mid grey).

    Args:
      image: float [B, H, W, 3] in [-1, 1]; the missing pixels may hold anything.
      mask: float [B, H, W, 1], 1 = missing.

    Returns:
      float [B, H, W, 3].
    """
    return tf.where(mask > 0, tf.zeros_like(image), image)


def compose(image, predicted, mask):
    """Puts the predicted pixels into the hole: predicted * mask + image * (1 - mask).

    Written as a selection, so that known pixels keep their very bits whatever the
    network predicts there.

    Args:
      image: float or uint8 [B, H, W, 3]; only its known pixels are used.
      predicted: [B, H, W, 3] of the same type.
      mask: float [B, H, W, 1] of 0 and 1, 1 = missing.

    Returns:
      [B, H, W, 3] of the same type.
    """
    return tf.where(mask > 0, predicted, image)
