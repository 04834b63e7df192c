"""Moving averages of weights, which complete outside training in place of the trained.

The last steps of a GAN swing round a point that their average lies closer to; it takes
the part of a learning rate that falls towards the end, and needs no end to be known.
"""

import tensorflow as tf


def check_decay(decay):
    """Raises ValueError for a decay below 0, or of 1 or more."""
    if not 0 <= decay < 1:
        raise ValueError(f"--averaging_decay={decay}: must be at least 0, below 1")


def averaged_copy(network, make_network, decay):
    """A second network for the average, equal to the first for now.

    Args:
      network: keras.Model, built.
      make_network: function that makes another one like it, built.
      decay: of `follow`; at 0 there is no average.

    Returns:
      keras.Model that is not trained, or None.
    """
    if not decay:
        return None
    copy = make_network()
    copy.set_weights(network.get_weights())
    copy.trainable = False
    return copy


def follow(average, network, decay, step, rests=None):
    """Moves the average towards the network's weights and statistics of a step.

    Args:
      average: of `averaged_copy`; None is left alone.
      network: keras.Model that is trained.
      decay: share of the average that stays, at most step / (9 + step): young
        averages move faster, or the initial weights would linger in them.
      step: integer scalar, updates of the network so far; the average equals the
        network until there are some.
      rests: bool scalar tensor, whether the network was not updated in this step, so
        that its average stays; None for never.
    """
    if average is None:
        return
    step = tf.cast(step, tf.float32)
    kept = tf.minimum(decay, step / (9.0 + step))
    if rests is not None:
        kept = tf.where(rests, 1.0, kept)
    for old, new in zip(average.variables, network.variables, strict=True):
        old.assign(old + (1.0 - kept) * (new - old))
