"""Per-image values of an evaluation on disk, growing while it runs.

    evaluation.json           protocol, its hash, metrics, and every method's fingerprint
    values/<method>.jsonl     one JSON object per image, in the protocol's order
    features/<method>.f32     float32 features of the completed images, if asked for
    examples/<n>_<method>.png the first images as they were completed

A run that was interrupted goes on where each method's values end: a line cut short is
dropped, features are cut to the lines. Results of another protocol or of a method that
has changed since are refused, never mixed.

Lines stay on disk and are read one by one; what is held of an image is 8 bytes per
number that is asked for.
"""

import array
import fcntl
import itertools
import json
import os

import numpy as np

from inpainting_tf import images, run_folder


class ValuesError(ValueError):
    """A folder whose values cannot be gone on with; the message says why."""


class MeasuredValues:
    """The growing values of one evaluation."""

    def __init__(self, folder, facts, fingerprints):
        """Opens a folder for values, new or interrupted.

        Args:
          folder: where they lie; new, empty, or an interrupted evaluation's.
          facts: dict of text or lists that must be the same to go on.
          fingerprints: label -> text that changes when the method does.

        Raises:
          ValuesError: the folder holds something else, other facts, a method under the
            same label that has changed, or is being written by another evaluation.
        """
        self._folder = folder
        path = os.path.join(folder, "evaluation.json")
        recorded = {"facts": facts, "methods": {}}
        if os.path.exists(path):
            recorded = _read_record(path)
        elif os.path.isdir(folder) and {*os.listdir(folder)} - {
            "evaluation.json.tmp",
            "evaluation.lock",
        }:
            raise ValuesError(
                f"--output_dir={folder} is not empty and holds no evaluation; use "
                "another folder"
            )
        for name, value in facts.items():
            if recorded["facts"].get(name) != value:
                raise ValuesError(
                    f"--output_dir={folder} holds an evaluation with {name} "
                    f"{recorded['facts'].get(name)}, not {value}; use another folder"
                )
        for label, fingerprint in fingerprints.items():
            if recorded["methods"].get(label, fingerprint) != fingerprint:
                raise ValuesError(
                    f"--output_dir={folder} holds values of another {label} (other "
                    "weights, flags or files); give this one another label, or use "
                    "another folder"
                )
        recorded["methods"] |= fingerprints
        os.makedirs(folder, exist_ok=True)
        self._lock = _lock(folder)
        # First of all, or what a crash leaves would belong to no evaluation.
        run_folder.write_text(path, json.dumps(recorded, indent=2) + "\n")
        for part in ("values", "features", "examples"):
            os.makedirs(os.path.join(folder, part), exist_ok=True)

    def rows(self, label):
        """The whole lines of a method, dicts one by one; a line cut short is none.

        Raises:
          ValuesError: a line that is no value, or not that of its image.
        """
        for number, line in enumerate(self._lines(label)):
            try:
                row = json.loads(line)
                fits = row["index"] == number
            except (ValueError, KeyError, TypeError):
                fits = False
            if not fits:
                raise ValuesError(
                    f"{self._path('values', label, 'jsonl')}: line {number + 1} is not "
                    f"that of image {number}; delete the file to measure {label} again"
                )
            yield row

    def count(self, label):
        """Number of images of a method that are there."""
        return sum(1 for _ in self._lines(label))

    def columns(self, label, names):
        """Some numbers of all images of a method: dict name -> float64 [N]."""
        columns = {name: array.array("d") for name in names}
        for row in self.rows(label):
            for name, column in columns.items():
                column.append(row[name])
        return {name: np.asarray(c) for name, c in columns.items()}

    def _lines(self, label):
        path = self._path("values", label, "jsonl")
        if os.path.exists(path):
            with open(path, "rb") as file:
                yield from (line for line in file if line.endswith(b"\n"))

    def cut(self, label, count):
        """Keeps a method's first `count` images, so that more can be added."""
        size = sum(map(len, itertools.islice(self._lines(label), count)))
        with open(self._path("values", label, "jsonl"), "ab") as file:
            file.truncate(size)

    def cut_features(self, label, count, size):
        """Keeps the features, `size` numbers each, of a label's first `count` images."""
        with open(self._path("features", label, "f32"), "ab") as file:
            file.truncate(count * 4 * size)

    def add(self, label, rows, features=None):
        """Appends images: rows, JSON-able dicts, and their features [B, D] if any.

        Features come first, so that whatever a line stands for is there.
        """
        if features is not None:
            with open(self._path("features", label, "f32"), "ab") as file:
                file.write(np.ascontiguousarray(features, "<f4").tobytes())
        with open(self._path("values", label, "jsonl"), "a", encoding="utf-8") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows))

    def features(self, label, size):
        """Batches of a method's features: float32 [at most 256, size]."""
        with open(self._path("features", label, "f32"), "rb") as file:
            while data := file.read(256 * 4 * size):
                yield np.frombuffer(data, "<f4").reshape(-1, size)

    def feature_count(self, label, size):
        """Number of images whose features are there."""
        path = self._path("features", label, "f32")
        return os.path.getsize(path) // (4 * size) if os.path.exists(path) else 0

    def show(self, number, label, pixels):
        """Keeps an example's picture, uint8 [H, W, 3]."""
        images.write_png(self._example_path(number, label), pixels)

    def shown(self, number, label):
        """An example's picture, uint8 [H, W, 3]."""
        with open(self._example_path(number, label), "rb") as file:
            return images.decode(file.read())

    def _example_path(self, number, label):
        return os.path.join(self._folder, "examples", f"{number:05d}_{label}.png")

    def _path(self, part, label, extension):
        return os.path.join(self._folder, part, f"{label}.{extension}")


def _read_record(path):
    """The facts and fingerprints of a folder's evaluation."""
    try:
        with open(path, encoding="utf-8") as file:
            recorded = json.load(file)
        if {"facts", "methods"} <= {*recorded}:
            return recorded
    except (ValueError, TypeError):
        pass
    raise ValuesError(
        f"{path} is damaged; use another --output_dir, or delete this one"
    )


def _lock(folder):
    """Keeps other evaluations out of a folder while the result is open."""
    # Ends with the process, however that ends.
    file = open(os.path.join(folder, "evaluation.lock"), "a")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ValuesError(
            f"--output_dir={folder} is being written by another evaluation; wait for it, "
            "or use another folder"
        ) from None
    return file
