"""Masks: which pixels of an image are missing, drawn by rule or read from a folder.

Conventions: a mask is float32, exactly 0 (known) or 1 (missing), `[H, W, 1]`; a box is
int32 `[4]`: top, left, height, width, and is what the local discriminators look at.
Every random rule is a pure function of one stateless seed (int `[2]`), so that an
example's mask depends neither on its batch nor on the order of drawing.

| rule          | hole                                          | box              |
|---------------|-----------------------------------------------|------------------|
| center        | centred box                                   | the hole         |
| random_box    | random box, sides shrunk at random (GIICA)    | before shrinking |
| box_in_patch  | random box in a random local patch (GLCIC)    | the local patch  |
| free_form     | brush strokes (DeepFill v2)                   | bounding box     |
| left_half, right_half, half | one half; `half`: either one    | the hole         |
| random_pixels | each pixel alone, with probability `share`    | bounding box     |
| pattern       | large smooth blobs covering `share` (SIIDGM)  | bounding box     |
| folder        | an irregular mask out of a bank of masks      | bounding box     |

Eager TensorFlow, graphs, tf.data and XLA draw the same mask bit for bit. How, and where
the rules depart from the original programs, is told in `mask_rules`.

In order: `draw`, `draw_one_of`, `draw_batch`; boxes and local patches; the bank.
"""

import functools
import hashlib
import os

import numpy as np
import tensorflow as tf

from inpainting_tf import image_files, images, mask_rules

RULES = (
    "center",
    "random_box",
    "box_in_patch",
    "free_form",
    "left_half",
    "right_half",
    "half",
    "random_pixels",
    "pattern",
    "folder",
)

# Rules that take a hole_size; rules that take a share, with its default.
BOX_RULES = ("center", "random_box", "box_in_patch")
DEFAULT_SHARE = {"random_pixels": 0.8, "pattern": 0.25}


def draw(rule, seed, height, width, *, hole_size=None, share=None, bank=None):
    """Draws one mask.

    Args:
      rule: one of `RULES`.
      seed: int32 or int64 `[2]`, a stateless seed. The same seed gives the same mask.
      height, width: Python ints, the image's size in pixels.
      hole_size: for `center` and `random_box` the hole's side, for `box_in_patch` the
        local patch's side, in pixels: an int or (height, width). Default: half the
        image's side, per axis. Other rules ignore it.
      share: share of missing pixels, in (0, 1): the probability per pixel in
        `random_pixels` (default 0.8), the share of the image in `pattern` (default
        0.25). Other rules ignore it.
      bank: for `folder`, uint8 `[N, H, W, 1]` from `load_bank`; one mask is drawn, all
        equally likely. Pass a tensor where a large bank must not be copied into a graph
        as a constant.

    Returns:
      mask, float32 `[H, W, 1]` (1 = missing), and box, int32 `[4]`.

    Raises:
      ValueError: unknown rule; hole larger than the image or empty; share outside
        (0, 1); bank missing or of another size.
    """
    if rule not in RULES:
        raise ValueError(
            f"unknown mask rule {rule!r}; choose one of {', '.join(RULES)}"
        )
    if rule in BOX_RULES:
        sides = _hole_sides(hole_size, height, width)
        if rule == "center":
            mask, box = mask_rules.center(height, width, *sides)
        elif rule == "random_box":
            mask, box = mask_rules.random_box(seed, height, width, *sides)
        else:
            mask, box = mask_rules.box_in_patch(seed, height, width, *sides)
    elif rule in ("left_half", "right_half", "half"):
        mask, box = mask_rules.half(rule, seed, height, width)
    else:
        if rule == "free_form":
            mask = mask_rules.free_form(seed, height, width)
        elif rule == "random_pixels":
            share = _checked_share(rule, share)
            mask = mask_rules.random_pixels(seed, height, width, share)
        elif rule == "pattern":
            share = _checked_share(rule, share)
            mask = mask_rules.pattern(seed, height, width, share)
        else:
            mask = mask_rules.from_bank(seed, _checked_bank(bank, height, width))
        box = bounding_box(mask[tf.newaxis])[0]
    return tf.ensure_shape(mask, [height, width, 1]), tf.ensure_shape(box, [4])


