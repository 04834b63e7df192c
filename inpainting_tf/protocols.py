"""Frozen evaluation protocols: the same images, holes and metrics for everyone.

A protocol is a small TOML file, such as protocols/celeba128_center.toml. It says where
the images come from, how they are cropped and resized, how the holes are drawn and what
is measured; `inpainting_tf.freeze_protocol` then records what that gives. `read` and
`Examples` refuse whatever has changed since, so that two results with one
`Protocol.hash` are results of the same measurement.

The file's tables:

    [images]                    # of files:
    list = "my_images.csv"      # beside the TOML file; columns file,sha256
    crop = 178                  # centred square that is cut out, or "square": largest
    size = 128                  # side in pixels that it is resized to
    [images]                    # of drawn faces:
    splits = ["test_frontal", "test_turned"]    # populations, taking turns
    groups = ["frontal", "turned"]              # what results call them; may be absent
    count = 256
    seed = 0
    size = 64
    [masks]
    rule = "random_box"         # of inpainting_tf.masks, but not "folder"
    hole_size = 64              # of rules that take one
    share = 0.8                 # of rules that take one
    area_bins = [10, 20, 30]    # free_form: edges in % of the image, images take turns
    seed = 0
    [metrics]
    names = ["psnr", "ssim"]    # of inpainting_tf.metrics
    [frozen]                    # written by inpainting_tf.freeze_protocol

Example i has image i of the list (face i // n of population i mod n of n) and the mask
`masks.draw(rule, [seed, i], size, size)`; see `draw_mask` for bins.

What is checked, and refused where it differs. By `read`: lists, metric definitions, and
what decoding, cropping and resizing make of a fixed noise picture (within one level).
Example by example, while it is read: a file's bytes, by SHA-256; the mask, by a digest
of its pixels, since masks are exact everywhere; of a drawn face a 4x4 grey thumbnail
(within one level).

What is checked and only reported: the digest of an example's cropped and resized, or
drawn, pixels. JPEG decoders and the matrix products of the face renderer may round the
last bit differently on another machine. Such examples are named in
`Examples.differing`: numbers may then differ in their last digits, and whoever reports
them should say so.

Stages: `read` -> Protocol; `open_examples` -> Examples -> batches.
"""

import csv
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import os
import re
import tomllib

import numpy as np
import tensorflow as tf
from PIL import Image

from inpainting_tf import images, masks, metrics, synthetic_faces

FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "protocols")
RULES = tuple(rule for rule in masks.RULES if rule != "folder")
# What is below this line of a protocol's file is written by machine.
FROZEN_LINE = re.compile(r"(?m)^# Written by inpainting_tf\.freeze_protocol.*$")

_THUMBNAIL = 4  # Side of the thumbnail.
_MOST_DRAWS = 1000  # Draws of free_form that may go into one mask of an area bin.
_DRAWN_TOGETHER = 16  # Faces per call of the renderer.


class ProtocolError(ValueError):
    """A protocol that cannot be used, or data that is not what it has frozen."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What is measured, on which images and masks.

    Attributes:
      name: of the file, without .toml.
      title: first line of the file's head comment.
      crop: side of the centred square or "square"; None for drawn faces.
      size: side of images and masks in pixels.
      splits: populations of drawn faces that take turns; () for files.
      split_groups: their names in results; () for none.
      face_seed: seed of the drawn faces.
      rule, hole_size, share, area_bins, seed: of the masks; None (bins: ()) where the
        rule has no such parameter.
      metrics: names of metrics.
      metric_definitions: `metrics.definition_hash` of them.
      names: one per example: path of a file, or "test 17" for a face.
      contents: SHA-256 of the files, hex; () for drawn faces.
      image_path: what the image path made of the noise picture, see `probe`; "" for
        drawn faces.
      pixels, masks: digests that each example must give, see `digest`.
      thumbnails: of drawn faces, see `thumbnail`; () for files.
      groups: name of each example's group, "" where there are none.
    """

    name: str
    title: str
    crop: int | str | None
    size: int
    splits: tuple
    split_groups: tuple
    face_seed: int
    rule: str
    hole_size: int | None
    share: float | None
    area_bins: tuple
    seed: int
    metrics: tuple
    metric_definitions: str = ""
    names: tuple = ()
    contents: tuple = ()
    image_path: str = ""
    pixels: tuple = ()
    thumbnails: tuple = ()
    masks: tuple = ()
    groups: tuple = ()

    def __len__(self):
        return len(self.names)

    @property
    def needs_files(self):
        """Whether the images are files, to be found in a folder, or drawn."""
        return not self.splits

    @property
    def example_columns(self):
        """Columns of the list of examples."""
        thumbnail = () if self.needs_files else ("thumbnail",)
        return ("pixels", *thumbnail, "mask", "group")

    @property
    def group_names(self):
        """Names of the groups that results are also given for, in order; () if none."""
        if self.area_bins:
            edges = itertools.pairwise(self.area_bins)
            return tuple(f"{low}-{high}%" for low, high in edges)
        return self.split_groups

    def group_of(self, index):
        """Name of the group that example `index` belongs to, or ""."""
        names = self.group_names
        return names[index % len(names)] if names else ""

    @functools.cached_property
    def hash(self):
        """16 hex digits over everything that can change a number.

        Not over names, titles and paths. Of files their contents count, of drawn faces
        their pixels.
        """
        images_part = {"size": self.size}
        if self.needs_files:
            images_part |= {"crop": self.crop, "contents": self.contents}
            images_part |= {"path": self.image_path}
        else:
            images_part |= {"splits": self.splits, "seed": self.face_seed}
            images_part |= {"pixels": self.pixels}
        masks_part = {"rule": self.rule, "seed": self.seed, "digests": self.masks}
        masks_part |= {"hole_size": self.hole_size, "share": self.share}
        masks_part |= {"area_bins": self.area_bins}
        metrics_part = {"names": sorted(self.metrics)}
        metrics_part |= {"definitions": self.metric_definitions}
        content = {"version": 1, "images": images_part, "masks": masks_part}
        content |= {"metrics": metrics_part, "groups": self.groups}
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


