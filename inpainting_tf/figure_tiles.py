"""Pictures side by side in one figure: examples, outlines of holes, tiles.

Input: finished pixels, uint8 [H, W, 3], and masks, 1 = missing. In order: `Example`, a
picture and what methods made of it; `shown_input` and `hole_outline`; `tile_figure`,
which `figure_grids` draws its figures by.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from inpainting_tf.figure_style import (
    DOTS_PER_INCH,
    FONT_SIZE,
    PAPER_WIDTH,
    check_size,
    shorten,
)

HOLE_COLOR = "#00c8f0"  # Far from skin, hair and the grey of missing pixels.
MISSING_LEVEL = 128  # The grey of missing pixels: 0 in [-1, 1].
SMALLEST_TILE = 128  # Pixels on screen; smaller pictures are enlarged whole times.
# Holes with more pixel borders than this share of the pixels have no outline.
RAGGED = 0.3


# ---------------------------------------------------------------- examples


@dataclasses.dataclass(frozen=True)
class Example:
    """One picture and what the methods made of it.

    Attributes:
      name: of the picture.
      image: the truth, uint8 [H, W, 3].
      mask: [H, W] or [H, W, 1] of 0 and 1, 1 = missing.
      completed: label -> uint8 [H, W, 3], in the order to show; [T, H, W, 3] for
        `figure_grids.search_iterations`.
    """

    name: str
    image: np.ndarray
    mask: np.ndarray
    completed: Mapping[str, np.ndarray]

    def __post_init__(self):
        height, width, _ = self.image.shape
        sizes = {label: np.shape(x)[-3:-1] for label, x in self.completed.items()}
        sizes["the mask"] = np.shape(self.mask)[:2]
        for label, size in sizes.items():
            if size != (height, width):
                size = "x".join(map(str, reversed(size)))
                raise ValueError(
                    f"example {self.name}: {label} is {size}, the image is "
                    f"{width}x{height}"
                )


def shown_input(example):
    """The image with grey missing pixels: uint8 [H, W, 3]."""
    mask = np.reshape(example.mask, [*example.image.shape[:2], 1])
    return np.where(mask > 0, np.uint8(MISSING_LEVEL), example.image)


def hole_outline(mask):
    """The border between missing and known pixels, also along the picture's edge.

    Args:
      mask: [H, W] or [H, W, 1] of 0 and 1, 1 = missing.

    Returns:
      float [N, 2, 2]: the (x, y) of both ends of N horizontal and vertical lines, where
      pixel (row, column) is centred on (column, row). None if nothing is missing, or
      if single pixels are, whose outline would hide the picture.
    """
    missing = np.reshape(mask, np.shape(mask)[:2]) > 0
    padded = np.pad(missing, 1)
    vertical = padded[1:-1, 1:] != padded[1:-1, :-1]  # [H, W + 1]
    horizontal = padded[1:, 1:-1] != padded[:-1, 1:-1]  # [H + 1, W]
    borders = vertical.sum() + horizontal.sum()
    if borders == 0 or borders > RAGGED * missing.size:
        return None
    lines, (start, end) = _runs(horizontal)
    rows = np.stack([np.stack([start, lines], -1), np.stack([end, lines], -1)], 1)
    lines, (start, end) = _runs(vertical.T)
    columns = np.stack([np.stack([lines, start], -1), np.stack([lines, end], -1)], 1)
    return np.concatenate([rows, columns]) - 0.5


def _runs(borders):
    """Joins neighbouring borders: line numbers [N], and starts and ends [2, N]."""
    steps = np.diff(np.pad(borders.astype(np.int8), [(0, 0), (1, 1)]), axis=1)
    lines, start = np.nonzero(steps == 1)
    _, end = np.nonzero(steps == -1)
    return lines, (start, end)


# ---------------------------------------------------------------- tiles


class Tile(NamedTuple):
    """One picture of a figure of tiles."""

    pixels: np.ndarray  # uint8 [h, w, 3], stretched over the tile.
    outline: np.ndarray | None = None
    is_input: bool = False  # Whose outline is thick.
    note: str = ""  # In the lower left corner.


def tile_figure(rows, titles, names, size, below=0.0, right=0.0):
    """A figure of tiles in titled columns and named rows, all in one axes.

    Args:
      rows: lists of `Tile`s or None, as many as titles; the very first tile gives the
        size and the coordinates of the outlines of all.
      titles: of the columns.
      names: of the rows, "" for none.
      size: "screen" or "print".
      below, right: inches left free for other axes.

    Returns:
      Figure. Its axes covers it all and measures inches from the upper left corner.
    """
    check_size(size)
    dpi, font = DOTS_PER_INCH[size], FONT_SIZE[size]
    height, width = rows[0][0].pixels.shape[:2]
    gap, margin = (0.04, 0.06) if size == "screen" else (0.025, 0.02)
    name_width = font * 1.5 / 72 if any(names) else 0.0
    if size == "screen":
        # Whole multiples of the picture's pixels, so that each is equally large.
        tile_width = -(-SMALLEST_TILE // width) * width / dpi
    else:
        free = PAPER_WIDTH - 2 * margin - name_width - right - gap * (len(titles) - 1)
        tile_width = min(free / len(titles), 1.3)
    tile_height = tile_width * height / width
    letters = max(6, int(tile_width * 72 / (0.6 * font)))
    titles = [_broken(str(title), letters) for title in titles]
    line = font * 1.25 / 72
    head = max(map(len, titles)) * line + 0.06
    total_width = 2 * margin + name_width + len(titles) * (tile_width + gap) - gap
    total_height = head + len(rows) * (tile_height + gap) - gap + margin
    figure = Figure(dpi=dpi, facecolor="white")
    # Whole pixels, so that the tiles fall on whole pixels too.
    total = np.ceil(np.array([total_width + right, total_height + below]) * dpi) / dpi
    figure.set_size_inches(total)
    axes = figure.add_axes([0, 0, 1, 1])
    axes.set_axis_off()
    axes.set(xlim=(0, total[0]), ylim=(total[1], 0), autoscale_on=False)

    letters = max(6, int(tile_height * 72 / (0.55 * font)))
    look = {"parse_math": False, "ha": "center"}
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        top = round((head + i * (tile_height + gap)) * dpi) / dpi
        axes.text(
            margin + 0.45 * name_width,
            top + tile_height / 2,
            shorten(str(name), letters),
            **(look | {"va": "center", "rotation": 90, "fontsize": font - 1}),
        )
        for j, (tile, title) in enumerate(zip(row, titles, strict=True)):
            left = margin + name_width + j * (tile_width + gap)
            left = round(left * dpi) / dpi
            # Line by line, so that the last ones of all titles share a baseline.
            for k, text in enumerate(reversed(title) if i == 0 else ()):
                axes.text(
                    left + tile_width / 2,
                    head - 0.03 - (k + 0.25) * line,
                    text,
                    **(look | {"va": "baseline", "fontsize": font}),
                )
            if tile is not None:
                box = (left, top, tile_width, tile_height)
                _draw_tile(axes, tile, box, tile_width / width, size)
    return figure


def _draw_tile(axes, tile, box, pixel, size):
    """Draws into a box (left, top, width, height); `pixel` is one pixel's side."""
    left, top, width, height = box
    axes.imshow(
        tile.pixels,
        # "none" is "nearest" in a PNG, and the very pixels in a PDF.
        interpolation="none" if size == "screen" else "auto",
        extent=(left, left + width, top + height, top),
        aspect="auto",
    )
    if tile.outline is not None:
        line_width = 1.4 if tile.is_input else 0.5
        lines = LineCollection(
            (tile.outline + 0.5) * pixel + (left, top),
            colors=HOLE_COLOR,
            linewidths=line_width if size == "screen" else line_width * 0.7,
            capstyle="projecting",
        )
        axes.add_collection(lines, autolim=False)
        tile_edge = Rectangle((left, top), width, height, transform=axes.transData)
        lines.set_clip_path(tile_edge)
    if tile.note:
        axes.text(
            left + 0.03 * width,
            top + 0.97 * height,
            tile.note,
            fontsize=FONT_SIZE[size] - 2,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2, "alpha": 0.85},
            parse_math=False,
        )


def _broken(text, letters):
    """Breaks a title into a list of at most four lines of so many letters."""
    lines = [""]
    for piece in re.findall(r"[^\s_/-]*[\s_/-]?", text):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > letters:
            lines.append("")
        lines[-1] += piece
    lines = [shorten(line.strip(), letters) for line in lines]
    return lines if len(lines) <= 4 else ["…", *lines[-3:]]
