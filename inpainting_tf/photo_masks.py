"""Which pixels of a photo are missing: from a mask file, boxes, or a marking colour.

Input: a photo (`photos.Photo`) and what the user gave. Output: bool [H, W], True =
missing, and where something had to be decided a line that says what.

A mask file is black = known, white = missing. Read as meant, and said so:

- two levels of any kind (0 and 1, red and black, 16 bits): the brighter is missing;
- greys between (a JPEG, a soft brush): missing from 128 on, or from the middle of the
  levels where all lie on one side of 128;
- strokes of one colour on a transparent layer: missing where it is opaque;
- a copy of the photo with a part erased: missing where it is transparent;
- a mask whose white is more than half of the picture, reaches all along its border and
  lies on picture content: inverted, the black is missing;
- a mask as the camera stored the photo, before it was turned upright: turned too.

What cannot be told is refused: another size, a grey picture, nothing missing, nothing
known.
"""

import io

import numpy as np
from PIL import Image, ImageColor, ImageOps

from inpainting_tf import image_files, photos

POLARITIES = ("auto", "white", "black")
_THRESHOLD = 128
_SAME_COLOR = 32  # Levels within which a painted colour varies, by a JPEG say.
_ERASED_COPY = 24  # Levels within which a copy of the photo equals it.
_GREY_SHARE = 0.25  # A mask with more of it between black and white is a picture.


class MaskError(ValueError):
    """A mask that cannot be used; the message says why and what to do."""


def read(data, photo, polarity="auto"):
    """Reads a mask file.

    Args:
      data: the bytes of a JPEG, PNG, BMP, GIF or WebP file.
      photo: photos.Photo.
      polarity: what is missing: "white", "black", or "auto": see the module.

    Returns:
      (missing, note): bool [H, W]; a line, "" for a mask of 0 and 255.

    Raises:
      MaskError: not of the photo's size, or it does not say what is missing.
      ImageError: no picture.
    """
    colors, alpha = _opened(data)
    notes = []
    size = photo.rgb.shape[:2]
    if colors.shape[:2] != size and photo.orientation > 4:
        turned = photos.upright(colors, photo.orientation)
        if turned.shape[:2] == size:
            colors, alpha = turned, photos.upright(alpha, photo.orientation)
            notes.append("turned upright as the photo is")
    if colors.shape[:2] != size:
        raise MaskError(_size_message(colors.shape[:2], size))
    if (alpha >= _THRESHOLD).any() and (alpha < _THRESHOLD).any():
        missing, note = _by_transparency(colors, alpha >= _THRESHOLD, photo)
    else:
        missing, note = _by_level(colors)
    if note:
        notes.append(note)
    if polarity == "black" or (polarity == "auto" and _is_inverted(missing, photo)):
        missing = ~missing
        notes.append(
            "black is missing" + (", as asked" if polarity == "black" else _WHY)
        )
    return missing, "; ".join(notes)


_WHY = (
    " (the white is most of the photo and all of its border, with the picture going on "
    "below it; --missing=white if it is meant)"
)


def from_boxes(boxes, height, width):
    """Missing rectangles.

    Args:
      boxes: (left, top, width, height) of each, in pixels from the upper left corner.
      height, width: of the photo.

    Returns:
      bool [H, W].

    Raises:
      MaskError: a box without pixels, or that does not lie inside the photo.
    """
    missing = np.zeros([height, width], bool)
    for left, top, box_width, box_height in boxes:
        if min(left, top) < 0 or min(box_width, box_height) < 1:
            inside = False
        else:
            inside = left + box_width <= width and top + box_height <= height
        if not inside:
            raise MaskError(
                f"the box {left},{top},{box_width},{box_height} (left, top, width, "
                f"height) does not lie inside the photo, which is {width}x{height}"
            )
        missing[top : top + box_height, left : left + box_width] = True
    return missing


def parse_color(text):
    """A colour as text, "255,0,255", "#ff00ff" or "magenta", as (red, green, blue).

    Raises:
      MaskError: it is none.
    """
    parts = text.split(",")
    try:
        if len(parts) == 3:
            color = tuple(int(part) for part in parts)
        else:
            color = ImageColor.getrgb(text)[:3]
    except ValueError:
        color = ()
    if len(color) != 3 or not all(0 <= level <= 255 for level in color):
        raise MaskError(
            f"{text!r} is no colour; write 255,0,255 or #ff00ff or a name as magenta"
        )
    return color


def from_color(rgb, color, tolerance):
    """Pixels of a colour that marks what is missing.

    Args:
      rgb: uint8 [H, W, 3].
      color: (red, green, blue), 0..255.
      tolerance: levels by which each channel may differ.

    Returns:
      bool [H, W].

    Raises:
      MaskError: no pixel has that colour.
    """
    difference = np.abs(rgb.astype(np.int16) - np.array(color, np.int16))
    missing = (difference <= tolerance).all(axis=-1)
    if not missing.any():
        nearest = int(difference.max(axis=-1).min())
        raise MaskError(
            f"no pixel of the photo has the colour {','.join(map(str, color))} within "
            f"{tolerance} levels; the nearest differs by {nearest} "
            f"(--color_tolerance={nearest} would take it)"
        )
    return missing


