"""The examples of a protocol, read or drawn in order and checked one by one.

Input: a `protocol_definition.Protocol`; of files, the folder where they lie. Output:
batches of images in [-1, 1] and masks, 1 = missing; and the short records that
`freeze_protocol` keeps of examples and that these are checked against.

Refused, naming the example, where they differ: a file's bytes, by SHA-256; the mask, by
a digest of its pixels, since masks are exact everywhere; of a drawn face a 4x4 grey
thumbnail (within one level).

Only reported: the digest of an example's cropped and resized, or drawn, pixels. JPEG
decoders and the matrix products of the face renderer may round the last bit differently
on another machine. Such examples are named in `Examples.differing`: numbers may then
differ in their last digits, and whoever reports them should say so.

In order: the records of examples and of the image path; `open_examples` and `Examples`.
"""

import hashlib
import io
import os

import numpy as np
import tensorflow as tf
from PIL import Image

from inpainting_tf import images, protocol_masks, synthetic_faces, untrusted
from inpainting_tf.protocol_definition import ProtocolError

_THUMBNAIL = 4  # Side of the thumbnail.


# ---------------------------------------------------------------------- records


def digest(array):
    """16 hex digits of the SHA-256 of an array's values as bytes, row by row."""
    return hashlib.sha256(np.ascontiguousarray(array, np.uint8)).hexdigest()[:16]