# ----------------------------------------------------------------------- reading


def read(path_or_name):
    """Reads a frozen protocol.

    Args:
      path_or_name: path of a TOML file, or the name of one that ships in protocols/.

    Returns:
      Protocol.

    Raises:
      ProtocolError: no such protocol, an impossible or unknown entry, one that is not
        frozen yet, or a list, an entry or a metric that has changed since.
    """
    path = find(path_or_name)
    protocol, frozen = read_definition(path)

    def refuse(file, expected, found, advice):
        raise ProtocolError(
            f"protocol {protocol.name}: {file}: expected {expected}, found {found}; "
            f"{advice}"
        )

    if frozen is None:
        refuse(path, "a [frozen] table", "none", "freeze it: " + freezing(path))
    keys = ("examples", "examples_sha256", "metric_definitions", "hash")
    keys += ("list_sha256", "image_path") if protocol.needs_files else ()
    for key in keys:
        if not isinstance(frozen.get(key), str):
            refuse(path, f"[frozen] {key}", "none", "freeze it: " + freezing(path))
    again = "restore the file, or freeze a protocol of another name"
    older = "use the package that froze it, or freeze a protocol of another name"
    folder = os.path.dirname(path)
    if protocol.needs_files:
        list_path = os.path.join(folder, list_name(path))
        rows, found = read_list(list_path, ("file", "sha256"))
        if found != frozen["list_sha256"]:
            refuse(list_path, frozen["list_sha256"], found, again)
        protocol = dataclasses.replace(
            protocol,
            names=tuple(row["file"] for row in rows),
            contents=tuple(row["sha256"] for row in rows),
            image_path=frozen["image_path"],
        )
        found = probe(protocol)
        if not _nearly_equal(found, protocol.image_path):
            refuse("decoding, cropping, resizing", protocol.image_path, found, older)
    examples_path = os.path.join(folder, frozen["examples"])
    rows, found = read_list(examples_path, protocol.example_columns)
    if found != frozen["examples_sha256"]:
        refuse(examples_path, frozen["examples_sha256"], found, again)
    if len(rows) != len(protocol):
        refuse(examples_path, f"{len(protocol)} examples", len(rows), again)
    protocol = dataclasses.replace(
        protocol,
        metric_definitions=metrics.definition_hash(protocol.metrics),
        **recorded(protocol, rows),
    )
    if protocol.metric_definitions != frozen["metric_definitions"]:
        refuse(
            f"definitions of {', '.join(protocol.metrics)}",
            frozen["metric_definitions"],
            protocol.metric_definitions,
            f"the metrics have changed: {older}",
        )
    if protocol.hash != frozen["hash"]:
        refuse(path, f"hash {frozen['hash']}", protocol.hash, again)
    return protocol


