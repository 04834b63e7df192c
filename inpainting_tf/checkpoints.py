"""Checkpoints of a training run: writing them, and the one place that restores.

Input: a built method and the folder where its run's checkpoints lie. A checkpoint holds
every weight by its name, the state of the optimizers and the step, and is restored
whole or not at all. A run that goes on takes the newest one that is whole, and says
what it lost by that.

In order: `TrainingStopped`, `Checkpoints`, `refuse_non_finite`, `damage`.
"""

import contextlib
import os
import re
import shutil

import tensorflow as tf

from inpainting_tf import untrusted
from inpainting_tf.image_files import first_line
from inpainting_tf.named_weights import completing_weights, named_weights
from inpainting_tf.run_folder import write_text

# How the names of averaged weights begin, before the name of what they average.
AVERAGED = "averaged_"
# What TensorFlow calls the value of a variable in a checkpoint.
_VALUE = ".ATTRIBUTES/VARIABLE_VALUE"


class TrainingStopped(RuntimeError):
    """Training cannot go on; the message says at which step, why, and what is kept."""


class NotFinite(TrainingStopped):
    """A loss, a weight or a measured value has become infinite or no number."""


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
        # weights are named one by one beside the model; to it, "/" is a level of its own.
        self._weights = {
            name.replace("/", "."): variable.value
            for name, variable in named_weights(model).items()
        }
        self._checkpoint = tf.train.Checkpoint(
            model=model, weights=self._weights, step=self.step
        )
        self._folder = folder
        self._keep = keep
        self._saved = None  # The step at which the newest one was saved or restored.
        self._newest = self._manager(folder, keep)
        self._best = self._manager(os.path.join(folder, "best"), 1)

    def _manager(self, folder, keep):
        untrusted.keep_checkpoints_inside(folder)

        def manage():
            return tf.train.CheckpointManager(
                self._checkpoint, folder, max_to_keep=keep, checkpoint_name="step"
            )

        try:
            return manage()
        except ValueError:  # The list of checkpoints is empty or damaged.
            _list_anew(folder)
            return manage()

    @property
    def newest_path(self):
        return self._newest.latest_checkpoint

    def restore(self, path=None, weights_only=False):
        """Restores a checkpoint, whole or not at all.

        Args:
          path: checkpoint prefix; None for the newest of the run.
          weights_only: leave the optimizers as they are, to use the model and not to
            train on; takes checkpoints of `save_completing_weights` as well.

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
                _read_weights(path, self._weights_of(path), step=self.step)
            else:
                self._checkpoint.restore(path).assert_consumed()
        except Exception as error:  # noqa: BLE001 - damage shows in many types
            raise TrainingStopped(
                f"checkpoint {path} cannot be restored: {first_line(error)}"
            ) from None
        return int(self.step)

    def start_from(self, path):
        """Takes the weights of another run for a new one, which counts from step 0.

        Where the other run averages a network's weights, those are what it completes
        with, and both the network and its average start from them. Whole numbers, which
        count the steps of phases, stay as they are, as do networks that a checkpoint of
        `save_completing_weights` is without: discriminators.

        Args:
          path: checkpoint prefix, of a run of the same method.

        Returns:
          sorted names of the networks that stay as they are.

        Raises:
          TrainingStopped: it cannot be read, lacks a weight or belongs to another model.
        """
        weights, averages = {}, {}
        for name, variable in self._weights.items():
            if name.startswith(AVERAGED):
                averages[name.removeprefix(AVERAGED)] = variable
            elif not variable.dtype.is_integer:
                weights[name] = variable
        try:
            untrusted.check_checkpoint(path)
            there = tf.train.load_checkpoint(path).get_variable_to_shape_map()
            stored = {
                AVERAGED + name if _place(AVERAGED + name) in there else name: variable
                for name, variable in weights.items()
            }
            absent = set()
            if not _is_of_training(path):
                absent = {name for name in stored if _place(name) not in there}
                self._require_completing(absent | {AVERAGED + n for n in absent})
            _read_weights(path, {n: v for n, v in stored.items() if n not in absent})
            for name, variable in averages.items():
                variable.assign(weights[name])
            return sorted({name.partition(".")[0] for name in absent})
        except Exception as error:  # noqa: BLE001 - damage shows in many types
            raise TrainingStopped(
                f"checkpoint {path} has not the weights to start from: "
                f"{first_line(error)}"
            ) from None

    def save_completing_weights(self, folder, step, half=False):
        """Saves what completing takes alone: without discriminators and optimizers.

        Restored by `restore` with weights_only.

        Args:
          folder: an empty or new one, which then is one of checkpoints.
          step: at which the weights stand.
          half: round float32 weights to float16, half as large.

        Returns:
          prefix of the checkpoint.
        """
        needed = {name.replace("/", ".") for name in completing_weights(self._model)}
        held = {name: self._weights[name] for name in sorted(needed)}
        if half:
            held = {name: _halved(variable) for name, variable in held.items()}
        self.step.assign(step)
        checkpoint = tf.train.Checkpoint(weights=held, step=self.step)
        manager = tf.train.CheckpointManager(
            checkpoint, folder, max_to_keep=1, checkpoint_name="step"
        )
        prefix = manager.save(checkpoint_number=step)
        _list_anew(folder, timed=False)  # The same weights make the same files.
        return prefix

    def _weights_of(self, path):
        """Those of the weights that a checkpoint must hold: all, or what completes.

        Raises:
          ValueError: naming the first that completing takes and that is not there.
        """
        if _is_of_training(path):
            return self._weights
        there = set(tf.train.load_checkpoint(path).get_variable_to_shape_map())
        held = {
            name: variable
            for name, variable in self._weights.items()
            if _place(name) in there
        }
        self._require_completing(self._weights.keys() - held.keys())
        return held

    def _require_completing(self, absent):
        """Raises ValueError where completing takes a weight of the set `absent`."""
        if absent:
            for name in sorted(completing_weights(self._model)):
                if name.replace("/", ".") in absent:
                    raise ValueError(f"it holds no weight {name}")

    def resume(self, written=0):
        """Restores the newest checkpoint that is whole, for training to go on.

        What a killed process left unfinished is removed. Damaged checkpoints that are
        newer than the whole one are set aside as `damaged-step-<n>...`; where none is
        whole, nothing is touched.

        Args:
          written: a step of which a checkpoint is known to have been written, 0 for
            none.

        Returns:
          (step, warnings): the step it stands at, 0 with nothing changed where the run
          never had a checkpoint; and a line for each one that was passed over.

        Raises:
          TrainingStopped: checkpoints were written, and none can be restored.
        """
        warnings, damaged = [], []
        for step, path in self._on_disk():
            fault = damage(path)
            if fault is None:
                break
            damaged.append(path)
            warnings.append(f"checkpoint {path} is damaged ({fault})")
        else:
            if damaged:
                raise TrainingStopped(
                    f"{'; '.join(warnings)}; no whole one is left: restore the files "
                    "from a copy, or begin again in another --run_dir"
                )
            if written:
                raise TrainingStopped(
                    f"{self._folder} holds no checkpoint, but that of step {written} "
                    "had been written: restore the files from a copy, or begin again "
                    "in another --run_dir"
                )
            self._remove_unfinished()
            return 0, warnings
        self.restore(path)
        self._remove_unfinished()
        if written > step and not damaged:
            warnings.append(f"the checkpoint of step {written} is gone")
        for prefix in damaged:
            _set_aside(prefix)
        # The list of checkpoints may have been lost, or be older or newer than they.
        if _list_anew(self._folder, self._newest.checkpoints):
            self._newest = self._manager(self._folder, self._keep)
        if _list_anew(self._best.directory, self._best.checkpoints):
            self._best = self._manager(self._best.directory, 1)
        if os.path.dirname(path) == self._folder:
            self._saved = step
        else:
            self.save(step)
        return step, warnings

    def _on_disk(self):
        """(step, path) of all, newest first; the best one after its twin."""
        found = [
            (step, path, folder == self._folder)
            for folder in (self._folder, self._best.directory)
            for step, path in _steps_in(folder)
        ]
        found.sort(key=lambda entry: (entry[0], entry[2]), reverse=True)
        return [entry[:2] for entry in found]

    def _remove_unfinished(self):
        _remove_unfinished(self._folder)
        _remove_unfinished(self._best.directory)

    def save(self, step, best=False):
        """Saves the model at a step, also as the best one if `best`.

        Nothing is written twice: saving the step that was saved or resumed last does
        nothing for the newest ones.

        Raises:
          TrainingStopped: it cannot be written; what was there before remains.
        """
        self.step.assign(step)
        try:
            if best:
                _sync(self._best.save(checkpoint_number=step))
            if self._saved != step:
                _sync(self._newest.save(checkpoint_number=step))
        except (OSError, tf.errors.OpError) as error:
            with contextlib.suppress(OSError):
                self._remove_unfinished()
            kept = next((path for _, path in self._on_disk() if not damage(path)), None)
            raise TrainingStopped(
                f"step {step}: the checkpoint cannot be written ({_reason(error)}); "
                f"{_kept(kept)}; make room in {self._folder} or let it be written to, "
                "then run the same command"
            ) from None
        self._saved = step

    def refuse_non_finite(self, step):
        """Stops before a model with a weight that is no number is measured or saved.

        Raises:
          NotFinite: naming the step and the weight.
        """
        refuse_non_finite(self._model, step, self.kept)

    def kept(self):
        """Words for messages: which checkpoint remains."""
        return _kept(self.newest_path)


def _place(name):
    """Where a checkpoint holds a weight."""
    return f"weights/{name.replace('.', '..')}/{_VALUE}"


def _halved(variable):
    """A variable of float16 in place of one of float32, unless a value is too large."""
    if variable.dtype != tf.float32:
        return variable
    rounded = tf.cast(variable, tf.float16)
    if not tf.reduce_all(tf.math.is_finite(rounded)):
        return variable
    return tf.Variable(rounded)


def _as_stored(path, weights):
    """`weights`, with variables of float16 for those that are stored so."""
    stored = tf.train.load_checkpoint(path).get_variable_to_dtype_map()
    return {
        name: tf.Variable(tf.zeros(variable.shape, tf.float16))
        if variable.dtype == tf.float32 and stored.get(_place(name)) == tf.float16
        else variable
        for name, variable in weights.items()
    }


def _read_weights(path, weights, **others):
    """Restores weights, by name, and other variables; float32 may be stored as float16."""
    read = _as_stored(path, weights)
    status = tf.train.Checkpoint(weights=read, **others).restore(path)
    status.expect_partial().assert_existing_objects_matched()
    for name, variable in read.items():
        if variable is not weights[name]:
            weights[name].assign(tf.cast(variable, weights[name].dtype))


def _is_of_training(path):
    """Whether a checkpoint holds optimizers: one of training, whole or damaged."""
    names = tf.train.load_checkpoint(path).get_variable_to_shape_map()
    return any(name.startswith("model/") for name in names)


def refuse_non_finite(model, step, kept):
    """Stops at a weight that is no number; `kept` gives words on what remains.

    Raises:
      NotFinite: naming the step and the weight.
    """
    for variable in model.variables:
        if not tf.reduce_all(tf.math.is_finite(tf.cast(variable, tf.float32))):
            raise NotFinite(
                f"step {step}: weight {variable.path} is not finite; {kept()}"
            )


def _kept(path):
    if path is None:
        return "no checkpoint had been written yet"
    return f"the last good checkpoint is {path}"


def damage(path):
    """Reads all of a checkpoint, whose blocks carry checksums.

    Args:
      path: checkpoint prefix.

    Returns:
      what is wrong with it, in a few words; None for a whole one.
    """
    try:
        untrusted.check_checkpoint(path)
        reader = tf.train.load_checkpoint(path)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except tf.errors.PermissionDeniedError as error:
        raise TrainingStopped(f"{path} cannot be read: {_reason(error)}") from None
    except Exception as error:  # noqa: BLE001 - damage shows in many types
        return _reason(error)
    return None


def _reason(error):
    """What went wrong in one line, without TensorFlow's node names and paths."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    line = first_line(error)
    line = re.sub(r"^\{\{.*?\}\} ", "", line)
    line = re.sub(r" \[Op:\w+\].*", "", line)
    # TensorFlow writes "<path>; <what the system said>".
    return line.rpartition("; ")[2] if line.startswith("/") else line


