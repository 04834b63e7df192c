"""Figures that set methods side by side, as matplotlib figures.

Inputs: finished pixels (uint8) and numbers; nothing is measured here. Outputs:
`matplotlib.figure.Figure`, which `save` writes as PNG and PDF. pyplot and its list of
open figures are not used, and equal input gives equal files.

In order: `Example` and the hole's outline; the styles that keep a method's colour the
same in all figures; tiles; `comparison_grid` (the figures 2 and 4 to 8 of the paper),
`search_iterations`, `loss_curves`, `metric_against_hole_area`, `attention_offsets`,
`frontal_against_turned`; `save` and `png_bytes`.

Every figure comes in two sizes: "screen", for reports and slides, and "print", as
wide as a page with two columns of text, 300 dpi, small type.
"""

import dataclasses
import io
import json
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from inpainting_tf.contextual_attention import offsets_to_color
from inpainting_tf.statistics import bootstrap_interval

HOLE_COLOR = "#00c8f0"  # Far from skin, hair and the grey of missing pixels.
MISSING_LEVEL = 128  # The grey of missing pixels: 0 in [-1, 1].
PAPER_WIDTH = 6.9  # Inches between the margins of a page.
DOTS_PER_INCH = {"screen": 100, "print": 300}
FONT_SIZE = {"screen": 9.5, "print": 7}
SMALLEST_TILE = 128  # Pixels on screen; smaller pictures are enlarged whole times.
# Holes with more pixel borders than this share of the pixels have no outline.
RAGGED = 0.3
WIDE_RANGE = 20  # Largest by smallest value, from which on an axis is logarithmic.
LONGEST_NAME = 30  # Letters of a method's name in legends; the middle is left out.
GREY = "#555555"


# ---------------------------------------------------------------- examples


