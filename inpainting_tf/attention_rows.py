"""Contextual attention one row of the foreground after another, for large images.

All pairs of positions at once take memory that grows with the fourth power of an
image's side: 17 GB for each copy of the scores at 256 x 256 positions. Here a row of
the foreground meets the whole background, so that only the pairs of a few rows are ever
held: memory grows as an image's area times its width. Each stage keeps the rows that
the next result of it needs, so that nothing but the rows round the last one is computed
twice. The sums are those of `attention_diagonals`, and so is the result, up to rounding.

Inputs of an example: the reduced foreground `[h, w, C]` and background `[h', w', C]`,
the background's blocks of pixels `[h'+1, w'+1, D]` and which of its patches are valid
`[1, h' w']`, all float32. Outputs: the sums of the blocks of overlapping patches,
`[h+1, w+1, D]`, and the index of the most attended background position, `[h, w]` int32.
No gradients: they go by `attention_blocks`.

Stages of row f, with p and r half the sides of patches and of propagation:

  products       of row f+r+1+p with the background
  match          row f+r+1, from 2p+1 rows of products
  along rows     row f+r, from its scores, the end of the row before and the start of
                 the next one
  along columns  row f, from 2r+1 rows; above the first row come the ends of the
                 columns before, below the last one the starts of the next
  attend, paste  row f; its blocks of pixels from the weights of rows f-1 and f
"""

import math

import tensorflow as tf

from inpainting_tf.attention_stages import (
    ALIGNMENT,
    length_of_aligned_steps,
    moved_sum,
    patch_norms,
)
from inpainting_tf.layers import sizes


def attend_by_rows(
    foreground, background, blocks, valid, *, kernel_size, fuse_kernel_size, scale
):
    """Attends to the background, example by example and row by row.

    Args:
      foreground: `[B, h, w, C]`, reduced; half of fuse_kernel_size is below h and at
        most w.
      background: `[B, h', w', C]`, reduced; half of fuse_kernel_size is below h'.
      blocks: `[B, h'+1, w'+1, D]`, what is pasted.
      valid: `[B or 1, 1, 1, h', w']`, 1 or 0.
      kernel_size: odd side of the patches compared.
      fuse_kernel_size: odd number of pairs added per propagation pass, 1 for none.
      scale: factor on the scores before the softmax.

    Returns:
      (blocks `[B, h+1, w+1, D]`, best positions `[B, h, w]`), without gradients.

    Raises:
      ValueError: a row of the foreground and the background make more than 2**31 - 1
        pairs.
    """
    batch, height, width, _ = sizes(foreground)
    pairs = (
        width + 2 * kernel_size,
        *(n + ALIGNMENT for n in background.shape[1:3] if n),
    )
    if isinstance(width, int) and math.prod(pairs) >= 2**31:
        raise ValueError(
            f"contextual_attention: a row of {width} positions and a background of "
            f"{background.shape[1]}x{background.shape[2]} make too many pairs; use a "
            "larger rate or smaller pictures"
        )
    valid = tf.reshape(valid, [sizes(valid)[0], 1, -1])
    valid = tf.broadcast_to(valid, [batch, 1, sizes(valid)[2]])
    sources = [tf.stop_gradient(x) for x in (foreground, background, blocks, valid)]
    more = [n + 1 if isinstance(n, int) else None for n in (height, width)]
    return tf.map_fn(
        lambda example: _RowByRow(
            *example, kernel_size // 2, fuse_kernel_size // 2, scale
        ).attended(),
        sources,
        fn_output_signature=(
            tf.TensorSpec([*more, blocks.shape[-1]], tf.float32),
            tf.TensorSpec(foreground.shape[1:3], tf.int32),
        ),
        parallel_iterations=1,  # More would hold more rows at once.
    )