def draw_one_of(rules, seed, height, width, **arguments):
    """Draws one mask by one of several rules, all equally likely.

    Args:
      rules: names of rules; one named twice is drawn twice as often.
      seed: int32 or int64 `[2]`, decides the rule too.
      height, width, arguments: as of `draw`.

    Returns:
      as `draw`.

    Raises:
      ValueError: as `draw`.
    """
    if len(rules) == 1:
        return draw(rules[0], seed, height, width, **arguments)
    seed = tf.convert_to_tensor(seed)
    mask, box = tf.switch_case(
        mask_rules.choose(seed, len(rules)),
        [
            functools.partial(draw, rule, seed, height, width, **arguments)
            for rule in rules
        ],
    )
    return tf.ensure_shape(mask, [height, width, 1]), tf.ensure_shape(box, [4])


def draw_batch(rule, seeds, height, width, *, hole_size=None, share=None, bank=None):
    """Draws one mask per seed: `draw` for each row of `seeds`, with its arguments.

    Args:
      seeds: int32 or int64 `[B, 2]`.

    Returns:
      mask, float32 `[B, H, W, 1]`, and box, int32 `[B, 4]`.

    Raises:
      ValueError: as `draw`.
    """

    def draw_one(seed):
        return draw(
            rule, seed, height, width, hole_size=hole_size, share=share, bank=bank
        )

    return tf.map_fn(
        draw_one,
        tf.convert_to_tensor(seeds),
        fn_output_signature=(
            tf.TensorSpec([height, width, 1], tf.float32),
            tf.TensorSpec([4], tf.int32),
        ),
    )


# The rules' arguments, checked.


