"""Picture files: found, decoded to RGB pixels, written. No TensorFlow needed.

Everything that reads a picture file reads it here, so that a file gives the same pixels
to training, evaluation and the client of a model server.

Pixels are uint8 in 0..255.
"""

import io
import os

import numpy as np
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


def encode_png(pixels, compress_level=6):
    """uint8 pixels [H, W, 3] or [H, W] -> the bytes of a PNG file."""
    stream = io.BytesIO()
    picture = Image.fromarray(np.asarray(pixels))
    picture.save(stream, format="PNG", compress_level=compress_level)
    return stream.getvalue()


def write_png(path, pixels):
    """Writes uint8 pixels [H, W, 3] as a PNG; the file is whole or not there."""
    write_bytes(path, encode_png(pixels))


def write_bytes(path, data):
    """Writes a file under a temporary name and renames it: it is whole or not there."""
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    unfinished = f"{path}.tmp"
    try:
        with open(unfinished, "wb") as file:
            file.write(data)
        os.replace(unfinished, path)
    except OSError:
        if os.path.exists(unfinished):
            os.unlink(unfinished)
        raise