def grow(missing, pixels):
    """Makes holes larger by so many pixels on all sides: square neighbourhoods.

    Args:
      missing: bool [H, W].
      pixels: at least 0.

    Returns:
      bool [H, W].
    """
    for axis in (0, 1):
        counts = np.cumsum(missing, axis=axis, dtype=np.int32)
        counts = np.insert(counts, 0, 0, axis=axis)
        size = missing.shape[axis]
        first = np.maximum(np.arange(size) - pixels, 0)
        last = np.minimum(np.arange(size) + pixels + 1, size)
        missing = counts.take(last, axis) > counts.take(first, axis)
    return missing


def check(missing):
    """Makes sure that there is a hole, and something around it.

    Raises:
      MaskError: nothing is missing, or everything.
    """
    if not missing.any():
        raise MaskError("the mask marks nothing as missing")
    if missing.all():
        raise MaskError("the mask marks the whole photo as missing; nothing is left")


# ---------------------------------------------------------------- mask files


def _opened(data):
    """Colours [H, W, 3 or 1], of 8, 16 or 32 bits, and alpha uint8 [H, W]."""
    colors = image_files.decode(data)  # Says what is wrong with a file.
    with Image.open(io.BytesIO(data), formats=image_files.FORMATS) as picture:
        if picture.mode.startswith("I"):
            # 0 and 1 in 16 bits would be one level in 8.
            colors = np.array(ImageOps.exif_transpose(picture))[..., np.newaxis]
        if not picture.has_transparency_data:
            return colors, np.full(colors.shape[:2], 255, np.uint8)
        layers = np.array(ImageOps.exif_transpose(picture).convert("RGBA"))
    return layers[..., :3], layers[..., 3]


def _size_message(mask, photo):
    message = (
        f"the mask is {mask[1]}x{mask[0]} and the photo {photo[1]}x{photo[0]}; they "
        "must be of one size, "
    )
    ratio = mask[0] * photo[1] / (mask[1] * photo[0])
    if abs(ratio - 1) < 0.01:
        return message + f"so scale the mask to {photo[1]}x{photo[0]}"
    return message + "so draw the mask on the photo itself and save it uncropped"


def _by_level(colors):
    """(missing, note) of a mask without transparency, by its brightness."""
    levels = colors.mean(axis=-1, dtype=np.float32)
    low, high = levels.min(), levels.max()
    if low == high:
        shade = "white" if high else "black"
        raise MaskError(
            f"the mask is {shade} all over; paint white what is missing, black the rest"
        )
    two = ((levels == low) | (levels == high)).all()
    if two:
        usual = (low, high) == (0, 255)
        return levels == high, "" if usual else (
            f"two levels, {low:.0f} and {high:.0f}; the brighter is missing"
        )
    if high - low < 16:
        raise MaskError(
            "the mask is nearly of one shade; paint white what is missing, black the "
            "rest"
        )
    eighth = (high - low) / 8
    between = ((levels > low + eighth) & (levels < high - eighth)).mean()
    if between > _GREY_SHARE:
        raise MaskError(
            f"the mask is a grey picture, {between:.0%} of it neither black nor white; "
            "paint white what is missing, black the rest"
        )
    middle = _THRESHOLD if low < _THRESHOLD <= high else (low + high) / 2
    return levels >= middle, f"greys; missing from level {middle:.0f} on"


def _by_transparency(colors, opaque, photo):
    """(missing, note) of a mask that is transparent in part."""
    seen = colors[opaque].astype(np.int16)
    if (np.abs(seen - photo.rgb[opaque]).max(axis=-1) <= _ERASED_COPY).mean() > 0.95:
        return ~opaque, "the photo with a part erased; missing where it is transparent"
    if (np.abs(seen - np.median(seen, axis=0)) <= _SAME_COLOR).mean() > 0.95:
        return opaque, "paint on a transparent layer; missing where there is paint"
    raise MaskError(
        "the mask is transparent in part, and neither paint of one colour on a "
        "transparent layer nor the photo with a part erased; save it as white on black"
    )


def _is_inverted(missing, photo):
    """Whether what is called missing is evidently what shall be kept."""
    border = (missing[0], missing[-1], missing[:, 0], missing[:, -1])
    if not all(edge.all() for edge in border) or missing.mean() <= 0.5:
        return False
    # A photo on a larger empty canvas, to be continued outwards, looks alike: but
    # there the canvas is of one colour.
    content = photo.rgb[missing]
    return bool((np.ptp(content, axis=0) > _SAME_COLOR).any())
