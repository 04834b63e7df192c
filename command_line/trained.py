"""A trained method from the folder of its run, or from one of its checkpoints."""

import os

import tensorflow as tf
from absl import flags

from baselines.methods import METHODS
from command_line import method_flags, weights_along
from command_line.parsing import UsageError
from inpainting_tf import run_folder, untrusted
from inpainting_tf.checkpoints import Checkpoints, TrainingStopped


def load(run_dir, checkpoint="newest"):
    """Builds the method of a run by its recorded flags and restores its weights.

    Args:
      run_dir: run folder, see `run_folder`.
      checkpoint: "newest", "best" (by validation), or a step that was kept.

    Returns:
      (model, recorded flags as dict name -> text, step).

    Raises:
      UsageError: no run folder, or no such checkpoint.
      TrainingStopped: the checkpoint cannot be restored whole.
    """
    recorded = recorded_flags(run_dir)
    method = recorded.get("method")
    if method not in METHODS:
        raise UsageError(f"{run_dir}/flags.cfg: --method={method} is unknown here")
    prefix = checkpoint_prefix(run_dir, checkpoint)
    model = METHODS[method](**_arguments(method, recorded))
    checkpoints = Checkpoints(model, os.path.join(run_dir, "checkpoints"))
    step = checkpoints.restore(prefix, weights_only=True)
    return model, recorded, step


def start_from(model, method, source):
    """Gives a new model the weights of a run.

    Args:
      model: the method, built.
      method: its name.
      source: run folder[@checkpoint], see `load`, or the name of weights that come
        along; default: best, where there is one.

    Returns:
      (path of the checkpoint, names of networks that it is without and that stay as
      they are: the discriminators of packed weights).

    Raises:
      UsageError: no run folder of this method, no such checkpoint, or one that does not
        fit the model.
    """
    run_dir, _, checkpoint = source.partition("@")
    if os.path.exists(source):
        run_dir, checkpoint = source, ""
    run_dir = weights_along.find(run_dir)
    try:
        trained_method = recorded_flags(run_dir).get("method")
        if trained_method != method:
            raise UsageError(f"weights of {trained_method}, not of {method}")
        prefix = checkpoint_prefix(run_dir, checkpoint or best_or_newest(run_dir))
        checkpoints = Checkpoints(model, os.path.join(run_dir, "checkpoints"))
        absent = checkpoints.start_from(prefix)
    except (ValueError, TrainingStopped) as error:
        raise UsageError(f"--initial_weights={source}: {error}") from None
    return prefix, absent


def recorded_flags(run_dir):
    """The flags of a run, dict name -> text. Raises UsageError where there is none."""
    try:
        return run_folder.read_flags(run_dir)
    except OSError as error:
        known = ""
        if not os.path.exists(run_dir):
            known = f"; {', '.join(weights_along.names())} come along"
        raise UsageError(
            f"{run_dir} is no run folder: flags.cfg cannot be read ({error.strerror})"
            + known
        ) from None


def best_or_newest(run_dir):
    """The checkpoint to use where none was named: "best" if there is one."""
    best = os.path.join(run_dir, "checkpoints", "best")
    return "best" if tf.train.latest_checkpoint(best) else "newest"


def split_checkpoint(prefix):
    """Run folder and step of a checkpoint given by its path.

    Args:
      prefix: `<run folder>/checkpoints/step-<n>`, with or without the ending of one of
        its files; or the best one, `<run folder>/checkpoints/best/step-<n>`.

    Returns:
      (run folder, "best" or the step as text), for `load`.

    Raises:
      UsageError: the path is not of that form, or not there.
    """
    name = os.path.splitext(os.path.abspath(prefix))[0]
    folder, _, step = name.rpartition(os.sep + "step-")
    best = os.path.basename(folder) == "best"
    checkpoints = os.path.dirname(folder) if best else folder
    if not step.isdecimal() or os.path.basename(checkpoints) != "checkpoints":
        raise UsageError(
            f"--checkpoint={prefix}: must be <run folder>/checkpoints/step-<n>, or best, "
            "newest or a step beside --run_dir"
        )
    if not os.path.exists(name + ".index"):
        raise UsageError(f"--checkpoint={prefix}: there is no such checkpoint")
    return os.path.dirname(checkpoints), "best" if best else step


def _arguments(method, recorded):
    """Keyword arguments of the class as they were recorded as text."""
    values = flags.FlagValues()
    method_flags.define(METHODS, values)
    own = {"image_size": int, "width": float, "seed": int}
    for name in own:
        flags.DEFINE_string(name, None, "", flag_values=values)
    try:
        values([""] + [f"--{n}={recorded[n]}" for n in values if n in recorded])
    except flags.Error as error:
        raise UsageError(f"flags.cfg of the run: {error}") from None
    shared = {
        name: convert(values[name].value)
        for name, convert in own.items()
        if values[name].value is not None
    }
    given = method_flags.shared_arguments(METHODS[method], shared)
    return given | method_flags.arguments(METHODS, method, values)


def checkpoint_prefix(run_dir, checkpoint):
    """Path of a checkpoint, see `load`, without the endings of its files."""
    folder = newest = os.path.join(run_dir, "checkpoints")
    if checkpoint == "best":
        folder = os.path.join(folder, "best")
    untrusted.keep_checkpoints_inside(folder)
    prefix = tf.train.latest_checkpoint(folder)
    if prefix is not None and checkpoint not in ("newest", "best"):
        prefix = os.path.join(folder, f"step-{checkpoint}")
        if not os.path.exists(prefix + ".index"):
            kept = sorted(
                int(name[len("step-") : -len(".index")])
                for name in os.listdir(folder)
                if name.startswith("step-") and name.endswith(".index")
            )
            raise UsageError(
                f"{folder}: no checkpoint of step {checkpoint}, only of "
                f"{', '.join(map(str, kept))}"
            )
    if prefix is None and checkpoint == "best" and tf.train.latest_checkpoint(newest):
        raise UsageError(
            f"{folder} holds no checkpoint: none has been better than the start, or the "
            "method completes nothing; take the newest, or a step"
        )
    if prefix is None:
        raise UsageError(f"{folder} holds no checkpoint; train the run first")
    return prefix
