"""Pictures of results: grids of examples in labelled columns."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont


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
