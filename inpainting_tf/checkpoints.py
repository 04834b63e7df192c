"""Checkpoints of a training run: writing them, and the one place that restores.

Input: a built method and the folder where its run's checkpoints lie. A checkpoint holds
every weight by its name, the state of the optimizers and the step, and is restored
whole or not at all.

In order: `TrainingStopped`, `Checkpoints`, `named_weights`.
"""

import os

import keras
import tensorflow as tf

from inpainting_tf import untrusted


class TrainingStopped(RuntimeError):
    """Training cannot go on; the message says at which step, why, and what is kept."""


class Checkpoints:
    """The newest checkpoints of a run and its best one; the one place that restores."""

    def __init__(self, model, folder, keep=3):
        """
        Args:
          model: the method, built, with its optimizers.
          folder: where checkpoints lie.
          keep: how many of the newest are kept.
        """
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")
        self._model = model
        # TensorFlow's tracking does not see layers that Keras 3 holds in lists, so the
        # weights are named one by one beside the model.
        self._weights = _trackable_weights(model)
        self._checkpoint = tf.train.Checkpoint(
            model=model, weights=self._weights, step=self.step
        )
        for place in (folder, os.path.join(folder, "best")):
            untrusted.keep_checkpoints_inside(place)
        self._newest = tf.train.CheckpointManager(
            self._checkpoint, folder, max_to_keep=keep, checkpoint_name="step"
        )
        self._best = tf.train.CheckpointManager(
            self._checkpoint,
            os.path.join(folder, "best"),
            max_to_keep=1,
            checkpoint_name="step",
        )

    @property
    def newest_path(self):
        return self._newest.latest_checkpoint

    def restore(self, path=None, weights_only=False):
        """Restores a checkpoint, whole or not at all.

        Args:
          path: checkpoint prefix; None for the newest of the run.
          weights_only: leave the optimizers as they are, to use the model and not to
            train on.

        Returns:
          the step it stands at; 0, with nothing changed, where the run has none.

        Raises:
          TrainingStopped: the checkpoint cannot be read or belongs to another model.
        """
        path = path or self.newest_path
        if path is None:
            return 0
        try:
            untrusted.check_checkpoint(path)
            if weights_only:
                weights = tf.train.Checkpoint(weights=self._weights, step=self.step)
                status = weights.restore(path).expect_partial()
                status.assert_existing_objects_matched()
            else:
                self._checkpoint.restore(path).assert_consumed()
        except Exception as error:  # noqa: BLE001 - damage shows in many types
            raise TrainingStopped(
                f"checkpoint {path} cannot be restored: {str(error).splitlines()[0]}"
            ) from None
        return int(self.step)

    def save(self, step, best=False):
        """Saves the model at a step, also as the best one if `best`."""
        self.step.assign(step)
        if best:
            self._best.save(checkpoint_number=step)
        self._newest.save(checkpoint_number=step)

    def refuse_non_finite(self, step):
        """Stops before a model with a weight that is no number is measured or saved.

        Raises:
          TrainingStopped: naming the step and the weight.
        """
        for variable in self._model.variables:
            if not tf.reduce_all(tf.math.is_finite(tf.cast(variable, tf.float32))):
                raise TrainingStopped(
                    f"step {step}: weight {variable.path} is not finite; {self.kept()}"
                )

    def kept(self):
        """Words for messages: which checkpoint remains."""
        if self.newest_path is None:
            return "no checkpoint had been written yet"
        return f"the last good checkpoint is {self.newest_path}"


def named_weights(model):
    """Every weight of a model by where it is: attribute names and places in lists.

    The names stay when the order changes in which layers are made, unlike the order of
    `model.variables` and the numbers in Keras's own names.

    Args:
      model: keras.Model, built, whose layers are attributes or lists in attributes.

    Returns:
      dict from a name such as "generator/norms/0/gamma" to the Keras variable.

    Raises:
      ValueError: a weight cannot be told apart or reached.
    """
    named = {}

    def visit(layer, path):
        inner = set()
        for name, value in vars(layer).items():
            if name.startswith("_"):
                continue  # Keras's own lists of what is found by its name as well.
            several = isinstance(value, list | tuple)
            for index, child in enumerate(value if several else [value]):
                if isinstance(child, keras.Layer):
                    place = (path, name, str(index)) if several else (path, name)
                    visit(child, "/".join(place).lstrip("/"))
                    inner.update(map(id, child.variables))
        for variable in layer.variables:
            if id(variable) not in inner:
                named[f"{path}/{variable.name}".lstrip("/")] = variable

    visit(model, "")
    if len(named) != len(model.variables):
        raise ValueError(
            f"{len(model.variables)} weights of {model.name} have {len(named)} names: "
            "keep layers in attributes or lists, and give weights of one layer names"
        )
    return named


def _trackable_weights(model):
    """named_weights for tf.train.Checkpoint, to which "/" means a level of its own."""
    return {
        name.replace("/", "."): variable.value
        for name, variable in named_weights(model).items()
    }
