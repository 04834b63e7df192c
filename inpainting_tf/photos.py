"""Photo files with all that is theirs: read, and written back as PNG with holes filled.

Input: the bytes of a JPEG, PNG, BMP, GIF or WebP file. Output: the bytes of a PNG file
in which every known pixel has the very values of the photo's own pixels, grey or
colour, 8 or 16 bits, transparency included, with ICC profile, EXIF, and density.

What a PNG file cannot hold, or what would be wrong in it, is decided here:

- Pixels are written upright; the EXIF orientation is dropped.
- Palettes become full colour with the very colours of the palette; 1-bit becomes grey.
- CMYK becomes RGB as `image_files.decode` makes it; its ICC profile is dropped.
- Of an animation the first frame is taken.
- The EXIF's preview picture is dropped, since it would show what was in the hole; so is
  XMP, whose history may hold one too.
- 16-bit photos keep their bits; networks see and fill them with 8.
- A hole that was fully transparent becomes opaque; else transparency stays as it is.

Stages: `read`; a method completes `Photo.rgb`; `Photo.completed_png`.
"""

import dataclasses
import io
import struct
import zlib

import numpy as np
import tensorflow as tf
from PIL import Image

from inpainting_tf import image_files
from inpainting_tf.image_files import ImageError

_ORIENTATION = 0x0112  # The EXIF tag.
# How stored pixels [H, W, C] become upright, by EXIF orientation.
_UPRIGHT = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: pixels[::-1].swapaxes(0, 1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: pixels[:, ::-1].swapaxes(0, 1),
}
_PNG_START = b"\x89PNG\r\n\x1a\n"
# Chunks of a PNG file that say what its levels mean and how large it is in inches.
_KEPT_CHUNKS = (b"cHRM", b"gAMA", b"sRGB", b"cICP", b"pHYs")


@dataclasses.dataclass(frozen=True)
class Photo:
    """A photo as it is in its file, upright.

    Attributes:
      pixels: uint8 or uint16 [H, W, C]: grey, grey and alpha, RGB, or RGB and alpha.
      rgb: uint8 [H, W, 3], what methods see, see `image_files.decode`.
      orientation: EXIF orientation of the file, 1..8; pixels are turned already.
      chunks: (kind, content) of the PNG chunks to write, bytes.
      notes: what could not be kept as it was, lines in plain words.
    """

    pixels: np.ndarray
    rgb: np.ndarray
    orientation: int
    chunks: tuple
    notes: tuple

    @property
    def alpha(self):
        """[H, W] of the pixels' type, or None."""
        has_alpha = self.pixels.shape[-1] in (2, 4)
        return self.pixels[..., -1] if has_alpha else None

    def completed_pixels(self, completed, missing):
        """The photo's own pixels with the missing ones replaced.

        Args:
          completed: uint8 [H, W, 3], RGB; only its missing pixels are used.
          missing: bool [H, W].

        Returns:
          as `pixels`.
        """
        new = completed
        if self.pixels.shape[-1] < 3:
            # ITU-R 601 in 16 bits, as Pillow makes grey of RGB.
            weights = np.array([19595, 38470, 7471], np.uint32)
            grey = (completed.astype(np.uint32) @ weights + 2**15) >> 16
            new = grey.astype(np.uint8)[..., np.newaxis]
        if self.pixels.dtype == np.uint16:
            new = new.astype(np.uint16) * 257
        pixels = self.pixels.copy()
        colors = new.shape[-1]
        pixels[missing, :colors] = new[missing]
        if self.alpha is not None and not self.alpha[missing].any():
            pixels[missing, -1] = np.iinfo(pixels.dtype).max
        return pixels

    def completed_png(self, completed, missing, text=""):
        """The photo with its hole filled, as a file.

        Args:
          completed, missing: as of `completed_pixels`.
          text: written into the file under the keyword Software; Latin-1.

        Returns:
          the bytes of a PNG file.
        """
        pixels = self.completed_pixels(completed, missing)
        if pixels.dtype == np.uint16:
            data = tf.io.encode_png(pixels).numpy()
        else:
            grey = pixels.shape[-1] == 1
            # Level 3 takes a third of the default's time on photos for 2 % more bytes.
            data = image_files.encode_png(pixels[..., 0] if grey else pixels, 3)
        data = _with_chunks(data, self.chunks)
        return with_text(data, text) if text else data


