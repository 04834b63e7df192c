"""Methods that complete photos of any size, opened by what a user calls them.

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
windows and their mirror images, and takes the mean. Each becomes a
`completion.PhotoMethod`.
"""

import dataclasses
import json
import os
import tempfile

import tensorflow as tf

from baselines import released_weights, tf1_checkpoint
from baselines.methods import METHODS, SEARCHES
from command_line import (
    contenders,
    search_recipes,
    served_methods,
    trained,
    weights_along,
)
from command_line.parsing import UsageError
from inpainting_tf import self_ensemble, serving, watched_search
from inpainting_tf.checkpoints import TrainingStopped
from inpainting_tf.completion import PhotoMethod
from inpainting_tf.run_folder import file_hash

# What the classical fills are, for photographers.
_CLASSICAL = {
    "telea": "classical fill by Telea, no learning: carries colours on into the hole",
    "navier_stokes": "classical fill by Navier-Stokes, no learning: carries edges on",
    "mean_color": "the mean colour of what is known, to compare with",
}
# Side of the windows for SavedModels that neither say nor prescribe one.
_DEFAULT_SIDE = 256


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
    """The label under which `open_all` opens a text that alone is given, by a flag."""
    name, label = _method_name(text, flag)
    return label if name else _find(text, flag).label


def method_of(source):
    """Name of the method that a source is or was trained for; "" if unknown."""
    return _find(source, "weights").method


def open_method(source, working_size=None):
    """Opens one method.

    Args:
      source: see the module; label=source too.
      working_size: side at which a network sees windows of the photo; None for the one
        that it was trained at.

    Returns:
      PhotoMethod.

    Raises:
      UsageError: there is no such thing, it completes nothing, it takes no other size,
        or OpenCV is missing for a classical fill.
    """
    return _open(_find(source), working_size)


def open_all(methods, weights, working_size=None):
    """Opens what --methods and --weights name; each once, in the order of --methods.

    Args:
      methods: list of [label=]source, or names of methods.
      weights: list of [label=]source of weights; those whose method --methods names
        take their place there, the others follow.
      working_size: as of `open_method`.

    Returns:
      list of PhotoMethod with labels of their own.

    Raises:
      UsageError: as `open_method`, or nothing is named and nothing comes along.
    """
    along = weights_along.names()
    if not methods and not weights:
        if not along:
            raise UsageError(
                "no weights come along with this installation; name --weights=<run "
                "folder, SavedModel, ...>, or a method that needs none: --methods=telea"
            )
        weights = along[:1]
    spare = [_find(text, "weights") for text in weights]
    given = list(spare)
    chosen = []
    for text in methods:
        name, label = _method_name(text, "methods")
        if name:
            # One dcgan serves several searches, one network with and without mirroring.
            found = (
                _weights_of(name, spare)
                or _weights_of(name, given)
                or _weights_of(name, [_find(each, "weights") for each in along])
            )
            if found is None:
                raise UsageError(
                    f"--methods={text}: {name} needs weights, and none of it are among "
                    f"--weights or come along ({_listed(along)}); name "
                    "--weights=<run folder, SavedModel, ...>"
                )
            if found in spare:
                spare.remove(found)
            if found.is_mirrored:
                raise UsageError(
                    f"{found.text}: {name} takes these weights; put "
                    f"{contenders.MIRRORED} behind --methods={text} instead"
                )
            _, is_mirrored = contenders.split_mirrored(text)
            chosen.append(
                dataclasses.replace(
                    found, label=label, method=name, is_mirrored=is_mirrored
                )
            )
        else:
            chosen.append(_find(text, "methods"))
    chosen += spare
    labels = [source.label for source in chosen]
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(
                f"two methods are called {label}; tell them apart: "
                "--methods=first=...,second=..."
            )
    return [_open(source, working_size) for source in chosen]


def _weights_of(name, sources):
    """The first source with weights of a method, or of what it searches; or None."""
    wanted = [(name, "run"), (name, "saved_model"), (name, "tf1"), (name, "search")]
    if name in SEARCHES:
        wanted.append(("dcgan", "run"))
    return next((s for s in sources if (s.method, s.kind) in wanted), None)


# ---------------------------------------------------------------- finding