@dataclasses.dataclass(frozen=True)
class Example:
    """One picture and what the methods made of it.

    Attributes:
      name: of the picture.
      image: the truth, uint8 [H, W, 3].
      mask: [H, W] or [H, W, 1] of 0 and 1, 1 = missing.
      completed: label -> uint8 [H, W, 3], in the order to show; [T, H, W, 3] for
        `search_iterations`.
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
    "mean_color_fill": "#888888",
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


def _check_size(size):
    if size not in FONT_SIZE:
        raise ValueError(f'figure size {size!r}: must be "screen" or "print"')


def _panels(count, size, panel_height, most_columns=3, legend_labels=()):
    """A figure with `count` panels of equal size: (figure, list of axes)."""
    _check_size(size)
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


def _text(function, text, size, change=0, **arguments):
    """Calls a text-making function; `$` in names is no formula."""
    arguments = {"fontsize": FONT_SIZE[size] + change, **arguments}
    return function(str(text), parse_math=False, **arguments)


def _legend_columns(labels, width, size):
    """How many of these labels fit side by side in `width` inches."""
    longest = max((min(len(label), LONGEST_NAME) for label in labels), default=1)
    entry = (0.62 * longest + 4.5) * FONT_SIZE[size] / 72
    return max(1, min(len(labels), int(width / entry)))


def _legend(figure, handles, size):
    """One legend above all panels."""
    labels = [_cut(str(handle.get_label()), LONGEST_NAME) for handle in handles]
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


def _metric_name(metric, unit, better):
    return (
        f"{metric} ({unit}), {better} is better"
        if unit
        else f"{metric}, {better} is better"
    )


# ---------------------------------------------------------------- tiles


class _Tile(NamedTuple):
    pixels: np.ndarray  # uint8 [h, w, 3], stretched over the tile.
    outline: np.ndarray | None = None
    is_input: bool = False  # Whose outline is thick.
    note: str = ""  # In the lower left corner.


def _tile_figure(rows, titles, names, size, below=0.0, right=0.0):
    """A figure of tiles in titled columns and named rows, all in one axes.

    Args:
      rows: lists of `_Tile`s or None, as many as titles; the very first tile gives the
        size and the coordinates of the outlines of all.
      titles: of the columns.
      names: of the rows, "" for none.
      size: "screen" or "print".
      below, right: inches left free for other axes.

    Returns:
      Figure. Its axes covers it all and measures inches from the upper left corner.
    """
    _check_size(size)
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
            _cut(str(name), letters),
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
    lines = [_cut(line.strip(), letters) for line in lines]
    return lines if len(lines) <= 4 else ["…", *lines[-3:]]


def _cut(text, letters):
    """Leaves out the middle of a text that is too long."""
    if len(text) <= letters:
        return text
    start = (letters - 1) // 2
    return f"{text[:start]}…{text[len(text) - (letters - 1 - start) :]}"


# ---------------------------------------------------------------- comparison grid


def comparison_grid(examples, labels=None, size="screen"):
    """Rows of examples; columns input, truth, and one per method or training stage.

    The hole is outlined: boldly on the input, finely on the completed pictures.

    Args:
      examples: `Example`s of equal size.
      labels: columns, in order; default: those of the first example.
      size: "screen" or "print".

    Returns:
      Figure with one axes, whose images are the pictures, row by row.

    Raises:
      ValueError: no examples, sizes that differ, or a label that an example lacks.
    """
    if not examples:
        raise ValueError("comparison_grid: no examples to show")
    labels = list(examples[0].completed) if labels is None else list(labels)
    rows = []
    for example in examples:
        if example.image.shape != examples[0].image.shape:
            raise ValueError(
                f"comparison_grid: {example.name} has the shape {example.image.shape}, "
                f"{examples[0].name} {examples[0].image.shape}"
            )
        missing = [label for label in labels if label not in example.completed]
        if missing:
            raise ValueError(
                f"comparison_grid: {example.name} was not completed by {missing[0]}"
            )
        outline = hole_outline(example.mask)
        rows.append(
            [_Tile(shown_input(example), outline, is_input=True), _Tile(example.image)]
            + [_Tile(example.completed[label], outline) for label in labels]
        )
    names = [example.name for example in examples]
    return _tile_figure(rows, ["input", "truth", *labels], names, size)


# ---------------------------------------------------------------- latent search


def search_iterations(examples, iterations, losses, size="screen"):
    """Pictures that a latent search passes through, above its loss curves.

    Args:
      examples: `Example`s whose `completed` maps a row's name, such as "found" and
        "completed", to uint8 [len(iterations), H, W, 3].
      iterations: the numbers of the iterations shown, ascending.
      losses: name -> float [N, T + 1], a curve per example from iteration 0 on; each
        name gets a panel.
      size: "screen" or "print".

    Returns:
      Figure; the first axes holds the pictures, row by row, the others are the panels.

    Raises:
      ValueError: as many pictures as iterations, or curves as examples, are not there.
    """
    iterations = [int(i) for i in iterations]
    rows, names = [], []
    for example in examples:
        outline = hole_outline(example.mask)
        for kind, pictures in example.completed.items():
            if len(pictures) != len(iterations):
                raise ValueError(
                    f"search_iterations: {example.name} has {len(pictures)} pictures "
                    f"of {kind} for {len(iterations)} iterations"
                )
            is_first = kind == next(iter(example.completed))
            row = [_Tile(picture, outline) for picture in pictures]
            first = _Tile(shown_input(example), outline, is_input=True)
            last = _Tile(example.image)
            # Input and truth once per example.
            rows.append([first, *row, last] if is_first else [None, *row, None])
            names.append(kind if len(examples) == 1 else f"{example.name} {kind}")
    if not rows:
        raise ValueError("search_iterations: no examples to show")
    for name, curves in losses.items():
        if len(curves) != len(examples):
            raise ValueError(
                f"search_iterations: {len(curves)} curves of {name} for "
                f"{len(examples)} examples"
            )
    titles = ["input", *(f"iteration {i}" for i in iterations), "truth"]
    font = FONT_SIZE.get(size, 0)
    below = (2.3 if size == "screen" else 1.5) if losses else 0.0
    figure = _tile_figure(rows, titles, names, size, below=below)
    width, height = figure.get_size_inches()
    left, bottom = 5.5 * font / 72, 4.2 * font / 72
    top = below - 3 * font / 72
    step = (width - 0.1) / max(len(losses), 1)
    for i, (name, curves) in enumerate(losses.items()):
        axes = figure.add_axes(
            [
                (i * step + left) / width,
                bottom / height,
                (step - left - 0.05) / width,
                (top - bottom) / height,
            ]
        )
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=font - 1, width=0.6, length=2.5)
        curves = np.asarray(curves, float)
        for iteration in iterations:
            axes.axvline(iteration, color="#bbbbbb", linewidth=0.6, linestyle=":")
        for j, style in enumerate(method_styles(range(len(curves))).values()):
            axes.plot(curves[j], color=style.color, linewidth=1.0, linestyle=style.line)
            shown = [k for k in iterations if k < curves.shape[1]]
            axes.plot(
                shown,
                curves[j][shown],
                color=style.color,
                marker=style.marker,
                markersize=3.5 if size == "screen" else 2.5,
                linestyle="",
            )
        if len(curves) > 1 and i == 0:
            styles = method_styles(range(len(curves))).values()
            handles = [
                Line2D([], [], color=s.color, marker=s.marker, linestyle=s.line)
                for s in styles
            ]
            texts = [_cut(example.name, 24) for example in examples]
            legend = axes.legend(handles, texts, fontsize=font - 1, frameon=False)
            for text in legend.get_texts():
                text.set_parse_math(False)
        if _has_wide_range(curves):
            axes.set_yscale("log")
        _text(axes.set_xlabel, "iteration", size)
        _text(axes.set_title, name, size)
    return figure


def _has_wide_range(values):
    """Whether a logarithmic axis suits: none negative, and the positive far apart."""
    values = values[np.isfinite(values)]
    positive = values[values > 0]
    return bool(
        positive.size
        and values.min() >= 0
        and positive.max() > WIDE_RANGE * positive.min()
    )


# ---------------------------------------------------------------- loss curves

# What a run logs beside its losses, which is no curve to compare.
NOT_DRAWN = ("step", "phase", "images_per_second")


def read_metrics(run_dir):
    """The numbers that a run logged in its metrics.jsonl.

    Args:
      run_dir: a run folder; its last line may be cut short.

    Returns:
      dict: quantity -> (steps, values), float arrays of equal length.

    Raises:
      ValueError: there is no such file, or nothing was logged in it yet.
    """
    path = os.path.join(run_dir, "metrics.jsonl")
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.readlines()
    except OSError as error:
        raise ValueError(
            f"{run_dir} holds no run: cannot read its metrics.jsonl ({error.strerror})"
        ) from None
    curves = {}
    for line in lines:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            break  # A line cut short is the last one.
        for name, value in entry.items():
            if name not in NOT_DRAWN:
                steps, values = curves.setdefault(name, ([], []))
                steps.append(entry["step"])
                values.append(value)
    if not curves:
        raise ValueError(f"{run_dir}: nothing was logged in its metrics.jsonl yet")
    return {
        name: (np.array(steps, float), np.array(values, float))
        for name, (steps, values) in curves.items()
    }


def loss_curves(runs, quantities=None, size="screen", styles=None):
    """What runs logged, by step: one panel per quantity, one line per run.

    Long curves are drawn faintly with their moving average over a fiftieth of their
    length. An axis is logarithmic where its values are positive and wide apart; a loss
    of 0, which phases log that do not use it, leaves a gap there.

    Args:
      runs: label -> run folder, or -> what `read_metrics` returned.
      quantities: names to draw, in order; default: all that have at least two values
        in some run, those of the mean-colour fill left out.
      size: "screen" or "print".
      styles: from `method_styles`.

    Returns:
      Figure, one axes per quantity.

    Raises:
      ValueError: not a run folder, or a quantity that no run logged.
    """
    logged = {
        label: run if isinstance(run, Mapping) else read_metrics(run)
        for label, run in runs.items()
    }
    if quantities is None:
        names = dict.fromkeys(name for curves in logged.values() for name in curves)
        quantities = [
            name
            for name in names
            if not name.startswith("mean_color_fill/")
            and any(len(c[name][0]) > 1 for c in logged.values() if name in c)
        ]
    for name in quantities:
        if not any(name in curves for curves in logged.values()):
            known = sorted({name for curves in logged.values() for name in curves})
            raise ValueError(
                f"no run logged {name!r}; they logged {', '.join(known) or 'nothing'}"
            )
    if not quantities:
        raise ValueError("loss_curves: no run logged anything twice yet")
    styles = styles or method_styles(list(logged))
    figure, panels = _panels(len(quantities), size, 2.5, legend_labels=list(logged))
    for axes, name in zip(panels, quantities, strict=True):
        every = np.concatenate([c[name][1] for c in logged.values() if name in c])
        is_log = _has_wide_range(every)
        for label, curves in logged.items():
            if name not in curves:
                continue
            steps, values = curves[name]
            values = np.where(values > 0, values, np.nan) if is_log else values
            style = styles[label]
            window = len(values) // 50
            marker = style.marker if len(values) <= 25 else ""
            look = {"color": style.color, "linestyle": style.line}
            if window > 1:
                axes.plot(steps, values, **look, linewidth=0.5, alpha=0.3)
                weights = np.ones(window) / window
                values = np.convolve(values, weights, "valid")
                steps = np.convolve(steps, weights, "valid")
            axes.plot(
                steps, values, **look, linewidth=1.3, marker=marker, markersize=3.5
            )
        if is_log:
            axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        _text(axes.set_title, name, size)
        _text(axes.set_xlabel, "step", size)
    handles = [
        Line2D(
            [], [], color=styles[label].color, linestyle=styles[label].line, label=label
        )
        for label in logged
    ]
    _legend(figure, handles, size)
    return figure


# ---------------------------------------------------------------- hole area


def metric_against_hole_area(
    hole_areas,
    values,
    metric,
    unit="",
    better="lower",
    edges=None,
    interval=bootstrap_interval,
    size="screen",
    styles=None,
):
    """A metric by the missing share: a faint dot per image, means per range of areas.

    Args:
      hole_areas: [N], missing share of each image, 0 to 1.
      values: label -> [N] values of the metric in the same order; a value that is not
        finite is left out.
      metric, unit, better: its name, unit, and "higher" or "lower".
      edges: of the ranges, ascending shares; default: tenths. A range holds its lower
        edge, the last one both.
      interval: values -> (low, high) of their mean.
      size: "screen" or "print".
      styles: from `method_styles`.

    Returns:
      Figure with one axes; the areas are in percent.

    Raises:
      ValueError: no images, or as many values as areas are not there.
    """
    areas = np.asarray(hole_areas, float).ravel()
    if not areas.size or not values:
        raise ValueError("metric_against_hole_area: no images to show")
    edges = np.linspace(0, 1, 11) if edges is None else np.asarray(edges, float)
    styles = styles or method_styles(list(values))
    number = np.clip(np.searchsorted(edges, areas, "right") - 1, 0, len(edges) - 2)
    is_inside = (areas >= edges[0]) & (areas <= edges[-1])
    figure, (axes,) = _panels(1, size, 4.0, legend_labels=list(values))
    used = [k for k in range(len(edges) - 1) if np.any(is_inside & (number == k))]
    for i, (label, of_images) in enumerate(values.items()):
        of_images = np.asarray(of_images, float).ravel()
        if of_images.shape != areas.shape:
            raise ValueError(
                f"metric_against_hole_area: {label} has {of_images.size} values for "
                f"{areas.size} images"
            )
        style, is_finite = styles[label], np.isfinite(of_images)
        axes.plot(
            100 * areas[is_finite],
            of_images[is_finite],
            color=style.color,
            marker=".",
            markersize=5,
            markeredgewidth=0,
            linestyle="",
            alpha=0.35,
        )
        points = []
        for k in used:
            chosen = of_images[is_inside & (number == k) & is_finite]
            if chosen.size:
                # Side by side within the range, so that intervals do not overlap.
                place = 0.5 + 0.5 * (i - (len(values) - 1) / 2) / len(values)
                x = 100 * (edges[k] + place * (edges[k + 1] - edges[k]))
                points.append((x, chosen.mean(), *interval(chosen)))
        x, mean, low, high = np.array(points).reshape(-1, 4).T
        axes.plot(x, mean, color=style.color, linestyle=style.line, linewidth=1.2)
        axes.errorbar(
            x,
            mean,
            # A rounded interval may miss the mean by a hair.
            yerr=np.maximum([mean - low, high - mean], 0),
            color=style.color,
            marker=style.marker,
            markersize=5,
            markeredgecolor="white",
            markeredgewidth=0.6,
            linestyle="",
            linewidth=1.2,
        )
    for k in used:
        axes.axvline(100 * edges[k], color="#bbbbbb", linewidth=0.6, zorder=0)
        axes.axvline(100 * edges[k + 1], color="#bbbbbb", linewidth=0.6, zorder=0)
    axes.grid(visible=False, axis="x")
    if used:
        span = edges[used[-1] + 1] - edges[used[0]]
        axes.set_xlim(
            100 * (edges[used[0]] - 0.02 * span),
            100 * (edges[used[-1] + 1] + 0.02 * span),
        )
        axes.set_xticks(sorted({100 * edges[k + i] for k in used for i in (0, 1)}))
    _text(axes.set_xlabel, "missing share of the image (%)", size)
    _text(axes.set_ylabel, _metric_name(metric, unit, better), size)
    handles = [
        Line2D([], [], color=s.color, marker=s.marker, linestyle=s.line, label=label)
        for label, s in ((label, styles[label]) for label in values)
    ]
    _legend(figure, handles, size)
    return figure


# ---------------------------------------------------------------- attention


def attention_offsets(pictures, offsets, masks=None, names=None, size="screen"):
    """Where contextual attention looks: pictures, their offsets in colour, a legend.

    Colour = direction from a position to the one it copies from; saturation = distance,
    full for the picture's own longest one, which is noted on it.

    Args:
      pictures: uint8 [N, H, W, 3], such as the completed images.
      offsets: int [N, h, w, 2], row and column offsets from `contextual_attention`.
      masks: [N, H, W] or [N, H, W, 1], 1 = missing, to outline the holes.
      names: of the rows.
      size: "screen" or "print".

    Returns:
      Figure; the first axes holds pictures and offsets, row by row, the second is the
      legend.

    Raises:
      ValueError: numbers of pictures, offsets, masks or names that differ.
    """
    offsets = np.asarray(offsets)
    count = len(pictures)
    masks = [None] * count if masks is None else masks
    names = [""] * count if names is None else names
    if not count or not count == len(offsets) == len(masks) == len(names):
        raise ValueError(
            f"attention_offsets: {count} pictures, {len(offsets)} offsets, "
            f"{len(masks)} masks and {len(names)} names; need one of each per picture"
        )
    colored = np.uint8(np.round((offsets_to_color(offsets) + 1) * 127.5))
    longest = np.sqrt(np.sum(np.square(offsets.astype(float)), -1)).max(axis=(1, 2))
    rows = []
    for i in range(count):
        outline = None if masks[i] is None else hole_outline(masks[i])
        note = f"longest: {longest[i]:.0f} positions"
        rows.append(
            [_Tile(pictures[i], outline), _Tile(colored[i], outline, note=note)]
        )
    right = 1.5 if size == "screen" else 1.1
    figure = _tile_figure(rows, ["picture", "copies from"], names, size, right=right)
    width, height = figure.get_size_inches()
    side = right - 6.5 * FONT_SIZE[size] / 72
    # Beside the first row, whose extent counts from the top.
    *_, bottom, top = figure.axes[0].images[0].get_extent()
    middle = height - (bottom + top) / 2
    legend = figure.add_axes(
        [
            1 - (right + side - 0.04) / 2 / width,
            (middle - side / 2) / height,
            side / width,
            side / height,
        ]
    )
    legend.imshow(_wheel(151), interpolation="auto")
    legend.set_axis_off()
    for x, y, text in (
        (0.5, 1.05, "up"),
        (0.5, -0.05, "down"),
        (-0.05, 0.5, "left"),
        (1.05, 0.5, "right"),
    ):
        legend.text(
            x,
            y,
            text,
            transform=legend.transAxes,
            ha={-0.05: "right", 1.05: "left"}.get(x, "center"),
            va={-0.05: "top", 1.05: "bottom"}.get(y, "center"),
            fontsize=FONT_SIZE[size] - 1,
        )
    return figure


def _wheel(side):
    """The colours of all offsets up to a length, on white: uint8 [side, side, 3]."""
    radius = side // 2
    steps = np.arange(side) - radius
    down, right = np.meshgrid(steps, steps, indexing="ij")
    is_inside = down**2 + right**2 <= radius**2
    offsets = np.stack([down, right], -1) * is_inside[..., np.newaxis]
    color = np.uint8(np.round((offsets_to_color(offsets[np.newaxis])[0] + 1) * 127.5))
    return np.where(is_inside[..., np.newaxis], color, np.uint8(255))


# ---------------------------------------------------------------- poses


def frontal_against_turned(groups, metrics, labels=None, size="screen", styles=None):
    """Two groups of images side by side, per method: means with intervals.

    Args:
      groups: two names, such as "frontal" and "turned", each -> label -> metric ->
        (mean, low, high), low and high may be None.
      metrics: (name, unit, better) of each panel.
      labels: methods from top to bottom; default: those of the first group.
      size: "screen" or "print".
      styles: from `method_styles`.

    Returns:
      Figure, one axes per metric.

    Raises:
      ValueError: not two groups.
    """
    if len(groups) != 2:
        raise ValueError(
            f"frontal_against_turned: needs two groups, got {', '.join(groups) or 'none'}"
        )
    labels = list(next(iter(groups.values()))) if labels is None else list(labels)
    styles = styles or method_styles(labels)
    heading = list(groups)
    figure, panels = _panels(
        len(metrics),
        size,
        1.2 + 0.42 * len(labels),
        most_columns=2,
        legend_labels=heading,
    )
    for number, (axes, (metric, unit, better)) in enumerate(
        zip(panels, metrics, strict=True)
    ):
        for row, label in enumerate(labels):
            color = styles[label].color
            points = []
            for kind, table in enumerate(groups.values()):
                cell = table.get(label, {}).get(metric)
                if cell is None:
                    continue
                mean, low, high = (*cell, None, None)[:3]
                y = row + (-0.14, 0.14)[kind]
                points.append((mean, y))
                if low is not None and high is not None:
                    axes.plot([low, high], [y, y], color=color, linewidth=1.4)
                axes.plot(
                    [mean],
                    [y],
                    marker="os"[kind],
                    markersize=6.5 if size == "screen" else 4.5,
                    markerfacecolor=color if kind == 0 else "white",
                    markeredgecolor=color,
                    markeredgewidth=1.3,
                    linestyle="",
                )
            if len(points) == 2:
                x, y = zip(*points, strict=True)
                axes.plot(x, y, color=color, linewidth=0.7, alpha=0.6, zorder=1)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_yticks(range(len(labels)))
        axes.set_yticklabels(
            [_cut(str(label), LONGEST_NAME) for label in labels]
            if number % 2 == 0
            else [""] * len(labels)
        )
        for text in axes.get_yticklabels():
            text.set_parse_math(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        _text(axes.set_xlabel, _metric_name(metric, unit, better), size)
    handles = [
        Line2D(
            [],
            [],
            color=GREY,
            marker="os"[kind],
            markerfacecolor=GREY if kind == 0 else "white",
            linestyle="",
            label=name,
        )
        for kind, name in enumerate(heading)
    ]
    _legend(figure, handles, size)
    return figure


# ---------------------------------------------------------------- files


def png_bytes(figure):
    """The figure as a PNG file's bytes, at its own resolution."""
    return _file_bytes(figure, "png")


