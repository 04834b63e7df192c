"""Pictures of a run while it goes on, as pixels: samples, sheets, search losses.

Inputs: uint8 pictures, numbers, what a method returned. Outputs: uint8 pictures, [height,
width, 3]. Figures that set methods side by side, for reports and print, are in
`figure_grids` and `figure_charts`.
"""

import math

import numpy as np
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont

from inpainting_tf import images
from inpainting_tf.contextual_attention import offsets_to_color


def sample_grid(columns, scale=1):
    """Lays examples out in rows, with one titled column per kind of picture.

    Args:
      columns: dict from title to uint8 [N, H, W, 3]; sizes may differ between
        columns, smaller pictures are enlarged pixel by pixel to the first column's.
      scale: whole-number enlargement of every picture.

    Returns:
      uint8 [height, width, 3].
    """
    gap = 4
    height, width = (scale * s for s in next(iter(columns.values())).shape[1:3])
    font = ImageFont.load_default(size=max(9, width // 9))
    header = font.getbbox("Ag")[3] + 2 * gap
    rows = len(next(iter(columns.values())))
    canvas = Image.new(
        "RGB",
        (gap + len(columns) * (width + gap), header + rows * (height + gap)),
        "white",
    )
    draw = ImageDraw.Draw(canvas)
    for i, (title, pictures) in enumerate(columns.items()):
        left = gap + i * (width + gap)
        draw.text((left, gap), title, fill="black", font=font)
        for j, picture in enumerate(pictures):
            tile = Image.fromarray(np.asarray(picture))
            tile = tile.resize((width, height), Image.Resampling.NEAREST)
            canvas.paste(tile, (left, header + j * (height + gap)))
    return np.asarray(canvas)


def sheet(pictures, columns, gap=2):
    """Lays pictures out row by row, without titles.

    Args:
      pictures: uint8 [N, H, W, 3].
      columns: pictures in a row.
      gap: white pixels between them.

    Returns:
      uint8 [height, width, 3].
    """
    count, height, width, _ = pictures.shape
    rows = -(-count // columns)
    step_down, step_right = height + gap, width + gap
    canvas = np.full([rows * step_down + gap, columns * step_right + gap, 3], 255)
    for index, picture in enumerate(pictures):
        top = gap + index // columns * step_down
        left = gap + index % columns * step_right
        canvas[top : top + height, left : left + width] = picture
    return canvas.astype(np.uint8)


def search_curves(context_losses, prior_losses, title):
    """Draws the losses of latent searches by iteration.

    Args:
      context_losses, prior_losses: float [N, iterations + 1], of N pictures.
      title: of the figure.

    Returns:
      uint8 [height, width, 3].
    """
    figure = Figure(figsize=(9, 3.6), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    figure.suptitle(f"{title}: {len(context_losses)} pictures, median in black")
    panels = figure.subplots(1, 2)
    for axes, name, losses in zip(
        panels,
        ("context loss", "prior loss (not weighted)"),
        (context_losses, prior_losses),
        strict=True,
    ):
        axes.plot(losses.T, linewidth=0.6, alpha=0.5)
        axes.plot(np.median(losses, axis=0), color="black", linewidth=1.4)
        axes.set_xlabel("iteration")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(name, fontsize="medium")
    if np.all(context_losses > 0):
        panels[0].set_yscale("log")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def draw_samples(samples, rows=8):
    """The sample grid: input with hole, predicted, completed, truth, attention.

    Of a network that completes nothing, a sheet of up to rows x rows that it generates.

    Args:
      samples: dict with `image` float32 [B, H, W, 3] in [-1, 1], `mask` float32
        [B, H, W, 1], 1 = missing, and a model's outputs.
      rows: how many examples.

    Returns:
      uint8 picture [height, width, 3].
    """
    if "completed" not in samples:
        generated = images.to_uint8(samples["predicted"][: rows * rows]).numpy()
        columns = min(rows, math.ceil(math.sqrt(len(generated))))
        return sheet(generated, columns)
    samples = {name: value[:rows] for name, value in samples.items()}
    image, mask = samples["image"], samples["mask"]
    white = tf.ones_like(image)
    columns = {
        "input": images.to_uint8(images.compose(image, white, mask)),
        "predicted": images.to_uint8(samples["predicted"]),
        "completed": images.to_uint8(samples["completed"]),
        "truth": images.to_uint8(image),
    }
    if "attention_offsets" in samples:
        colors = offsets_to_color(samples["attention_offsets"].numpy())
        columns["attention"] = images.to_uint8(colors)
    columns = {name: pictures.numpy() for name, pictures in columns.items()}
    return sample_grid(columns, scale=max(1, 128 // image.shape[1]))
