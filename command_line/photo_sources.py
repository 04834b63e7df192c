"""Finds what names a method that completes photos; `photo_methods` opens it.

A source is

    telea, navier_stokes, mean_color    a classical fill, which needs no weights
    celeba128                           weights that come along, by name
    runs/glcic, runs/glcic@5000         a run folder, or one of its checkpoints, also as
    runs/glcic/checkpoints/step-5000    the path of its files
    exports/glcic/1                     a SavedModel with inputs image and mask
    release_places2_256/                a TF1 checkpoint of GIICA or GLCIC, see
                                        `baselines.released_weights`
    flags/siidgm_paper.cfg              a recipe of search.py, which names its --gan

and --methods also takes the name of a method, such as glcic or siidgm, whose weights
are then among --weights or come along. +mirrored behind any of them completes a photo's
windows and their mirror images, and takes the mean.
"""

import dataclasses
import itertools
import json
import os

import tensorflow as tf

from baselines import tf1_checkpoint
from baselines.methods import METHODS, SEARCHES
from command_line import contenders, search_recipes, source_text, trained, weights_along
from command_line.parsing import UsageError


@dataclasses.dataclass(frozen=True)
class Source:
    """What a text names, found but not loaded.

    Attributes:
      text: as it was given, with its flag if it came by one, for messages.
      label: its name in files and pictures.
      kind: "classical", "search", "run", "saved_model" or "tf1".
      path: of its folder or file; of a classical fill its name.
      method: name of the method that it is or was trained for; "" if unknown.
      checkpoint: of a run: best, newest, a step, or "" where none was named.
      is_mirrored: whether it completes mirror images too.
    """

    text: str
    label: str
    kind: str
    path: str
    method: str
    checkpoint: str = ""
    is_mirrored: bool = False


def label_of(text, flag):
    """The label under which `find_all` finds a text that alone is given, by a flag."""
    written = source_text.parse(text, flag)
    if _is_method(written.source):
        return written.label_or(written.source)
    return find(text, flag).label


def method_of(source):
    """Name of the method that a source is or was trained for; "" if unknown."""
    return find(source, "weights").method


def find_all(methods, weights):
    """Finds what --methods and --weights name; each once, in the order of --methods.

    Args:
      methods: list of [label=]source, or names of methods.
      weights: list of [label=]source of weights; those whose method --methods names
        take their place there, the others follow.

    Returns:
      list of Source with labels of their own.

    Raises:
      UsageError: as `find`, or nothing is named and nothing comes along.
    """
    along = weights_along.names()
    if not methods and not weights:
        if not along:
            raise UsageError(
                "no weights come along with this installation; name --weights=<run "
                "folder, SavedModel, ...>, or a method that needs none: --methods=telea"
            )
        weights = along[:1]
    given = [find(text, "weights") for text in weights]
    chosen, taken = [], []
    for text in methods:
        written = source_text.parse(text)
        if _is_method(written.source):
            # Spare ones first; then one dcgan may serve several searches.
            spare = [source for source in given if source not in taken]
            found = _weights_of(written, spare + taken, along)
            taken.append(found)
            chosen.append(
                dataclasses.replace(
                    found,
                    label=written.label_or(written.source),
                    method=written.source,
                    is_mirrored=written.is_mirrored,
                )
            )
        else:
            chosen.append(find(text, "methods"))
    chosen += [source for source in given if source not in taken]
    source_text.check_apart([source.label for source in chosen])
    return chosen


