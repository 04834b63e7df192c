"""The rules that draw masks; `masks.draw` chooses one and checks its arguments.

Inputs: a stateless seed, int [2], and sizes in pixels as Python ints. Outputs: mask,
float32 [H, W, 1], exactly 0 (known) or 1 (missing), and of boxes and halves also the
box, int32 [4]: top, left, height, width.

In order: random numbers; boxes and halves; brush strokes; single pixels; patterns; the
bank.

Exactness. Eager TensorFlow, graphs, tf.data and XLA must draw the same mask bit for
bit, although they turn random bits into floats, order sums and evaluate sin, log or
division differently. So the only random op is uniform bits, with the algorithm named
(philox); what follows is integer arithmetic, or float32 whose sums are exact; angles,
normal lengths and spline weights are tables computed by NumPy. This holds up to 2048
pixels a side.

Deviations from the original programs:

- random_box (Yu et al. 2018): the program never draws the last possible position and
  cannot draw a hole as large as the image; here both occur. One hole per example, not
  per batch. The shrinking, up to 16 pixels per side of a hole of 128, scales with it.
- box_in_patch (the TF1 program of GLCIC, tadax/glcic): hole sides are 24..48 pixels
  for a patch of 64 and reach the patch's last row and column; the program's inclusive
  rectangles measure 25..49.
- free_form (Yu et al. 2019, arXiv 1806.03589): widths scale with the image's diagonal;
  lengths come from 256 equiprobable quantiles and angles from 256 directions; strokes
  and vertices include both ends of 1..4 and 4..12 (common programs, whose upper end is
  excluded, stop at 3 and 11).
- random_pixels (Yeh et al. 2017): 80 % missing as in the paper's tables; the widely
  used program makes a pixel missing with probability 0.2.
- pattern: exactly `share` of the pixels instead of roughly a quarter; cubic B-spline
  noise with a knot every eighth of the shorter side.
"""

import math
from statistics import NormalDist

import numpy as np
import tensorflow as tf

# Random numbers.


def _uniform(seed, shape):
    """Multiples of 2^-24 in [0, 1), float32.

    From random bits, since float uniforms use their low bits without XLA and their high
    bits with it.
    """
    bits = tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.uint32, alg="philox"
    )
    high_bits = tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32))
    return tf.cast(high_bits, tf.float32) * 2.0**-24


def _integer(uniform, low, high):
    """Integers low..high, both included, from uniforms; low, high: ints or tensors."""
    count = tf.cast(high - low + 1, tf.float32)
    return low + tf.cast(uniform * count, tf.int32)


def choose(seed, count):
    """A number below `count`, independent of what the rules draw from the same seed."""
    apart = tf.constant([0x2545F491, 0x4F6CDD1D], seed.dtype)
    uniform = _uniform(tf.bitwise.bitwise_xor(seed, apart), [])
    return _integer(uniform, 0, count - 1)


# The rules.


def _box_mask(top, left, box_height, box_width, height, width):
    """Mask [H, W, 1] that is 1 inside the box."""
    rows = tf.range(height)[:, tf.newaxis, tf.newaxis]
    columns = tf.range(width)[tf.newaxis, :, tf.newaxis]
    inside_rows = (rows >= top) & (rows < top + box_height)
    inside_columns = (columns >= left) & (columns < left + box_width)
    return tf.cast(inside_rows & inside_columns, tf.float32)


