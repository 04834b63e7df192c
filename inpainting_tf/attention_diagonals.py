"""Contextual attention of all pairs of positions at once, one example after another.

The scores of an example are a matrix, a foreground position a row of it and a background
position a column. Whatever moves both positions of a pair in step runs along a diagonal,
and so do all three sums here: over the pixels of two patches (match), over neighbouring
pairs (propagate) and over the patches that cover a pixel (paste). In a matrix that lies
in memory row by row with zeros round it, one step along a diagonal is always the same
distance, so that a sum along diagonals is one addition of the matrix to itself, moved.

Inputs of an example: the reduced foreground `[h, w, C]` and background `[h', w', C]`,
which of the background's patches are valid `[1, h' w']`, and the background's pixels
`[H', W', C]`, all float32. Outputs: the foreground rebuilt, `[H, W, C]` float32, and the
index of the most attended background position, `[h, w]` int32.

Stages, in the order of `contextual_attention`: match, propagate along rows, propagate
along columns, attend, paste. Gradients compute the scores once more instead of keeping
them, and use that each sum is its own adjoint. An example at a time keeps the matrices
in the processor's cache and memory low; two examples are under way together.
"""

import numpy as np
import tensorflow as tf

from inpainting_tf.attention_stages import (
    PATCHES_PER_PIXEL,
    blocks_of,
    length_of_aligned_steps,
    moved_sum,
    patch_norms,
    picture_of,
)
from inpainting_tf.layers import sizes

# Idle cores take a second example; more would only take memory.
EXAMPLES_AT_ONCE = 2


def attend_at_once(
    foreground,
    background,
    valid,
    pixels,
    size,
    *,
    rate,
    kernel_size,
    fuse_kernel_size,
    softmax_scale,
):
    """Attends to the background, example by example.

    Args:
      foreground: `[B, h, w, C]`, reduced.
      background: `[B, h', w', C]`, reduced.
      valid: `[B or 1, 1, 1, h', w']`, 1 or 0.
      pixels: `[B, H', W', C]`, the background that is pasted.
      size: height and width of the output.
      rate: side of the blocks of pixels that a position stands for.
      kernel_size: odd side of the patches compared.
      fuse_kernel_size: odd number of pairs added per propagation pass, 1 for none.
      softmax_scale: factor on the scores.

    Returns:
      (output `[B, *size, C]`, best positions `[B, h, w]`). Gradients flow to foreground,
      background and pixels.
    """
    arguments = (size, rate, kernel_size, fuse_kernel_size, softmax_scale)
    batch = sizes(foreground)[0]
    _, height_behind, width_behind, _ = sizes(background)
    columns = height_behind * width_behind
    valid = tf.reshape(valid, [sizes(valid)[0], 1, columns])
    valid = tf.broadcast_to(valid, [batch, 1, columns])
    static = [side if isinstance(side, int) else None for side in size]

    @tf.custom_gradient
    def attend(*sources):
        # The gradients are below; tapes need not prepare for others.
        plain = [tf.stop_gradient(source) for source in sources]
        scope = tf.get_current_name_scope()
        at_once = None if tf.executing_eagerly() else EXAMPLES_AT_ONCE

        def forward(example):
            *parts, valid = example
            return _Example(*parts, valid, *arguments).attended()

        def backward(example):
            *parts, valid, gradient = example
            return _Example(*parts, valid, *arguments).gradients(gradient)

        output, best = tf.map_fn(
            forward,
            (*plain, valid),
            fn_output_signature=(
                tf.TensorSpec([*static, pixels.shape[-1]], tf.float32),
                tf.TensorSpec(foreground.shape[1:3], tf.int32),
            ),
            parallel_iterations=at_once,
        )

        def gradients(gradient, _):
            # In the layer's scope, so that profiles and counts find them there.
            with tf.name_scope(f"{scope}/" if scope else "attention"):
                return tf.map_fn(
                    backward,
                    (*sources, valid, gradient),
                    fn_output_signature=tuple(
                        tf.TensorSpec(source.shape[1:], tf.float32)
                        for source in sources
                    ),
                    parallel_iterations=at_once,
                )

        return (output, best), gradients

    output, best = attend(foreground, background, pixels)
    output.set_shape([foreground.shape[0], *static, pixels.shape[-1]])
    best.set_shape(foreground.shape[:3])
    return output, best


