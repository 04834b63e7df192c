"""Batches of (image, mask, box) as a function of (seed, step).

`batches` numbers the training examples 0, 1, 2, ...: example p is picture
`shuffle_epoch(p mod n)` of a source, flipped, zoomed and masked by random numbers drawn
from (seed, p) alone. So a run that resumes at step s starts at example s * batch_size,
without reading what came before, and sees exactly what an uninterrupted run sees; and
several processes that share a run read the examples of their own replicas alone (`Share`).

Outputs per batch: `image` float32 [B, S, S, 3] in [-1, 1], `mask` float32 [B, S, S, 1]
with 1 = missing, `box` int32 [B, 4] (top, left, height, width of the hole's region).
"""

import random
import threading
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from inpainting_tf import images, synthetic_faces
from inpainting_tf.sources import DataError

# What the random numbers of an example are for; folded into its seed.
_FLIP, _MASK, _ZOOM = 1, 2, 3

# Replacements tried for an unusable picture; with half of a source unusable, the chance
# that all of them fail is below 1e-30.
MAX_REDRAWS = 100


class Loader:
    """Reads pictures of a source, cut square; counts those it cannot use.

    An unusable picture is replaced by another one, drawn by a random number that its
    index seeds: the same one on every run, and no picture more often than others.

    Pictures that cannot be read, decoded or cropped (`images.ImageError`) are unusable.

    Attributes:
      broken: {name: reason} of the pictures found unusable so far.
      failure: the DataError after which loading stopped, or None. (TensorFlow wraps
        an exception that crosses tf.data in its own; this keeps the one-line cause.)
    """

    def __init__(self, source, size, crop, max_broken_share, on_broken=None):
        """
        Args:
          source: a source with `read`.
          size: side of the images in pixels.
          crop: "square" or the side of the centred crop, see `images.crop_region`.
          max_broken_share: share of the source, 0..1, that may be unusable.
          on_broken: called with (name, reason) of each unusable picture once; an OSError
            that it raises stops loading.
        """
        self.broken = {}
        self.failure = None
        self._source = source
        self._size = size
        self._crop = crop
        self._max_broken = max_broken_share * len(source)
        self._max_broken_share = max_broken_share
        self._on_broken = on_broken
        self._lock = threading.Lock()

    def load(self, index):
        """Returns picture `index`, or its replacement, as uint8 [side, side, 3].

        Raises:
          DataError: more of the source is unusable than allowed, or the note of an
            unusable picture cannot be written.
        """
        redraw = random.Random(int(index))
        candidate = int(index)
        for _ in range(MAX_REDRAWS):
            name = self._source.name(candidate)
            if name not in self.broken:
                try:
                    pixels = images.decode(self._source.read(candidate))
                    return images.crop_square(pixels, self._crop, self._size)
                except images.ImageError as error:
                    self._count_broken(name, str(error))
            candidate = redraw.randrange(len(self._source))
        raise self._fail(f"{self._source.description}: hardly any usable picture")

    def _count_broken(self, name, reason):
        with self._lock:  # Several threads load at once.
            if name in self.broken:
                return
            self.broken[name] = reason
            count = len(self.broken)
            unwritten = None
            if self._on_broken is not None:
                try:
                    self._on_broken(name, reason)
                except OSError as error:
                    unwritten = error
            if unwritten is None and count <= self._max_broken:
                return
            kinds = images.count_by_kind(self.broken.values())
        if unwritten is not None:
            raise self._fail(
                f"{unwritten.filename}: cannot note an unusable picture there "
                f"({unwritten.strerror}); make room or let it be written to, then run "
                "the same command"
            )
        raise self._fail(
            f"{self._source.description}: {count} of {len(self._source)} pictures "
            f"are unusable, more than --max_broken_share={self._max_broken_share:g}"
            f" allows ({kinds}); the last: {images.in_one_line(name)}: {reason}"
        )

    def _fail(self, message):
        with self._lock:
            self.failure = self.failure or DataError(message)
        return self.failure


def _load_images(source, loader, indices, size):
    """Dataset of int64 picture numbers -> dataset of uint8 [size, size, 3]."""
    if hasattr(source, "render"):  # Drawing is cheaper in batches.
        drawn = indices.batch(synthetic_faces.DRAWN_TOGETHER).map(
            lambda some: source.render(some, size), tf.data.AUTOTUNE
        )
        return drawn.unbatch()

    def load(index):
        square = tf.numpy_function(loader.load, [index], tf.uint8, stateful=False)
        return images.resize(tf.ensure_shape(square, [None, None, 3]), size, size)

    return indices.map(load, tf.data.AUTOTUNE)


# ----------------------------------------------------------------------- batches


class Share(NamedTuple):
    """Which examples of every step a process reads: those of its own replicas.

    The examples of a step are `parts` batches one after another, as `update` takes them.
    Each replica gets an equal piece of each part, in the order of the replicas, so that
    all of them together take the very batches that one device would take.

    Attributes:
      first, count: the process's replicas among all.
      replicas: how many there are in all processes.
      parts: a method's `batches_per_step`.
    """

    first: int = 0
    count: int = 1
    replicas: int = 1
    parts: int = 1

    @classmethod
    def of(cls, context, parts=1):
        """The share of an input pipeline, from its tf.distribute.InputContext."""
        count = context.num_replicas_in_sync // context.num_input_pipelines
        first = context.input_pipeline_id * count
        return cls(first, count, context.num_replicas_in_sync, parts)

    def position(self, number, batch_size):
        """Position among all examples of the `number`th one of this process.

        Args:
          number: int64 scalar tensor, or int.
          batch_size: examples of a step over all replicas, a multiple of replicas times
            parts.
        """
        piece = batch_size // (self.replicas * self.parts)
        rest, row = number // piece, number % piece
        rest, part = rest // self.parts, rest % self.parts
        step, replica = rest // self.count, self.first + rest % self.count
        return step * batch_size + (part * self.replicas + replica) * piece + row


