"""Photos and masks on their way to a server: which belong together, and their bytes.

A photo is decoded as everywhere in this package (`inpainting_tf.image_files`: EXIF
rotation, transparency, CMYK, 16 bits) and sent as a PNG of its RGB pixels; a mask as a
one-channel PNG of 0 (known) and 255 (missing).
"""

import dataclasses
import os

import numpy as np

from inpainting_tf import image_files


class PictureError(ValueError):
    """A photo or mask that cannot be sent; the message names the file."""


class PairingError(ValueError):
    """Paths that give no work; the message is one line."""


@dataclasses.dataclass(frozen=True)
class Pair:
    """One photo, its mask, and the file that its completion is written to: paths.

    `mask` may be None: then there is none, and `reason` says what was looked for, if
    anything was.
    """

    photo: str
    mask: str | None
    output: str
    reason: str = ""

    def is_finished(self):
        """Whether the output is there and not older than the photo and the mask."""
        try:
            inputs = max(os.path.getmtime(self.photo), os.path.getmtime(self.mask))
            return os.path.getmtime(self.output) >= inputs
        except (OSError, TypeError):
            return False


def pair_up(photo, mask, output, model):
    """Finds the work that two paths describe.

    Args:
      photo: a picture file, or a folder: then every picture below it is a photo.
      mask: a picture file, used for every photo; or a folder that holds each photo's
        mask at the same place under the same name, with any picture extension. None:
        the pairs have no masks.
      output: for one photo a .png file, or a folder; for a folder a folder. None:
        beside the photo or folder, with the model's name added.
      model: the model's name.

    Returns:
      list of Pair, in the order of their names.

    Raises:
      PairingError: a path that does not exist, folders that hold each other, no photo,
        an output that is no .png file, or two photos that would share an output.
    """
    inputs = [path for path in (photo, mask) if path is not None]
    for path in inputs:
        if not os.path.exists(path):
            raise PairingError(f"{path}: no such file or folder")
    masks = _by_name(mask) if mask is not None and os.path.isdir(mask) else None
    if not os.path.isdir(photo):
        name = os.path.splitext(os.path.basename(photo))[0]
        if output is None:
            output = os.path.join(os.path.dirname(photo), f"{name}_{model}.png")
        elif os.path.isdir(output) or output.endswith(os.sep):
            output = os.path.join(output, f"{name}.png")
        elif not output.lower().endswith(".png"):
            raise PairingError(
                f"--output={output} must end in .png or be an existing folder"
            )
        if any(os.path.realpath(output) == os.path.realpath(p) for p in inputs):
            raise PairingError(f"--output={output} would overwrite an input")
        return [_pair(photo, name, mask, masks, output)]

    if output is None:
        output = f"{os.path.normpath(photo)}_{model}"
    if os.path.isfile(output):
        raise PairingError(f"--output={output} is a file; {photo} needs a folder")
    for folder in [output] if masks is None else [output, mask]:
        if is_inside(folder, photo):
            raise PairingError(
                f"{folder} lies in {photo}, where every picture is a photo; keep masks "
                "and --output elsewhere"
            )
    photos = image_files.find_files(photo)
    if not photos:
        raise PairingError(
            f"{photo} holds no picture ({', '.join(image_files.EXTENSIONS)})"
        )
    pairs = {}
    for path in photos:
        name = os.path.splitext(os.path.relpath(path, photo))[0]
        if name in pairs:
            raise PairingError(
                f"{pairs[name].photo} and {path} would both become {name}.png; "
                "rename one"
            )
        completed = os.path.join(output, f"{name}.png")
        pairs[name] = _pair(path, name, mask, masks, completed)
    return list(pairs.values())


def _by_name(folder):
    """Relative name without extension -> paths of the pictures so named."""
    found = {}
    for path in image_files.find_files(folder):
        name = os.path.splitext(os.path.relpath(path, folder))[0]
        found.setdefault(name, []).append(path)
    return found


def _pair(photo, name, mask, masks, output):
    if masks is None:
        return Pair(photo, mask, output)
    found = masks.get(name, [])
    if len(found) == 1:
        return Pair(photo, found[0], output)
    problem = "two masks are" if found else "no mask is"
    return Pair(photo, None, output, f"{problem} named {name} in {mask}")


def is_inside(path, folder):
    """Whether a path is a folder, or lies below it, links followed."""
    path, folder = os.path.realpath(path), os.path.realpath(folder)
    return os.path.commonpath([path, folder]) == folder


def load(pair):
    """Reads a photo and its mask.

    Args:
      pair: Pair.

    Returns:
      (photo_png, mask_png, missing): bytes, bytes, bool array [H, W].

    Raises:
      PictureError: a file that is missing or no picture, sizes that differ, or a mask
        without a missing pixel.
    """
    if pair.mask is None:
        raise PictureError(pair.reason)
    photo = _decode(pair.photo, "photo")
    mask = _decode(pair.mask, "mask")
    if photo.shape != mask.shape:
        raise PictureError(
            f"the photo is {_size(photo)} and the mask {pair.mask} is {_size(mask)}; "
            "they must be of one size"
        )
    missing = image_files.missing_pixels(mask)
    if not missing.any():
        raise PictureError(
            f"the mask {pair.mask} has no missing pixel (grey above 127, or 1 beside 0)"
        )
    # The quickest compression: the bytes are for the way only.
    mask_png = image_files.encode_png(missing.astype(np.uint8) * 255, compress_level=1)
    return image_files.encode_png(photo, compress_level=1), mask_png, missing


def check_answer(completed_png, missing):
    """Makes sure that a server's answer is a picture of the photo's size.

    Args:
      completed_png: bytes.
      missing: bool [H, W].

    Raises:
      PictureError: it is not.
    """
    try:
        pixels = image_files.decode(completed_png)
    except image_files.ImageError as error:
        raise PictureError(f"the server's answer is no picture: {error}") from None
    if pixels.shape[:2] != missing.shape:
        raise PictureError(
            f"the server's answer is {_size(pixels)}, the photo {_size(missing)}"
        )


def _decode(path, role):
    try:
        return image_files.decode(image_files.read(path))
    except image_files.ImageError as error:
        raise PictureError(f"{role} {path}: {error}") from None


def _size(array):
    return f"{array.shape[1]}x{array.shape[0]}"