def thumbnail(pixels):
    """Mean grey levels of 4x4 blocks of uint8 [S, S, 3], in hex."""
    edges = [len(pixels) * i // _THUMBNAIL for i in range(_THUMBNAIL)]
    grey = pixels.sum(axis=-1, dtype=np.int64)
    sums = np.add.reduceat(np.add.reduceat(grey, edges, axis=0), edges, axis=1)
    sides = np.diff([*edges, len(pixels)])
    areas = 3 * np.outer(sides, sides)
    return ((2 * sums + areas) // (2 * areas)).astype(np.uint8).tobytes().hex()


def fingerprint(protocol, pixels, mask):
    """What is recorded of an example.

    Args:
      protocol: Protocol.
      pixels: uint8 array [S, S, 3].
      mask: array [S, S, 1] of 0 and 1.

    Returns:
      dict of str: `pixels`, `mask` and, of drawn faces, `thumbnail`.
    """
    found = {"pixels": digest(pixels), "mask": digest(mask)}
    # Of files nothing but hashes is kept: their terms often forbid to hand them on.
    return found if protocol.needs_files else found | {"thumbnail": thumbnail(pixels)}


def recorded(protocol, rows):
    """The fields of a Protocol that the rows of its list of examples hold."""
    fields = {"pixels": "pixels", "masks": "mask", "groups": "group"}
    if not protocol.needs_files:
        fields["thumbnails"] = "thumbnail"
    return {
        field: tuple(row[column] for row in rows) for field, column in fields.items()
    }


def probe(protocol):
    """What the image path makes of a noise picture: 27 levels of the result, in hex.

    Noise, since its pixels show any change of filter or position.
    """
    width = 2 * protocol.size if protocol.crop == "square" else protocol.crop
    rows, columns, channel = np.ogrid[: width + 40, :width, :3]
    noise = (31 * rows**2 + 17 * columns**2 + 7 * rows * columns + 53 * channel) % 251
    file = io.BytesIO()
    Image.fromarray(noise.astype(np.uint8)).save(file, format="PNG")
    pixels = images.decode(file.getvalue())
    pixels = images.crop_square(pixels, protocol.crop, protocol.size)
    pixels = images.resize(pixels, protocol.size, protocol.size).numpy()
    places = [protocol.size * (2 * i + 1) // 6 for i in range(3)]
    return pixels[places][:, places].tobytes().hex()


def nearly_equal(found, expected):
    """Whether two hex strings of levels differ by one level at most."""
    try:
        first, second = (
            np.frombuffer(bytes.fromhex(text), np.uint8).astype(int)
            for text in (found, expected)
        )
    except ValueError:
        return False
    return len(first) == len(second) and np.abs(first - second).max() <= 1


# ---------------------------------------------------------------------- opening


def open_examples(protocol, data_dir=None, *, batch_size=16, start=0):
    """Opens a protocol's examples, from number `start` on.

    Args:
      protocol: Protocol from `protocols.read`.
      data_dir: folder of the images: where the paths in the list start, or where the
        files themselves lie; not needed for drawn faces.
      batch_size: examples per batch; it changes nothing else.
      start: number of the first example, to resume.

    Returns:
      Examples, an iterable of batches.

    Raises:
      ProtocolError: images that are not there, or an impossible `start`.
    """
    if not 0 <= start <= len(protocol):
        raise ProtocolError(
            f"protocol {protocol.name}: cannot start at {start}, it has "
            f"{len(protocol)} examples"
        )
    paths = find_images(protocol, data_dir) if protocol.needs_files else None
    return Examples(protocol, paths, batch_size, start)


def find_images(protocol, data_dir):
    """Paths of a protocol's files.

    Raises:
      ProtocolError: no folder given, or files that are not there.
    """
    if not data_dir:
        raise ProtocolError(
            f"protocol {protocol.name}: its images are files; give their folder by "
            "--data_dir"
        )
    paths, absent = [], []
    for name in protocol.names:
        if not untrusted.stays_inside(name):
            raise ProtocolError(
                f"protocol {protocol.name}: {images.in_one_line(name)} leaves the "
                "folder of its images, where paths start and have to stay"
            )
        candidates = [name, os.path.basename(name)]
        candidates = [os.path.join(data_dir, candidate) for candidate in candidates]
        path = next((c for c in candidates if os.path.isfile(c)), None)
        paths.append(path)
        if path is None:
            absent.append(name)
    if absent:
        raise ProtocolError(
            f"protocol {protocol.name}: {absent[0]}: expected below "
            f"--data_dir={data_dir}, found nothing there ({len(absent)} of "
            f"{len(paths)} files are missing); get the data set whole"
        )
    return paths


class Examples:
    """The examples of a protocol in order, each checked as it is read.

    Iterating yields dicts: `image` float32 [B, S, S, 3] in [-1, 1], `mask` float32
    [B, S, S, 1] with 1 = missing, `name` and `group` lists of B str, `index` list of B
    int. The last batch may be smaller. May be iterated again. A changed or unusable
    example raises ProtocolError; nothing is left out or replaced.

    Attributes:
      protocol: Protocol.
      differing: names of the examples read so far whose pixels are not exactly those
        that were frozen, although nothing has changed (see the module's docstring).
    """

    def __init__(self, protocol, paths, batch_size, start):
        self.protocol = protocol
        self.differing = []
        self._paths = paths
        self._batch_size = batch_size
        self._start = start

    def __len__(self):
        """Number of examples from the start on."""
        return len(self.protocol) - self._start

    def __iter__(self):
        for batch in self.unchecked():
            for index, pixels, mask in zip(
                batch["index"], batch["pixels"], batch["mask"].numpy(), strict=True
            ):
                self._check(index, pixels, mask)
            del batch["pixels"]
            yield batch

    def unchecked(self):
        """As iterating, before the checks of pixels and mask; adds `pixels`, uint8."""
        failures = {}  # TensorFlow wraps what tf.data raises; this keeps the cause.
        batches = iter(self._dataset(failures))
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except tf.errors.OpError:
                if not failures:
                    raise
                raise failures[min(failures)] from None
            index = batch["index"].numpy().tolist()
            yield batch | {
                "index": index,
                "name": [self.protocol.names[i] for i in index],
                "group": [self.protocol.group_of(i) for i in index],
                "pixels": batch["pixels"].numpy(),
            }

    def _dataset(self, failures):
        size = self.protocol.size
        indices = tf.data.Dataset.range(self._start, len(self.protocol))

        def load(index):
            try:
                return self._read(int(index))
            except ProtocolError as error:
                failures[int(index)] = error
                raise

        def load_resized(index):
            square = tf.numpy_function(load, [index], tf.uint8, stateful=False)
            square = tf.ensure_shape(square, [None, None, 3])
            return images.resize(square, size, size)

        def draw(some):
            # Called from outside the graph: the renderer is traced once, not per pass.
            faces = tf.numpy_function(self._draw_faces, [some], tf.uint8)
            return tf.ensure_shape(faces, [None, size, size, 3])

        if self.protocol.needs_files:
            pixels = indices.map(load_resized, tf.data.AUTOTUNE)
        else:
            pixels = indices.batch(synthetic_faces.DRAWN_TOGETHER).map(
                draw, tf.data.AUTOTUNE
            )
            pixels = pixels.unbatch()

        def example(index, pixels):
            mask = protocol_masks.draw_mask(self.protocol, index)
            return {"index": index, "pixels": pixels, "mask": mask}

        examples = tf.data.Dataset.zip(indices, pixels).map(example, tf.data.AUTOTUNE)
        batches = examples.batch(self._batch_size).map(
            lambda batch: {**batch, "image": images.to_float(batch["pixels"])}
        )
        return batches.prefetch(2)

    def _read(self, index):
        """Example `index` as uint8 [side, side, 3], of a file with the right bytes."""
        name, path = self.protocol.names[index], self._paths[index]
        try:
            data = images.read(path)
            found = hashlib.sha256(data).hexdigest()
            if self.protocol.contents and found != self.protocol.contents[index]:
                self._refuse(
                    name,
                    f"SHA-256 {self.protocol.contents[index]}",
                    found,
                    f"{path} is another file: get the original one",
                )
            pixels = images.decode(data)
            return images.crop_square(pixels, self.protocol.crop, self.protocol.size)
        except images.ImageError as error:
            self._refuse(name, "a usable picture", str(error), f"replace {path}")

    def _draw_faces(self, indices):
        """int64 [B] -> uint8 [B, S, S, 3], each face of its own population."""
        splits, size = self.protocol.splits, self.protocol.size
        pixels = np.empty([len(indices), size, size, 3], np.uint8)
        for place, split in enumerate(splits):
            own = indices % len(splits) == place
            pixels[own] = synthetic_faces.render(
                indices[own] // len(splits),
                size,
                split=split,
                seed=self.protocol.face_seed,
            )[0]
        return pixels

    def _check(self, index, pixels, mask):
        protocol = self.protocol
        name, found = protocol.names[index], fingerprint(protocol, pixels, mask)
        advice = "use the package that froze it, or freeze a protocol of another name"
        if found["mask"] != protocol.masks[index]:
            self._refuse(
                f"mask of {name}",
                protocol.masks[index],
                found["mask"],
                f"the rule {protocol.rule} draws other masks now: {advice}",
            )
        if found["pixels"] == protocol.pixels[index]:
            return
        if not protocol.needs_files and not nearly_equal(
            found["thumbnail"], protocol.thumbnails[index]
        ):
            self._refuse(
                f"thumbnail of {name}",
                protocol.thumbnails[index],
                found["thumbnail"],
                f"faces are drawn otherwise now: {advice}",
            )
        if name not in self.differing:
            self.differing.append(name)

    def _refuse(self, what, expected, found, advice):
        raise ProtocolError(
            f"protocol {self.protocol.name}: {what}: expected {expected}, found "
            f"{found}; {advice}"
        )
