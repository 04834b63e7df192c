"""What a server computes with a method, from raw request to answer, as graphs.

Three signatures of the same completion, all with inputs named `image` and `mask`:

    serving_default  uint8 [B, H, W, 3] and [B, H, W, 1], missing = 255 (or 1)
                     -> completed, uint8 [B, H, W, 3]
    float            float32 in [-1, 1] and 0..1, missing = 1
                     -> completed, float32 [B, H, W, 3]
    encoded          strings [B], PNG or JPEG files, each pair of a size of its own
                     -> completed_bytes, strings [B], PNG files

Any B, H and W from 1 on, known pixels unchanged bit for bit. What cannot be completed
fails with an InvalidArgumentError that says what is wrong. On a CPU the answer to an
example is the same bytes alone and in any batch.

Stages: check and rescale the request; bring it to a size that the method takes (see
`any_size`); complete; bring it back; compose; rescale. `signatures` makes the three.
"""

import dataclasses
import math
from collections.abc import Callable

import tensorflow as tf

from inpainting_tf import any_size, graph_codecs, images
from inpainting_tf.graph_codecs import require


@dataclasses.dataclass(frozen=True)
class ServedMethod:
    """A method as it is served.

    Attributes:
      inpaint: function (image float32 [B, H, W, 3] in [-1, 1], mask [B, H, W, 1]) ->
        completed, of sizes that the method takes.
      image_size: side of the pictures that it was made for.
      size_multiple: sides that it takes are multiples of this; None if it takes
        `image_size` alone.
      min_size: of these sides.
      max_pixels: of a picture, height times width; larger ones are refused.
      whole_batches: whether `inpaint` gets all examples of a request at once. One by
        one otherwise: convolutions round differently for other batch sizes, and the
        same request shall give the same bytes.
      attend: function of what `inpaint` takes -> int32 offsets [B, h, w, 2] of its
        contextual attention, or None for a network without; None where unknown.
    """

    inpaint: Callable
    image_size: int
    size_multiple: int | None
    min_size: int = 1
    max_pixels: int = 2**20
    whole_batches: bool = False
    attend: Callable | None = None

    @property
    def max_side(self):
        """Longest side in pixels: four times that of the largest square."""
        return 4 * math.isqrt(self.max_pixels)


def signatures(served):
    """The graphs that a server runs.

    Args:
      served: ServedMethod.

    Returns:
      dict: name -> (function (image, mask) -> dict of one tensor, [TensorSpec,
      TensorSpec]), see the module's docstring.
    """

    def specs(dtype, shape):
        pairs = (("image", 3), ("mask", 1))
        return [
            tf.TensorSpec(
                [None, None, None, channels] if shape else [None], dtype, name
            )
            for name, channels in pairs
        ]

    def serving_default(image, mask):
        image, mask = _checked_shapes(served, image, mask)
        return {"completed": _complete_levels(served, image, mask)}

    def float_(image, mask):
        image, mask = _checked_shapes(served, image, mask)
        mask = _checked_mask(mask)
        image = _checked_range(image, mask)
        return {"completed": complete(served, image, mask)}

    def encoded(image, mask):
        return {"completed_bytes": _complete_files(served, image, mask)}

    return {
        "serving_default": (serving_default, specs(tf.uint8, True)),
        "float": (float_, specs(tf.float32, True)),
        "encoded": (encoded, specs(tf.string, False)),
    }


def complete(served, image, mask):
    """Completes pictures of any size.

    Args:
      served: ServedMethod.
      image: float32 [B, H, W, 3] in [-1, 1], B at least 1; missing pixels may hold
        anything.
      mask: float32 [B, H, W, 1] of 0 and 1, 1 = missing.

    Returns:
      completed, float32 [B, H, W, 3]; known pixels unchanged, bit for bit.
    """
    prepared = _prepare(served, image, mask)
    return _finish(served, image, mask, _inpaint(served, *prepared))


def attend(served, image, mask):
    """Where a method looks when it completes pictures: see `ServedMethod.attend`.

    Args: as `complete`.

    Returns:
      offsets int32 [B, h, w, 2] for the pictures at a size that the method takes, or
      None.
    """
    return served.attend(*_prepare(served, image, mask))


def _prepare(served, image, mask):
    """Brings a request to a size that the method takes."""
    if served.size_multiple is None:
        return any_size.fit(image, mask, served.image_size)
    return any_size.pad_to_multiple(image, mask, served.size_multiple, served.min_size)


def _inpaint(served, image, mask):
    if served.whole_batches:
        return served.inpaint(image, mask)

    def one(example):
        image, mask = (x[tf.newaxis] for x in example)
        return served.inpaint(image, mask)[0]

    return tf.map_fn(
        one,
        (image, mask),
        fn_output_signature=tf.TensorSpec([None, None, 3], tf.float32),
        parallel_iterations=1,
    )


def _finish(served, image, mask, completed):
    """Brings completed pictures back to the request's size and composes them."""
    height, width = tf.shape(image)[1], tf.shape(image)[2]
    back = any_size.enlarge if served.size_multiple is None else any_size.crop
    return images.compose(image, back(completed, height, width), mask)


# ---------------------------------------------------------------- uint8 and files


def _complete_levels(served, image, mask):
    """uint8 levels [B, H, W, 3], mask levels [B, H, W, 1] -> completed, uint8."""
    missing = graph_codecs.missing_pixels(mask)
    completed = complete(served, images.to_float(image), missing)
    return images.compose(image, images.to_uint8(completed), missing)