def _steps_in(folder):
    """(step, prefix) of the checkpoints whose index is in a folder."""
    if not os.path.isdir(folder):
        return []
    found = (re.fullmatch(r"step-(\d+)\.index", name) for name in os.listdir(folder))
    return [
        (int(match[1]), os.path.join(folder, f"step-{match[1]}"))
        for match in found
        if match
    ]


def _remove_unfinished(folder):
    """Removes what a process left that ended while it wrote or deleted a checkpoint.

    TensorFlow writes under other names, the index last, and deletes the index first.
    """
    if not os.path.isdir(folder):
        return
    whole = {os.path.basename(prefix) for _, prefix in _steps_in(folder)}
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if re.fullmatch(r"step-\d+_temp", name):
            shutil.rmtree(path)
        elif (
            re.match(r"step-\d+\..*\.tempstate", name)
            or re.match(r"checkpoint\.tmp", name)
            or re.match(r"step-\d+\.data-", name)
            and name.partition(".")[0] not in whole
        ):
            os.remove(path)


def _files_of(prefix):
    folder, name = os.path.split(prefix)
    return [
        os.path.join(folder, file)
        for file in os.listdir(folder)
        if file.startswith(name + ".")
    ]


def _set_aside(prefix):
    for path in _files_of(prefix):
        folder, file = os.path.split(path)
        os.replace(path, os.path.join(folder, f"damaged-{file}"))


def _sync(prefix):
    """Has the disk hold a checkpoint's files, for when the power fails."""
    for path in [*_files_of(prefix), os.path.dirname(prefix)]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _list_anew(folder, listed=None, timed=True):
    """Has TensorFlow's list name what a folder holds; True if it did not.

    Without times TensorFlow takes them for preserved ones, never to be deleted.
    """
    held = [path for _, path in sorted(_steps_in(folder))]
    if held == listed:
        return False
    if held:
        names = [os.path.basename(path) for path in held]
        lines = [f'model_checkpoint_path: "{names[-1]}"\n']
        lines += [f'all_model_checkpoint_paths: "{name}"\n' for name in names]
        if timed:
            times = [os.path.getmtime(f"{path}.index") for path in held]
            lines += [f"all_model_checkpoint_timestamps: {time!r}\n" for time in times]
        write_text(os.path.join(folder, "checkpoint"), lines)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(folder, "checkpoint"))
    return True
