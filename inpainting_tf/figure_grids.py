"""Figures of pictures: what methods complete, find on their way, and copy from.

Inputs: finished pixels (uint8) and numbers; nothing is measured here. Outputs:
`matplotlib.figure.Figure`, which `figure_files.save` writes.

In order: `comparison_grid` (the figures 2 and 4 to 8 of the paper),
`search_iterations`, `attention_offsets`.
"""

import numpy as np
from matplotlib.lines import Line2D

from inpainting_tf import images
from inpainting_tf.contextual_attention import offsets_to_color
from inpainting_tf.figure_style import (
    FONT_SIZE,
    draw_text,
    has_wide_range,
    method_styles,
    shorten,
)
from inpainting_tf.figure_tiles import Tile, hole_outline, shown_input, tile_figure

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
            [Tile(shown_input(example), outline, is_input=True), Tile(example.image)]
            + [Tile(example.completed[label], outline) for label in labels]
        )
    names = [example.name for example in examples]
    return tile_figure(rows, ["input", "truth", *labels], names, size)


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
            row = [Tile(picture, outline) for picture in pictures]
            first = Tile(shown_input(example), outline, is_input=True)
            last = Tile(example.image)
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
    figure = tile_figure(rows, titles, names, size, below=below)
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
            texts = [shorten(example.name, 24) for example in examples]
            legend = axes.legend(handles, texts, fontsize=font - 1, frameon=False)
            for text in legend.get_texts():
                text.set_parse_math(False)
        if has_wide_range(curves):
            axes.set_yscale("log")
        draw_text(axes.set_xlabel, "iteration", size)
        draw_text(axes.set_title, name, size)
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
    colored = images.to_uint8(offsets_to_color(offsets)).numpy()
    longest = np.sqrt(np.sum(np.square(offsets.astype(float)), -1)).max(axis=(1, 2))
    rows = []
    for i in range(count):
        outline = None if masks[i] is None else hole_outline(masks[i])
        note = f"longest: {longest[i]:.0f} positions"
        rows.append([Tile(pictures[i], outline), Tile(colored[i], outline, note=note)])
    right = 1.5 if size == "screen" else 1.1
    figure = tile_figure(rows, ["picture", "copies from"], names, size, right=right)
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
    color = images.to_uint8(offsets_to_color(offsets[np.newaxis])[0]).numpy()
    return np.where(is_inside[..., np.newaxis], color, np.uint8(255))
