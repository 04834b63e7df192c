"""Figures of numbers: what runs logged, and metrics by hole area and by pose.

Inputs: finished numbers; nothing is measured here. Outputs:
`matplotlib.figure.Figure`, which `figure_files.save` writes.

In order: `read_metrics` and `loss_curves`; `metric_against_hole_area`;
`frontal_against_turned`.
"""

import os
from collections.abc import Mapping

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from inpainting_tf import run_folder
from inpainting_tf.figure_style import (
    LONGEST_NAME,
    draw_legend,
    draw_text,
    has_wide_range,
    make_panels,
    method_styles,
    shorten,
)
from inpainting_tf.statistics import bootstrap_interval

GREY = "#555555"


# ---------------------------------------------------------------- loss curves

# What a run logs beside its losses, which is no curve to compare.
NOT_DRAWN = ("step", "phase", "images_per_second")


def read_metrics(run_dir):
    """The numbers that a run logged in its metrics.jsonl.

    Args:
      run_dir: a run folder; damaged lines of its file are left out.

    Returns:
      dict: quantity -> (steps, values), float arrays of equal length.

    Raises:
      ValueError: there is no such file, or nothing was logged in it yet.
    """
    try:
        # Of a file that is not there, no entries are read.
        os.stat(os.path.join(run_dir, "metrics.jsonl"))
        entries = run_folder.logged_entries(run_dir)
    except OSError as error:
        raise ValueError(
            f"{run_dir} holds no run: cannot read its metrics.jsonl ({error.strerror})"
        ) from None
    curves = {}
    for entry in entries:
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


def loss_curves(runs, quantities=None, size="screen", styles=None, horizontal="step"):
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
      horizontal: what the runs' steps are, where they were turned into something else.

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
    figure, panels = make_panels(len(quantities), size, 2.5, legend_labels=list(logged))
    for axes, name in zip(panels, quantities, strict=True):
        every = np.concatenate([c[name][1] for c in logged.values() if name in c])
        is_log = has_wide_range(every)
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
        draw_text(axes.set_title, name, size)
        draw_text(axes.set_xlabel, horizontal, size)
    handles = [
        Line2D(
            [], [], color=styles[label].color, linestyle=styles[label].line, label=label
        )
        for label in logged
    ]
    draw_legend(figure, handles, size)
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
    figure, (axes,) = make_panels(1, size, 4.0, legend_labels=list(values))
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
    draw_text(axes.set_xlabel, "missing share of the image (%)", size)
    draw_text(axes.set_ylabel, _metric_name(metric, unit, better), size)
    handles = [
        Line2D([], [], color=s.color, marker=s.marker, linestyle=s.line, label=label)
        for label, s in ((label, styles[label]) for label in values)
    ]
    draw_legend(figure, handles, size)
    return figure


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
            "frontal_against_turned: needs two groups, got "
            f"{', '.join(groups) or 'none'}"
        )
    labels = list(next(iter(groups.values()))) if labels is None else list(labels)
    styles = styles or method_styles(labels)
    heading = list(groups)
    figure, panels = make_panels(
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
            [shorten(str(label), LONGEST_NAME) for label in labels]
            if number % 2 == 0
            else [""] * len(labels)
        )
        for text in axes.get_yticklabels():
            text.set_parse_math(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        draw_text(axes.set_xlabel, _metric_name(metric, unit, better), size)
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
    draw_legend(figure, handles, size)
    return figure


def _metric_name(metric, unit, better):
    return (
        f"{metric} ({unit}), {better} is better"
        if unit
        else f"{metric}, {better} is better"
    )
