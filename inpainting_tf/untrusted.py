"""What comes from elsewhere is looked at before it is used.

Nothing that this package loads can hold Python: no pickle, no marshalled code, no Keras
configuration is ever read back, and weights are arrays (command_line/torch_arrays.py
takes a pickle apart, and runs nothing in it). What remains is closed here:

    stays_inside             paths in lists, protocols and records stay in their folder
    keep_checkpoints_inside  a `checkpoint` file names files of its own folder only
    check_checkpoint         a checkpoint does not claim more than its files can hold
    load_saved_model         a SavedModel's graphs compute: no call of Python, no files,
    check_graph              no network
    check_features           a prepared TFDS data set imports nothing of its own

The words of a path decide, not links: a link was put there by whoever owns the folder.
"""

import glob
import json
import os
import re

import tensorflow as tf
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from inpainting_tf import run_folder

# Stateful operations that touch nothing but the model's own variables.
_STATEFUL = {
    *("VarHandleOp", "ReadVariableOp", "AssignVariableOp", "VarIsInitializedOp"),
    *("AssignAddVariableOp", "AssignSubVariableOp", "ResourceGather"),
    *("DisableCopyOnRead", "StatefulPartitionedCall", "If", "While", "Case"),
    *("Assert", "RandomUniform", "RandomUniformInt", "RandomStandardNormal"),
    *("TruncatedNormal", "StatelessIf", "StatelessWhile"),
}
# Operations that TensorFlow calls stateless, although they read files, call Python, or
# keep what they read.
_REACHING_OUT = re.compile(
    "PyFunc|File|Dataset|Reader|Queue|Debug|Immutable|Proto|Remap|TPU|Xla"
)

# What features.json calls a class, in the order of TFDS's versions.
_CLASS_KEYS = ("type", "python_class_name", "pythonClassName")


class UntrustedError(ValueError):
    """Something from elsewhere that is not used; the message says what and why."""


# ------------------------------------------------------------------------- paths


def stays_inside(name):
    """Whether a path stays below the folder that it starts at.

    Args:
      name: str out of a file: neither absolute, nor climbing out by "..", nor empty.
    """
    normal = os.path.normpath(name)
    return (
        bool(name)
        and "\0" not in name
        and not os.path.isabs(normal)
        and normal.split(os.sep)[0] not in ("..", ".")
    )


# ------------------------------------------------------------------- checkpoints


def keep_checkpoints_inside(folder):
    """Makes a folder's `checkpoint` file name files of that folder only.

    TensorFlow reads what that file names and, once there are too many, deletes it,
    wherever it is. A folder that was moved names its old place: such entries become the
    files of the same names here.

    Raises:
      UntrustedError: the file has to be changed and cannot be.
    """
    try:
        state = tf.train.get_checkpoint_state(folder)
    except ValueError:  # Empty: it names nothing.
        return
    if state is None:
        return
    paths = [*state.all_model_checkpoint_paths]
    here = os.path.abspath(folder)
    if all(
        os.path.dirname(os.path.abspath(path)) == here
        for path in [state.model_checkpoint_path, *paths]
    ):
        return
    times = [*state.all_model_checkpoint_timestamps] or [0.0] * len(paths)
    own = {
        os.path.basename(path): time for path, time in zip(paths, times, strict=False)
    }
    own = {n: t for n, t in own.items() if os.path.exists(f"{here}/{n}.index")}
    state.model_checkpoint_path = os.path.basename(state.model_checkpoint_path)
    state.all_model_checkpoint_paths[:] = own.keys()
    state.all_model_checkpoint_timestamps[:] = own.values()
    try:
        path = os.path.join(folder, "checkpoint")
        run_folder.write_text(path, text_format.MessageToString(state))
    except OSError as error:
        raise UntrustedError(
            f"{path} names checkpoints elsewhere and cannot be changed: "
            f"{error.strerror}"
        ) from None


def check_checkpoint(prefix):
    """Refuses a checkpoint whose tensors are larger than its files.

    Restoring takes the memory that the index names before a byte of it is read.

    Args:
      prefix: path without the endings of the checkpoint's files.

    Raises:
      UntrustedError: it claims more bytes than there are.
      Exception: of many types, where the index is damaged.
    """
    reader = tf.train.load_checkpoint(prefix)
    types = reader.get_variable_to_dtype_map()
    claimed = 0
    for name, shape in reader.get_variable_to_shape_map().items():
        if types[name] != tf.string:
            size = types[name].size
            for side in shape:
                size *= side
            claimed += size
    files = glob.glob(f"{glob.escape(prefix)}.data-*-of-*")
    held = sum(map(os.path.getsize, files))
    if claimed > held:
        raise UntrustedError(
            f"it claims {claimed:,} bytes of weights, its files hold {held:,}"
        )