def _method_name(text, flag):
    """(method, label) where --methods names a method by its name; ("", "") elsewhere."""
    plain, is_mirrored = contenders.split_mirrored(text, flag)
    label, _, name = plain.rpartition("=")
    if name not in METHODS and name not in SEARCHES:
        return "", ""
    return name, label or _label(name, is_mirrored)


def _label(name, is_mirrored):
    return f"{name}_mirrored" if is_mirrored else name


def _find(text, flag=None):
    """Source that a text of --weights or --methods names, or a caller in Python."""
    plain, is_mirrored = contenders.split_mirrored(text, flag)
    said = f"--{flag}={text}" if flag else text
    found = _find_plain(plain, flag, said)
    has_label = plain.startswith(f"{found.label}=")
    label = found.label if has_label else _label(found.label, is_mirrored)
    return dataclasses.replace(found, label=label, is_mirrored=is_mirrored)


def _find_plain(text, flag, said):
    label, source, checkpoint = contenders.split_text(text, flag)
    has_label = text.startswith(f"{label}=")
    source = weights_along.find(source)
    kind = _kind(source)
    if checkpoint and kind != "run":
        raise UsageError(f"{said}: only a run folder has checkpoints (@)")
    name = label if has_label else _own_name(source)
    if kind == "classical":
        return Source(said, name, kind, source, source)
    if kind == "search":
        return Source(said, name, kind, source, search_recipes.read(source).method)
    if kind == "run":
        method = trained.recorded_flags(source).get("method", "")
        return Source(said, name, kind, source, method, checkpoint)
    if kind == "saved_model":
        return Source(said, name, kind, source, _metadata(source).get("method", ""))
    try:
        prefix, _ = tf1_checkpoint.find(source)
    except ValueError:
        raise UsageError(f"{said}: {_why_not(source)}") from None
    if os.path.basename(prefix).startswith("step-"):
        run_dir, checkpoint = trained.split_checkpoint(prefix)
        name = label if has_label else _own_name(run_dir)
        method = trained.recorded_flags(run_dir).get("method", "")
        return Source(said, name, "run", run_dir, method, checkpoint)
    names = [name for name, _ in tf.train.list_variables(prefix)]
    for method, scope in (("giica", "inpaint_net/"), ("glcic", "generator/")):
        if any(variable.startswith(scope) for variable in names):
            return Source(said, name, "tf1", source, method)
    raise UsageError(
        f"{said}: a checkpoint, but of neither a run of train.py nor the TF1 programs "
        "of GIICA and GLCIC"
    )


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


def _own_name(path):
    """A label made of a path: its last part, or the one before a version's number."""
    path = os.path.normpath(path)
    name = os.path.splitext(os.path.basename(path))[0]
    if name.isdecimal():
        name = os.path.basename(os.path.dirname(os.path.abspath(path)))
    return name


def _metadata(saved_model):
    """What `exporting` wrote beside a SavedModel; {} where it did not."""
    try:
        with open(os.path.join(saved_model, "assets.extra", "metadata.json")) as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


# ---------------------------------------------------------------- opening


def _open(source, working_size):
    opener = {
        "classical": _open_classical,
        "search": _open_search,
        "run": _open_run,
        "saved_model": _open_saved_model,
        "tf1": _open_tf1,
    }[source.kind]
    try:
        method = opener(source, working_size)
    except (ValueError, ImportError, TrainingStopped) as error:
        raise UsageError(
            f"{source.text}: {str(error).strip().splitlines()[0]}"
        ) from None
    if not source.is_mirrored:
        return method
    return dataclasses.replace(
        method,
        description=f"{method.description}, mean of picture and mirror image",
        fingerprint=f"mirrored {method.fingerprint}",
        inpaint=self_ensemble.mirrored(method.inpaint),
        # Where a network looks and how a search goes are those of one of the two.
        attend=None,
        watch=None,
    )


def _open_classical(source, working_size):
    if source.path != "mean_color":
        # Missing OpenCV is said now.
        contenders.CLASSICAL[source.path](
            tf.zeros([1, 8, 8, 3]), tf.zeros([1, 8, 8, 1])
        )
    return PhotoMethod(
        source.label,
        _CLASSICAL[source.path],
        f"classical {source.path}",
        contenders.CLASSICAL[source.path],
        None,
    )


