"""Optimizer steps that mean the same on one device, on many, and in float16.

Gradients of a replica are those of its share of the mean over the global batch; the
optimizer adds the shares up.
"""

import keras
import tensorflow as tf


def adam(learning_rate, beta_1=0.9, beta_2=0.999):
    """Adam, with dynamic loss scaling where layers compute in float16."""
    optimizer = keras.optimizers.Adam(learning_rate, beta_1=beta_1, beta_2=beta_2)
    if keras.mixed_precision.dtype_policy().name == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def scaled_share(optimizer, loss):
    """The scalar to differentiate for a replica's mean loss.

    Its share of the mean over the global batch, scaled up for float16 gradients.
    """
    replicas = tf.distribute.get_replica_context().num_replicas_in_sync
    return optimizer.scale_loss(loss / replicas)


def apply_gradients(optimizer, gradients, weights, clip_norm=None):
    """One optimizer step on gradients of `scaled_share`.

    Args:
      optimizer: of `adam`, built.
      gradients: list of tensors, one per weight.
      weights: list of variables.
      clip_norm: largest L2 norm of all gradients together, summed over the replicas
        first (Keras's own option clips each replica's share); None for no limit.
    """
    if clip_norm is not None:
        replica = tf.distribute.get_replica_context()
        total = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        limit = clip_norm * optimizer.scale_loss(tf.constant(1.0))
        clipped, _ = tf.clip_by_global_norm(total, limit)
        # Every replica holds the sum now, and the optimizer will add them up again.
        gradients = [gradient / replica.num_replicas_in_sync for gradient in clipped]
    optimizer.apply(gradients, weights)