# Of a process alone.
ALL = Share()


def batches(
    source,
    loader,
    draw_mask,
    *,
    size,
    batch_size,
    seed,
    flip,
    zoom=0.0,
    first_step=0,
    examples_per_mask=1,
    share=ALL,
):
    """Endless training batches from step `first_step` on.

    Args:
      source: the collection; every epoch visits each of its pictures once, in an
        order that is a new permutation of the whole collection.
      loader: Loader of that source.
      draw_mask: (stateless seed [2]) -> (mask [size, size, 1], box [4]).
      size: side of the images in pixels.
      batch_size: examples per step (over all replicas).
      seed: int; with the step it decides order, flips, parts and masks.
      flip: whether half of the images are mirrored left to right.
      zoom: each image is a random square part of its picture, whose side is at least
        1 - zoom of the whole, all sides equally likely; 0 shows whole pictures.
      first_step: step to start at.
      examples_per_mask: so many consecutive examples get the same hole.
      share: Share of this process; nothing else is read.

    Returns:
      tf.data.Dataset of dicts `image`, `mask`, `box`: a batch for each replica of the
      process in turn.
    """
    count = tf.constant(len(source), tf.int64)

    def picture_number(position):
        return tf.random.experimental.index_shuffle(
            position % count,
            seed=tf.stack([tf.constant(seed, tf.int64), position // count]),
            max_index=count - 1,
        )

    def example(position, pixels):
        own_seed = _example_seed(seed, position)
        if flip:
            draw = tf.random.stateless_uniform(
                [], tf.random.experimental.stateless_fold_in(own_seed, _FLIP)
            )
            pixels = tf.where(draw < 0.5, pixels[:, ::-1], pixels)
        if zoom:
            pixels = _random_part(
                pixels, tf.random.experimental.stateless_fold_in(own_seed, _ZOOM), zoom
            )
        mask_seed = _example_seed(seed, position // examples_per_mask)
        return _masked_example(pixels, mask_seed, draw_mask)

    own = batch_size // share.replicas
    first = first_step * own * share.count
    positions = tf.data.Dataset.range(first, np.iinfo(np.int64).max)
    if share.replicas > 1:
        positions = positions.map(lambda number: share.position(number, batch_size))
    pixels = _load_images(source, loader, positions.map(picture_number), size)
    numbered = tf.data.Dataset.zip(positions, pixels)
    # Endless for tf.distribute too, whose workers else ask each other before each batch
    # whether they have one.
    ready = 2 * share.count
    return _batched(numbered.map(example, tf.data.AUTOTUNE), own, ready).repeat()


def fixed_batches(source, loader, draw_mask, *, size, batch_size, seed, count):
    """The first `count` pictures in source order, unflipped, with fixed masks.

    For validation: the same pictures and masks at every step of every run with this
    seed. Arguments as for `batches`.

    Returns:
      finite tf.data.Dataset of dicts `image`, `mask`, `box`; the last batch may be
      smaller.
    """

    def example(index, pixels):
        return _masked_example(pixels, _example_seed(seed, index), draw_mask)

    indices = tf.data.Dataset.range(min(count, len(source)))
    pixels = _load_images(source, loader, indices, size)
    numbered = tf.data.Dataset.zip(indices, pixels)
    examples = numbered.map(example, tf.data.AUTOTUNE)
    return _batched(examples, batch_size, ready=2, partial=True)


def _example_seed(seed, position):
    return tf.random.experimental.stateless_fold_in(
        tf.stack([tf.constant(seed, tf.int64), tf.constant(0, tf.int64)]), position
    )


def _random_part(pixels, seed, zoom):
    """A square part of a picture uint8 [S, S, 3], enlarged to all of it; see `batches`."""
    draws = tf.random.stateless_uniform([3], seed)
    side = 1.0 - zoom * draws[0]
    corner = (1.0 - side) * draws[1:]
    part = tf.concat([corner, corner + side], axis=0)
    enlarged = tf.image.crop_and_resize(
        pixels[tf.newaxis], part[tf.newaxis], [0], pixels.shape[:2]
    )
    return tf.cast(tf.round(enlarged[0]), pixels.dtype)


def _masked_example(pixels, seed, draw_mask):
    mask, box = draw_mask(tf.random.experimental.stateless_fold_in(seed, _MASK))
    return {"image": pixels, "mask": mask, "box": box}


def _batched(examples, batch_size, ready, partial=False):
    """Batches, `ready` of them ahead of whoever takes them."""
    dataset = examples.batch(batch_size, drop_remainder=not partial)
    # Pixels travel as bytes and become floats only here, a quarter of the memory.
    return dataset.map(
        lambda batch: {**batch, "image": images.to_float(batch["image"])}
    ).prefetch(ready)
