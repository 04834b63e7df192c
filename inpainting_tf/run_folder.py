"""The folder of one training run, and what may be found in it.

    flags.cfg        effective flags, usable as --flagfile
    run.json         versions, seed, and the fingerprint of the training data
    metrics.jsonl    one JSON object per logged step, with `step`
    checkpoints/     the newest checkpoints; checkpoints/best/ the best by validation
    unusable_pictures.txt    pictures that were skipped, if any, with the reason
    samples/*.png    validation examples as they were completed at a step
    tensorboard/     the same scalars and pictures for TensorBoard

Files are written to a temporary name and renamed, so none is ever half there; the
metrics file grows by whole lines.
"""

import hashlib
import json
import math
import os

import tensorflow as tf

from inpainting_tf import images


class RunFolderError(ValueError):
    """A run folder that cannot be used; the message says why and what to do."""


def check(run_dir, flag_values, changeable=()):
    """Makes sure that a folder is free or holds the run of these flags.

    Args:
      run_dir: the folder, which need not exist.
      flag_values: dict of effective flags, name -> text.
      changeable: names of flags that may differ when a run is resumed.

    Raises:
      RunFolderError: a run with other flags, or a folder that holds something else.
    """
    if os.path.exists(os.path.join(run_dir, "flags.cfg")):
        recorded = read_flags(run_dir)
        differing = [
            f"--{name} was {recorded.get(name, 'not set')}, "
            f"is {flag_values.get(name, 'not set')}"
            for name in sorted({*recorded, *flag_values} - {*changeable})
            if recorded.get(name) != flag_values.get(name)
        ]
        if differing:
            raise RunFolderError(
                f"--run_dir={run_dir} holds a run with other flags: "
                f"{'; '.join(differing)}; use them or another --run_dir"
            )
    elif os.path.isdir(run_dir) and {*os.listdir(run_dir)} - {"flags.cfg.tmp"}:
        raise RunFolderError(
            f"--run_dir={run_dir} is not empty and holds no run; use another folder"
        )


def prepare(run_dir, flag_values, facts):
    """Creates a checked run folder, or makes sure that its data is still the same.

    Args:
      run_dir: the folder, see `check`.
      flag_values: dict of effective flags, name -> text.
      facts: JSON-able dict for run.json; `data` must be the same when resuming.

    Raises:
      RunFolderError: not writable, or trained on other data.
    """
    facts_path = os.path.join(run_dir, "run.json")
    if os.path.exists(facts_path):
        with open(facts_path, encoding="utf-8") as file:
            recorded = json.load(file)["data"]
        differing = [
            name
            for name in sorted({*recorded, *facts["data"]})
            if recorded.get(name) != facts["data"].get(name)
        ]
        if differing:
            raise RunFolderError(
                f"--run_dir={run_dir} began with other {' and '.join(differing)} "
                "(other files, names or sizes); restore them or use another --run_dir"
            )
    try:
        os.makedirs(run_dir, exist_ok=True)
        write_flags(run_dir, flag_values)
        write_text(facts_path, json.dumps(facts, indent=2) + "\n")
        for folder in ("checkpoints", "samples", "tensorboard"):
            os.makedirs(os.path.join(run_dir, folder), exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"--run_dir={run_dir}: cannot write there ({error.strerror})"
        ) from None


def write_flags(run_dir, flag_values):
    """Records flags (name -> text) as a flag file."""
    lines = [f"--{name}={value}\n" for name, value in sorted(flag_values.items())]
    write_text(os.path.join(run_dir, "flags.cfg"), "".join(lines))


def read_flags(run_dir):
    """The effective flags of a run: dict name -> text."""
    with open(os.path.join(run_dir, "flags.cfg"), encoding="utf-8") as file:
        pairs = [line.strip()[2:].partition("=") for line in file if line.strip()]
    return {name: value for name, _, value in pairs}


def note_unusable(run_dir, name, reason):
    """Adds a picture to unusable_pictures.txt, once; returns the file's path."""
    path = os.path.join(run_dir, "unusable_pictures.txt")
    # A file name may hold bytes that are no text, and line ends.
    line = os.fsencode(images.in_one_line(f"{name}: {reason}") + "\n")
    with open(path, "ab+") as file:
        file.seek(0)
        if line not in file.readlines():
            file.write(line)
    return path


def write_text(path, text):
    """Writes a file as a whole or not at all; `text` is a str, or an iterable of them."""
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        file.writelines([text] if isinstance(text, str) else text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".tmp", path)


def file_hash(path):
    """SHA-256 of a file's contents, hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Log:
    """Numbers and pictures of a run, as JSON lines and for TensorBoard."""

    def __init__(self, run_dir, step):
        """Opens the log of a run that stands at `step`.

        Lines beyond `step`, and a line cut short by a crash, are dropped: the resumed
        run writes them again.
        """
        self._path = os.path.join(run_dir, "metrics.jsonl")
        self._samples = os.path.join(run_dir, "samples")
        self.history = [
            entry for entry in _entries(self._path) if entry["step"] <= step
        ]
        lines = [json.dumps(entry) + "\n" for entry in self.history]
        write_text(self._path, "".join(lines))
        self._file = open(self._path, "a", encoding="utf-8")  # noqa: SIM115 - see close
        self._board = tf.summary.create_file_writer(
            os.path.join(run_dir, "tensorboard")
        )

    def scalars(self, step, values):
        """Appends one object; values is a dict of floats."""
        entry = {"step": step, **values}
        self.history.append(entry)
        self._file.write(json.dumps(entry, allow_nan=False) + "\n")
        self._file.flush()
        with self._board.as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=step)

    def picture(self, step, name, pixels):
        """Writes samples/<name>_<step>.png; pixels is uint8 [H, W, 3]."""
        images.write_png(os.path.join(self._samples, f"{name}_{step:08d}.png"), pixels)
        with self._board.as_default():
            tf.summary.image(name, pixels[None], step=step)

    def best(self, name):
        """Largest value logged under a name so far; minus infinity without any."""
        return max((e[name] for e in self.history if name in e), default=-math.inf)

    def close(self):
        self._file.close()
        self._board.close()


def _entries(path):
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.readlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return  # A line cut short is the last one.