def save(figure, stem):
    """Writes <stem>.png and <stem>.pdf; equal figures give equal bytes.

    Each file is whole or not there. The PNG has the figure's resolution; in the PDF
    lines and letters are vectors, and pictures have 300 dpi in print size, their own
    pixels in screen size.

    Args:
      figure: Figure.
      stem: path without extension; its folder is made.

    Returns:
      The two paths.
    """
    os.makedirs(os.path.dirname(os.path.abspath(stem)), exist_ok=True)
    paths = []
    for kind in ("png", "pdf"):
        data = _file_bytes(figure, kind)
        path = f"{stem}.{kind}"
        try:
            with open(f"{path}.tmp", "wb") as file:
                file.write(data)
            os.replace(f"{path}.tmp", path)
        except BaseException:
            if os.path.exists(f"{path}.tmp"):
                os.remove(f"{path}.tmp")
            raise
        paths.append(path)
    return paths


# Neither dates nor versions in files, or every run would give other bytes.
_NO_METADATA = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}


def _file_bytes(figure, kind):
    file = io.BytesIO()
    # Publishers refuse PDF files with matplotlib's default, bitmap-like type 3 fonts.
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        figure.savefig(
            file,
            format=kind,
            dpi=figure.dpi if kind == "png" else DOTS_PER_INCH["print"],
            metadata=_NO_METADATA[kind],
        )
    return file.getvalue()
