"""Pictures of any size through networks that take few: pad and crop, fit and enlarge.

A fully convolutional network takes sides that are multiples of its strides; a picture is
continued by its mirror image and the result is cropped. A network of one size takes a
reduced (or enlarged) copy; its result is brought back to the picture's own size.

Inputs: image float32 [B, H, W, 3] in [-1, 1], mask float32 [B, H, W, 1] of 0 and 1,
1 = missing; any H and W from 1 on, known or not when a graph is built. A picture whose
size is right already passes unchanged, bit for bit, in both directions.

Stages: `pad_to_multiple` -> network -> `crop`; or `fit` -> network -> `enlarge`.
"""

import tensorflow as tf

from inpainting_tf import images


def pad_to_multiple(image, mask, multiple, minimum=1):
    """Continues pictures by their mirror images, below and to the right.

    The edge pixel is not repeated; pictures smaller than what is added are mirrored
    again and again, a side of one pixel is repeated.

    Args:
      image: float32 [B, H, W, 3].
      mask: float32 [B, H, W, 1]; mirrored alike, so that what is missing stays so.
      multiple: of which the new sides are multiples.
      minimum: of the new sides.

    Returns:
      (image, mask), [B, H', W', 3 or 1].
    """
    for axis in (1, 2):
        size = tf.shape(image)[axis]
        source = _mirrored_indices(size, padded(size, multiple, minimum))
        image = tf.gather(image, source, axis=axis)
        mask = tf.gather(mask, source, axis=axis)
    return image, mask


def padded(sides, multiple, minimum=1):
    """Sides, int32, to which `pad_to_multiple` continues pictures."""
    return -(-tf.maximum(sides, minimum) // multiple) * multiple


def _mirrored_indices(size, count):
    """For each of `count` positions the one of `size` that it mirrors, int32."""
    period = tf.maximum(2 * (size - 1), 1)
    place = tf.range(count) % period
    return tf.minimum(place, period - place) % size


def crop(image, height, width):
    """The top left part of [B, H', W', C] as [B, height, width, C]."""
    return image[:, :height, :width]


def fit(image, mask, size):
    """Brings pictures to size x size, whatever their shape was.

    A reduced pixel is the mean of the known pixels that it covers, so that nothing of
    the hole shines through; it is missing where less than half of what it covers is
    known. (Nearest neighbour, as for masks on their own, would mix the hole into pixels
    that count as known.) Antialiased with a triangle filter.

    Args:
      image: float32 [B, H, W, 3]; missing pixels may hold anything, even no number.
      mask: float32 [B, H, W, 1].
      size: side of the result.

    Returns:
      (image [B, size, size, 3], 0 where nothing is known; mask [B, size, size, 1] of
      0 and 1).
    """
    known = 1.0 - mask
    weighted = tf.concat([images.erase(image, mask), known], axis=-1)
    weighted = tf.image.resize(weighted, [size, size], "bilinear", antialias=True)
    share = weighted[..., 3:]
    fitted = tf.math.divide_no_nan(weighted[..., :3], share)
    return fitted, tf.cast(share < 0.5, tf.float32)


def enlarge(image, height, width):
    """Brings [B, S, S, 3] in [-1, 1] to [B, height, width, 3], by bicubic
    interpolation, antialiased, limited to [-1, 1]."""
    resized = tf.image.resize(image, [height, width], "bicubic", antialias=True)
    return tf.clip_by_value(resized, -1.0, 1.0)