def _complete_files(served, image_files, mask_files):
    """Strings [B] and [B] -> PNG files, strings [B]."""
    count, mask_count = tf.size(image_files), tf.size(mask_files)
    alike = require(
        tf.equal(count, mask_count),
        "{} images with {} masks: must be as many",
        count,
        mask_count,
    )
    some = require(count > 0, "no images: must be at least one")
    with tf.control_dependencies([alike, some]):
        files = (
            tf.reshape(tf.identity(image_files), [-1]),
            tf.reshape(tf.identity(mask_files), [-1]),
        )

    def decode(pair):
        image = graph_codecs.decode_picture(pair[0], served.max_pixels)
        mask = graph_codecs.decode_mask(pair[1], served.max_pixels)
        return _checked_shapes(served, image[tf.newaxis], mask[tf.newaxis])

    def each(function, elements, spec):
        return tf.map_fn(
            function, elements, fn_output_signature=spec, parallel_iterations=1
        )

    def complete_alone(pair):
        return graph_codecs.encode_png(_complete_levels(served, *decode(pair))[0])

    if served.size_multiple is not None or not served.whole_batches:
        return each(complete_alone, files, tf.TensorSpec([], tf.string))

    # At the method's own size all pictures fit into one batch, and decoding them twice
    # costs nothing beside it.
    size = served.image_size

    def prepare(pair):
        image, mask = decode(pair)
        missing = graph_codecs.missing_pixels(mask)
        prepared = _prepare(served, images.to_float(image), missing)
        return tuple(x[0] for x in prepared)

    prepared = each(
        prepare,
        files,
        tuple(tf.TensorSpec([size, size, channels]) for channels in (3, 1)),
    )

    def finish(element):
        *pair, completed = element
        image, mask = decode(pair)
        missing = graph_codecs.missing_pixels(mask)
        completed = _finish(
            served, images.to_float(image), missing, completed[tf.newaxis]
        )
        levels = images.compose(image, images.to_uint8(completed), missing)
        return graph_codecs.encode_png(levels[0])

    completed = _inpaint(served, *prepared)
    return each(finish, (*files, completed), tf.TensorSpec([], tf.string))


# ---------------------------------------------------------------- checks


def _checked_shapes(served, image, mask):
    """The request, once its shapes have been found to fit together."""
    # A server feeds what it is sent, whatever the signature says, and graph optimisers
    # take the signature's rank for granted: unknown shapes and no rank are asked for.
    image, mask = (
        tf.raw_ops.PlaceholderWithDefault(input=x, shape=tf.TensorShape(None))
        for x in (image, mask)
    )
    shape, mask_shape = _eight_sizes(image), _eight_sizes(mask)
    wanted, wanted_mask = (
        tf.concat([shape[:3], [channels, -1, -1, -1, -1]], axis=0)
        for channels in (3, 1)
    )
    sides, most = shape[1:3], served.max_pixels
    checks = [
        require(
            tf.reduce_all(tf.equal(shape, wanted) & tf.equal(mask_shape, wanted_mask)),
            "image of shape {} with mask of shape {}: must be [batch, height, width, 3] "
            "and the same with 1 at the end",
            tf.shape(image),
            tf.shape(mask),
        ),
        require(shape[0] > 0, "no images: must be at least one"),
        require(
            (_pixels(sides) > 0) & (_pixels(sides) <= most),
            f"image of height and width {{}}: must have 1 to {most} pixels",
            sides,
        ),
        # A strip costs more than a square: resizing goes by one axis after the other,
        # and attention is computed by whole rows.
        require(
            tf.reduce_max(sides) <= served.max_side,
            f"image of height and width {{}}: no side may exceed {served.max_side}",
            sides,
        ),
    ]
    if served.size_multiple is not None:
        # A picture of one row would take as much as the many that it is continued to.
        padded = any_size.padded(sides, served.size_multiple, served.min_size)
        checks.append(
            require(
                _pixels(padded) <= most,
                f"image of height and width {{}}: continued to sides that the method "
                f"takes, {{}}, it must have 1 to {most} pixels",
                sides,
                padded,
            )
        )
    with tf.control_dependencies(checks):
        image, mask = tf.identity(image), tf.identity(mask)
    return (
        tf.ensure_shape(image, [None, None, None, 3]),
        tf.ensure_shape(mask, [None, None, None, 1]),
    )


def _eight_sizes(x):
    """The shape of x, filled up with -1."""
    return tf.concat([tf.shape(x), tf.fill([8], -1)], axis=0)[:8]


def _pixels(sides):
    """Height and width, int32 [2] -> height times width, int64."""
    return tf.reduce_prod(tf.cast(sides, tf.int64))


def _checked_mask(mask):
    """float32 [B, H, W, 1] within 0..1 -> 0 and 1, missing from one half on."""
    fits = tf.reduce_all((mask >= 0.0) & (mask <= 1.0))  # Not so with NaN.
    check = require(fits, "mask: must be 0 (known) to 1 (missing) everywhere")
    with tf.control_dependencies([check]):
        return tf.cast(mask >= 0.5, tf.float32)


def _checked_range(image, mask):
    """The image, once its known pixels have been found to lie in [-1, 1]."""
    known = images.erase(image, mask)
    fits = tf.reduce_all(tf.abs(known) <= 1.0 + 1e-3)  # Not so with NaN.
    check = require(fits, "image: known pixels must be numbers in -1..1")
    with tf.control_dependencies([check]):
        return tf.identity(image)