def find(text, flag=None):
    """Finds what one text names.

    Args:
      text: [label=]source[@checkpoint][+mirrored], see the module.
      flag: by which it was given; None where a caller in Python gave it.

    Returns:
      Source.

    Raises:
      UsageError: there is no such thing, or it is nothing that completes photos.
    """
    written = source_text.parse(text, flag)
    path, checkpoint = weights_along.find(written.source), written.checkpoint
    kind, method = _kind(path), ""
    if not kind and checkpoint and not os.path.exists(path):
        raise UsageError(f"{written.said}: {_why_not(path)}")
    if checkpoint and kind != "run":
        raise UsageError(f"{written.said}: only a run folder has checkpoints (@)")
    if not kind:
        kind, path, method, checkpoint = _find_checkpoint(written.said, path)
    if kind == "classical":
        method = path
    elif kind == "search":
        method = search_recipes.read(path).method
    elif kind == "run":
        method = trained.recorded_flags(path).get("method", "")
    elif kind == "saved_model":
        method = saved_model_metadata(path).get("method", "")
    return Source(
        written.said,
        written.label_or(source_text.own_name(path)),
        kind,
        path,
        method,
        checkpoint,
        written.is_mirrored,
    )


def saved_model_metadata(saved_model):
    """What `exporting` wrote beside a SavedModel; {} where it did not."""
    try:
        with open(os.path.join(saved_model, "assets.extra", "metadata.json")) as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_method(name):
    return name in METHODS or name in SEARCHES


def _weights_of(written, given, along):
    """The first source with weights of a method that is named, or of what it searches:
    among those that are given, then among the names of those that come along."""
    name = written.source
    wanted = [(name, "run"), (name, "saved_model"), (name, "tf1"), (name, "search")]
    if name in SEARCHES:
        wanted.append(("dcgan", "run"))
    for source in itertools.chain(given, (find(each, "weights") for each in along)):
        if (source.method, source.kind) in wanted:
            if source.is_mirrored:
                raise UsageError(
                    f"{source.text}: {name} takes these weights; put "
                    f"{source_text.MIRRORED} behind {written.said} instead"
                )
            return source
    raise UsageError(
        f"{written.said}: {name} needs weights, and none of it are among --weights or "
        f"come along ({_listed(along)}); name --weights=<run folder, SavedModel, ...>"
    )


def _find_checkpoint(said, path):
    """(kind, path, method, checkpoint) of a checkpoint of train.py or of a TF1 program."""
    try:
        prefix, _ = tf1_checkpoint.find(path)
    except ValueError as error:
        why = _why_not(path)
        if _holds_index(path):  # Incomplete, or one of several.
            why = str(error).removeprefix("--source=")
        raise UsageError(f"{said}: {why}") from None
    folder, name = os.path.split(os.path.abspath(prefix))
    ours = os.path.basename(folder) in ("checkpoints", "best")
    if ours and name.startswith("step-"):
        run_dir, checkpoint = trained.split_checkpoint(prefix)
        return "run", run_dir, "", checkpoint
    names = [name for name, _ in tf.train.list_variables(prefix)]
    for method, scope in (("giica", "inpaint_net/"), ("glcic", "generator/")):
        if any(variable.startswith(scope) for variable in names):
            return "tf1", path, method, ""
    raise UsageError(
        f"{said}: a checkpoint, but of neither a run of train.py nor the TF1 programs "
        "of GIICA and GLCIC"
    )


def _holds_index(path):
    """Whether a path is that of a checkpoint's index, or of a folder with one."""
    names = os.listdir(path) if os.path.isdir(path) else [path]
    is_prefix = os.path.exists(f"{path}.index")
    return is_prefix or any(name.endswith(".index") for name in names)


def _why_not(source):
    if os.path.exists(source):
        return (
            f"{source} is neither a run folder (with flags.cfg), a SavedModel "
            "(saved_model.pb), a checkpoint, nor a recipe of search.py"
        )
    return (
        f"there is no file or folder {source}, and no weights of this name come along: "
        f"{_listed(weights_along.names())}; methods without weights: "
        f"{', '.join(contenders.CLASSICAL)}"
    )


def _listed(names):
    return "there are " + (", ".join(names) if names else "none")


def _kind(source):
    """Kind of a source, see `Source`, by its name and files; "" if only TensorFlow can
    tell."""
    for file, kind in (("flags.cfg", "run"), ("saved_model.pb", "saved_model")):
        if os.path.exists(os.path.join(source, file)):
            return kind
    if source in contenders.CLASSICAL:
        return "classical"
    return "search" if source.endswith(".cfg") else ""