class _Example:
    """The stages for one example; `rows` are of the foreground, `columns` behind it."""

    def __init__(
        self, foreground, background, pixels, valid, size, rate, kernel, fuse, scale
    ):
        self.foreground, self.background, self.pixels = foreground, background, pixels
        self.valid, self.size, self.rate, self.scale = valid, size, rate, scale
        self.reach, self.fuse_reach = kernel // 2, fuse // 2
        self.height, self.width, self.channels = sizes(foreground)
        self.height_behind, self.width_behind, _ = sizes(background)
        self.rows = self.height * self.width
        self.columns = self.height_behind * self.width_behind

    def attended(self):
        """Output and best positions, see the module."""
        scores = self._matched(self._inverse_norms(self.background))
        _, weights = self._attention(self._propagated(scores))
        best = tf.argmax(weights, axis=-1, output_type=tf.int32)
        blocks = tf.matmul(self._to_blocks(weights), self._blocks_behind())
        shape = [1, self.height + 1, self.width + 1, -1]
        picture = picture_of(tf.reshape(blocks, shape), *self.size, self.rate)
        return picture[0], tf.reshape(best, [self.height, self.width])

    def gradients(self, gradient):
        """Of foreground, background and pixels, from the gradient of the output."""
        with tf.GradientTape() as tape:
            tape.watch(self.background)
            inverse_norms = self._inverse_norms(self.background)
        scores = self._matched(inverse_norms)
        softmax, weights = self._attention(self._propagated(scores))
        blocks = blocks_of(gradient[tf.newaxis], self.rate)
        blocks = tf.reshape(blocks, [(self.height + 1) * (self.width + 1), -1])
        of_pixels = self._pixels_gradient(weights, blocks)
        of_weights = self._weights_gradient(blocks) * (self.valid / PATCHES_PER_PIXEL)
        mean = tf.reduce_sum(softmax * of_weights, axis=-1, keepdims=True)
        of_scores = (of_weights - mean) * softmax * (self.valid * self.scale)
        of_scores = self._along_columns(of_scores)
        of_scores = self._along_rows(of_scores)
        of_norms = tf.reduce_sum(of_scores * scores, axis=0, keepdims=True)
        through_norms = tape.gradient(
            inverse_norms, self.background, output_gradients=of_norms / inverse_norms
        )
        of_foreground, of_background = self._products_gradient(
            of_scores * inverse_norms
        )
        return of_foreground, of_background + through_norms, of_pixels

    def _pairs(self, matrix):
        sides = [self.height, self.width, self.height_behind, self.width_behind]
        return tf.reshape(matrix, sides)

    # ------------------------------------------------------------ match

    def _inverse_norms(self, background):
        norms = patch_norms(background[tf.newaxis], 2 * self.reach + 1)
        return 1.0 / tf.reshape(norms, [1, self.columns])

    def _padded_width(self):
        return self.width + 2 * self.reach

    def _padded_width_behind(self):
        return self.width_behind + 2 * self.reach

    def _patch_steps(self, length):
        """(Step, how many) to the right and down in two patches, rows `length` long."""
        side = 2 * self.reach + 1
        down = self._padded_width() * length + self._padded_width_behind()
        return [(length + 1, side), (down, side)]

    def _matched(self, inverse_norms):
        """Cosine-like scores `[h w, h' w']`."""
        reach, channels = self.reach, self.channels
        border = [reach, reach]
        # A row of zeros more, so that no step leads out of the matrix.
        foreground = tf.pad(self.foreground, [[reach, reach + 1], border, [0, 0]])
        background = tf.pad(self.background, [border, border, [0, 0]])
        background = tf.reshape(background, [-1, channels])
        width_behind = self._padded_width_behind()
        columns = (self.height_behind + 2 * reach) * width_behind
        length = length_of_aligned_steps(columns)
        background = tf.pad(background, [[0, length - columns], [0, 0]])
        products = tf.matmul(
            tf.reshape(foreground, [-1, channels]), background, transpose_b=True
        )
        width = self._padded_width()
        scores = _moved_along(products, self._patch_steps(length), self.height * width)
        scores = self._without_borders(scores, width, width_behind)
        return scores * inverse_norms

    def _without_borders(self, x, width, width_behind):
        """Of `[h width, >= h' width_behind]` the part `[h w, h' w']`."""
        x = tf.reshape(x, [self.height, width, -1])
        x = x[:, : self.width, : self.height_behind * width_behind]
        x = tf.reshape(x, [self.rows * self.height_behind, width_behind])
        return tf.reshape(x[:, : self.width_behind], [self.rows, self.columns])

    def _products_gradient(self, gradient):
        """Of foreground and background, from that of the sums over patches."""
        reach, channels = self.reach, self.channels
        border = [reach, reach]
        width, width_behind = self._padded_width(), self._padded_width_behind()
        gradient = self._pairs(gradient)
        gradient = tf.pad(gradient, [[reach, reach + 1], border, border, border])
        columns = (self.height_behind + 2 * reach) * width_behind
        length = length_of_aligned_steps(columns)
        gradient = tf.reshape(gradient, [-1, columns])
        gradient = tf.pad(gradient, [[0, 0], [0, length - columns]])
        rows = self.height * width
        gradient = _moved_along(gradient, self._patch_steps(length), rows)

        # Sums beyond the sides meet zeros.
        side = [[0, 0], [0, 2 * reach], [0, 0]]
        background = tf.reshape(tf.pad(self.background, side), [-1, channels])
        within = self.height_behind * width_behind
        background = tf.pad(background, [[0, length - within], [0, 0]])
        foreground = tf.reshape(tf.pad(self.foreground, side), [-1, channels])
        of_foreground = tf.matmul(gradient, background)
        of_background = tf.matmul(gradient, foreground, transpose_a=True)[:within]
        of_foreground = tf.reshape(of_foreground, [self.height, width, channels])
        of_background = tf.reshape(
            of_background, [self.height_behind, width_behind, channels]
        )
        return (
            of_foreground[:, : self.width],
            of_background[:, : self.width_behind],
        )

    # ------------------------------------------------------------ propagate

    def _propagated(self, scores):
        return self._along_columns(self._along_rows(scores))

    def _along_rows(self, scores):
        """Adds the pairs before and after, positions counted row by row."""
        reach = self.fuse_reach
        if not reach:
            return scores
        length = length_of_aligned_steps(self.columns + 2 * reach)
        right = length - self.columns - reach
        padded = tf.pad(scores, [[reach, reach + 1], [reach, right]])
        steps = [(length + 1, 2 * reach + 1)]
        return _moved_along(padded, steps, self.rows)[:, : self.columns]

    def _along_columns(self, scores):
        """The same with positions counted column by column."""
        reach = self.fuse_reach
        if not reach:
            return scores
        # Above a column's first row comes the end of the column before it, below its
        # last row the start of the next. A row more, so that no step leads out.
        sides = (self.height, self.width)
        above, below = _wrapped(scores, *sides, reach, axis=0)
        more = tf.zeros([1, self.columns])
        scores = tf.concat([above, scores, below, more], axis=0)
        sides = (self.height_behind, self.width_behind)
        above, below = _wrapped(scores, *sides, reach, axis=1)
        used = self.columns + 2 * reach * self.width_behind
        length = length_of_aligned_steps(used)
        more = tf.zeros([sizes(scores)[0], length - used])
        scores = tf.concat([above, scores, below, more], axis=1)
        down = self.width * length + self.width_behind
        steps = [(down, 2 * reach + 1)]
        return _moved_along(scores, steps, self.rows)[:, : self.columns]

    # ------------------------------------------------------------ attend

    def _attention(self, scores):
        """The softmax, and the weights of patches in a pixel, zero where invalid."""
        softmax = tf.nn.softmax(scores * (self.valid * self.scale))
        return softmax, softmax * (self.valid / PATCHES_PER_PIXEL)

    # ------------------------------------------------------------ paste

    def _block_steps(self, length):
        """The same between the pairs of blocks that a pair of patches is made of."""
        down = (self.width + 1) * length + self.width_behind + 1
        return [(length + 1, 2), (down, 2)]

    def _blocks_length(self):
        """Columns of a matrix of pairs of blocks, with zeros beside them."""
        return length_of_aligned_steps(
            (self.height_behind + 2) * (self.width_behind + 1)
        )

    def _to_blocks(self, weights):
        """Weights of patches `[h w, h' w']` -> of blocks `[(h+1) (w+1), length]`."""
        weights = self._pairs(weights)
        weights = tf.pad(weights, [[1, 2], [1, 0], [1, 1], [1, 0]])
        columns = (self.height_behind + 2) * (self.width_behind + 1)
        weights = tf.reshape(weights, [-1, columns])
        length = self._blocks_length()
        weights = tf.pad(weights, [[0, 0], [0, length - columns]])
        rows = (self.height + 1) * (self.width + 1)
        return _moved_along(weights, self._block_steps(length), rows)

    def _blocks_behind(self):
        """The background's blocks of pixels, `[length, D]`."""
        blocks = blocks_of(self.pixels[tf.newaxis], self.rate)
        columns = (self.height_behind + 1) * (self.width_behind + 1)
        blocks = tf.reshape(blocks, [columns, -1])
        return tf.pad(blocks, [[0, self._blocks_length() - columns], [0, 0]])

    def _pixels_gradient(self, weights, blocks):
        """Of the background's pixels; `blocks`: gradient of the output's blocks."""
        shape = [1, self.height_behind + 1, self.width_behind + 1, -1]
        gradient = tf.matmul(self._to_blocks(weights), blocks, transpose_a=True)
        gradient = tf.reshape(gradient[: shape[1] * shape[2]], shape)
        height, width, _ = sizes(self.pixels)
        return picture_of(gradient, height, width, self.rate)[0]

    def _weights_gradient(self, blocks):
        """Of the weights of patches, `[h w, h' w']`."""
        length = self._blocks_length()
        blocks = tf.pad(blocks, [[0, 2], [0, 0]])
        gradient = tf.matmul(blocks, self._blocks_behind(), transpose_b=True)
        width = self.width + 1
        rows = self.height * width
        gradient = _moved_along(gradient, self._block_steps(length), rows)
        return self._without_borders(gradient, width, self.width_behind + 1)


