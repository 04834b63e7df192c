"""What evaluate.py compares: anything that completes the images of a protocol.

A contender is written [label=]source[@checkpoint][+mirrored], where source is

    mean_color, telea, navier_stokes    a classical fill
    runs/glcic                          a run folder of train.py or released_weights
    celeba128                           weights that come along, by name
    flags/siidgm_paper.cfg              a recipe of search.py, which names its --gan
    exported/glcic/1                    a SavedModel with inputs image and mask
    results/others                      a folder of finished pictures, <name>.png

and checkpoint is best (the default where there is one), newest, or a step. +mirrored
completes each picture and its mirror image, and takes the mean of both: see
`self_ensemble`.
"""

import dataclasses
import hashlib
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from baselines import classical
from command_line import search_recipes, source_text, trained, weights_along
from command_line.parsing import UsageError
from inpainting_tf import (
    compiled_steps,
    evaluation,
    images,
    self_ensemble,
    untrusted,
)
from inpainting_tf.checkpoints import TrainingStopped
from inpainting_tf.image_files import first_line
from inpainting_tf.progress import say
from inpainting_tf.run_folder import file_hash

CLASSICAL = {
    "mean_color": evaluation.mean_color_fill,
    "telea": classical.telea,
    "navier_stokes": classical.navier_stokes,
}


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to complete images.

    Attributes:
      label: its name in tables; letters, digits, and ._-
      description: where it comes from, for reports.
      fingerprint: changes whenever its completions might.
      complete: function from a batch (`image`, `mask`, and `names`, list of str) to
        completed images float32 [B, H, W, 3].
      run_dir: folder of its training run, if it has one.
      forward: function (image, mask) -> dict of all outputs, of a trained method.
      terms: of use of its weights, where a card gives them.
    """

    label: str
    description: str
    fingerprint: str
    complete: Callable
    run_dir: str = ""
    forward: Callable | None = None
    terms: str = ""


def open_all(texts, size, names):
    """Opens contenders, each under a label of its own.

    Args:
      texts: list of contenders as they are written on the command line.
      size: side of the protocol's images in pixels.
      names: of the protocol's images.

    Returns:
      list of Contender.

    Raises:
      UsageError: naming the contender, what is wrong and what to do.
    """
    opened = [_open(text, size, names) for text in texts]
    source_text.check_apart([contender.label for contender in opened])
    return opened


def mirrored(contender, label):
    """A contender that completes pictures as another, and mirrored: see `self_ensemble`.

    Args:
      contender: Contender that completes any batch.
      label: of the new one.

    Returns:
      Contender.
    """

    def complete(batch):
        def inpaint(image, mask):
            return contender.complete({**batch, "image": image, "mask": mask})

        return self_ensemble.mirrored(inpaint)(batch["image"], batch["mask"])

    return dataclasses.replace(
        contender,
        label=label,
        description=f"{contender.description}, mean of picture and mirror image",
        fingerprint=f"mirrored {contender.fingerprint}",
        complete=complete,
        # Its curves and attention are the other's.
        run_dir="",
        forward=None,
    )


def _open(text, size, names):
    written = source_text.parse(text)
    label = written.label_or(source_text.own_name(written.source))
    source, checkpoint = weights_along.find(written.source), written.checkpoint
    opener = _opener(text, source)
    if checkpoint and opener is not _open_run:
        raise UsageError(f"--methods={text}: only a run folder has checkpoints (@)")
    if written.is_mirrored and opener is _open_pictures:
        raise UsageError(
            f"--methods={text}: finished pictures cannot be completed anew; leave "
            f"{source_text.MIRRORED} out"
        )
    try:
        if opener is _open_run:
            contender = opener(label, source, size, names, checkpoint)
        else:
            contender = opener(label, source, size, names)
    except (ValueError, ImportError, TrainingStopped) as error:
        raise UsageError(f"--methods={text}: {first_line(error)}") from None
    return mirrored(contender, label) if written.is_mirrored else contender


def _opener(text, source):
    if source in CLASSICAL:
        return _open_classical
    if source.endswith(".cfg"):
        return _open_search
    if os.path.exists(os.path.join(source, "flags.cfg")):
        return _open_run
    if os.path.exists(os.path.join(source, "saved_model.pb")):
        return _open_saved_model
    if os.path.isdir(source):
        return _open_pictures
    raise UsageError(
        f"--methods={text}: {source} is neither one of {', '.join(CLASSICAL)}, nor a "
        "run folder, a recipe of search.py, a SavedModel or a folder of pictures; "
        f"weights that come along: {', '.join(weights_along.names()) or 'none'}"
    )


def _open_classical(label, source, size, names):
    fill = CLASSICAL[source]
    if source != "mean_color":
        # Missing OpenCV is said now.
        fill(tf.zeros([1, 8, 8, 3]), tf.zeros([1, 8, 8, 1]))
    return Contender(
        label,
        f"classical fill {source}",
        f"classical {source}",
        lambda batch: fill(batch["image"], batch["mask"]),
    )


def _open_run(label, source, size, names, checkpoint=""):
    checkpoint = checkpoint or trained.best_or_newest(source)
    model, recorded, step = trained.load(source, checkpoint)
    zeros = tf.zeros([1, size, size, 3])
    if "completed" not in model.call(zeros, zeros[..., :1]):
        raise UsageError(
            f"{recorded['method']} completes nothing itself; name a recipe of search.py "
            f"whose --gan is {source}"
        )
    forward = compiled_steps.compile_forward(model, size)
    trained_at = int(recorded.get("image_size", size))
    if trained_at != size:
        say(
            f"{label} was trained at {trained_at}x{trained_at}, the protocol's images are "
            f"{size}x{size}"
        )
    prefix = trained.checkpoint_prefix(source, checkpoint)
    return Contender(
        label,
        f"{recorded['method']} of {source} at step {step} ({checkpoint}), width "
        f"{recorded.get('width', 1)}, trained at {trained_at}x{trained_at}",
        f"{recorded['method']} {file_hash(prefix + '.index')}",
        lambda batch: forward(batch["image"], batch["mask"])["completed"],
        source if os.path.exists(os.path.join(source, "metrics.jsonl")) else "",
        forward,
        weights_along.terms(source),
    )


def _open_search(label, source, size, names):
    recipe = search_recipes.read(source)
    search, gan, step = recipe.open()
    if gan.image_size != size:
        raise UsageError(
            f"{recipe.gan} makes {gan.image_size}x{gan.image_size} images; this "
            f"protocol needs a dcgan of {size}"
        )
    prefix = trained.checkpoint_prefix(recipe.gan, recipe.gan_checkpoint)
    return Contender(
        label,
        f"{recipe.method} by {source} on {recipe.gan} at step {step}",
        f"{recipe.method} {sorted(recipe.effective.items())} seed {recipe.seed} "
        f"{file_hash(prefix + '.index')}",
        lambda batch: search(batch["image"], batch["mask"]),
        terms=weights_along.terms(recipe.gan),
    )


def saved_model_signature(source):
    """The signature of a SavedModel that completes: of floats, or else of bytes.

    Raises:
      UsageError: it has none with inputs image and mask and an output completed.
    """
    loaded = untrusted.load_saved_model(source)
    signature = loaded.signatures.get("float") or loaded.signatures.get(
        "serving_default"
    )
    inputs = {} if signature is None else signature.structured_input_signature[1]
    if set(inputs) != {"image", "mask"}:
        raise UsageError(
            f"{source} has no signature with the inputs image and mask, only "
            f"{', '.join(loaded.signatures) or 'none'}"
        )
    if "completed" not in signature.structured_outputs:
        raise UsageError(f"{source}: its signature has no output named completed")
    return signature


def completes(signature):
    """What a signature of `saved_model_signature` computes, as a function of float32
    images in [-1, 1] and masks of 0 and 1."""
    in_bytes = signature.structured_input_signature[1]["image"].dtype == tf.uint8

    def complete(image, mask):
        if in_bytes:
            image = images.to_uint8(image)
            mask = tf.cast(mask * 255.0, tf.uint8)
        completed = signature(image=image, mask=mask)["completed"]
        return images.to_float(completed) if in_bytes else completed

    return complete


def saved_model_fingerprint(source):
    """Text that changes with a SavedModel's graphs or weights."""
    return (
        f"saved_model {file_hash(os.path.join(source, 'saved_model.pb'))} "
        f"{file_hash(os.path.join(source, 'variables', 'variables.index'))}"
    )


