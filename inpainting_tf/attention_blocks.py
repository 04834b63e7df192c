"""Contextual attention of large images: rows forward, gradients by blocks of rows.

Where all pairs of positions do not fit into memory, `attention_rows` computes the
result row by row. Its gradient is here, example by example: a block of foreground rows
meets the whole background once more, and adds its share of the gradient, one block after
another, so that only the pairs of one block are ever held. The result is that of
`contextual_attention`, up to rounding.

Inputs: the reduced foreground `[B, h, w, C]` and background `[B, h', w', C]`, which of
the background's patches are valid `[B or 1, 1, 1, h', w']`, and the background's pixels
`[B, H', W', C]`, all float32. Outputs: the foreground rebuilt, `[B, H, W, C]` float32,
and the index of the most attended background position, `[B, h, w]` int32.

Stages of a gradient: rows per block; of each block the scores of its rows and those
round them, propagation along rows, propagation along columns, softmax, paste; their
gradients added up.

Positions are counted row by row, i of N. Counted column by column, one step further is
i + w, and past the end of a column i + w - (N - 1): a step of w modulo N - 1, except
that nothing comes before the first position or after the last.
"""

import math

import tensorflow as tf

from inpainting_tf.attention_diagonals import EXAMPLES_AT_ONCE
from inpainting_tf.attention_rows import attend_by_rows
from inpainting_tf.attention_stages import (
    PATCHES_PER_PIXEL,
    add_shifted,
    attend,
    blocks_of,
    ceil_div,
    paste_blocks,
    patch_norms,
    picture_of,
)
from inpainting_tf.layers import sizes
from inpainting_tf.ordered_sums import add_in_order, fork

# About so many copies of the scores are alive at once. Seen was, for gradients of 128 x
# 128 positions, a process that grew by twice a limit of 1,024 MB.
COPIES = 6
# More pairs of positions than this have no place in a tensor of int32 sizes.
MOST_PAIRS = 2**30


def fits_at_once(foreground, background, fuse_kernel_size, megabytes):
    """Whether all pairs of the examples under way fit, or cannot go by rows.

    Args:
      foreground, background: reduced features.
      fuse_kernel_size: odd number of pairs added per propagation pass, 1 for none.
      megabytes: memory for scores; None: no limit.

    Returns:
      bool, or bool scalar tensor where sizes are not known.

    Raises:
      ValueError: no limit, and known sizes of more than MOST_PAIRS.
    """
    batch, height, width, _ = sizes(foreground)
    _, height_behind, width_behind, _ = sizes(background)
    factors = (height, width, height_behind, width_behind)
    known = not any(tf.is_tensor(factor) for factor in factors)
    if megabytes is None:
        if known and math.prod(factors) > MOST_PAIRS:
            raise ValueError(
                f"contextual_attention: {height}x{width} positions and a background of "
                f"{height_behind}x{width_behind} make too many pairs; give a memory_mb, "
                "or use a larger rate or smaller pictures"
            )
        return True
    least = tf.minimum if tf.is_tensor(batch) else min
    rows = _rows_within(
        foreground, background, megabytes, least(batch, EXAMPLES_AT_ONCE)
    )
    # Columns and rows wrap round once, which needs more than one step reaches.
    reach = fuse_kernel_size // 2
    wraps_more = (height <= reach) | (height_behind <= reach) | (width < reach)
    if known:
        pairs = math.prod(factors)
    else:
        pairs = tf.reduce_prod(tf.cast(tf.stack(factors), tf.int64))
    return ((rows >= height) & (pairs <= MOST_PAIRS)) | wraps_more


def rows_per_block(foreground, background, megabytes, halo):
    """How many foreground rows of an example a gradient's block may have.

    Args:
      foreground, background: reduced features.
      megabytes: memory for the scores of a block with its halo.
      halo: rows needed beside the block's own, both sides together.

    Returns:
      int, or int32 scalar tensor where sizes are not known; at least 1, even where the
      halo alone takes more memory.
    """
    rows = _rows_within(foreground, background, megabytes, 1)
    return tf.maximum(rows - halo, 1) if tf.is_tensor(rows) else max(1, rows - halo)