class _RowByRow:
    """The stages for one example; scores of a row are `[w, h' w']`."""

    def __init__(self, foreground, background, blocks, valid, reach, fuse_reach, scale):
        self.reach, self.fuse_reach = reach, fuse_reach
        self.height, self.width, self.channels = sizes(foreground)
        self.height_behind, self.width_behind, _ = sizes(background)
        self.columns = self.height_behind * self.width_behind
        self.valid, self.scale = valid, scale
        self.inverse_norms = 1.0 / tf.reshape(
            patch_norms(background[tf.newaxis], 2 * reach + 1), [1, self.columns]
        )

        # Rows of zeros outside, and a column more, so that no step leads out.
        self.foreground = tf.pad(
            foreground, [[reach + 1, reach + 1], [reach, reach + 1], [0, 0]]
        )
        # Steps down the background are aligned, and along the diagonal as well.
        padded = self.width_behind + 2 * reach
        self.padded_width_behind = padded + -padded % ALIGNMENT
        used = (self.height_behind + 2 * reach) * self.padded_width_behind
        self.length = length_of_aligned_steps(used)
        right = self.padded_width_behind - self.width_behind - reach
        background = tf.pad(background, [[reach, reach], [reach, right], [0, 0]])
        background = tf.reshape(background, [used, self.channels])
        self.background = tf.pad(background, [[0, self.length - used], [0, 0]])

        self.depth = sizes(blocks)[2]
        # With zeros between the rows of weights, and below.
        used = (self.height_behind + 2) * (self.width_behind + 1)
        self.blocks_length = length_of_aligned_steps(used)
        blocks = tf.reshape(blocks, [-1, self.depth])
        below = self.blocks_length - sizes(blocks)[0]
        self.blocks = tf.pad(blocks, [[0, below], [0, 0]])

    def attended(self):
        """Blocks and best positions, see the module."""
        reach, wrap = self.reach, self.fuse_reach
        last_rows, _, _ = self._along_rows_of(self.height - wrap, wrap)
        first_rows, scores, products = self._along_rows_of(0, wrap)
        above = [self._one_column_later(x) for x in last_rows]
        below = [self._one_column_earlier(x) for x in first_rows]

        def body(row, products, before, scores, around, weights_above, blocks, best):
            ahead = row + wrap
            products = [*products, self._products(ahead + 1 + reach)]
            after = self._matched(products, ahead + 1)
            propagated = self._along_rows(before, scores, after)
            if wrap:
                propagated = tf.cond(
                    ahead < self.height,
                    lambda: propagated,
                    lambda: tf.gather(
                        tf.stack(below), tf.maximum(ahead - self.height, 0)
                    ),
                )
            around = [*around, propagated]
            weights = self._weights(self._along_columns(around))
            best = best.write(row, tf.argmax(weights, axis=1, output_type=tf.int32))
            weights = self._spread(weights)
            blocks = blocks.write(row, self._pasted(weights_above, weights))
            before = scores[self.width - wrap :]
            return (
                row + 1,
                products[1:],
                before,
                after,
                around[1:],
                weights,
                blocks,
                best,
            )

        nothing = tf.zeros([self.width + 3, self.blocks_length])
        state = (
            0,
            products[1:],
            scores[-2][self.width - wrap :],
            scores[-1],
            above + first_rows,
            nothing,
            tf.TensorArray(tf.float32, self.height + 1),
            tf.TensorArray(tf.int32, self.height),
        )
        *_, weights, blocks, best = tf.while_loop(
            lambda row, *_: row < self.height,
            body,
            state,
            parallel_iterations=1,
            maximum_iterations=self.height,
        )
        blocks = blocks.write(self.height, self._pasted(weights, nothing))
        return blocks.stack(), best.stack()

    # ------------------------------------------------------------ match

    def _products(self, row):
        """Of a row, zero outside the foreground, with the background.

        Returns:
          vector: the products of `[w, length]` pairs and what `_matched` needs beyond
          them, added along the rows of patches.
        """
        reach = self.reach
        row = tf.clip_by_value(row + reach + 1, 0, self.height + 2 * reach + 1)
        products = tf.matmul(
            tf.gather(self.foreground, row), self.background, transpose_b=True
        )
        parts = [(products, step * (self.length + 1)) for step in range(2 * reach + 1)]
        beyond = 2 * reach * self.padded_width_behind
        return moved_sum(parts, self.width * self.length + beyond)

    def _matched(self, products, row):
        """Scores of a row from its products and those round it; zero outside."""
        parts = [
            (row_of_patches, down * self.padded_width_behind)
            for down, row_of_patches in enumerate(products)
        ]
        scores = self._moved_sum(parts, self.width, self.length)
        scores = scores[:, : self.height_behind * self.padded_width_behind]
        scores = tf.reshape(scores, [-1, self.padded_width_behind])
        scores = tf.reshape(scores[:, : self.width_behind], [-1, self.columns])
        # Patches just outside reach into the foreground.
        inside = tf.cast((row >= 0) & (row < self.height), tf.float32)
        return scores * (self.inverse_norms * inside)

    # ------------------------------------------------------------ propagate

    def _along_rows_of(self, first, count):
        """So many rows propagated along rows, from the products on.

        Returns:
          (rows, scores of rows first-1 to first+count, products of the last of them).
        """
        reach = self.reach
        window = 2 * reach + 1
        products = [
            self._products(row + first) for row in range(-1 - reach, count + 1 + reach)
        ]
        scores = [
            self._matched(products[at : at + window], first + at - 1)
            for at in range(count + 2)
        ]
        rows = [
            self._along_rows(
                scores[at][self.width - self.fuse_reach :],
                scores[at + 1],
                scores[at + 2],
            )
            for at in range(count)
        ]
        return rows, scores, products[-window:]

    def _along_rows(self, before, scores, after):
        """Adds the pairs before and after, positions counted row by row.

        Returns:
          `[w + 1, longer]`: the row's scores with their columns' ends and starts round
          them, as `_along_columns` takes them.
        """
        reach = self.fuse_reach
        if not reach:
            return scores
        length = length_of_aligned_steps(self.columns + 2 * reach)
        right = length - self.columns - reach
        scores = tf.concat([before, scores, after[:reach]], axis=0)
        scores = tf.pad(scores, [[0, 2], [reach, right]])
        parts = [(scores, step * (length + 1)) for step in range(2 * reach + 1)]
        scores = self._moved_sum(parts, self.width + 1, length)[:, : self.columns]

        wrapped = reach * self.width_behind
        ends = scores[:, self.columns - wrapped - 1 : self.columns - 1]
        starts = scores[:, 1 : wrapped + 1]
        column = tf.range(wrapped) % self.width_behind
        ends *= tf.cast(column > 0, tf.float32)
        starts *= tf.cast(column < self.width_behind - 1, tf.float32)
        return tf.concat([ends, scores, starts], axis=1)

    def _along_columns(self, rows):
        """Adds the pairs before and after, positions counted column by column."""
        reach = self.fuse_reach
        if not reach:
            return rows[0]
        parts = [(row, at * self.width_behind) for at, row in enumerate(rows)]
        summed = self._moved_sum(parts, self.width, sizes(rows[0])[1])
        return summed[:, : self.columns]

    def _one_column_later(self, row):
        """What is above a column's start: the end of the column before it."""
        return tf.pad(row[: self.width - 1], [[1, 1], [0, 0]])

    def _one_column_earlier(self, row):
        """What is below a column's end: the start of the next one."""
        return tf.pad(row[1 : self.width], [[0, 2], [0, 0]])

    # ------------------------------------------------------------ attend, paste

    def _weights(self, scores):
        """The weights of patches, zero where invalid."""
        return tf.nn.softmax(scores * (self.valid * self.scale)) * self.valid

    def _spread(self, weights):
        """With zeros round them: `[w + 3, length]`."""
        weights = tf.reshape(weights, [-1, self.height_behind, self.width_behind])
        weights = tf.pad(weights, [[1, 2], [1, 1], [1, 0]])
        used = (self.height_behind + 2) * (self.width_behind + 1)
        weights = tf.reshape(weights, [-1, used])
        return tf.pad(weights, [[0, 0], [0, self.blocks_length - used]])

    def _pasted(self, above, weights):
        """A row of blocks `[w + 1, D]`: what its patches and those above give it."""
        right, down = self.blocks_length + 1, self.width_behind + 1
        parts = [(above, 0), (above, right), (weights, down), (weights, down + right)]
        weights = self._moved_sum(parts, self.width + 1, self.blocks_length)
        return tf.matmul(weights, self.blocks)

    def _moved_sum(self, parts, rows, length):
        return tf.reshape(moved_sum(parts, rows * length), [rows, length])
