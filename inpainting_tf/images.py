"""The one image path: bytes -> RGB pixels -> crop -> resize -> [-1, 1], and back.

Every program decodes, crops, resizes, rescales and composes with these functions,
so that a picture is the same tensor wherever it is read.

Ranges: pixels are uint8 in 0..255; network images are float32 in [-1, 1], with
x = pixel / 127.5 - 1. Masks are float32, 1 = missing.

Stages: `decode`, `crop_square`, `resize`, `to_float`; then `erase` and
`compose` around a network; `to_uint8` and `write_png` on the way out.
"""

import io
import os

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
MAX_PIXELS = 100_000_000  # Beyond this a header is more likely a bomb than a photo.


class ImageError(ValueError):
    """A picture that cannot be used; the message gives the reason in a few words."""


def find_files(folder):
    """Sorted paths of the picture files below a folder, by their extension."""
    return sorted(
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(EXTENSIONS)
    )


def decode(data):
    """Decodes a picture file to upright RGB pixels.

    Grey, palette, CMYK, 1-bit and 16-bit pictures become 8-bit RGB, transparency is
    laid on white, an EXIF rotation is applied, and an animation gives its first frame.

    Args:
      data: the bytes of a JPEG, PNG, BMP, GIF or WebP file.

    Returns:
      uint8 array [H, W, 3].

    Raises:
      ImageError: empty, truncated or no picture of a known format, or too large.
    """
    if not data:
        raise ImageError("empty file")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ImageError(
                    f"{picture.width}x{picture.height} is over {MAX_PIXELS:,} pixels"
                )
            picture.load()
            return np.array(_to_rgb(ImageOps.exif_transpose(picture)))
    except ImageError:
        raise
    except Image.UnidentifiedImageError:
        raise ImageError("not a JPEG, PNG, BMP, GIF or WebP picture") from None
    except Image.DecompressionBombError:
        raise ImageError(f"over {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # noqa: BLE001 - decoders raise many types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(f"damaged: {reason}") from None


def _to_rgb(picture):
    if picture.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion clips.
        high_byte = np.array(picture).astype(np.int64).clip(0, 65535) >> 8
        picture = Image.fromarray(high_byte.astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


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
        raise ImageError(f"{width}x{height} is smaller than the {side}x{side} crop")
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
        raise ImageError(f"the {side}x{side} crop is smaller than {size}x{size}")
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
      image: float [B, H, W, 3]; only its known pixels are used.
      predicted: float [B, H, W, 3].
      mask: float [B, H, W, 1] of 0 and 1, 1 = missing.

    Returns:
      float [B, H, W, 3].
    """
    return tf.where(mask > 0, predicted, image)


def write_png(path, pixels):
    """Writes uint8 pixels [H, W, 3] as a PNG; the file is whole or not there."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    unfinished = f"{path}.tmp"
    Image.fromarray(np.asarray(pixels)).save(unfinished, format="PNG")
    os.replace(unfinished, path)