def _rows_within(foreground, background, megabytes, examples):
    """Rows of so many examples whose scores fit into memory."""
    width = sizes(foreground)[2]
    _, height_behind, width_behind, _ = sizes(background)
    # An empty batch takes as much as one example.
    examples = tf.maximum(examples, 1) if tf.is_tensor(examples) else max(examples, 1)
    factors = (4 * COPIES, examples, width, height_behind, width_behind)
    budget = int(megabytes * 2**20)
    if not any(tf.is_tensor(factor) for factor in factors):
        return budget // math.prod(factors)
    bytes_per_row = tf.reduce_prod(tf.cast(tf.stack(factors), tf.int64))
    return tf.cast(tf.minimum(budget // bytes_per_row, 2**30), tf.int32)


def halo_rows(kernel_size, fuse_kernel_size):
    """Rows that scores of a row depend on beside it, both sides together."""
    reach = fuse_kernel_size // 2
    # Through columns first, then through as many positions of a row.
    return 2 * (kernel_size // 2 + reach + min(reach, 1))


def attend_in_blocks(
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
    megabytes,
):
    """Attends to the background, a row at a time, or some of them for gradients.

    Args:
      foreground, background, valid, pixels: see the module.
      size: height and width of the output.
      rate: side of the blocks of pixels that a position stands for.
      kernel_size: odd side of the patches compared.
      fuse_kernel_size: odd number of neighbouring pairs added per propagation pass, 1
        for none; half of it is below h and h', and at most w.
      softmax_scale: factor on the scores.
      megabytes: memory for the scores of a gradient's block, see `rows_per_block`.

    Returns:
      (output, best positions), see the module. Gradients flow to foreground, background
      and pixels.
    """
    blocks = blocks_of(pixels, rate)
    batch = sizes(foreground)[0]
    valid = tf.broadcast_to(valid, [batch, *sizes(valid)[1:]])

    def gradients_of(example):
        """Of one example's foreground, background and blocks."""
        *sources, valid, upstream = (x[tf.newaxis] for x in example)
        gradients = _gradients(
            sources,
            valid,
            upstream,
            kernel_size,
            fuse_kernel_size,
            softmax_scale,
            megabytes,
        )
        return tuple(gradient[0] for gradient in gradients)

    @tf.custom_gradient
    def attend_all(*sources):
        def gradients(upstream, _):
            return tf.map_fn(
                gradients_of,
                (*sources, valid, upstream),
                fn_output_signature=tuple(
                    tf.TensorSpec(source.shape[1:], tf.float32) for source in sources
                ),
                parallel_iterations=1,  # More would hold more blocks at once.
            )

        output, best = attend_by_rows(
            *sources,
            valid,
            kernel_size=kernel_size,
            fuse_kernel_size=fuse_kernel_size,
            scale=softmax_scale,
        )
        return (output, best), gradients

    output, best = attend_all(foreground, background, blocks)
    output = picture_of(output, *size, rate) / PATCHES_PER_PIXEL
    static = [side if isinstance(side, int) else None for side in size]
    output.set_shape([foreground.shape[0], *static, pixels.shape[-1]])
    return output, best


def _gradients(
    sources, valid, upstream, kernel_size, fuse_kernel_size, scale, megabytes
):
    """Gradients of the sources from that of the output's blocks, block by block.

    Args:
      sources: foreground, background and blocks of one example, batch of 1.
      valid: `[1, 1, 1, h', w']`.
      upstream: `[1, h + 1, w + 1, D]`.
      kernel_size, fuse_kernel_size, scale, megabytes: see `attend_in_blocks`.
    """

    def plan():
        """Rows per block, and how many blocks."""
        # From the shapes wherever it is needed: compilers know these to be constant,
        # and numbers that came into a loop from outside not.
        foreground, background, _ = sources
        height = sizes(foreground)[1]
        halo = halo_rows(kernel_size, fuse_kernel_size)
        rows = rows_per_block(foreground, background, megabytes, halo)
        # Not more than there are, or rows of nothing would be computed.
        rows = tf.minimum(rows, height) if tf.is_tensor(rows) else min(rows, height)
        return rows, ceil_div(height, rows)

    rows, count = plan()
    # What the last block has beyond the last row is no output.
    beyond = count * rows - sizes(sources[0])[1]
    padded = tf.pad(upstream, [[0, 0], [0, beyond], [0, 0], [0, 0]])

    def add_block(index, *totals):
        rows, _ = plan()
        with tf.GradientTape() as tape:
            tape.watch(sources)
            foreground, background, blocks = sources
            rows_of = _RowScores(foreground, background, kernel_size)
            scores = _propagated(rows_of, index * rows, rows, fuse_kernel_size)
            block = _pasted(scores, index * rows, rows_of.height, valid, blocks, scale)
        part = tf.slice(padded, [0, index * rows, 0, 0], tf.shape(block))
        parts = tape.gradient(block, sources, output_gradients=part)
        added = [
            total + tf.ensure_shape(part, total.shape)
            for total, part in zip(totals, parts, strict=True)
        ]
        return (index + 1, *added)

    _, *totals = tf.while_loop(
        lambda index, *_: index < count,
        add_block,
        (0, *[tf.zeros_like(source) for source in sources]),
        parallel_iterations=1,
        maximum_iterations=count,
    )
    return totals


class _RowScores:
    """Scores of any rows of the foreground, those outside it included, as zeros."""

    def __init__(self, foreground, background, kernel_size):
        self.foreground, self.kernel_size = foreground, kernel_size
        self.batch, self.height, self.width, self.channels = sizes(foreground)
        _, self.height_behind, self.width_behind, _ = sizes(background)
        self.positions = self.height_behind * self.width_behind
        self.background = tf.reshape(
            background, [self.batch, self.positions, self.channels]
        )
        norms = patch_norms(background, kernel_size)
        self.inverse_norms = 1.0 / tf.reshape(norms, [self.batch, 1, 1, -1])

    def scores(self, first, count):
        """`[B, count * w, h' w']` of `count` rows from row `first` on."""
        reach = self.kernel_size // 2
        taken = count + 2 * reach
        place = first - reach + tf.range(taken)
        rows = tf.gather(
            self.foreground, tf.clip_by_value(place, 0, self.height - 1), axis=1
        )
        inside = tf.cast((place >= 0) & (place < self.height), tf.float32)
        rows *= inside[:, tf.newaxis, tf.newaxis]
        products = tf.matmul(
            tf.reshape(rows, [self.batch, taken * self.width, self.channels]),
            self.background,
            transpose_b=True,
        )
        products = tf.reshape(
            products,
            [self.batch, taken, self.width, self.height_behind, self.width_behind],
        )
        scores = add_shifted(products, {1: 0, 3: reach}, self.kernel_size)
        scores = add_shifted(scores, {2: reach, 4: reach}, self.kernel_size)
        scores = tf.reshape(scores, [self.batch, count, self.width, self.positions])
        scores *= self.inverse_norms
        # Beyond the first and last row a patch still holds some of the foreground.
        scores *= inside[reach : reach + count, tf.newaxis, tf.newaxis]
        return tf.reshape(scores, [self.batch, count * self.width, self.positions])

    def propagated_along_rows(self, first, count, taps):
        """The scores with those of the pairs before and after, row by row."""
        reach = taps // 2
        more = min(reach, 1)
        scores = self.scores(first - more, count + 2 * more)
        begin = more * self.width - reach
        scores = scores[:, begin : begin + count * self.width + 2 * reach]
        return add_shifted(scores, {1: 0, 2: reach}, taps)


def _propagated(rows_of, first, count, taps):
    """`[B, count, w, h' w']` with the pairs round each added along both axes."""
    reach = taps // 2
    batch, width, positions = rows_of.batch, rows_of.width, rows_of.positions
    shape = [batch, count + 2 * reach, width, positions]
    scores = rows_of.propagated_along_rows(first - reach, count + 2 * reach, taps)
    if not reach:
        return tf.reshape(scores, shape)

    def with_wrapped_rows():
        # Above a column's first row comes the end of the column before it, below its
        # last row the start of the next.
        height, steps = rows_of.height, reach * width
        end = rows_of.propagated_along_rows(height - reach - 1, reach + 1, taps)
        above = end[:, width - 1 : width - 1 + steps]
        above *= _tiled([0.0], tf.ones([width - 1]), reach)[:, tf.newaxis]
        start = rows_of.propagated_along_rows(0, reach + 1, taps)
        below = start[:, 1 : 1 + steps]
        below *= _tiled(tf.ones([width - 1]), [0.0], reach)[:, tf.newaxis]
        row = first - reach + tf.range(count + 2 * reach)
        inside = tf.cast((row >= 0) & (row < height), tf.float32)
        inside = tf.repeat(inside, width)[:, tf.newaxis]
        around = tf.concat([above, below], axis=1)
        place = tf.where(row < 0, row + reach, row - height + reach)
        place = tf.where((place >= 0) & (place < 2 * reach), place, 2 * reach)
        around = tf.reshape(around, [batch, 2 * reach, width, positions])
        around = tf.pad(around, [[0, 0], [0, 1], [0, 0], [0, 0]])
        around = tf.reshape(tf.gather(around, place, axis=1), tf.shape(scores))
        return scores * inside + around * (1.0 - inside)

    touches = (first < reach) | (first + count + reach > rows_of.height)
    scores = tf.cond(touches, with_wrapped_rows, lambda: scores)
    scores = tf.reshape(scores, shape)
    copies = enumerate(fork(scores, 2 * reach + 1))
    return add_in_order(
        _further_down(copy[:, k : k + count], k - reach, rows_of.width_behind)
        for k, copy in copies
    )


def _further_down(scores, steps, width):
    """What the background has `steps` positions further, counted column by column."""
    if steps == 0:
        return scores
    reach = abs(steps) * width
    if steps > 0:
        wrapped = scores[..., 1 : reach + 1]
        wrapped *= _tiled(tf.ones([width - 1]), [0.0], steps)
        return tf.concat([scores[..., reach:], wrapped], axis=-1)
    wrapped = scores[..., -reach - 1 : -1] * _tiled([0.0], tf.ones([width - 1]), -steps)
    return tf.concat([wrapped, scores[..., :-reach]], axis=-1)


def _tiled(left, right, times):
    return tf.tile(tf.concat([left, right], axis=0), [times])


def _pasted(scores, first, height, valid, blocks, softmax_scale):
    """Output blocks `[B, count + 1, w + 1, D]`."""
    batch, count, width, _ = sizes(scores)
    _, rows_behind, columns_behind, _ = sizes(blocks)
    shape = [batch, count, width, rows_behind - 1, columns_behind - 1]
    attention = attend(tf.reshape(scores, shape), valid, softmax_scale)
    inside = tf.cast(first + tf.range(count) < height, tf.float32)
    attention *= tf.reshape(inside, [1, count, 1, 1, 1])
    return paste_blocks(attention, blocks)
