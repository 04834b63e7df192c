"""Where the completions of photos go, and whether they are there already.

One method: each photo's own output. Several, one photo: its output is the picture of
all side by side, and each completion lies beside it with the method's label added.
Several, a folder: a folder for each label, which evaluate.py takes as finished
pictures, and one named side_by_side.
"""

import hashlib
import os

import inpainting_tf
from command_line.parsing import UsageError
from inpainting_tf import image_files, photos
from inpainting_tf.run_folder import file_hash

SIDE_BY_SIDE = "side_by_side"


class OutputError(Exception):
    """An output that cannot be written: the next could not be either."""


class Outputs:
    """The files of every photo, by `serving.pictures.Pair`."""

    def __init__(self, root, methods, settings):
        """
        Args:
          root: folder of the outputs of a folder of photos; None for a single photo.
          methods: list of completion.PhotoMethod.
          settings: whatever else decides what is in the files; has a repr.
        """
        self._root = root
        self._facts = {
            method.label: (method.fingerprint, method.window_size, settings)
            for method in methods
        }

    def texts(self, pair):
        """What is written into a photo's files: label or SIDE_BY_SIDE -> what it is,
        and by which settings and mask.

        Raises:
          OSError: the mask cannot be read.
        """
        mask = pair.mask and file_hash(pair.mask)
        return {
            label: _text(label, (*facts, mask)) for label, facts in self._facts.items()
        } | {SIDE_BY_SIDE: _text(SIDE_BY_SIDE, (self._facts, mask))}

    def completion(self, pair, label):
        """Path of a method's completion."""
        return pair.output if len(self._facts) == 1 else self._place(pair, label)

    def side_by_side(self, pair):
        """Path of the picture of all; None where there is one method."""
        if len(self._facts) == 1:
            return None
        return pair.output if self._root is None else self._place(pair, SIDE_BY_SIDE)

    def _place(self, pair, label):
        if self._root is None:
            return f"{os.path.splitext(pair.output)[0]}_{label}.png"
        return os.path.join(self._root, label, os.path.relpath(pair.output, self._root))

    def _paths(self, pair):
        """label or SIDE_BY_SIDE -> path."""
        paths = {label: self.completion(pair, label) for label in self._facts}
        if side_by_side := self.side_by_side(pair):
            paths[SIDE_BY_SIDE] = side_by_side
        return paths

    def check(self, pairs):
        """Makes sure that no photo or mask would be overwritten.

        Raises:
          UsageError: one would be.
        """
        inputs = {os.path.realpath(p) for x in pairs for p in (x.photo, x.mask) if p}
        for pair in pairs:
            for path in self._paths(pair).values():
                if os.path.realpath(path) in inputs:
                    raise UsageError(
                        f"{path} would overwrite an input; name another --output"
                    )

    def are_finished(self, pair):
        """Whether all are there, by these settings, and not older than the inputs."""
        paths = self._paths(pair)
        try:
            made = min(map(os.path.getmtime, paths.values()))
            given = max(os.path.getmtime(p) for p in (pair.photo, pair.mask) if p)
            texts = self.texts(pair)
        except OSError:
            return False
        return made >= given and all(
            photos.software(path) == texts[label] for label, path in paths.items()
        )


def _text(label, facts):
    code = hashlib.sha256(repr(facts).encode()).hexdigest()[:12]
    return (
        f"inpainting-tf {inpainting_tf.__version__}, completed by {label}, "
        f"settings {code}"
    )


def write(path, data):
    """Writes a file, whole or not at all.

    Raises:
      OutputError: it cannot be written.
    """
    try:
        image_files.write_bytes(path, data)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}") from None
