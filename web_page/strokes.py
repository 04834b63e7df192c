"""The hole that a user has painted: strokes as the page's editor sends them -> pixels.

Input: a list of {"tool": "brush", "eraser" or "box", "width": w, "points": [[x, y],
...]} in pixels of the photo, (0, 0) its upper left corner. Output: bool [H, W], True =
missing. Strokes are laid over each other in their order.

Strokes come from outside: whatever they hold, they become pixels or a StrokesError.
"""

import json
import math

import numpy as np
from PIL import Image, ImageDraw

MAX_BYTES = 2_000_000  # Of strokes as JSON.
MAX_POINTS = 20_000
_MAX_DRAWN = 3e10  # Pixels, those painted over again counted again: about 10 seconds.
TOO_MANY = "Too many strokes were painted; clear them and begin anew"
UNREADABLE = "What was painted cannot be read; reload the page"
_TOOLS = {"brush": 255, "box": 255, "eraser": 0}


class StrokesError(ValueError):
    """Strokes that cannot be drawn."""


def parse(text):
    """Strokes from JSON.

    Raises:
      StrokesError: no list of strokes, or too many.
    """
    if len(text) > MAX_BYTES:
        raise StrokesError(TOO_MANY)
    try:
        strokes = [_checked(stroke) for stroke in json.loads(text)]
    # A whole number of hundreds of digits is too large for a float.
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise StrokesError(UNREADABLE) from None
    if sum(len(stroke["points"]) for stroke in strokes) > MAX_POINTS:
        raise StrokesError(TOO_MANY)
    return strokes


def _checked(stroke):
    points = [(float(x), float(y)) for x, y in stroke["points"]]
    width = float(stroke["width"])
    numbers = [width, *(number for point in points for number in point)]
    if (
        stroke["tool"] not in _TOOLS
        or not points
        or not all(map(math.isfinite, numbers))
    ):
        raise ValueError(stroke)
    return {"tool": stroke["tool"], "width": width, "points": points}


def missing_pixels(strokes, height, width):
    """Draws strokes.

    Args:
      strokes: from `parse`.
      height, width: of the photo.

    Returns:
      bool [height, width].

    Raises:
      StrokesError: it would take too long.
    """
    strokes = [_near(stroke, height, width) for stroke in strokes]
    if sum(_drawn_pixels(stroke, height * width) for stroke in strokes) > _MAX_DRAWN:
        raise StrokesError(TOO_MANY)
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    for stroke in strokes:
        level, points = _TOOLS[stroke["tool"]], stroke["points"]
        if stroke["tool"] == "box":
            _draw_box(draw, points[0], points[-1], level)
        else:
            _draw_line(draw, points, stroke["width"], level)
    return np.array(canvas) > 0


def _near(stroke, height, width):
    """A stroke without what lies far outside, which nobody sees."""
    points = [
        (min(max(x, -width), 2 * width), min(max(y, -height), 2 * height))
        for x, y in stroke["points"]
    ]
    return stroke | {
        "width": min(stroke["width"], 2 * (width + height)),
        "points": points,
    }


def _drawn_pixels(stroke, area):
    """Pixels that drawing a stroke touches, about; of a photo of `area` pixels."""
    points = np.array(stroke["points"])
    if stroke["tool"] == "box":
        return min(np.prod(np.abs(points[-1] - points[0])), area)
    width = max(stroke["width"], 1)
    steps = np.hypot(*np.diff(points, axis=0, prepend=points[:1]).T)
    return np.minimum(width * (width + steps), area).sum()


def _draw_box(draw, first, last, level):
    """All pixels that the box between two corners touches; of an empty box none."""
    if first[0] == last[0] or first[1] == last[1]:
        return
    (left, right), (top, bottom) = (
        (math.floor(min(ends)), math.ceil(max(ends)) - 1)
        for ends in zip(first, last, strict=True)
    )
    if right >= left and bottom >= top:
        draw.rectangle((left, top, right, bottom), fill=level)


def _draw_line(draw, points, width, level):
    """A line with round ends and corners; at least a pixel of it."""
    # Pillow counts from the centre of the first pixel, the page from its corner.
    centres = [(x - 0.5, y - 0.5) for x, y in points]
    if len(points) > 1:
        draw.line(centres, fill=level, width=max(1, round(width)), joint="curve")
    radius = (width - 1) / 2
    for x, y in centres if radius > 0.5 else ():
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=level)
    draw.point([(math.floor(x), math.floor(y)) for x, y in points], fill=level)