# ------------------------------------------------------------------------ graphs


def load_saved_model(path, tags=None):
    """Loads a SavedModel once its graphs have been found to do nothing but compute.

    Args:
      path: folder of the SavedModel, as TensorFlow 2 writes it.
      tags: as for tf.saved_model.load.

    Returns:
      what tf.saved_model.load returns.

    Raises:
      UntrustedError: no SavedModel, or one that could call Python, or reach files or
        the network.
      Exception: of many types, where TensorFlow cannot load it.
    """
    # TensorFlow would prefer a graph in pieces to the one that is checked here.
    if os.path.exists(os.path.join(path, "saved_model.cpb")):
        raise UntrustedError(f"{path}: saved in pieces (saved_model.cpb) is not loaded")
    model = saved_model_pb2.SavedModel()
    try:
        with open(os.path.join(path, "saved_model.pb"), "rb") as file:
            model.ParseFromString(file.read())
    except (OSError, DecodeError) as error:
        reason = getattr(error, "strerror", None) or "saved_model.pb is damaged"
        raise UntrustedError(f"{path}: not a SavedModel ({reason})") from None
    for part in model.meta_graphs:
        if not part.HasField("object_graph_def"):
            raise UntrustedError(
                f"{path}: saved by TensorFlow 1; save it by tf.saved_model.save of "
                "TensorFlow 2"
            )
        for asset in part.asset_file_def:
            if not stays_inside(asset.filename):
                raise UntrustedError(f"{path}: an asset leaves it: {asset.filename}")
        functions = {f.signature.name: f for f in part.graph_def.library.function}
        # What can be called. Writing and reading the variables' files is done by
        # functions that nothing of this calls.
        callable_ones = [*part.object_graph_def.concrete_functions]
        _check_operations(path, functions, callable_ones, [])
    index = os.path.join(path, "variables", "variables")
    if os.path.exists(f"{index}.index"):
        try:
            check_checkpoint(index)
        except UntrustedError as error:
            raise UntrustedError(f"{path}: {error}") from None
    return tf.saved_model.load(path, tags=tags)


def check_graph(path, definition):
    """Refuses a frozen graph that does more than compute.

    Args:
      path: where it comes from, for messages.
      definition: tf.compat.v1.GraphDef.

    Raises:
      UntrustedError: naming the operation.
    """
    functions = {f.signature.name: f for f in definition.library.function}
    _check_operations(path, functions, [], definition.node)


def _check_operations(path, functions, names, nodes):
    """Follows functions by name, and nodes, to every operation that they can reach."""
    waiting, seen = list(names), set()
    while True:
        for node in nodes:
            if node.op in functions:
                waiting.append(node.op)
            else:
                _check_operation(path, node.op)
            for value in node.attr.values():
                waiting += [value.func.name, *(f.name for f in value.list.func)]
        waiting = [name for name in waiting if name and name not in seen]
        if not waiting:
            return
        name = waiting.pop()
        seen.add(name)
        if name not in functions:
            raise UntrustedError(f"{path}: calls {name}, which it does not hold")
        nodes = functions[name].node_def


def _check_operation(path, name):
    known = op_def_registry.get(name)
    if known is None:
        raise UntrustedError(f"{path}: holds the unknown operation {name}")
    if _REACHING_OUT.search(name) or (known.is_stateful and name not in _STATEFUL):
        raise UntrustedError(
            f"{path}: holds the operation {name}, which can do more than compute "
            "(call Python, or reach files or the network); it is not loaded"
        )


# -------------------------------------------------------------------------- TFDS


def check_features(data_dir, name):
    """Refuses a prepared data set whose features.json has Python imported.

    TensorFlow Datasets imports the modules of the classes that the file names.

    Args:
      data_dir: where prepared data sets lie.
      name: of the data set, such as "celeb_a" or "celeb_a:2.1.0".

    Raises:
      UntrustedError: naming the file and the class.
    """
    folder = re.split("[:/]", name)[0]
    pattern = os.path.join(glob.escape(data_dir), glob.escape(folder), "**")
    for path in glob.glob(os.path.join(pattern, "features.json"), recursive=True):
        try:
            with open(path, encoding="utf-8") as file:
                classes = _python_classes(json.load(file))
        except (OSError, ValueError, RecursionError):
            continue  # TFDS says what is wrong with it.
        foreign = [c for c in classes if not str(c).startswith("tensorflow_datasets.")]
        if foreign:
            raise UntrustedError(
                f"{path} names the class {foreign[0]}, which is not of TensorFlow "
                "Datasets; it is not imported"
            )


def _python_classes(value):
    """Every class that a features.json names, however deep."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in _CLASS_KEYS and isinstance(inner, str):
                yield inner
            else:
                yield from _python_classes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _python_classes(inner)
