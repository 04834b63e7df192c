"""Optimizer steps that mean the same on one device, on many, and in float16.

Gradients of a replica are those of its share of the mean over the global batch; the
optimizer adds the shares up.
"""

import functools

import keras
import tensorflow as tf


def adam(learning_rate, beta_1=0.9, beta_2=0.999, epsilon=1e-7):
    """Adam, with dynamic loss scaling where layers compute in float16."""
    return _with_loss_scaling(Adam(learning_rate, beta_1, beta_2, epsilon, name="adam"))


def adadelta(learning_rate=1.0, decay=0.95, epsilon=1e-6):
    """AdaDelta (Zeiler 2012: rate 1), with loss scaling as `adam`."""
    return _with_loss_scaling(
        Adadelta(learning_rate, rho=decay, epsilon=epsilon, name="adadelta")
    )


class Adam(keras.optimizers.Adam):
    """Keras's optimizer, whose step on one device is one pass over the weights.

    Keras's own makes a dozen, each bound by memory: a large part of a small batch's
    step. Both agree up to rounding, and in their variables.
    """

    def update_step(self, gradient, variable, learning_rate):
        """Overrides Keras's; `variable` is a tf.Variable."""
        if self._distribution_strategy.num_replicas_in_sync > 1:
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(tf.cast(self.beta_1, variable.dtype), step),
            beta2_power=tf.pow(tf.cast(self.beta_2, variable.dtype), step),
            lr=tf.cast(learning_rate, variable.dtype),
            beta1=tf.cast(self.beta_1, variable.dtype),
            beta2=tf.cast(self.beta_2, variable.dtype),
            epsilon=tf.cast(self.epsilon, variable.dtype),
            grad=tf.cast(gradient, variable.dtype),
        )


class Adadelta(keras.optimizers.Adadelta):
    """Keras's optimizer, whose step on one device is one pass, as `Adam`'s."""

    def update_step(self, grad, variable, learning_rate):
        """Overrides Keras's; `variable` is a tf.Variable."""
        if self._distribution_strategy.num_replicas_in_sync > 1:
            super().update_step(grad, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        tf.raw_ops.ResourceApplyAdadelta(
            var=variable.handle,
            accum=self._accumulated_grads[index].value.handle,
            accum_update=self._accumulated_delta_vars[index].value.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            rho=tf.cast(self.rho, variable.dtype),
            epsilon=tf.cast(self.epsilon, variable.dtype),
            grad=tf.cast(grad, variable.dtype),
        )


def _with_loss_scaling(optimizer):
    if keras.mixed_precision.dtype_policy().name == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def scaled_share(optimizer, loss):
    """The scalar to differentiate for a replica's mean loss.

    Its share of the mean over the global batch, scaled up for float16 gradients.
    """
    replicas = tf.distribute.get_replica_context().num_replicas_in_sync
    return optimizer.scale_loss(loss / replicas)


def gradient_norm(optimizer, gradients):
    """L2 norm of all gradients of `scaled_share` together, before any clipping.

    On several replicas that of this replica's examples alone, as if they were the whole
    batch: the norm of the sum would have to wait for it.

    Args:
      optimizer: of `adam` or `adadelta`.
      gradients: list of tensors.

    Returns:
      float32 scalar; not finite where float16 gradients overflowed.
    """
    replicas = tf.distribute.get_replica_context().num_replicas_in_sync
    scale = optimizer.scale_loss(tf.constant(1.0))
    return tf.cast(tf.linalg.global_norm(gradients), tf.float32) * replicas / scale


def apply_gradients(optimizer, gradients, weights, clip_norm=None, when=None):
    """One optimizer step on gradients of `scaled_share`.

    Args:
      optimizer: of `adam` or `adadelta`, built.
      gradients: list of tensors, one per weight.
      weights: list of variables.
      clip_norm: largest L2 norm of all gradients together, summed over the replicas
        first (Keras's own option clips each replica's share); None for no limit.
      when: bool scalar tensor, the same on every replica: False leaves weights and
        optimizer, its step count included, as they are. None for always.
    """
    replica = tf.distribute.get_replica_context()
    if clip_norm is not None:
        total = replica.all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        limit = clip_norm * optimizer.scale_loss(tf.constant(1.0))
        clipped, _ = tf.clip_by_global_norm(total, limit)
        # Every replica holds the sum now, and the optimizer will add them up again.
        gradients = [gradient / replica.num_replicas_in_sync for gradient in clipped]

    def apply(gradients):
        optimizer.apply(gradients, weights)

    def rest():
        pass

    def choose_across_replicas(strategy, when, gradients):
        tf.cond(
            strategy.experimental_local_results(when)[0],
            lambda: strategy.extended.call_for_each_replica(apply, args=(gradients,)),
            rest,
        )

    if when is None:
        apply(gradients)
    elif replica.num_replicas_in_sync == 1:
        tf.cond(when, lambda: apply(gradients), rest)
    else:
        # Replicas meet inside `apply`, which a branch of one replica cannot: choose
        # once for all of them.
        replica.merge_call(choose_across_replicas, args=(when, gradients))


def choose(index, branches, *arguments):
    """Runs one of several functions, the same one on every replica.

    `tf.switch_case`, but for functions in which replicas meet, as they do in batch
    normalisation: these cannot be called in a branch that each replica takes for itself.

    Args:
      index: int32 scalar tensor, the same on every replica.
      branches: list of functions of `arguments`, with results of the same structure.
      *arguments: tensors, or lists and dicts of tensors, of this replica.

    Returns:
      what the chosen function returns.
    """
    replica = tf.distribute.get_replica_context()
    if replica.num_replicas_in_sync == 1:
        bound = [functools.partial(branch, *arguments) for branch in branches]
        return tf.switch_case(index, bound)

    def choose_across_replicas(strategy, index, *arguments):
        def on_all(branch):
            return lambda: strategy.extended.call_for_each_replica(
                branch, args=arguments
            )

        chosen = strategy.experimental_local_results(index)[0]
        return tf.switch_case(chosen, [on_all(branch) for branch in branches])

    return replica.merge_call(choose_across_replicas, args=(index, *arguments))


def own_rows(drawn, count, axis=0):
    """A replica's rows of what every replica has drawn for the whole batch.

    So the random numbers of an example do not depend on how many replicas there are.

    Args:
      drawn: tensor with `count` rows for each replica along `axis`.
      count: int or int32 scalar, rows of a replica.
      axis: int.

    Returns:
      tensor like `drawn`, with `count` rows.
    """
    replica = tf.distribute.get_replica_context()
    if replica.num_replicas_in_sync == 1:
        return drawn
    first = count * replica.replica_id_in_sync_group
    return tf.gather(drawn, first + tf.range(count), axis=axis)