def find(path_or_name):
    """Path of a protocol's file. Raises ProtocolError where there is none."""
    shipped = os.path.join(FOLDER, f"{path_or_name}.toml")
    for path in (path_or_name, shipped):
        if os.path.isfile(path):
            return path
    names = []
    if os.path.isdir(FOLDER):
        names = [name[:-5] for name in os.listdir(FOLDER) if name.endswith(".toml")]
    raise ProtocolError(
        f"protocol {path_or_name}: no such file; give the path of one, or a name out "
        f"of {', '.join(sorted(names))}"
    )


def freezing(path):
    """The command that freezes a protocol."""
    return f"python -m inpainting_tf.freeze_protocol --protocol={path} --data_dir=..."


def read_definition(path):
    """Reads what a protocol's author wrote, frozen or not.

    Returns:
      (Protocol without what freezing adds, the [frozen] table as a dict or None). Of
      drawn faces the names are filled in.

    Raises:
      ProtocolError: unreadable, or an entry that is missing, unknown or impossible.
    """
    name = os.path.splitext(os.path.basename(path))[0]

    def require(condition, message):
        if not condition:
            raise ProtocolError(f"protocol {name}: {path}: {message}")

    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        tables = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        require(False, f"cannot be read: {str(error).splitlines()[0]}")

    entries = {"images": {"size": int}, "masks": {"rule": str, "seed": int}}
    entries["metrics"] = {"names": list}
    if "splits" in tables.get("images", {}):
        entries["images"] |= {"splits": list, "count": int, "seed": int}
    else:
        entries["images"] |= {"list": str, "crop": (int, str)}
    rule = tables.get("masks", {}).get("rule")
    require(
        rule in RULES, f"[masks] rule = {rule!r}: must be one of {', '.join(RULES)}"
    )
    if rule in masks.BOX_RULES:
        entries["masks"]["hole_size"] = int
    if rule in masks.DEFAULT_SHARE:
        entries["masks"]["share"] = float
    optional = {"images": {}, "masks": {}, "metrics": {}}
    if "splits" in entries["images"]:
        optional["images"]["groups"] = list
    if rule == "free_form":
        optional["masks"]["area_bins"] = list
    unknown = sorted(set(tables) - {*entries, "frozen"})
    require(not unknown, f"unknown table [{', '.join(unknown)}]")
    for table, required in entries.items():
        given = tables.get(table)
        require(isinstance(given, dict), f"the table [{table}] is missing")
        for key in required:
            require(key in given, f"[{table}] {key} is missing")
        known = required | optional[table]
        for key, value in given.items():
            require(
                key in known,
                f"[{table}] {key} is unknown or of no use here; known are "
                f"{', '.join(known)}",
            )
            require(
                isinstance(value, known[key]) and not isinstance(value, bool),
                f"[{table}] {key} = {value!r} is of the wrong type",
            )

    images_table, masks_table = tables["images"], tables["masks"]
    size, crop = images_table["size"], images_table.get("crop")
    require(size >= 16, f"[images] size = {size}: must be at least 16")
    if isinstance(crop, int):
        require(crop >= size, f"[images] crop = {crop} is smaller than size = {size}")
    else:
        require(
            crop in (None, "square"), f'[images] crop = {crop!r}: "square" or a side'
        )
    splits = tuple(images_table.get("splits", ()))
    count = images_table.get("count", 0)
    if "splits" in images_table:
        require(
            splits and set(splits) <= {*synthetic_faces.SPLITS},
            f"[images] splits: choose from {', '.join(synthetic_faces.SPLITS)}",
        )
        require(count >= 1, f"[images] count = {count}: must be at least 1")
    split_groups = tuple(images_table.get("groups", ()))
    require(
        not split_groups or len({*split_groups}) == len(splits) == len(split_groups),
        "[images] groups: give one name for each of splits",
    )
    bins = tuple(masks_table.get("area_bins", ()))
    if "area_bins" in masks_table:
        require(
            len(bins) >= 2
            and all(type(edge) is int and 1 <= edge <= 90 for edge in bins)
            and list(bins) == sorted({*bins}),
            "[masks] area_bins: give rising whole percentages, 1 to 90",
        )
        require(not split_groups, "[images] groups and [masks] area_bins exclude each "
                "other")  # fmt: skip
    names = tuple(tables["metrics"]["names"])
    unknown = [n for n in names if n not in metrics.METRICS]
    require(
        names and not unknown and len({*names}) == len(names),
        f"[metrics] names: {', '.join(map(str, unknown)) or 'none, or one twice'}; "
        f"known are {', '.join(metrics.METRICS)}",
    )
    protocol = Protocol(
        name=name,
        title=text.splitlines()[0].lstrip("# ").strip() if text[:1] == "#" else name,
        crop=crop,
        size=size,
        splits=splits,
        split_groups=split_groups,
        face_seed=images_table.get("seed", 0),
        rule=rule,
        hole_size=masks_table.get("hole_size"),
        share=masks_table.get("share"),
        area_bins=bins,
        seed=masks_table["seed"],
        metrics=names,
        names=tuple(
            f"{splits[i % len(splits)]} {i // len(splits)}" for i in range(count)
        ),
    )
    try:
        draw_mask(protocol, 0)
    except ValueError as error:
        require(False, f"[masks]: {str(error).splitlines()[0]}")
    return protocol, tables.get("frozen")


