"""Pieces of contextual attention that all its forms share.

Features and masks are `[B, H, W, C]` float32; scores and attention have foreground row
and column before background row and column, `[B, h, w, h', w']`.
"""

import tensorflow as tf

from inpainting_tf.layers import resize_nearest_aligned, sizes
from inpainting_tf.ordered_sums import add_in_order, fork

# Background patches with a smaller L2 norm are divided by this floor instead.
MIN_PATCH_NORM = 1e-4
# Patches of 2 rate x 2 rate at stride rate: four of them cover each inner pixel.
PATCHES_PER_PIXEL = 4
# Tensors that start at multiples of so many floats are read where they are; others
# are copied first.
ALIGNMENT = 16


def reduce_features(x, rate):
    """`[B, H, W, C]` -> `[B, ceil(H / rate), ceil(W / rate), C]`, corners aligned."""
    if rate == 1:
        return x
    _, height, width, _ = sizes(x)
    return resize_nearest_aligned(x, ceil_div(height, rate), ceil_div(width, rate))


def patch_norm(sum_of_squares):
    """L2 norm of a patch from the sum of its squares, at least MIN_PATCH_NORM."""
    # The floor comes before the root, whose derivative at zero is infinite.
    return tf.sqrt(tf.maximum(sum_of_squares, MIN_PATCH_NORM**2))


def patch_norms(features, kernel_size):
    """L2 norms of the patches round each position: `[B, h, w, 1]`."""
    squares = tf.reduce_sum(tf.square(features), axis=-1, keepdims=True)
    ones = tf.ones([kernel_size, kernel_size, 1, 1])
    return patch_norm(tf.nn.conv2d(squares, ones, 1, "SAME"))


def blocks_of(background, rate):
    """The blocks that patches of 2 x 2 of them are made of, `[B, h'+1, w'+1, D]`."""
    _, height, width, _ = sizes(background)
    paddings = [block_padding(size, rate) for size in (height, width)]
    padded = tf.pad(background, [(0, 0), *paddings, (0, 0)])
    # space_to_depth refuses blocks of a single pixel, which are there already.
    return tf.nn.space_to_depth(padded, rate) if rate > 1 else padded


def picture_of(blocks, height, width, rate):
    """Blocks of the output, `[B, h+1, w+1, D]`, as `[B, height, width, C]`."""
    output = tf.nn.depth_to_space(blocks, rate) if rate > 1 else blocks
    top, _ = block_padding(height, rate)
    left, _ = block_padding(width, rate)
    return output[:, top : top + height, left : left + width]


def valid_patches(mask, kernel_size):
    """1 where no pixel of the patch is missing, else 0: `[B, 1, 1, h', w']`."""
    missing = tf.nn.max_pool2d(mask, kernel_size, 1, "SAME")
    valid = tf.cast(missing <= 0, tf.float32)
    batch, height, width, _ = sizes(valid)
    return tf.stop_gradient(tf.reshape(valid, [batch, 1, 1, height, width]))


def attend(scores, valid, softmax_scale):
    """Softmax over background positions; weights of invalid patches are zero.

    Invalid patches enter the softmax with logit 0 rather than minus infinity, and
    the remaining weights are not renormalised: their sum may be below 1.
    """
    shape = sizes(scores)
    batch, rows, columns, height, width = shape
    logits = tf.reshape(
        scores * valid * softmax_scale, [batch, rows, columns, height * width]
    )
    return tf.reshape(tf.nn.softmax(logits), shape) * valid


def most_attended(attention):
    """Index of the background position, `[B, h, w]` int32; lowest index on ties."""
    batch, rows, columns, height, width = sizes(attention)
    flat = tf.reshape(attention, [batch, rows, columns, height * width])
    return tf.argmax(flat, axis=-1, output_type=tf.int32)


def paste_blocks(attention, blocks):
    """Sums the attention to each block of rate x rate pixels, then copies blocks.

    A patch is 2 x 2 blocks. The block at (m, n) of the output takes the block at
    (m', n') of the background from the patches that start there and from those that
    start one block earlier, on both sides alike: two shifted additions per axis.
    """
    batch, rows, columns, height, width = sizes(attention)
    weights = add_shifted(attention, {1: 1, 3: 1}, 2)
    weights = add_shifted(weights, {2: 1, 4: 1}, 2)
    weights = tf.reshape(
        weights, [batch, (rows + 1) * (columns + 1), (height + 1) * (width + 1)]
    )
    depth = sizes(blocks)[-1]
    output = tf.matmul(weights, tf.reshape(blocks, [batch, -1, depth]))
    return tf.reshape(output, [batch, rows + 1, columns + 1, depth])


def block_padding(size, rate):
    """SAME padding of patches of side 2 rate at stride rate: before and after."""
    padding = (ceil_div(size, rate) + 1) * rate - size
    return padding // 2, padding - padding // 2


def add_shifted(x, paddings, taps):
    """Sum of `taps` copies of x, each one step further on several axes at once.

    Args:
      x: any tensor.
      paddings: dict from axis to zeros that are put before and after; the axes that
        the copies step along, which get `taps - 1` shorter.
      taps: int.
    """
    pads = [paddings.get(axis, 0) for axis in range(len(x.shape))]
    padded = tf.pad(x, [[pad, pad] for pad in pads]) if any(pads) else x
    lengths = [
        length - (taps - 1) if axis in paddings else length
        for axis, length in enumerate(sizes(padded))
    ]
    begins = [
        [tap if axis in paddings else 0 for axis in range(len(lengths))]
        for tap in range(taps)
    ]
    copies = zip(fork(padded, taps), begins, strict=True)
    return add_in_order([tf.slice(copy, begin, lengths) for copy, begin in copies])


def moved_sum(parts, count):
    """Adds matrices, each moved by so many steps in memory.

    Where matrices hold pairs row by row, with zeros beside them, a step along the
    diagonal, to the next row and column, is one more than the length of a row.

    Args:
      parts: list of (matrix, or vector of what lies in its memory; step), with `count`
        elements from the step on.
      count: int.

    Returns:
      `[count]`.
    """
    moved = [
        tf.slice(tf.reshape(matrix, [-1]), [step], [count]) for matrix, step in parts
    ]
    return add_in_order(moved)


def length_of_aligned_steps(length):
    """The least row length from `length` on that makes a diagonal step aligned."""
    return length + (-1 - length) % ALIGNMENT


def ceil_div(size, divisor):
    return -(-size // divisor)
