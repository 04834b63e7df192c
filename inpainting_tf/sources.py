"""Collections of pictures, by number: what training and evaluation read from.

A source is a numbered collection: `len(source)`, `source.name(i)` and either encoded
files (`source.read(i)` -> bytes) or drawn pictures (`source.render(indices, size)`).
Sources: any TensorFlow Datasets data set with an `image` feature, a folder tree, a
list file with an optional partition column, and the embedded synthetic faces.
"""

import csv
import hashlib
import os
import struct
import sys

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from inpainting_tf import images, synthetic_faces, untrusted
from inpainting_tf.image_files import first_line

# What data sets call the part that training may choose by, in order of preference.
VALIDATION_NAMES = ("validation", "val", "test")


class DataError(ValueError):
    """Data that cannot be used; the message says what, where, and what to do."""


class FileSource:
    """Picture files on disk.

    Attributes:
      root: folder that the names start at.
      names: list of paths relative to it, the order of the collection.
      description: one phrase for messages.
    """

    def __init__(self, root, names, description):
        self.root = root
        self.names = list(names)
        self.description = description

    def __len__(self):
        return len(self.names)

    def name(self, index):
        return os.path.join(self.root, self.names[index])

    def read(self, index):
        """Returns the file's bytes. Raises ImageError where it cannot be read."""
        return images.read(self.name(index))


class TfdsSource:
    """One split of a prepared TensorFlow Datasets data set, by record number.

    TFRecord shards are read in any order through the byte offsets of their records,
    which are found once from the record headers; ArrayRecord shards have an index.
    """

    def __init__(self, builder, split):
        self.description = f"{builder.info.full_name} {split}"
        try:
            instructions = builder.info.splits[split].file_instructions
        except Exception as error:  # noqa: BLE001 - TFDS raises many types
            raise DataError(
                f"--split={split}: {builder.info.name} has the splits "
                f"{', '.join(builder.info.splits)} ({first_line(error)})"
            ) from None
        file_format = builder.info.file_format.value
        if file_format == "tfrecord":
            located = [_tfrecord_records(instruction) for instruction in instructions]
            self._files = [path for path, _ in located]
            counts = [len(records) for _, records in located]
            self._file_of = np.repeat(np.arange(len(located)), counts)
            self._records = np.concatenate([records for _, records in located])
            self._array_records = None
        elif file_format == "array_record":
            from tensorflow_datasets.core.decode import DeserializeMethod

            self._array_records = builder.as_data_source(
                split, deserialize_method=DeserializeMethod.RAW_BYTES
            )
        else:
            raise DataError(
                f"{self.description} is stored as {file_format}; prepare it as "
                "tfrecord or array_record"
            )

    def __len__(self):
        if self._array_records is not None:
            return len(self._array_records)
        return len(self._records)

    def name(self, index):
        return f"{self.description} record {index}"

    def read(self, index):
        """Returns a record's encoded picture. Raises ImageError where it has none."""
        try:
            example = tf.train.Example.FromString(self._record(index))
        except (OSError, ValueError, DecodeError) as error:
            raise images.ImageError(f"damaged record: {first_line(error)}") from None
        encoded = example.features.feature["image"].bytes_list.value
        if not encoded:
            raise images.ImageError("no encoded `image` feature")
        return encoded[0]

    def _record(self, index):
        if self._array_records is not None:
            return self._array_records[index]
        offset, length = self._records[index]
        with open(self._files[self._file_of[index]], "rb") as file:
            return os.pread(file.fileno(), length, offset)


class SyntheticFacesSource:
    """The embedded faces: `count` of the unbounded population of a split."""

    def __init__(self, split, count):
        if split not in synthetic_faces.SPLITS:
            raise DataError(
                f"--split={split}: synthetic_faces has the splits "
                f"{', '.join(synthetic_faces.SPLITS)}"
            )
        self.description = f"synthetic_faces {split}"
        self._split = split
        self._count = count

    def __len__(self):
        return self._count

    def name(self, index):
        return f"{self.description} {index}"

    def render(self, indices, size):
        """int64 [B] -> uint8 [B, size, size, 3]."""
        return synthetic_faces.render(indices, size, split=self._split)[0]


def folder_source(folder):
    """Every picture file below a folder, sorted by path.

    Raises:
      DataError: the folder is missing or holds no picture.
    """
    if not os.path.isdir(folder):
        raise DataError(f"--data_dir={folder}: no such folder")
    paths = images.find_files(folder)
    if not paths:
        raise DataError(
            f"--data_dir={folder}: no file ends in {', '.join(images.EXTENSIONS)}"
        )
    names = [os.path.relpath(path, folder) for path in paths]
    return FileSource(folder, names, f"folder {folder}")


