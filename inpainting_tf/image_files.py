"""Picture files: found, decoded to RGB pixels, written. No TensorFlow needed.

Everything that reads a picture file reads it here, so that a file gives the same pixels
to training, evaluation and the client of a model server.

Pixels are uint8 in 0..255.

Files may come from anywhere: whatever a file holds, it becomes pixels or an ImageError,
and what it claims to be is checked before memory is taken for it.
"""

import collections
import io
import os
import re
import stat

import numpy as np
from PIL import Image, ImageOps

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")
MAX_PIXELS = 100_000_000  # Beyond this a header is more likely a bomb than a photo.
MAX_BYTES = 2**29  # What so many pixels take without any compression, and more.

# Line ends, and what terminals take for commands.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_BOMB = f"too large: over {MAX_PIXELS:,} pixels"
_FOREIGN = "not a JPEG, PNG, BMP, GIF or WebP picture"


class ImageError(ValueError):
    """A picture that cannot be used; the message gives the reason in a few words.

    It is one of a few kinds, such as "empty file", or such a kind, a colon, and what is
    special to this file: "too small: 9x9 is smaller than the 16x16 crop".
    """


def kind_of(reason):
    """The kind of an ImageError's message, to count by."""
    return reason.partition(":")[0]


def count_by_kind(reasons):
    """Reasons of ImageErrors counted in words: "3 damaged, 1 empty file"."""
    counts = collections.Counter(map(kind_of, reasons))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {kind}" for kind, count in ordered)


def in_one_line(name):
    """A file's name for lists and messages: control characters as escapes."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], name)


def find_files(folder):
    """Sorted paths of the picture files below a folder, by their extension."""
    return sorted(
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(EXTENSIONS)
    )


def read(path):
    """The bytes of a picture file.

    Raises:
      ImageError: not there, not permitted, no plain file (a pipe would be waited on for
        ever, a device has no end), or larger than any picture.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ImageError("not a file: a folder, pipe or device")
            if status.st_size > MAX_BYTES:
                raise ImageError(f"too large: {status.st_size:,} bytes")
            return file.read(max(status.st_size, 1))  # A byte of the seemingly empty.
    except IsADirectoryError:
        raise ImageError("not a file: a folder, pipe or device") from None
    except OSError as error:
        raise ImageError(f"unreadable: {error.strerror or error}") from None


def header_size(data):
    """Width and height that a picture file's header tells, before its EXIF rotation.

    Args:
      data: the bytes of a file.

    Returns:
      (width, height), ints.

    Raises:
      ImageError: no picture of a known format, or a size far beyond `MAX_PIXELS`.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            return picture.size
    except Image.DecompressionBombError:
        raise ImageError(_BOMB) from None
    except Exception:  # noqa: BLE001 - decoders raise many types
        raise ImageError(_FOREIGN) from None


def decode(data):
    """Decodes a picture file to upright RGB pixels.

    Grey, palette, CMYK, 1-bit and 16-bit pictures become 8-bit RGB, transparency is
    laid on white, and an animation gives its first frame.

    An EXIF rotation is applied: a camera stores the rows of its sensor and notes how it
    was held, so that the upright picture is the photograph that everybody sees, draws
    masks on, and expects a network to have learned from.

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
                    f"too large: {picture.width}x{picture.height} is over "
                    f"{MAX_PIXELS:,} pixels"
                )
            picture.load()
            return np.array(_to_rgb(ImageOps.exif_transpose(picture)))
    except ImageError:
        raise
    except Image.UnidentifiedImageError:
        raise ImageError(_FOREIGN) from None
    except Image.DecompressionBombError:
        raise ImageError(_BOMB) from None
    except Exception as error:  # noqa: BLE001 - decoders raise many types
        raise ImageError(f"damaged: {first_line(error)}") from None


def _to_rgb(picture):
    if picture.mode.startswith("I"):  # 16-bit grey; Pillow's own conversion clips.
        high_byte = np.array(picture).astype(np.int64).clip(0, 65535) >> 8
        picture = Image.fromarray(high_byte.astype(np.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def first_line(error):
    """What an exception says, in one line; its type's name where it says nothing."""
    # What TensorFlow's errors say without the operation.
    text = str(getattr(error, "message", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def missing_pixels(pixels):
    """What a mask's pixels mean.

    Args:
      pixels: uint8 [H, W, 3]; a mask of grey levels, or of 0 and 1 only.

    Returns:
      bool [H, W]: missing where grey is above 127, or 1 where nothing is above 1.
    """
    grey = pixels.mean(axis=-1)
    return grey > (127 if grey.max() > 1 else 0)


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
