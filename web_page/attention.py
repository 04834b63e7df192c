"""Where contextual attention borrowed the patches of a hole, as pictures.

Inputs: the window that a network saw, float32 [S, S, 3] in [-1, 1], its mask [S, S, 1],
1 = missing, and int32 offsets [h, w, 2] of the contextual attention (row and column of
the attended position minus the own one). Outputs: uint8 [N, N, 3], and the bytes of a
PNG file.
"""

import colorsys

import numpy as np
from PIL import Image

from inpainting_tf import figure_files, figure_grids, images

_SIDE = 512  # Of the pictures, in pixels, about.


def hole_positions(mask, offsets):
    """The attention's positions that lie in the hole, and where they look.

    Args:
      mask: [S, S, 1], 1 = missing.
      offsets: int [h, w, 2].

    Returns:
      (own, attended): int [N, 2] each, rows and columns.
    """
    height, width = offsets.shape[:2]
    size = mask.shape[0]
    missing = np.zeros([height, width], bool)
    rows, columns = np.nonzero(mask[..., 0] > 0)
    missing[rows * height // size, columns * width // size] = True
    own = np.argwhere(missing)
    return own, own + offsets[missing]


def sources_picture(window, mask, offsets):
    """Marks each patch of the hole, and the one it was borrowed from, by one colour.

    Args: as of the module.

    Returns:
      uint8 [N, N, 3], N a multiple of S: the window in pale grey; sources, framed, in
      colours that go round with the direction from the hole's middle and pale towards
      it; each patch of the hole in its source's colour; the hole's border in white.
    """
    size, height = mask.shape[0], offsets.shape[0]
    scale = max(1, _SIDE // size)
    rgb = images.to_uint8(window).numpy()
    grey = 127 + np.array(Image.fromarray(rgb).convert("L")) // 2
    picture = np.repeat(np.repeat(grey, scale, 0), scale, 1)
    picture = np.repeat(picture[..., np.newaxis], 3, -1).astype(np.uint8)
    own, attended = hole_positions(mask, offsets)
    if not len(own):
        return picture
    cell = size * scale / height
    for (row, column), color in zip(attended, _colors(own, attended), strict=True):
        _fill(picture, row, column, cell, np.full(3, 40), 1)
        _fill(picture, row, column, cell, color, 1 + int(cell / 12))
    for (row, column), color in zip(own, _colors(own, attended), strict=True):
        _fill(picture, row, column, cell, color, 0)
    picture[_border(np.repeat(np.repeat(mask[..., 0] > 0, scale, 0), scale, 1))] = 255
    return picture


def wheel_picture(window, mask, offsets):
    """The window beside its offsets on the colour wheel, as the bytes of a PNG file."""
    rgb = images.to_uint8(window).numpy()
    figure = figure_grids.attention_offsets([rgb], offsets[np.newaxis], [mask])
    return figure_files.png_bytes(figure)


def _colors(own, attended):
    """A colour for each source, by its place: uint8 [N, 3]."""
    middle = (own.min(axis=0) + own.max(axis=0)) / 2
    down, right = (attended - middle).T
    radius = np.hypot(down, right)
    strength = 0.35 + 0.65 * radius / max(radius.max(), 1e-9)
    hues = np.arctan2(down, right) / (2 * np.pi) % 1
    pairs = zip(hues, strength, strict=True)
    colors = [colorsys.hsv_to_rgb(hue, strong, 0.95) for hue, strong in pairs]
    return np.uint8(np.round(255 * np.array(colors)))


def _border(missing):
    """Pixels on both sides of the hole's border: bool [N, N] -> bool [N, N]."""
    border = np.zeros_like(missing)
    for axis in (0, 1):
        changes = np.diff(missing, axis=axis)
        ends = [(0, 0), (0, 0)]
        for side in ((0, 1), (1, 0)):
            ends[axis] = side
            border |= np.pad(changes, ends)
    return border


def _fill(picture, row, column, cell, color, gap):
    top, left = round(row * cell) + gap, round(column * cell) + gap
    bottom, right = round((row + 1) * cell) - gap, round((column + 1) * cell) - gap
    picture[top:bottom, left:right] = color
