"""Poisson blending: the source's gradients in the hole, the target's values round it.

Perez, Gangnet, Blake, "Poisson Image Editing", SIGGRAPH 2003, eq. 7. In every missing
pixel i with neighbours j: sum_j (x_i - x_j) = sum_j (s_i - s_j), x = target where known.

Inputs: target, source [B, H, W, C], mask [B, H, W, 1], 1 = missing.
Output: blended float32 [B, H, W, C]; linear in both pictures, so any range will do.

Stages: take x = source + correction, so that the correction is smooth and starts at 0;
residual of the uncorrected composition; conjugate gradients in float64, one system per
example and channel, each stopping by itself; compose. Nothing but shifted additions and
sums: no matrix, any hole, any batch, inside any graph.
"""

import tensorflow as tf

from inpainting_tf import images

BORDERS = ("natural", "wrap")


def poisson_blend(
    target, source, mask, *, border="natural", tolerance=1e-10, max_iterations=None
):
    """Continues the target into its hole with the gradients of the source.

    Args:
      target: float [B, H, W, C]; known pixels are kept bit for bit, missing ones may
        hold anything.
      source: float [B, H, W, C]; read in the hole and one pixel round it.
      mask: float [B, H, W, 1], 1 = missing, one per example.
      border: what a missing pixel at the border of the image has for neighbours.
        "natural": those inside the image (no flux through the border; where nothing is
        known the result is the source). "wrap": as the widely used program has it: in
        the solution, left and right border continue in the row above or below, and
        nothing lies above the first and below the last row, but every pixel counts
        four neighbours; in the source, the outside is 0. Brightens holes that touch
        the border. Both agree where no hole does.
      tolerance: a channel of an example is finished when its residual has fallen to
        this share of the first one, in the L2 norm.
      max_iterations: limit of steps; None for H * W, enough in exact arithmetic.

    Returns:
      float32 [B, H, W, C]; in the hole not limited to the range of the inputs.

    Raises:
      ValueError: unknown border; shapes that do not fit together.
    """
    if border not in BORDERS:
        raise ValueError(
            f"border={border!r} is unknown; choose one of {', '.join(BORDERS)}"
        )
    target, source, mask = (
        tf.cast(tensor, tf.float32) for tensor in (target, source, mask)
    )
    _check_shapes(target, source, mask)
    shape = tf.shape(target)
    missing = tf.broadcast_to(mask > 0, shape)
    zeros = tf.zeros(shape, tf.float64)
    source_64 = tf.cast(source, tf.float64)
    step = tf.where(missing, zeros, tf.cast(target, tf.float64) - source_64)

    operator = _natural_laplacian if border == "natural" else _wrapping_laplacian
    residual = -operator(step)
    if border == "wrap":
        residual += _zero_outside_laplacian(source_64) - operator(source_64)
    residual = tf.where(missing, residual, zeros)

    def hole_operator(x):
        return tf.where(missing, operator(x), zeros)

    if max_iterations is None:
        max_iterations = shape[1] * shape[2]
    correction = _conjugate_gradients(
        hole_operator, residual, tolerance, max_iterations
    )
    blended = tf.cast(source_64 + correction, tf.float32)
    return images.compose(target, blended, mask)


def _check_shapes(target, source, mask):
    if target.shape.rank != 4 or not target.shape.is_compatible_with(source.shape):
        raise ValueError(
            f"target of shape {target.shape} and source of shape {source.shape} must "
            "both be [B, H, W, C]"
        )
    wanted = target.shape[:3].concatenate(1)
    if not wanted.is_compatible_with(mask.shape):
        raise ValueError(
            f"mask of shape {mask.shape} does not fit the target of shape "
            f"{target.shape}; it must be [B, H, W, 1], one mask per example"
        )


# The operators: [B, H, W, C] -> [B, H, W, C], four (or fewer) times the pixel less the
# sum of its neighbours.


def _zero_outside_laplacian(x):
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    vertical = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1]
    return 4.0 * x - (vertical + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:])


def _natural_laplacian(x):
    """The border pixel repeated outside: a difference of 0 through the border."""
    edge = tf.concat([x[:, :1], x, x[:, -1:]], axis=1)
    vertical = edge[:, :-2] + edge[:, 2:]
    edge = tf.concat([x[:, :, :1], x, x[:, :, -1:]], axis=2)
    return 4.0 * x - (vertical + edge[:, :, :-2] + edge[:, :, 2:])


def _wrapping_laplacian(x):
    """Neighbours in the row-major flat order, those beyond its ends left out."""
    shape = tf.shape(x)
    width, pixels = shape[2], shape[1] * shape[2]
    flat = tf.reshape(x, [shape[0], pixels, shape[3]])
    padded = tf.pad(flat, [[0, 0], [width, width], [0, 0]])

    def shifted(by):
        return padded[:, width + by : width + by + pixels]

    neighbours = shifted(-width) + shifted(-1) + shifted(1) + shifted(width)
    return tf.reshape(4.0 * flat - neighbours, shape)


def _conjugate_gradients(operator, residual, tolerance, max_iterations):
    """Solves operator(x) = residual per example and channel, from x = 0.

    Hestenes and Stiefel 1952. A finished system takes steps of 0, so that neither its
    solution nor its rounding depends on how long the others need.

    Args:
      operator: symmetric positive definite on the tensors that are 0 where known.
      residual: float64 [B, H, W, C], 0 where known.
      tolerance, max_iterations: see `poisson_blend`.

    Returns:
      float64 [B, H, W, C].
    """

    def inner(x, y):
        return tf.reduce_sum(x * y, axis=[1, 2], keepdims=True)

    squared_norm = inner(residual, residual)
    goal = squared_norm * tf.cast(tolerance, tf.float64) ** 2

    def unfinished(iteration, solution, residual, direction, squared_norm):
        return (iteration < max_iterations) & tf.reduce_any(squared_norm > goal)

    def step(iteration, solution, residual, direction, squared_norm):
        active = squared_norm > goal
        image = operator(direction)
        size = tf.math.divide_no_nan(squared_norm, inner(direction, image))
        size = tf.where(active, size, tf.zeros_like(size))
        solution += size * direction
        residual -= size * image
        next_squared_norm = tf.where(active, inner(residual, residual), squared_norm)
        ratio = tf.math.divide_no_nan(next_squared_norm, squared_norm)
        direction = tf.where(active, residual + ratio * direction, direction)
        return iteration + 1, solution, residual, direction, next_squared_norm

    start = (tf.constant(0), tf.zeros_like(residual), residual, residual, squared_norm)
    return tf.while_loop(unfinished, step, start)[1]
