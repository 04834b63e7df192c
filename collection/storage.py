"""Where a collection lies: files here, or on any file system that Apache Beam knows.

A path with a scheme, such as gs://bucket/photos, goes through Beam's FileSystems; any
other is a file of this machine (or of a disk that all workers share). Paths are str; of
names that are no text each odd byte is a surrogate, as everywhere in Python.

In order: finding pictures, reading, records of TFRecord files, writing.
"""

import contextlib
import os
import struct
import uuid

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from inpainting_tf import image_files

_RAW = {
    "mime_type": "application/octet-stream",
    "compression_type": CompressionTypes.UNCOMPRESSED,
}


def is_remote(path):
    """Whether a path belongs to one of Beam's file systems."""
    return "://" in path


def join(folder, name):
    return FileSystems.join(folder, name) if is_remote(folder) else f"{folder}/{name}"


def exists(path):
    return FileSystems.exists(path) if is_remote(path) else os.path.exists(path)


# ----------------------------------------------------------------------- finding


def pictures_below(folder):
    """Yields the name, relative to it, of every picture file below a folder."""
    if is_remote(folder):
        start = folder.rstrip("/") + "/"
        (found,) = FileSystems.match([start + "**"])
        names = (file.path[len(start) :] for file in found.metadata_list)
    else:
        names = (
            os.path.relpath(os.path.join(parent, name), folder)
            for parent, _, files in os.walk(folder)
            for name in files
        )
    for name in names:
        if name.lower().endswith(image_files.EXTENSIONS):
            yield name


def files_of(pattern):
    """Paths of the files that a pattern such as shards/*.tfrecord stands for."""
    (found,) = FileSystems.match([pattern])
    return sorted(file.path for file in found.metadata_list)


# ----------------------------------------------------------------------- reading


def read(path, start=0, length=None):
    """The bytes of a picture file, or `length` bytes from `start` on.

    Raises:
      ImageError: see `image_files.read`.
    """
    if length is None and not is_remote(path):
        return image_files.read(path)
    most = image_files.MAX_BYTES
    try:
        with _opened(path) as file:
            file.seek(start)
            data = file.read(most + 1 if length is None else min(length, most))
    except (OSError, BeamIOError) as error:
        raise image_files.ImageError(f"unreadable: {_first_line(error)}") from None
    if len(data) > most:
        raise image_files.ImageError(f"too large: over {most:,} bytes")
    return data


def _opened(path):
    if is_remote(path):
        return FileSystems.open(path, **_RAW)
    return open(path, "rb")


def head(path, size):
    """The first bytes of a file, or None where there is none."""
    try:
        with _opened(path) as file:
            return file.read(size)
    except (OSError, BeamIOError):
        return None


# ----------------------------------------------------------------------- records


def records_of(path):
    """Finds the records of a TFRecord file.

    TFRecord framing: uint64 length, uint32 check sum of it, the data, uint32 check sum
    of those. The length is checked before so many bytes are read; what is wrong with
    the data shows when they are decoded.

    Yields:
      (start, length, data) of each record.

    Raises:
      ImageError: the file ends early, or a length is damaged; what came before it has
        been yielded.
    """
    try:
        with _opened(path) as file:
            start = 0
            while header := file.read(12):
                if len(header) < 12:
                    raise image_files.ImageError("damaged file: it ends in a record")
                length, check = struct.unpack("<QI", header)
                if check != _masked_crc32c(header[:8]):
                    raise image_files.ImageError("damaged file: no record there")
                if length > image_files.MAX_BYTES:
                    raise image_files.ImageError(f"damaged file: {length:,} bytes")
                data = file.read(length)
                if len(data) < length or len(file.read(4)) < 4:
                    raise image_files.ImageError("damaged file: it ends in a record")
                yield start + 12, length, data
                start += 16 + length
    except (OSError, BeamIOError) as error:
        raise image_files.ImageError(f"unreadable: {_first_line(error)}") from None


def _crc32c_table():
    """CRC-32C (Castagnoli) of every byte; reversed polynomial 0x82F63B78."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc32c_table()


def _masked_crc32c(data):
    """The check sum of TFRecord files: CRC-32C, rotated by 15 bits, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


# ----------------------------------------------------------------------- writing


def write_whole(folder, name, data):
    """Writes `<folder>/<name>` under another name and renames it: whole or not there.

    Two workers may write the same file at once, as engines do that repeat work; each
    has a temporary name of its own, in `<folder>/unfinished`.

    Raises:
      OSError: it cannot be written.
    """
    unfinished = join(folder, f"unfinished/{uuid.uuid4().hex}")
    path = join(folder, name)
    if not is_remote(folder):
        _in_its_folder(unfinished, _write, unfinished, data)
        _in_its_folder(path, os.replace, unfinished, path)
        return
    for needed in (unfinished, path):
        with contextlib.suppress(BeamIOError, OSError):  # It exists, or needs none.
            FileSystems.mkdirs(FileSystems.split(needed)[0])
    try:
        with FileSystems.create(unfinished, **_RAW) as file:
            file.write(data)
        FileSystems.rename([unfinished], [path])
    except BeamIOError as error:
        raise OSError(f"{path}: {_first_line(error)}") from None


def _in_its_folder(path, function, *arguments):
    """Calls a function; once more, if need be, when the folder of `path` is made."""
    try:
        function(*arguments)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        function(*arguments)


def _write(path, data):
    with open(path, "wb") as file:
        file.write(data)


def remove_unfinished(folder):
    """Removes what workers that were stopped have left of files."""
    path = join(folder, "unfinished")
    if exists(path):
        FileSystems.delete([path])


def copied_here(folder, place):
    """A folder of this machine with the files of another one; itself if it is here."""
    if not is_remote(folder):
        return folder
    start = folder.rstrip("/") + "/"
    (found,) = FileSystems.match([start + "**"])
    for file in found.metadata_list:
        own = os.path.join(place, file.path[len(start) :])
        os.makedirs(os.path.dirname(own), exist_ok=True)
        with _opened(file.path) as source, open(own, "wb") as target:
            while data := source.read(2**20):
                target.write(data)
    return place


def _first_line(error):
    text = str(getattr(error, "strerror", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__
