"""A photo and its completions side by side, as one picture to look at.

Input: RGB pixels uint8 [H, W, 3] of any size, the missing ones, completed pixels by
label. Output: the bytes of a PNG file. Large photos are shown reduced; where the hole
is a small part of one, a second row shows it and its surroundings.
"""

import numpy as np
from PIL import Image

from inpainting_tf import figure_files
from inpainting_tf.figure_tiles import (
    Example,
    Tile,
    hole_outline,
    shown_input,
    tile_figure,
)

LONGEST_SIDE = 512  # Of a shown picture, in pixels.
_CLOSE_UP = 0.4  # Holes whose surroundings are a smaller part have a row of their own.


def side_by_side(rgb, missing, completed):
    """Draws the photo with its hole marked, and each completion.

    Args:
      rgb: uint8 [H, W, 3].
      missing: bool [H, W].
      completed: label -> uint8 [H, W, 3].

    Returns:
      bytes of a PNG file.
    """
    rows = [_row(rgb, missing, completed)]
    width = rows[0][0].pixels.shape[1]
    names = [""]
    part = surroundings(missing)
    if part is not None:
        near = {label: pixels[part] for label, pixels in completed.items()}
        rows.append(_row(rgb[part], missing[part], near, width))
        names = ["whole", "close up"]
    figure = tile_figure(rows, ["photo", *completed], names, "screen")
    return figure_files.png_bytes(figure)


def surroundings(missing):
    """The part of a photo round its holes, of the photo's shape.

    Args:
      missing: bool [H, W].

    Returns:
      (rows, columns), slices; twice as high and wide as the holes or more. None where
      that is most of the photo.
    """
    sizes, middles = [], []
    for axis in (1, 0):
        lines = np.flatnonzero(missing.any(axis=axis))
        sizes.append(lines[-1] + 1 - lines[0])
        middles.append((lines[-1] + 1 + lines[0]) / 2)
    share = 2 * max(s / whole for s, whole in zip(sizes, missing.shape, strict=True))
    if share > _CLOSE_UP:
        return None
    part = []
    for middle, whole in zip(middles, missing.shape, strict=True):
        extent = max(1, round(share * whole))
        start = int(np.clip(round(middle - extent / 2), 0, whole - extent))
        part.append(slice(start, start + extent))
    return tuple(part)


def _row(rgb, missing, completed, width_of_first=None):
    """Tiles of one row, all of one size.

    Outlines are measured in pixels of the figure's first tile, `width_of_first` wide;
    None: this row begins with it.
    """
    height, width = missing.shape
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    size = (max(1, round(scale * width)), max(1, round(scale * height)))

    def shown(pixels):
        return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))

    example = Example("", rgb, missing, {})
    small = np.array(Image.fromarray(missing).resize(size, Image.Resampling.NEAREST))
    outline = hole_outline(small)
    if outline is not None and width_of_first is not None:
        outline = (outline + 0.5) * width_of_first / size[0] - 0.5
    return [
        Tile(shown(shown_input(example)), outline, is_input=True),
        *(Tile(shown(pixels), outline) for pixels in completed.values()),
    ]
