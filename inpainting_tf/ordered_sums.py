"""Sums of floats whose last bits do not depend on the moment.

TensorFlow adds three tensors or more by one operation, AddN, and on CPUs that begins
with whichever of them nothing else needs at the moment: the order, and with it the
rounding, depends on what else is under way. Chains of additions are rewritten into it,
and the gradients of a tensor that is used in three places meet in it. Two terms give
the same bits in both orders, so here no sum has more.
"""

import functools

import tensorflow as tf


def add(first, second):
    """The sum of two tensors of one shape, which never joins a longer one."""
    # Rewriting stops at operations that are no additions; these cost nothing.
    total = tf.expand_dims(first, 0) + tf.expand_dims(second, 0)
    return tf.squeeze(total, 0)


def add_in_order(terms):
    """Adds tensors of one shape, at least one, from the first to the last."""
    return functools.reduce(add, terms)


def fork(tensor, count=2):
    """The tensor so many times, one for each place that uses it.

    Their gradients are added in order, before any others of the tensor join them.

    Args:
      tensor: of floats.
      count: int.

    Returns:
      tuple of tensors.
    """

    @tf.custom_gradient
    def copies(tensor):
        def gradient(*gradients):
            return add_in_order(gradients)

        return tuple(tf.identity(tensor) for _ in range(count)), gradient

    return copies(tensor)