def _moved_along(matrix, steps, rows):
    """Adds the elements further on in memory, for the first `rows` rows.

    Args:
      matrix: `[R, length]`.
      steps: list of (step, count): to each element come those 1, ... count - 1 steps
        further on, then likewise to these sums by the next step.
      rows: int.

    Returns:
      `[rows, length]`.
    """
    length = sizes(matrix)[1]
    summed = matrix
    for number, (step, count) in enumerate(steps):
        # As many elements as the steps to come will need.
        beyond = sum(other * (times - 1) for other, times in steps[number + 1 :])
        parts = [(summed, index * step) for index in range(count)]
        summed = moved_sum(parts, rows * length + beyond)
    return tf.reshape(summed, [rows, length])


def _wrapped(scores, height, width, reach, axis):
    """What comes before and after all positions where they are counted by columns.

    Position (row, column) is then number `column * height + row`, and `reach` rows
    above the first and below the last go on in the columns beside. Before the first
    and after the last position of all there is nothing, that is zeros.

    Returns:
      two tensors with `reach * width` positions along the axis.
    """
    columns = tf.range(width) if tf.is_tensor(width) else np.arange(width)
    parts = []
    for begin in (-reach, height):
        numbers = [columns * height + begin + row for row in range(reach)]
        numbers = tf.concat(numbers, axis=0)
        inside = (numbers >= 0) & (numbers < height * width)
        numbers = tf.where(inside, numbers, 0)
        places = numbers % height * width + numbers // height
        part = tf.gather(scores, places, axis=axis)
        inside = tf.cast(inside, tf.float32)
        parts.append(part * (inside if axis else inside[:, tf.newaxis]))
    return parts