def read(data):
    """Reads a photo.

    Args:
      data: the bytes of a file.

    Returns:
      Photo.

    Raises:
      ImageError: as `image_files.decode`.
    """
    rgb = image_files.decode(data)
    # What follows cannot fail on what decode has accepted, but for damage that only
    # another decoder sees.
    try:
        with Image.open(io.BytesIO(data), formats=image_files.FORMATS) as picture:
            notes, pixels = _own_pixels(picture, data)
            orientation = _orientation(picture)
            chunks = _chunks(picture, data, notes)
    except (tf.errors.OpError, OSError, ValueError) as error:
        raise ImageError(f"damaged: {image_files.first_line(error)}") from None
    return Photo(
        upright(pixels, orientation), rgb, orientation, tuple(chunks), tuple(notes)
    )


def upright(pixels, orientation):
    """Turns stored pixels [H, W, ...] as an EXIF orientation says."""
    return _UPRIGHT.get(orientation, np.asarray)(pixels)


def with_text(png, text):
    """The bytes of a PNG file with a text, Latin-1, under the keyword Software."""
    content = b"Software\0" + text.encode("latin-1", "replace")
    return _with_chunks(png, [(b"tEXt", content)])


def software(path):
    """What `with_text` wrote as text into a PNG file; "" where there is none."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return str(picture.info.get("Software", ""))
    except (OSError, ValueError, SyntaxError):
        return ""


# ---------------------------------------------------------------- pixels


def _own_pixels(picture, data):
    """(notes, pixels [H, W, C] as stored)."""
    notes = []
    # Frames of an MPO file are a camera's preview or second lens, the photo is the first.
    if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
        notes.append("an animation: its first frame is completed")
    # Pillow reduces 16-bit colours to 8 bits; TensorFlow's decoder does not.
    is_png = data.startswith(_PNG_START)
    if is_png and data[24] == 16 and picture.mode != "I;16":
        channels = 4 if picture.has_transparency_data and data[25] == 2 else 0
        return notes, tf.io.decode_png(data, channels, dtype=tf.uint16).numpy()
    mode = picture.mode
    if mode.startswith("I"):
        pixels = np.array(picture).astype(np.int64).clip(0, 65535).astype(np.uint16)
        return notes, pixels[..., np.newaxis]
    own = mode
    if mode == "1":
        own = "L"
        notes.append("1-bit black and white becomes grey")
    elif mode in ("P", "PA"):
        own = "RGB"
        notes.append("a palette becomes full colour, known pixels in the same colours")
    elif mode not in ("L", "LA", "RGB", "RGBA"):
        own = "RGB"
        notes.append(f"{mode} becomes RGB, without its colour profile")
    if picture.has_transparency_data:
        own = "LA" if own in ("L", "LA") else "RGBA"
    pixels = np.array(picture if own == mode else picture.convert(own))
    return notes, pixels.reshape(*pixels.shape[:2], -1)


# ---------------------------------------------------------------- metadata


def _orientation(picture):
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - damaged EXIF raises many types
        return 1


def _chunks(picture, data, notes):
    """What a PNG file says beside pixels; adds to the notes what is left out."""
    chunks = []
    own_colors = picture.mode in ("L", "LA", "RGB", "RGBA", "P", "PA", "1", "I;16", "I")
    profile = picture.info.get("icc_profile")
    if profile and own_colors:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
    if data.startswith(_PNG_START):
        chunks += [
            (kind, content)
            for kind, content in _png_chunks(data)
            if kind in _KEPT_CHUNKS and not (profile and kind == b"sRGB")
        ]
    elif density := picture.info.get("dpi"):
        per_meter = [round(float(dots) / 0.0254) for dots in density[:2]]
        if all(0 < dots < 2**31 for dots in per_meter):
            chunks.append((b"pHYs", struct.pack(">IIB", *per_meter, 1)))
    try:
        exif = picture.getexif()
        exif.pop(_ORIENTATION, None)
        # Image.Exif writes the photo's tags alone, not the preview's.
        content = exif.tobytes() if exif else b""
    except Exception:  # noqa: BLE001 - damaged EXIF raises many types
        content = b""
        notes.append("its EXIF is damaged and is left out")
    if content:
        chunks.append((b"eXIf", content.removeprefix(b"Exif\0\0")))
    return chunks


def _png_chunks(data):
    """(kind, content) of the chunks before the pixels."""
    place = len(_PNG_START)
    while place + 8 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind = data[place + 4 : place + 8]
        if kind == b"IDAT":
            return
        yield kind, data[place + 8 : place + 8 + length]
        place += length + 12


def _with_chunks(png, chunks):
    """Adds chunks behind the header of a PNG file."""
    header = len(_PNG_START) + 25
    added = b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    return png[:header] + added + png[header:]