def list_name(path):
    """What [images] list says in a protocol's file that `read_definition` accepts."""
    with open(path, "rb") as file:
        return tomllib.load(file)["images"]["list"]


def read_list(path, columns):
    """Reads a CSV list.

    Args:
      path: of a file whose first line names its columns.
      columns: those that it must have.

    Returns:
      (list of dicts, SHA-256 hex of the text with its line ends as newlines).

    Raises:
      ProtocolError: unreadable, empty, or a column is missing.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ProtocolError(f"{path}: cannot be read ({error})") from None
    reader = csv.DictReader(io.StringIO(text), restval="")
    rows = list(reader)
    absent = [column for column in columns if column not in (reader.fieldnames or ())]
    if absent or not rows:
        raise ProtocolError(
            f"{path}: expected lines below the columns {','.join(columns)}, found "
            f"{len(rows)} below {','.join(reader.fieldnames or ()) or 'nothing'}"
        )
    return rows, hashlib.sha256(text.encode()).hexdigest()


# ------------------------------------------------------------------------- masks


def draw_mask(protocol, index):
    """Draws the mask of one example; a function of (protocol, index) alone.

    With area bins, example i belongs to bin i mod n. Free-form masks drawn from the
    seeds [seed, i], [seed, i + 2^32], [seed, i + 2 * 2^32] ... are united until the
    missing share reaches the bin; a union that grew past it is dropped, and the next
    draw starts anew. The share lies in [low, high) of the bin.

    Args:
      protocol: Protocol.
      index: int or int64 tensor [].

    Returns:
      float32 [size, size, 1], 1 = missing.

    Raises:
      ValueError: a mask rule with impossible parameters, see `masks.draw`.
    """
    index = tf.cast(index, tf.int64)
    seed = tf.constant(protocol.seed, tf.int64)

    def draw(position):
        mask, _ = masks.draw(
            protocol.rule,
            tf.stack([seed, position]),
            protocol.size,
            protocol.size,
            hole_size=protocol.hole_size,
            share=protocol.share,
        )
        return mask

    if not protocol.area_bins:
        return draw(index)

    edges = tf.constant(protocol.area_bins, tf.int64)
    place = index % (len(protocol.area_bins) - 1)
    # In pixels times 100, so that everything is a whole number.
    low, high = (edge * protocol.size**2 for edge in (edges[place], edges[place + 1]))

    def area(mask):
        return 100 * tf.reduce_sum(tf.cast(mask, tf.int64))

    def grow(attempt, mask):
        grown = tf.maximum(mask, draw(index + attempt * 2**32))
        return attempt + 1, tf.where(area(grown) < high, grown, 0.0)

    _, mask = tf.while_loop(
        lambda _, mask: area(mask) < low,
        grow,
        (tf.constant(0, tf.int64), tf.zeros([protocol.size, protocol.size, 1])),
        maximum_iterations=_MOST_DRAWS,
        parallel_iterations=1,
    )
    return mask


# ---------------------------------------------------------------------- examples


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


def _nearly_equal(found, expected):
    """Whether two hex strings of levels differ by one level at most."""
    try:
        first, second = (
            np.frombuffer(bytes.fromhex(text), np.uint8).astype(int)
            for text in (found, expected)
        )
    except ValueError:
        return False
    return len(first) == len(second) and np.abs(first - second).max() <= 1


def open_examples(protocol, data_dir=None, *, batch_size=16, start=0):
    """Opens a protocol's examples, from number `start` on.

    Args:
      protocol: Protocol from `read`.
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
            pixels = indices.batch(_DRAWN_TOGETHER).map(draw, tf.data.AUTOTUNE)
            pixels = pixels.unbatch()

        def example(index, pixels):
            mask = draw_mask(self.protocol, index)
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
            with open(path, "rb") as file:
                data = file.read()
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
        except OSError as error:
            self._refuse(name, "a readable file", error.strerror, f"repair {path}")

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
        if not protocol.needs_files and not _nearly_equal(
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
