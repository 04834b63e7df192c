"""What is done to the pictures of a collection: paired, batched by size, completed.

Input: the bytes of a picture and of its mask. Output: a PNG file that carries its own
row of the metrics table, as a text chunk in front of its pixels. So a picture and its
row appear together, by one renaming, and a restart finds in the head of a finished file
what the table says of it.

Stages: `with_mask`; `BatchesBySize`; `Completer` (levels -> SavedModel -> levels,
measures, file); `recorded` reads back what a finished file says.

Ranges: image uint8 [H, W, 3] in 0..255, mask uint8 [H, W, 1], 255 = missing.
"""

import collections
import dataclasses
import json
import struct
import zlib

import numpy as np

from inpainting_tf import image_files

MEASURES = ("l1", "psnr", "ssim")
SSIM_WINDOW = 11  # Pixels; smaller pictures have no SSIM.

HEAD_BYTES = 1024  # Of a finished file; its row lies in them.
_AFTER_HEADER = 33  # Of a PNG: signature 8 bytes, header chunk 25.
_KEY = b"inpainting_tf row\0"


@dataclasses.dataclass
class Example:
    """One picture that can be completed.

    Attributes:
      name: bytes; its output is `<name>.png`.
      image: uint8 [H, W, 3].
      mask: uint8 [H, W, 1], 255 = missing.
    """

    name: bytes
    image: np.ndarray
    mask: np.ndarray


def with_mask(name, image, mask_data):
    """Puts a picture and its mask together.

    Args:
      name: bytes, see Example.
      image: uint8 [H, W, 3].
      mask_data: bytes of a picture file, see `image_files.missing_pixels`.

    Returns:
      Example.

    Raises:
      ImageError: the mask is unusable or of another size, or nothing is missing.
    """
    try:
        mask = image_files.decode(mask_data)
    except image_files.ImageError as error:
        raise image_files.ImageError(f"mask is unusable: {error}") from None
    if mask.shape != image.shape:
        raise image_files.ImageError(
            f"mask of another size: {_size(mask)}, the picture is {_size(image)}"
        )
    missing = image_files.missing_pixels(mask)
    if not missing.any():
        raise image_files.ImageError("mask without a missing pixel")
    return Example(name, image, missing[..., np.newaxis].astype(np.uint8) * 255)


def _size(pixels):
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


class BatchesBySize:
    """Collects examples until so many of one size are there.

    Args:
      batch_size: examples of a full batch.
      max_pixels: held at most, of all sizes together; beyond it the largest batch goes
        out as it is.
    """

    def __init__(self, batch_size, max_pixels=2**25):
        self._batch_size = batch_size
        self._max_pixels = max_pixels
        self._waiting = collections.defaultdict(list)
        self._pixels = 0

    def add(self, example):
        """Takes an example; returns the batch (list of Example) that is due, or []."""
        size = example.image.shape[:2]
        self._waiting[size].append(example)
        self._pixels += size[0] * size[1]
        if len(self._waiting[size]) >= self._batch_size:
            return self._take(size)
        if self._pixels > self._max_pixels:
            return self._take(max(self._waiting, key=self._held))
        return []

    def rest(self):
        """Yields what is left, one batch for each size."""
        for size in sorted(self._waiting):
            yield self._take(size)

    def _held(self, size):
        return len(self._waiting[size]) * size[0] * size[1]

    def _take(self, size):
        self._pixels -= self._held(size)
        return self._waiting.pop(size)


class Completer:
    """A SavedModel of export.py, and what is written of its answers.

    Args:
      path: folder of the SavedModel, on this machine.
      measure: whether the pixels below the masks are the truth, to be compared with.

    Raises:
      ValueError: no SavedModel that can be used, see `untrusted.load_saved_model`, or
        none with such a signature.
    """

    def __init__(self, path, measure):
        import tensorflow as tf  # Takes seconds; of the workers only these need it.

        from inpainting_tf import images, metrics, untrusted

        self._tf = tf
        self._model = untrusted.load_saved_model(path, tags=["serve"])
        signature = self._model.signatures.get("serving_default")
        inputs = {} if signature is None else signature.structured_input_signature[1]
        types = {name: spec.dtype for name, spec in inputs.items()}
        if types != {"image": tf.uint8, "mask": tf.uint8} or (
            "completed" not in signature.structured_outputs
        ):
            raise ValueError(
                f"{path}: has no signature serving_default from uint8 image and mask "
                "to completed; export the method by export.py"
            )
        self._signature = signature
        self._measure = measure

        def measures(names):
            @tf.function(
                input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)] * 2
            )  # One graph for all sizes.
            def of(image, completed):
                pair = images.to_float(image), images.to_float(completed)
                return {name: getattr(metrics, name)(*pair) for name in names}

            return of

        self._measures = {True: measures(MEASURES), False: measures(MEASURES[:-1])}

    def complete(self, examples):
        """Completes examples of one size.

        What the model refuses in a batch is asked for one by one, so that one picture
        spoils no other.

        Args:
          examples: list of Example.

        Yields:
          (Example, bytes of its PNG file) or (Example, ImageError).
        """
        try:
            completed = self._answer(examples)
        except self._tf.errors.InvalidArgumentError as error:
            if len(examples) > 1:
                for example in examples:
                    yield from self.complete([example])
                return
            said = str(error.message).partition("assertion failed: ")[2]
            said = said.partition("]")[0].lstrip("[") or error.message.splitlines()[0]
            yield examples[0], image_files.ImageError(f"refused by the model: {said}")
            return
        rows = self._rows(examples, completed)
        for example, pixels, row in zip(examples, completed, rows, strict=True):
            yield example, _with_row(image_files.encode_png(pixels, 1), row)

    def _answer(self, examples):
        """uint8 [B, H, W, 3]."""
        batch = {
            name: self._tf.constant(np.stack([getattr(e, name) for e in examples]))
            for name in ("image", "mask")
        }
        return self._signature(**batch)["completed"].numpy()

    def _rows(self, examples, completed):
        """What the table says of each example, list of dict."""
        rows = []
        for example in examples:
            height, width, _ = example.image.shape
            share = float(np.mean(example.mask > 0))
            rows.append({"height": height, "width": width, "missing": round(share, 6)})
        if self._measure:
            truth = np.stack([example.image for example in examples])
            with_ssim = min(truth.shape[1:3]) >= SSIM_WINDOW
            for name, values in self._measures[with_ssim](truth, completed).items():
                for row, value in zip(rows, values.numpy(), strict=True):
                    row[name] = round(float(value), 6)
        return rows


# ----------------------------------------------------------------- finished files


def _with_row(png, row):
    """The PNG file with its row in a text chunk behind the header."""
    text = b"tEXt" + _KEY + json.dumps(row).encode("ascii")
    chunk = (
        struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    )
    return png[:_AFTER_HEADER] + chunk + png[_AFTER_HEADER:]


def recorded(head):
    """The row that a finished file carries.

    Args:
      head: its first HEAD_BYTES.

    Returns:
      dict, or None where it is no finished file.
    """
    try:
        (length,) = struct.unpack_from(">I", head, _AFTER_HEADER)
        text = head[_AFTER_HEADER + 4 :][: length + 4]
        (check,) = struct.unpack_from(">I", head, _AFTER_HEADER + 8 + length)
    except struct.error:
        return None
    if check != zlib.crc32(text) or not text.startswith(b"tEXt" + _KEY):
        return None
    return json.loads(text[4 + len(_KEY) :])
