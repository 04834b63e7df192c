"""What all figures that set methods side by side share: sizes, styles, text, panels.

Every figure comes in two sizes: "screen", for reports and slides, and "print", as
wide as a page with two columns of text, 300 dpi, small type. pyplot and its list of
open figures are not used. `figure_grids` and `figure_charts` draw the figures,
`figure_files` writes them.

In order: sizes; the styles that keep a method's colour the same in all figures; text;
panels and legends of charts.
"""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

PAPER_WIDTH = 6.9  # Inches between the margins of a page.
DOTS_PER_INCH = {"screen": 100, "print": 300}
FONT_SIZE = {"screen": 9.5, "print": 7}
LONGEST_NAME = 30  # Letters of a method's name in legends; the middle is left out.
WIDE_RANGE = 20  # Largest by smallest value, from which on an axis is logarithmic.


def check_size(size):
    """Raises ValueError for a size that is neither "screen" nor "print"."""
    if size not in FONT_SIZE:
        raise ValueError(f'figure size {size!r}: must be "screen" or "print"')


# ---------------------------------------------------------------- styles


class Style(NamedTuple):
    """How a method is drawn; the marker tells it apart where colours do not."""

    color: str
    marker: str
    line: str


# Tol's "muted" colours and three more, which stay apart for the colour-blind.
_COLORS = {
    "parallel_attention": "#332288",
    "symmetric_search": "#882255",
    "context_encoder": "#999933",
    "glcic": "#117733",
    "giica": "#cc6677",
    "siidgm": "#aa4499",
    "telea": "#56b4e9",
    "navier_stokes": "#44aa99",
    "mean_color": "#888888",
    "": "#e69f00",
    " ": "#000000",
    "  ": "#8c510a",
}
_MARKERS = "osD^vP<>Xphd"
_LINES = ("-", "--", ":", "-.")


def method_styles(labels):
    """One style per label: the package's methods always have the same one.

    Other labels take the colours that are left, in their order; so that they keep
    them, make the styles once for all labels and pass them to every figure.

    Args:
      labels: method names or labels of runs.

    Returns:
      dict label -> `Style`.
    """
    palette = list(_COLORS.items())
    taken = {name for name in _COLORS if name in labels}
    free = [i for i, (name, _) in enumerate(palette) if name not in taken]
    # Colours of no method first: they are confused with none.
    free.sort(key=lambda i: bool(palette[i][0].strip()))
    free = free or list(range(len(palette)))
    names, styles, others = list(_COLORS), {}, 0
    for label in labels:
        if label in styles:
            continue
        if label in taken:
            index, round_number = names.index(label), 0
        else:
            index, round_number = free[others % len(free)], others // len(free)
            others += 1
        marker = _MARKERS[(index + 5 * round_number) % len(_MARKERS)]
        line = _LINES[round_number % len(_LINES)]
        styles[label] = Style(palette[index][1], marker, line)
    return styles


# ---------------------------------------------------------------- text


def draw_text(function, text, size, change=0, **arguments):
    """Calls a text-making function; `$` in names is no formula."""
    arguments = {"fontsize": FONT_SIZE[size] + change, **arguments}
    return function(str(text), parse_math=False, **arguments)


def shorten(text, letters):
    """Leaves out the middle of a text that is too long."""
    if len(text) <= letters:
        return text
    start = (letters - 1) // 2
    return f"{text[:start]}…{text[len(text) - (letters - 1 - start) :]}"


# ---------------------------------------------------------------- panels


def make_panels(count, size, panel_height, most_columns=3, legend_labels=()):
    """A figure with `count` panels of equal size: (figure, list of axes)."""
    check_size(size)
    columns = min(count, most_columns)
    rows = -(-count // columns)
    scale = 1.0 if size == "screen" else 0.72
    width = {1: 6.4, 2: 9.0}.get(columns, 11.5) * scale
    width = min(width, PAPER_WIDTH) if size == "print" else width
    height = rows * panel_height * scale
    per_row = _legend_columns(legend_labels, width, size)
    legend_rows = -(-len(legend_labels) // per_row) if legend_labels else 0
    height += legend_rows * FONT_SIZE[size] * 1.6 / 72 + (0.1 if legend_rows else 0)
    figure = Figure((width, height), dpi=DOTS_PER_INCH[size], layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(count)]
    for one in axes:
        one.tick_params(labelsize=FONT_SIZE[size] - 1, width=0.6, length=2.5)
        one.spines[["top", "right"]].set_visible(False)
        one.spines[["left", "bottom"]].set_linewidth(0.6)
        one.grid(color="#dddddd", linewidth=0.5)
        one.set_axisbelow(True)
    return figure, axes


def _legend_columns(labels, width, size):
    """How many of these labels fit side by side in `width` inches."""
    longest = max((min(len(label), LONGEST_NAME) for label in labels), default=1)
    entry = (0.62 * longest + 4.5) * FONT_SIZE[size] / 72
    return max(1, min(len(labels), int(width / entry)))


def draw_legend(figure, handles, size):
    """One legend above all panels."""
    labels = [shorten(str(handle.get_label()), LONGEST_NAME) for handle in handles]
    columns = _legend_columns(labels, figure.get_size_inches()[0], size)
    legend = figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=columns,
        fontsize=FONT_SIZE[size],
        frameon=False,
        columnspacing=1.4,
        handlelength=1.8,
        borderpad=0.2,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def has_wide_range(values):
    """Whether a logarithmic axis suits: none negative, and the positive far apart."""
    values = values[np.isfinite(values)]
    positive = values[values > 0]
    return bool(
        positive.size
        and values.min() >= 0
        and positive.max() > WIDE_RANGE * positive.min()
    )