def center(height, width, hole_height, hole_width):
    """A centred box; of an odd remainder the smaller part lies above and left."""
    box = ((height - hole_height) // 2, (width - hole_width) // 2)
    box += (hole_height, hole_width)
    return _box_mask(*box, height, width), tf.constant(box, tf.int32)


def random_box(seed, height, width, hole_height, hole_width):
    """GIICA: the box is uniform over all positions; each axis of the hole loses 0..1/8
    of its side at both ends (16 of 128 pixels). The critic's patch is the whole box."""
    u = tf.unstack(_uniform(seed, [4]))
    top = _integer(u[0], 0, height - hole_height)
    left = _integer(u[1], 0, width - hole_width)
    shrink_y = _integer(u[2], 0, hole_height // 8)
    shrink_x = _integer(u[3], 0, hole_width // 8)
    mask = _box_mask(
        top + shrink_y,
        left + shrink_x,
        hole_height - 2 * shrink_y,
        hole_width - 2 * shrink_x,
        height,
        width,
    )
    return mask, tf.stack([top, left, hole_height, hole_width])


def box_in_patch(seed, height, width, patch_height, patch_width):
    """GLCIC: a uniform local patch; in it a uniform hole, sides 3/8..3/4 of its own."""
    u = tf.unstack(_uniform(seed, [6]))
    top = _integer(u[0], 0, height - patch_height)
    left = _integer(u[1], 0, width - patch_width)
    largest_height = max(1, 3 * patch_height // 4)
    largest_width = max(1, 3 * patch_width // 4)
    hole_height = _integer(u[2], max(1, 3 * patch_height // 8), largest_height)
    hole_width = _integer(u[3], max(1, 3 * patch_width // 8), largest_width)
    hole_top = top + _integer(u[4], 0, patch_height - hole_height)
    hole_left = left + _integer(u[5], 0, patch_width - hole_width)
    mask = _box_mask(hole_top, hole_left, hole_height, hole_width, height, width)
    return mask, tf.stack([top, left, patch_height, patch_width])


def half(rule, seed, height, width):
    """Left or right half; of an odd width the middle column stays known."""
    side = max(1, width // 2)
    if rule == "half":
        left = tf.where(_uniform(seed, []) < 0.5, 0, width - side)
    else:
        left = tf.constant(0 if rule == "left_half" else width - side)
    box = tf.stack([0, left, height, side])
    return _box_mask(0, left, height, side, height, width), box


_STROKES = (1, 4)
_VERTICES = (4, 12)
_MEAN_ANGLE, _ANGLE_RANGE = 2 * math.pi / 5, 2 * math.pi / 15
_BRUSH_WIDTHS = (12, 40)  # pixels, in an image of 256x256
_QUANTILES = (np.arange(256) + 0.5) / 256


def _stroke_tables(diagonal):
    """256 equiprobable lengths (1/16 pixel) and directions (1/1024), int32."""
    mean = diagonal / 8
    normal = NormalDist(mean, mean / 2)
    lengths = np.array([normal.inv_cdf(quantile) for quantile in _QUANTILES])
    angles = _MEAN_ANGLE + _ANGLE_RANGE * (2 * _QUANTILES - 1)
    return (
        np.rint(16 * np.clip(lengths, 0, 2 * mean)).astype(np.int32),
        np.rint(1024 * np.cos(angles)).astype(np.int32),
        np.rint(1024 * np.sin(angles)).astype(np.int32),
    )


def free_form(seed, height, width):
    """DeepFill v2: 1..4 strokes of a round brush, each along 4..12 vertices.

    A stroke starts anywhere; its segments zigzag: the same horizontal sense throughout,
    the vertical one alternating, angles to the horizontal 2 pi / 5 +- 2 pi / 15, lengths
    normal with mean diagonal / 8 and half of it as deviation, cut to [0, twice the
    mean]. Vertices are kept inside the image. Both senses are random per stroke.
    """
    diagonal = math.hypot(height, width)
    lengths, cosines, sines = _stroke_tables(diagonal)
    narrow, wide = (
        max(1, round(brush * diagonal / math.hypot(256, 256)))
        for brush in _BRUSH_WIDTHS
    )
    most_strokes, most_vertices = _STROKES[1], _VERTICES[1]

    # All numbers first, the unused ones too; row = stroke.
    u = _uniform(seed, [most_strokes, 7 + 2 * most_vertices])
    strokes = _integer(u[0, 0], *_STROKES)
    vertices = _integer(u[:, 1], *_VERTICES)
    brush = tf.cast(_integer(u[:, 2], narrow, wide), tf.float32)
    start_y = _integer(u[:, 3], 0, height - 1)
    start_x = _integer(u[:, 4], 0, width - 1)
    sense_y = 2 * _integer(u[:, 5:6], 0, 1) - 1
    sense_x = 2 * _integer(u[:, 6:7], 0, 1) - 1
    length = tf.gather(lengths, _integer(u[:, 7 : 7 + most_vertices], 0, 255))
    direction = _integer(u[:, 7 + most_vertices :], 0, 255)
    alternating = tf.constant([1, -1] * most_vertices)[:most_vertices]
    # 16 * 1024 = 2^14: back to pixels, halves up.
    step_y = (length * tf.gather(sines, direction) + 2**13) // 2**14
    step_x = (length * tf.gather(cosines, direction) + 2**13) // 2**14
    step_y *= sense_y * alternating
    step_x *= sense_x

    rows = tf.range(height, dtype=tf.float32)[:, tf.newaxis]
    columns = tf.range(width, dtype=tf.float32)[tf.newaxis, :]

    def disc(y, x, radius_squared):
        dy, dx = rows - tf.cast(y, tf.float32), columns - tf.cast(x, tf.float32)
        return dy * dy + dx * dx <= radius_squared

    def paint_stroke(stroke, missing):
        # Exact: the brush's width is an integer.
        radius_squared = brush[stroke] * brush[stroke] * 0.25
        y, x = start_y[stroke], start_x[stroke]

        def paint_segment(vertex, y, x, missing):
            """Adds the segment from (y, x) to the next vertex and its round cap."""
            next_y = tf.clip_by_value(y + step_y[stroke, vertex], 0, height - 1)
            next_x = tf.clip_by_value(x + step_x[stroke, vertex], 0, width - 1)
            from_y, from_x = tf.cast(y, tf.float32), tf.cast(x, tf.float32)
            along_y = tf.cast(next_y - y, tf.float32)
            along_x = tf.cast(next_x - x, tf.float32)
            dy, dx = rows - from_y, columns - from_x
            squared = along_y * along_y + along_x * along_x
            # Between both ends: |2 dot - squared| <= squared. Nearer than the radius:
            # (cross / length)^2 < radius^2, with the two sides multiplied out so that
            # each is one rounded product. Strict, so a segment of no length is empty.
            between = tf.abs((2 * dy * along_y - squared) + 2 * dx * along_x) <= squared
            cross = dy * along_x - dx * along_y
            near = cross * cross < radius_squared * squared
            cap = disc(next_y, next_x, radius_squared)
            return vertex + 1, next_y, next_x, missing | (between & near) | cap

        _, _, _, missing = tf.while_loop(
            lambda vertex, *_: vertex < vertices[stroke],
            paint_segment,
            (0, y, x, missing | disc(y, x, radius_squared)),
            parallel_iterations=1,
        )
        return stroke + 1, missing

    _, missing = tf.while_loop(
        lambda stroke, _: stroke < strokes,
        paint_stroke,
        (0, tf.zeros([height, width], tf.bool)),
        parallel_iterations=1,
    )
    return tf.cast(missing, tf.float32)[..., tf.newaxis]


def random_pixels(seed, height, width, share):
    """SIIDGM: each pixel is missing with probability `share`, alone."""
    return tf.cast(_uniform(seed, [height, width, 1]) < share, tf.float32)


def _spline_weights(size, knot_distance):
    """Cubic B-spline weights [size + knot_distance, knots], integers summing to ~1024.

    Row p holds the weights of the four knots round position p; the extra rows leave
    room for shifting the lattice of knots.
    """
    positions = np.arange(size + knot_distance)
    knot, t = positions // knot_distance, positions % knot_distance / knot_distance
    cubic = [
        (1 - t) ** 3,
        3 * t**3 - 6 * t**2 + 4,
        -3 * t**3 + 3 * t**2 + 3 * t + 1,
        t**3,
    ]
    weights = np.zeros([len(positions), knot[-1] + 4], np.int32)
    for k in range(4):
        weights[positions, knot + k] = np.rint(1024 / 6 * cubic[k])
    return weights


def pattern(seed, height, width, share):
    """Smooth noise above its own (1 - share) quantile.

    Noise levels 0..1023 on a randomly shifted lattice, spline weights of about 2^10 per
    axis: every sum stays below 2^31, exact in int32.
    """
    knot_distance = max(2, round(min(height, width) / 8))
    weights_y = _spline_weights(height, knot_distance)
    weights_x = _spline_weights(width, knot_distance)
    knots_y, knots_x = weights_y.shape[1], weights_x.shape[1]
    u = _uniform(seed, [knots_y * knots_x + 2])
    noise = tf.reshape(_integer(u[2:], 0, 1023), [knots_y, knots_x])
    shift = _integer(u[:2], 0, knot_distance - 1)
    weights_y = tf.slice(weights_y, [shift[0], 0], [height, knots_y])
    weights_x = tf.slice(weights_x, [shift[1], 0], [width, knots_x])
    smooth = tf.matmul(tf.matmul(weights_y, noise), weights_x, transpose_b=True)

    missing = min(max(1, round(share * height * width)), height * width - 1)
    ascending = tf.sort(tf.reshape(smooth, [-1]))
    threshold = ascending[height * width - missing]
    return tf.cast(smooth >= threshold, tf.float32)[..., tf.newaxis]


def from_bank(seed, bank):
    """One mask out of uint8 [N, H, W, 1], all equally likely."""
    index = _integer(_uniform(seed, []), 0, bank.shape[0] - 1)
    return tf.cast(bank[index] > 0, tf.float32)
