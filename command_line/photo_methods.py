"""Methods that complete photos of any size, opened by what a user calls them.

What they may be called, `photo_sources` says and finds. Each becomes a
`completion.PhotoMethod`.
"""

import dataclasses
import os
import tempfile

import tensorflow as tf

from baselines import released_weights, tf1_checkpoint
from baselines.methods import SEARCHES
from command_line import (
    contenders,
    photo_sources,
    search_recipes,
    served_methods,
    trained,
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


def open_method(source, working_size=None):
    """Opens one method.

    Args:
      source: see `photo_sources`; label=source too.
      working_size: side at which a network sees windows of the photo; None for the one
        that it was trained at.

    Returns:
      PhotoMethod.

    Raises:
      UsageError: there is no such thing, it completes nothing, it takes no other size,
        or OpenCV is missing for a classical fill.
    """
    return _open(photo_sources.find(source), working_size)


def open_all(methods, weights, working_size=None):
    """Opens what --methods and --weights name; each once, in the order of --methods.

    Args:
      methods, weights: as of `photo_sources.find_all`.
      working_size: as of `open_method`.

    Returns:
      list of PhotoMethod with labels of their own.

    Raises:
      UsageError: as `open_method` and `photo_sources.find_all`.
    """
    sources = photo_sources.find_all(methods, weights)
    return [_open(source, working_size) for source in sources]


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
    metadata = photo_sources.saved_model_metadata(source.path)
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
