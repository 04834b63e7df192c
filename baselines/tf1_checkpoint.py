"""Variables of TensorFlow 1 programs: found on disk, read, given to a model of ours.

Input: a checkpoint as tf.train.Saver wrote it (format V2: an .index file and one or
more .data files). Output: dict from the variable's name, without ":0", to its array.

Stages: find the checkpoint; read it; give variables to a model by name, all or none;
tell the optimizer's variables from others that are left over.
"""

import glob
import os
import re

import numpy as np
import tensorflow as tf

from inpainting_tf import untrusted


def find(source):
    """The prefix of a checkpoint's files.

    Args:
      source: the prefix itself, one of the files, or the folder that holds them: the
        newest by its `checkpoint` file, or else its only one.

    Returns:
      (prefix, sorted list of the checkpoint's files).

    Raises:
      ValueError: no checkpoint there, incomplete, or several without a word which.
    """
    prefix = re.sub(r"\.(index|meta|data-\d+-of-\d+)$", "", source)
    if os.path.isdir(source):
        prefixes = [path[: -len(".index")] for path in _matching(source, "*.index")]
        state = tf.train.get_checkpoint_state(source)
        # A `checkpoint` file may name a path of the machine that it was written on.
        newest = os.path.basename(state.model_checkpoint_path) if state else None
        named = [path for path in prefixes if os.path.basename(path) == newest]
        if len(named or prefixes) != 1:
            found = ", ".join(map(os.path.basename, prefixes)) or "none"
            raise ValueError(
                f"--source={source} must be a checkpoint or a folder with one; "
                f"checkpoints found in it: {found}"
            )
        prefix = (named or prefixes)[0]
    folder, name = os.path.split(prefix)
    data = _matching(folder, glob.escape(name) + ".data-*-of-*")
    if not os.path.isfile(prefix + ".index"):
        raise ValueError(f"--source={source}: there is no checkpoint {prefix}.index")
    if not data or len(data) != int(data[0].rpartition("-")[2]):
        raise ValueError(
            f"--source={source}: the checkpoint has an .index but {len(data)} of its "
            ".data files; copy all of them"
        )
    return prefix, [*data, prefix + ".index"]


def _matching(folder, pattern):
    return sorted(glob.glob(os.path.join(glob.escape(folder), pattern)))


def read(prefix):
    """All variables of a checkpoint, dict from name to NumPy array.

    Raises:
      ValueError: the checkpoint is damaged.
    """
    try:
        untrusted.check_checkpoint(prefix)
        reader = tf.train.load_checkpoint(prefix)
        names = sorted(reader.get_variable_to_shape_map())
        return {name: np.asarray(reader.get_tensor(name)) for name in names}
    except Exception as error:  # noqa: BLE001 - damage shows in many types
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"checkpoint {prefix} cannot be read: {reason}") from None


def assign(named, variables, program):
    """Gives variables to a model; nothing is changed unless everything fits.

    Args:
      named: dict from TF1 name to (variable of the model, function that turns the
        released array into the model's, of the same shape, or None).
      variables: dict from TF1 name to array.
      program: whose weights these are, for messages.

    Returns:
      sorted list of the names in `variables` that were not used.

    Raises:
      ValueError: a variable is missing or of another shape.
    """
    missing = [name for name in named if name not in variables]
    if missing:
        raise ValueError(
            f"variable {missing[0]} is missing ({len(missing)} of {len(named)} are); "
            f"these are not (all) the weights of {program}"
        )
    values = {name: np.asarray(variables[name]) for name in named}
    for name, (variable, _) in named.items():
        if values[name].shape != tuple(variable.shape):
            raise ValueError(
                f"variable {name} has shape {values[name].shape}, the model's has "
                f"{tuple(variable.shape)}; build the model with the width and sizes "
                "that these weights were trained with"
            )
    for name, (variable, convert) in named.items():
        variable.assign(values[name] if convert is None else convert(values[name]))
    return sorted(set(variables) - set(named))


def shape(variables, name, program):
    """Shape of a variable that sizes are derived from.

    Raises:
      ValueError: it is missing.
    """
    if name not in variables:
        raise ValueError(
            f"variable {name} is missing; these are not (all) the weights of {program}"
        )
    return np.shape(variables[name])


def square_side(count, name):
    """Side of a square of `count` positions, which a variable's rows stand for.

    Raises:
      ValueError: it is no square.
    """
    side = round(count**0.5)
    if side**2 != count:
        raise ValueError(
            f"variable {name}: its rows stand for {count:g} positions, which is no "
            "square; only weights of square images can be brought in"
        )
    return side


def is_optimizer_state(name, names):
    """Whether a variable is a slot of another (".../kernel/Adam") or a power of Adam's.

    Args:
      name: of the variable.
      names: of all variables.
    """
    owner = name.rpartition("/")[0]
    return owner in names or bool(re.search(r"(^|/)beta[12]_power(_\d+)?$", name))
