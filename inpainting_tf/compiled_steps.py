"""A method's step and its completion as compiled functions, on one device or on many.

In order: the strategy for a machine; `model.update` on all its replicas, with the workers
agreeing when to stop; each process's own batches; completing.
"""

import tensorflow as tf

from inpainting_tf import data


def choose_strategy(devices="auto"):
    """The distribution strategy for a machine.

    Args:
      devices: "auto" for all visible GPUs, mirrored where there are several; "one"
        for a single device; or a list of device names to mirror over.

    Returns:
      tf.distribute.Strategy.
    """
    if devices == "auto":
        devices = [gpu.name for gpu in tf.config.list_logical_devices("GPU")]
    if devices != "one" and len(devices) > 1:
        return tf.distribute.MirroredStrategy(devices)
    return tf.distribute.get_strategy()


def compile_step(model, strategy, jit_compile=False):
    """Compiles `model.update` for all replicas.

    Args:
      model: the method, created in the strategy's scope.
      strategy: the tf.distribute strategy.
      jit_compile: compile by XLA; without effect on several replicas.

    Returns:
      function from a (distributed) batch to a dict of scalar losses, means over the
      global batch.
    """
    if strategy.num_replicas_in_sync == 1:
        return tf.function(model.update, jit_compile=jit_compile)
    step = _compile_replicated_step(model, strategy)
    return lambda batch: step(batch, tf.constant(0.0))[0]


def _compile_replicated_step(model, strategy):
    """Function (distributed batch, number) -> (losses, mean of the workers' numbers)."""

    @tf.function
    def step(batch, own):
        names = []

        def update(batch, own):
            results = model.update(batch)
            names[:] = results
            return tf.stack([own, *results.values()])

        # Together, since each message between machines takes its time.
        values = strategy.run(update, args=(batch, own))
        mean, *means = tf.unstack(
            strategy.reduce("MEAN", values, axis=None), len(names) + 1
        )
        return dict(zip(names, means, strict=True)), mean

    return step


def compile_agreed_step(model, strategy, team, agreement, jit_compile=False):
    """`compile_step`, with the workers telling each other whether they are to stop.

    Args:
      model, strategy, jit_compile: as there.
      team: workers.Team.
      agreement: stopping.Agreement.

    Returns:
      function from a (distributed) batch to a dict of scalar losses.
    """
    if team.count == 1:
        return compile_step(model, strategy, jit_compile)
    compiled = _compile_replicated_step(model, strategy)

    def step(batch):
        results, asked = compiled(batch, tf.constant(float(agreement.asked)))
        agreement.note(asked)
        return results

    return step


def distribute(make_batches, strategy, model, step, rolled_back):
    """Iterator over distributed batches: every process reads its own examples alone.

    Args:
      make_batches: as of `training.train`.
      strategy, model: as of `compile_step`.
      step: to begin after.
      rolled_back: number of rollbacks so far.

    Returns:
      iterator over what the function of `compile_step` takes, without end.
    """

    def own_batches(context):
        share = data.Share.of(context, model.batches_per_step)
        return make_batches(step, rolled_back, share)

    return iter(strategy.distribute_datasets_from_function(own_batches))


def compile_forward(model, size=None):
    """The method outside training as a compiled function (image, mask) -> dict.

    Args:
      model: a Keras model, see the README's contract.
      size: side of the images, for one graph that takes any number of them; None
        makes a graph for the shapes that come.

    Returns:
      function (image float32 [B, H, W, 3], mask float32 [B, H, W, 1]) -> the model's
      outputs, dict of tensors.
    """
    signature = None
    if size is not None:
        signature = [tf.TensorSpec([None, size, size, c], tf.float32) for c in (3, 1)]
    return tf.function(
        lambda image, mask: model(image, mask, training=False),
        input_signature=signature,
        reduce_retracing=True,
    )