def list_sources(list_file, folder, split=None, validation_split=None, count=0):
    """The training and validation pictures that a list names, in its order.

    A CSV file has a header line with a `file` column (or `image_id`, as in CelebA's
    own lists; otherwise the first column is taken) and may have a `partition` column.
    Any other file is plain text: one path a line, optionally followed by a partition.

    Args:
      list_file: path of the list, from `folder` or from the working directory.
      folder: where the paths in it start.
      split: partition to train on; None for "train", or for all where the list has no
        partitions.
      validation_split: None for "validation", "val" or "test" where there is one;
        else `count` training pictures are held out.
      count: number of pictures to hold out.

    Returns:
      (training FileSource, validation FileSource).

    Raises:
      DataError: missing list, no such partition, or files that do not exist.
    """
    source, partitions = _list_partitions(list_file, folder)
    if partitions and split is None:
        split = _first_of(("train",), partitions)
        if split is None:
            raise DataError(
                f"--data_list={list_file}: choose the partition to train on by --split:"
                f" {', '.join(partitions)}"
            )
    if validation_split is None:
        others = [name for name in partitions if name != split]
        validation_split = _first_of(VALIDATION_NAMES, others)
    elif validation_split == split:
        raise DataError(f"--validation_split={split} is what --split trains on")
    if validation_split is None:
        return hold_out(source(split), count)
    return source(split), source(validation_split)


def list_source(list_file, folder, split=None):
    """The pictures of one partition of a list, see `list_sources`.

    Args:
      list_file, folder: see there.
      split: partition; None for "test", or for all where the list has no partitions.

    Returns:
      FileSource.

    Raises:
      DataError: as there.
    """
    source, partitions = _list_partitions(list_file, folder)
    return source(split or ("test" if partitions else None))


def _list_partitions(list_file, folder):
    """Reads a list: (function from a partition or None to FileSource, partitions)."""
    inside = os.path.join(folder, list_file)
    list_file = inside if os.path.exists(inside) else list_file
    try:
        # Spreadsheets begin a file with a mark; names may be bytes that are no text.
        with open(
            list_file, newline="", encoding="utf-8-sig", errors="surrogateescape"
        ) as file:
            rows = _list_rows(file, list_file)
    except (OSError, csv.Error) as error:
        raise DataError(f"--data_list={list_file}: {first_line(error)}") from None
    if not rows:
        raise DataError(f"--data_list={list_file}: the list is empty")
    partitions = sorted({partition for _, partition in rows if partition})

    def source(partition):
        names = [
            name
            for name, own_partition in rows
            if partition is None or own_partition == partition
        ]
        if not names:
            raise DataError(
                f"--data_list={list_file}: no partition {partition!r}, only "
                f"{', '.join(partitions) or 'none at all'}"
            )
        outside = [n for n in names if not untrusted.stays_inside(n)]
        if outside:
            raise DataError(
                f"--data_list={list_file}: {images.in_one_line(outside[0])} leaves "
                f"--data_dir={folder}, where paths start and have to stay"
            )
        # What is there and cannot be read, such as a broken link, is for the loader.
        absent = [n for n in names if not os.path.lexists(os.path.join(folder, n))]
        if absent:
            raise DataError(
                f"--data_list={list_file}: {len(absent)} of {len(names)} files are not "
                f"there, the first is {images.in_one_line(absent[0])}; paths start at "
                f"--data_dir={folder}"
            )
        return FileSource(folder, names, f"list {list_file} {partition or ''}".strip())

    return source, partitions


def _first_of(names, available):
    return next((name for name in names if name in available), None)


def _list_rows(file, list_file):
    """The rows of a list file: [(path, partition or None)]."""
    if not list_file.lower().endswith(".csv"):
        return [_text_row(line.strip()) for line in file if line.strip()]
    reader = csv.DictReader(file, skipinitialspace=True)
    columns = reader.fieldnames or []
    if columns and columns[0].lower().endswith(images.EXTENSIONS):
        raise DataError(
            f"--data_list={list_file}: the first line must name the columns, such as "
            f"file,partition; it is {','.join(columns)}"
        )
    key = next((c for c in ("file", "image_id") if c in columns), None)
    key = key or (columns[0] if columns else None)
    return [(row[key], row.get("partition")) for row in reader if row[key]]


def _text_row(line):
    """ "my face.jpg" or "my face.jpg val" -> (path, partition or None)."""
    if line.lower().endswith(images.EXTENSIONS):
        return line, None
    path, _, partition = line.rpartition(" ")
    return (path.strip(), partition) if path else (line, None)


