"""Synthetic faces: an endless, labelled set of drawn portraits that needs no download.

Purpose: run, test and teach inpainting offline, and measure what left-right symmetry
is worth: the yaw of every face is known, and at yaw 0 the head is mirror-symmetric
(all but the gaze).

Input: int64 indices `[B]`, a size, a split, a seed. Output: uint8 images
`[B, size, size, 3]` and yaw `[B]` in degrees (positive = nose to the right of the
image). A face is a pure function of (seed, split, index): it depends neither on its
batch mates nor, but for sampling, on the size.

Stages:

1. `face_parameters`: an integer hash turns the index into named random numbers.
2. `face_painting.head_geometry`: every pixel is projected back onto the turned head.
3. `face_painting`'s parts, in painting order: opacities and colours.
4. `paint_over`: alpha-over; a fourth channel collects the head region.
5. `render`: the public function.

Lengths are in half image sizes: x runs from -1 (left) to 1, y from -1 (top) to 1.
"""

import functools
from types import SimpleNamespace

import tensorflow as tf

from inpainting_tf.face_painting import PAINTING_ORDER, head_geometry
from inpainting_tf.face_parameters import SPLITS, draw_parameters

# Faces per call of `render` at which drawing many is cheap.
DRAWN_TOGETHER = 16


def paint_over(canvas, groups, extra):
    """Paint groups `(mask, (colour [B, 3], alpha [B, H, W]), ...)` over a canvas.

    `canvas` is `[B, 4, H, W]`, colour planes first; `extra` is the layers' value for
    the fourth. Inside a group the later layer lies on top; what shows of each layer
    is found from front to back, and one matrix product adds them all.
    """
    for mask, *layers in groups:
        shape = tf.shape(layers[0][1])
        mask = tf.ones(shape) if mask is None else tf.broadcast_to(mask, shape)
        seen, shares = mask, []
        for _, alpha in reversed(layers):
            shares.append(seen * alpha)
            seen -= shares[-1]
        colours = tf.stack([colour for colour, _ in reversed(layers)], axis=2)
        colours = tf.pad(colours, [[0, 0], [0, 1], [0, 0]], constant_values=extra)
        flat = tf.stack([tf.reshape(s, [shape[0], -1]) for s in shares], axis=1)
        painted = tf.reshape(colours @ flat, tf.shape(canvas))
        canvas = canvas * (1 - mask + seen)[:, None] + painted
    return canvas


class _Crop:
    """The geometry of a box of pixels, cut when a part asks for it."""

    def __init__(self, g, size, rows, columns):
        self._source, self._size, self._box = g, size, (rows, columns)

    def __getattr__(self, name):
        value, (rows, columns) = getattr(self._source, name), self._box
        if tf.is_tensor(value) and value.shape.rank == 3:
            value = value[:, rows] if value.shape[1] == self._size else value
            value = value[:, :, columns] if value.shape[2] == self._size else value
        setattr(self, name, value)
        return value


def _paint(indices, seed, split, size):
    p = draw_parameters(indices, split, seed)
    scalars = {k: v[:, None, None] if v.shape.rank == 1 else v for k, v in p.items()}
    scalars = SimpleNamespace(**scalars)
    g = head_geometry(scalars, size)
    canvas = tf.zeros([tf.shape(indices)[0], 4, size, size])
    for part, is_head, (top, bottom, side) in PAINTING_ORDER:
        first, last = (round((edge + 1) / 2 * size) for edge in (top, bottom))
        margin = round((1 - side) / 2 * size)
        rows, columns = slice(first, last), slice(margin, size - margin)
        if last - first == size and not margin:
            canvas = paint_over(canvas, part(scalars, g), is_head)
            continue
        groups = part(scalars, _Crop(g, size, rows, columns))
        strip = canvas[:, :, rows]
        box = paint_over(strip[..., columns], groups, is_head)
        left, right = strip[..., :margin], strip[..., size - margin :]
        strip = tf.concat([left, box, right], axis=3)
        canvas = tf.concat([canvas[:, :, :first], strip, canvas[:, :, last:]], axis=2)
    image = tf.transpose(canvas[:, :3], [0, 2, 3, 1])
    image = tf.cast(tf.round(255 * tf.clip_by_value(image, 0, 1)), tf.uint8)
    return image, p["yaw"], canvas[:, 3]


@functools.cache
def _painter(size):
    """`_paint` as one graph for every split, seed and batch size."""
    signature = [tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.int64)]
    signature += [tf.TensorSpec([], tf.int32)]
    paint = functools.partial(_paint, size=size)
    return tf.function(paint, signature, autograph=False)


def render(indices, size, *, split="train", seed=0, return_head=False):
    """Faces number `indices` of a split.

    Args:
      indices: int64 `[B]`, each at least 0.
      size: side of the square images in pixels, at least 16.
      split: one of `SPLITS`. "train" and "test" hold a third of near-frontal faces
        (within 3 degrees) and yaws uniform in +-45; "test_frontal" is exactly 0,
        "test_turned" 25 to 45 degrees to either side.
      seed: which endless population.
      return_head: also return the head region.

    Returns:
      images uint8 `[B, size, size, 3]` and yaw float32 `[B]` in degrees; with
      `return_head` also float32 `[B, size, size]`, each pixel's share of head (face,
      ears, front hair, glasses), 0 to 1.

    Raises:
      ValueError: unknown split, size below 16, or a negative index.
    """
    if split not in SPLITS:
        raise ValueError(f"Unknown split {split!r}: use one of {', '.join(SPLITS)}.")
    if size < 16:
        raise ValueError(f"size is {size}: faces need at least 16 pixels a side.")
    indices = tf.convert_to_tensor(indices, tf.int64)
    if indices.shape.rank != 1:
        raise ValueError(f"indices must have shape [B], not {indices.shape}.")
    known = tf.get_static_value(indices)
    if known is not None and (known < 0).any():
        raise ValueError(f"Negative face index {known.min()}: indices start at 0.")
    with tf.device("CPU:0"):
        seed, place = tf.cast(seed, tf.int64), tf.constant(SPLITS.index(split))
        images, yaw, region = _painter(size)(indices, seed, place)
    return (images, yaw, region) if return_head else (images, yaw)