def _open_saved_model(label, source, size, names):
    signature = saved_model_signature(source)
    inputs = signature.structured_input_signature[1]
    for argument, channels in (("image", 3), ("mask", 1)):
        shape = inputs[argument].shape
        if not shape.is_compatible_with([None, size, size, channels]) or (
            shape.rank is not None and shape[0] is not None
        ):
            raise UsageError(
                f"{source} takes {argument}s of shape {tuple(shape)}; this protocol "
                f"needs any number of {size}x{size}x{channels}"
            )
    complete = completes(signature)
    return Contender(
        label,
        f"SavedModel {source}",
        saved_model_fingerprint(source),
        lambda batch: complete(batch["image"], batch["mask"]),
    )


def _open_pictures(label, source, size, names):
    files = images.find_files(source)
    if not files:
        raise UsageError(f"{source} holds no pictures")
    by_stem = {}
    for file in files:
        stem = os.path.splitext(os.path.basename(file))[0]
        if stem in by_stem:
            raise UsageError(f"{source} holds two pictures named {stem}")
        by_stem[stem] = file
    absent = [name for name in names if source_text.stem(name) not in by_stem]
    if absent:
        raise UsageError(
            f"{source} has pictures for {len(names) - len(absent)} of the protocol's "
            f"{len(names)} images; the first without is {absent[0]}: they are named as "
            f"the images, {source_text.stem(absent[0])}.png"
        )
    surplus = sorted({*by_stem} - {source_text.stem(name) for name in names})
    if surplus:
        raise UsageError(
            f"{source} has {len(by_stem)} pictures for the protocol's {len(names)} images; "
            f"the first that belongs to none is {by_stem[surplus[0]]}"
        )
    for name in names:
        _check_size(by_stem[source_text.stem(name)], size)
    stems = [source_text.stem(name) for name in names]
    if len({*stems}) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise UsageError(
            f"the protocol has several images named {twice}, which finished pictures "
            "cannot be told apart by"
        )
    state = [(stem, file_hash(by_stem[stem])) for stem in stems]

    def complete(batch):
        pictures = []
        for name in batch["names"]:
            path = by_stem[source_text.stem(name)]
            try:
                pictures.append(images.decode(images.read(path)))
            except images.ImageError as error:
                raise UsageError(f"--methods={label}: {path}: {error}") from None
        return images.to_float(np.stack(pictures))

    return Contender(
        label,
        f"finished pictures of {source}",
        f"pictures {hashlib.sha256(repr(state).encode()).hexdigest()}",
        complete,
    )


def _check_size(path, size):
    try:
        width, height = images.header_size(images.read(path))
    except images.ImageError:
        raise UsageError(f"{path} cannot be read as a picture") from None
    if (width, height) != (size, size):
        raise UsageError(
            f"{path} is {width}x{height}; the protocol's images are {size}x{size}"
        )