def tfds_sources(name, data_dir=None, split="train", validation_split=None):
    """Training and validation split of a TensorFlow Datasets data set.

    It is downloaded and prepared where that has not been done.

    Args:
      name: TFDS name, such as "celeb_a".
      data_dir: where data sets are prepared; None for TFDS's own choice.
      split: TFDS split syntax, such as "train[:12000]".
      validation_split: likewise; None for validation, val or test if there is one.

    Returns:
      (training TfdsSource, validation TfdsSource).

    Raises:
      DataError: unknown name or split, no image feature, or a failed download.
    """
    builder = _tfds_builder(name, data_dir)
    validation_split = validation_split or _first_of(
        VALIDATION_NAMES, builder.info.splits
    )
    if validation_split is None:
        raise DataError(
            f"--dataset={name} has only the splits {', '.join(builder.info.splits)}; "
            "part one yourself, such as --split=train[:90%] "
            "--validation_split=train[90%:]"
        )
    return TfdsSource(builder, split), TfdsSource(builder, validation_split)


def tfds_source(name, data_dir=None, split="test"):
    """One split of a TensorFlow Datasets data set; see `tfds_sources`."""
    return TfdsSource(_tfds_builder(name, data_dir), split)


def _tfds_builder(name, data_dir):
    """The TFDS builder of a data set, which is prepared where that is not done yet."""
    import tensorflow_datasets as tfds  # Slow to import; only TFDS users pay for it.

    try:
        untrusted.check_features(
            os.path.expanduser(data_dir or tfds.core.constants.DATA_DIR), name
        )
    except untrusted.UntrustedError as error:
        raise DataError(f"--dataset={name}: {error}") from None
    try:
        builder = tfds.builder(name, data_dir=data_dir or None)
    except Exception as error:  # noqa: BLE001 - TFDS raises many types
        raise DataError(
            f"--dataset={name}: not a TensorFlow Datasets name "
            f"({first_line(error)}); use one, or folder, list, synthetic_faces"
        ) from None
    if not builder.info.splits:
        print(f"downloading and preparing {builder.info.full_name}", file=sys.stderr)
        try:
            builder.download_and_prepare()
        except Exception as error:  # noqa: BLE001 - TFDS raises many types
            by_hand = (
                "--dataset=folder --data_dir=<folder of pictures>, without --split"
            )
            if name == "celeb_a":
                by_hand = (
                    "--flagfile=flags/celeba_folder.cfg --data_dir=<img_align_celeba>"
                )
            raise DataError(
                f"--dataset={name}: download or preparation failed "
                f"({type(error).__name__}: {first_line(error)}); get the pictures by "
                f"hand and use {by_hand}"
            ) from None
    if "image" not in builder.info.features:
        raise DataError(
            f"--dataset={name}: has no `image` feature, only "
            f"{', '.join(builder.info.features)}"
        )
    return builder


def _tfrecord_records(instruction):
    """Finds the records of one file instruction: (path, int64 [n, 2] offset, length).

    TFRecord framing: uint64 length, uint32 CRC of it, the data, uint32 CRC of those.
    """
    take = instruction.take if instruction.take >= 0 else instruction.examples_in_shard
    wanted = instruction.skip + take
    records = np.empty([wanted, 2], np.int64)
    try:
        with open(instruction.filename, "rb") as file:
            offset, size = 0, os.fstat(file.fileno()).st_size
            for i in range(wanted):
                header = os.pread(file.fileno(), 8, offset)
                (length,) = struct.unpack("<Q", header)
                if offset + 16 + length > size:  # Of damage too: up to 2**64.
                    raise struct.error
                records[i] = offset + 12, length
                offset += 16 + length
    except OSError as error:
        raise DataError(f"{instruction.filename}: {error.strerror}") from None
    except struct.error:
        raise DataError(
            f"{instruction.filename}: the file ends early; prepare the data set again"
        ) from None
    return instruction.filename, records[instruction.skip :]


def hold_out(source, count):
    """Parts a file source in two by the hash of each file's name.

    Args:
      source: FileSource.
      count: number of pictures to hold out.

    Returns:
      (rest, held_out): the choice depends on the relative names alone, so it stays
      the same when the order or the folder's place changes.

    Raises:
      DataError: fewer than count + 1 pictures.
    """
    if count >= len(source):
        raise DataError(
            f"{source.description}: {len(source)} pictures are too few to hold out "
            f"{count} for validation; lower --validation_count"
        )

    def key(name):
        return hashlib.sha256(os.fsencode(name)).digest()

    held = set(sorted(source.names, key=key)[:count])
    return tuple(
        FileSource(
            source.root,
            [name for name in source.names if (name in held) == held_out],
            source.description,
        )
        for held_out in (False, True)
    )


def fingerprint(source):
    """A short hash of what a collection holds: has the data changed?

    Of files the relative names and sizes, in order; of other sources the description
    (a TFDS name has its version) and the number of pictures.
    """
    digest = hashlib.sha256()
    if not isinstance(source, FileSource):
        digest.update(f"{source.description} {len(source)}".encode())
    for index, name in enumerate(getattr(source, "names", ())):
        try:
            size = os.path.getsize(source.name(index))
        except OSError:  # A broken link; loading will name it.
            size = -1
        digest.update(os.fsencode(name) + f"\0{size}\n".encode())
    return digest.hexdigest()[:16]