def _hole_sides(hole_size, height, width):
    if hole_size is None:
        return max(1, height // 2), max(1, width // 2)
    sides = (hole_size, hole_size) if np.ndim(hole_size) == 0 else tuple(hole_size)
    if len(sides) != 2 or min(sides) < 1 or sides[0] > height or sides[1] > width:
        raise ValueError(
            f"hole_size {hole_size} does not fit in the {height}x{width} image; give an"
            " int or (height, width), from 1 up to the image's sides"
        )
    return int(sides[0]), int(sides[1])


def _checked_share(rule, share):
    share = DEFAULT_SHARE[rule] if share is None else share
    if not 0 < share < 1:
        raise ValueError(
            f"share of missing pixels is {share}; it must lie between 0 and 1, both"
            " excluded"
        )
    return share


def _checked_bank(bank, height, width):
    if bank is None:
        raise ValueError(
            "the mask rule 'folder' needs a bank of masks; load one with load_bank"
        )
    bank = tf.convert_to_tensor(bank)
    if (
        bank.shape.rank != 4
        or bank.shape[1:] != [height, width, 1]
        or not bank.shape[0]
    ):
        raise ValueError(
            f"the bank of masks has shape {bank.shape}; it must be"
            f" [N, {height}, {width}, 1] with N at least 1"
        )
    return bank


# Boxes and local patches.


def bounding_box(mask):
    """Smallest boxes that hold all missing pixels.

    Args:
      mask: `[B, H, W, 1]`, missing where above 0.

    Returns:
      int32 `[B, 4]`: top, left, height, width; all 0 for a mask with nothing missing.
    """
    missing = mask[..., 0] > 0

    def span(occupied):
        """First index and number of indices up to the last one, per example."""
        size = tf.shape(occupied)[1]
        indices = tf.range(size)
        first = tf.reduce_min(tf.where(occupied, indices, size), axis=1)
        end = tf.reduce_max(tf.where(occupied, indices + 1, 0), axis=1)
        found = end > 0
        return tf.where(found, first, 0), tf.where(found, end - first, 0)

    top, height = span(tf.reduce_any(missing, axis=2))
    left, width = span(tf.reduce_any(missing, axis=1))
    return tf.stack([top, left, height, width], axis=1)


def local_patch_corner(box, patch_height, patch_width, height, width):
    """Top-left corners of patches of one size, centred on boxes, inside the image.

    Args:
      box: int32 `[B, 4]`.
      patch_height, patch_width, height, width: Python ints, sizes of patch and image.

    Returns:
      int32 `[B, 2]`: top and left. Where sizes differ by an odd number, the patch's
      centre lies half a pixel above and left of the box's.

    Raises:
      ValueError: the patch does not fit in the image.
    """
    if not (1 <= patch_height <= height and 1 <= patch_width <= width):
        raise ValueError(
            f"a local patch of {patch_height}x{patch_width} does not fit in the"
            f" {height}x{width} image; choose a smaller patch"
        )
    patch = tf.constant([patch_height, patch_width])
    centred = box[:, :2] + (box[:, 2:] - patch) // 2
    return tf.clip_by_value(centred, 0, tf.constant([height, width]) - patch)


def crop_patches(image, corner, patch_height, patch_width):
    """Crops one patch per example; exact values, differentiable with respect to image.

    Args:
      image: `[B, H, W, C]`.
      corner: int32 `[B, 2]`, top and left; the patch must lie inside the image.
      patch_height, patch_width: Python ints.

    Returns:
      `[B, patch_height, patch_width, C]`, of the image's dtype.
    """
    rows = corner[:, :1] + tf.range(patch_height)
    columns = corner[:, 1:] + tf.range(patch_width)
    strips = tf.gather(image, rows, axis=1, batch_dims=1)
    return tf.gather(strips, columns, axis=2, batch_dims=1)


# The bank of masks.


def load_bank(folder, height, width):
    """Reads every picture below a folder as a mask.

    What is missing is as in `image_files.missing_pixels`: grey above 127, or 1 in a
    mask of 0 and 1. A larger mask of the same aspect ratio is resized by nearest
    neighbour.

    Args:
      folder: path.
      height, width: Python ints, the wanted size in pixels.

    Returns:
      NumPy uint8 `[N, H, W, 1]`, 1 = missing, in the order of the files' paths.

    Raises:
      ValueError: no such folder; no picture in it; a file that cannot be read, is of
        another aspect ratio or smaller than wanted, or has no missing pixel.
    """
    if not os.path.isdir(folder):
        raise ValueError(
            f"mask folder {folder} does not exist; give an existing folder"
        )
    paths = images.find_files(folder)
    if not paths:
        raise ValueError(
            f"mask folder {folder} holds no picture ({', '.join(images.EXTENSIONS)})"
        )
    return np.stack([_load_mask(path, height, width) for path in paths])


def _load_mask(path, height, width):
    try:
        missing = image_files.missing_pixels(images.decode(images.read(path)))
    except images.ImageError as error:
        raise ValueError(
            f"mask {path} cannot be read ({error}); repair or remove it"
        ) from None
    own_height, own_width = missing.shape
    if own_width * height != own_height * width or own_height < height:
        raise ValueError(
            f"mask {path} is {own_height}x{own_width} (height x width), wanted is"
            f" {height}x{width} or larger with the same aspect ratio"
        )
    # The source pixel under the centre of each wanted pixel.
    rows = (2 * np.arange(height) + 1) * own_height // (2 * height)
    columns = (2 * np.arange(width) + 1) * own_width // (2 * width)
    mask = missing[rows][:, columns].astype(np.uint8)[..., np.newaxis]
    if not mask.any():
        raise ValueError(
            f"mask {path} has no missing pixel (grey above 127, or 1 in a mask of 0 and"
            f" 1) at {height}x{width}; remove it, or invert it if its holes are black"
        )
    return mask


def fingerprint(bank):
    """A short hash of a bank of masks: has it changed?"""
    return hashlib.sha256(np.asarray(bank).tobytes()).hexdigest()[:16]