def _open_run(source, working_size):
    checkpoint = source.checkpoint or trained.best_or_newest(source.path)
    prefix = trained.checkpoint_prefix(source.path, checkpoint)
    fingerprint = f"{source.method} {file_hash(prefix + '.index')}"
    if source.method in SEARCHES:  # Asked for by name, on a dcgan.
        recipe = search_recipes.SearchRecipe(
            source.path, source.method, source.path, checkpoint, 0, {}, {}
        )
        return _searching(source, recipe, working_size, fingerprint)
    if source.method == "dcgan":
        raise UsageError(
            "a dcgan completes nothing itself; add the search of it, "
            f"--methods={' or '.join(SEARCHES)}"
        )
    name, served, facts = served_methods.open_run(source.path, checkpoint)
    about = f"{name} at step {facts['step']}, width {facts['width']:g}"
    central = "holes" in facts
    return _network(source, served, about, fingerprint, working_size, central)


def _open_search(source, working_size):
    recipe = search_recipes.read(source.path)
    prefix = trained.checkpoint_prefix(recipe.gan, recipe.gan_checkpoint)
    fingerprint = (
        f"{recipe.method} {sorted(recipe.effective.items())} seed {recipe.seed} "
        f"{file_hash(prefix + '.index')}"
    )
    return _searching(source, recipe, working_size, fingerprint)


def _searching(source, recipe, working_size, fingerprint):
    search, gan, step = recipe.open()

    def inpaint(image, mask):
        return search.complete(image, mask)["completed"]

    served = serving.ServedMethod(inpaint, gan.image_size, None, whole_batches=True)
    about = f"{recipe.method} on a dcgan at step {step}"
    method = _network(source, served, about, fingerprint, working_size)
    watch = watched_search.WatchedSearch(search)
    return dataclasses.replace(method, watch=watch, is_search=True)


def _open_tf1(source, working_size):
    released_format = {"giica": "giica_tf1", "glcic": "glcic_tf1"}[source.method]
    prefix, _ = tf1_checkpoint.find(source.path)
    with tempfile.TemporaryDirectory() as folder:
        run_dir = os.path.join(folder, source.label)
        released_weights.convert(released_format, source.path, run_dir)
        name, served, facts = served_methods.open_run(run_dir)
    return _network(
        source,
        served,
        f"{name}, released weights at step {facts['step']}",
        f"{released_format} {file_hash(prefix + '.index')}",
        working_size,
    )


def _network(source, served, about, fingerprint, working_size, central=False):
    """PhotoMethod of a `serving.ServedMethod`, compiled once per size."""
    size = served.image_size
    if working_size is not None and working_size != size:
        if served.size_multiple is None:
            raise UsageError(
                f"{source.label} takes pictures of {size}x{size} alone; leave "
                f"{_working_size(source)} out"
            )
        size = max(working_size, served.min_size)

    @tf.function(reduce_retracing=True)
    def inpaint(image, mask):
        return serving.complete(served, image, mask)

    @tf.function(reduce_retracing=True)
    def attend(image, mask):
        return serving.attend(served, image, mask)

    return PhotoMethod(
        source.label,
        f"{about}, windows of {size}x{size}",
        fingerprint,
        inpaint,
        size,
        central,
        attend if served.attend else None,
    )


def _working_size(source):
    """What whoever named the source calls the working size."""
    return "--working_size" if source.text.startswith("--") else "working_size"


def _open_saved_model(source, working_size):
    signature = contenders.saved_model_signature(source.path)
    shape = signature.structured_input_signature[1]["image"].shape
    sides = shape[1:3].as_list() if shape.rank == 4 else [None, None]
    metadata = _metadata(source.path)
    size = working_size or sides[0] or metadata.get("image_size", _DEFAULT_SIDE)
    if any(side not in (None, size) for side in sides):
        raise UsageError(
            f"{source.label} takes pictures of height {sides[0]} and width {sides[1]} "
            "alone; photos are completed in squares"
            + (f", so leave {_working_size(source)} out" if working_size else "")
        )
    about = metadata.get("method", "SavedModel")
    if metadata.get("mirrored"):
        about += ", mirrored,"
    return PhotoMethod(
        source.label,
        f"{about} of a SavedModel, windows of {size}x{size}",
        contenders.saved_model_fingerprint(source.path),
        contenders.completes(signature),
        size,
        "holes" in metadata,
        is_search="search" in metadata,
    )
