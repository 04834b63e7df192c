"""The masks of a protocol: which pixels of each example are missing.

Input: a `protocol_definition.Protocol` and an example's number. Output: its mask.
"""

import tensorflow as tf

from inpainting_tf import masks

_MOST_DRAWS = 1000  # Draws of free_form that may go into one mask of an area bin.


def draw_mask(protocol, index):
    """Draws the mask of one example; a function of (protocol, index) alone.

    With area bins, example i belongs to bin i mod n. Free-form masks drawn from the
    seeds [seed, i], [seed, i + 2^32], [seed, i + 2 * 2^32] ... are united until the
    missing share reaches the bin; a union that grew past it is dropped, and the next
    draw starts anew. The share lies in [low, high) of the bin.

    Args:
      protocol: Protocol.
      index: int or int64 tensor [].

    Returns:
      float32 [size, size, 1], 1 = missing.

    Raises:
      ValueError: a mask rule with impossible parameters, see `masks.draw`.
    """
    index = tf.cast(index, tf.int64)
    seed = tf.constant(protocol.seed, tf.int64)

    def draw(position):
        mask, _ = masks.draw(
            protocol.rule,
            tf.stack([seed, position]),
            protocol.size,
            protocol.size,
            hole_size=protocol.hole_size,
            share=protocol.share,
        )
        return mask

    if not protocol.area_bins:
        return draw(index)

    edges = tf.constant(protocol.area_bins, tf.int64)
    place = index % (len(protocol.area_bins) - 1)
    # In pixels times 100, so that everything is a whole number.
    low, high = (edge * protocol.size**2 for edge in (edges[place], edges[place + 1]))

    def area(mask):
        return 100 * tf.reduce_sum(tf.cast(mask, tf.int64))

    def grow(attempt, mask):
        grown = tf.maximum(mask, draw(index + attempt * 2**32))
        return attempt + 1, tf.where(area(grown) < high, grown, 0.0)

    _, mask = tf.while_loop(
        lambda _, mask: area(mask) < low,
        grow,
        (tf.constant(0, tf.int64), tf.zeros([protocol.size, protocol.size, 1])),
        maximum_iterations=_MOST_DRAWS,
        parallel_iterations=1,
    )
    return mask
