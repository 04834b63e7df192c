"""The folder of one training run, and what may be found in it.

    flags.cfg        effective flags, usable as --flagfile
    run.json         versions, seed, and the fingerprint of the training data
    metrics.jsonl    one JSON object per logged step, with `step`
    checkpoints/     the newest checkpoints; checkpoints/best/ the best by validation
    last_checkpoint.txt      step of the last one written, to notice when it is lost
    rollbacks.jsonl  one JSON object per rollback after a non-finite loss, if any
    unusable_pictures.txt    pictures that were skipped, if any, with the reason
    samples/*.png    validation examples as they were completed at a step
    tensorboard/     the same scalars and pictures for TensorBoard

Files are written to a temporary name and renamed, so none is ever half there, nor is a
folder that is written by `written_whole`; the metrics file grows by whole lines.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import shutil

import tensorflow as tf

from inpainting_tf import image_files, images


class RunFolderError(ValueError):
    """A run folder that cannot be used; the message says why and what to do."""


def check(run_dir, flag_values, changeable=(), defaults=None):
    """Makes sure that a folder is free or holds the run of these flags.

    Args:
      run_dir: the folder, which need not exist.
      flag_values: dict of effective flags, name -> text.
      changeable: names of flags that may differ when a run is resumed.
      defaults: dict name -> text, of flags that a run may have been begun before: their
        defaults, which must leave it as it was.

    Raises:
      RunFolderError: a run with other flags, or a folder that holds something else.
    """
    if os.path.exists(os.path.join(run_dir, "flags.cfg")):
        recorded = (defaults or {}) | read_flags(run_dir)
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
        try:
            with open(facts_path, encoding="utf-8") as file:
                recorded = json.load(file)["data"]
        except (OSError, ValueError, TypeError, KeyError):
            raise RunFolderError(
                f"{facts_path} is damaged: restore it from a copy or use another "
                "--run_dir"
            ) from None
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
        create(run_dir, flag_values, facts)
    except OSError as error:
        raise RunFolderError(
            f"--run_dir={run_dir}: cannot write there ({error.strerror})"
        ) from None


def create(run_dir, flag_values, facts):
    """Writes what a run folder holds before the first step (arguments as `prepare`).

    Raises:
      OSError: not writable.
    """
    os.makedirs(run_dir, exist_ok=True)
    write_flags(run_dir, flag_values)
    facts_path = os.path.join(run_dir, "run.json")
    write_text(facts_path, json.dumps(facts, indent=2) + "\n")
    for folder in ("checkpoints", "samples", "tensorboard"):
        os.makedirs(os.path.join(run_dir, folder), exist_ok=True)


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
    """Adds a picture to unusable_pictures.txt, once; returns the file's path.

    Raises:
      OSError: it cannot be written; names the file.
    """
    path = os.path.join(run_dir, "unusable_pictures.txt")
    # A file name may hold bytes that are no text, and line ends.
    line = os.fsencode(images.in_one_line(f"{name}: {reason}") + "\n")
    try:
        with open(path, "ab+") as file:
            file.seek(0)
            if line not in file.readlines():
                file.write(line)
    except OSError as error:  # One of writing or closing names no file.
        raise OSError(error.errno, error.strerror, path) from None
    return path


def lock(run_dir):
    """Keeps other processes from training in a run folder.

    Returns:
      file descriptor, for os.close when training ends; the process's end closes it too.

    Raises:
      RunFolderError: another process is training there.
    """
    # The folder itself, so that no file is left behind.
    descriptor = os.open(run_dir, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise RunFolderError(
            f"--run_dir={run_dir} is being trained by another process; wait for its "
            "end or use another folder"
        ) from None
    except OSError:
        pass  # Some network file systems have no locks.
    return descriptor


def note_checkpoint(run_dir, step):
    """Records that the checkpoint of a step has been written."""
    write_text(os.path.join(run_dir, "last_checkpoint.txt"), f"{step}\n")


def noted_checkpoint(run_dir):
    """The step that `note_checkpoint` recorded last; 0 for none."""
    try:
        with open(os.path.join(run_dir, "last_checkpoint.txt")) as file:
            return int(file.read())
    except (FileNotFoundError, ValueError):
        return 0


def note_rollback(run_dir, **facts):
    """Records a rollback durably, before it happens; returns how many there were."""
    path = os.path.join(run_dir, "rollbacks.jsonl")
    noted = [*_lines(path), json.dumps(facts) + "\n"]
    write_text(path, noted)
    return len(noted)


def rollbacks(run_dir):
    """How often the run has been rolled back."""
    return len(_lines(os.path.join(run_dir, "rollbacks.jsonl")))


def _lines(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readlines()
    except FileNotFoundError:
        return []


def write_text(path, text):
    """Writes a file as a whole or not at all; `text` is a str, or an iterable of them."""
    try:
        with open(path + ".tmp", "w", encoding="utf-8") as file:
            file.writelines([text] if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".tmp", path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(path + ".tmp")
        raise


@contextlib.contextmanager
def written_whole(path, replace=False):
    """Lets a folder appear whole, when the block ends without an error, or not at all.

    Args:
      path: the folder, which need not exist, or be empty.
      replace: whether what is there gives way to the new one, once that is whole; the
        block may still read it.

    Yields:
      path of an empty folder beside it, hidden, to write in.

    Raises:
      RunFolderError: an error of the file system in the block, or what is there is not
        empty and not to be replaced.
    """
    path = os.path.abspath(path)
    parent, name = os.path.split(path)
    unfinished, old = (
        os.path.join(parent, f".{name}.{word}-{os.getpid()}")
        for word in ("unfinished", "old")
    )
    try:
        os.makedirs(unfinished)
        try:
            yield unfinished
            if replace and os.path.lexists(path):
                os.rename(path, old)
            try:
                os.rename(unfinished, path)
            except BaseException:
                if os.path.lexists(old):
                    os.rename(old, path)
                raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        # Only now: wherever anything fails before, the old one is still somewhere.
        shutil.rmtree(old, ignore_errors=True)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or image_files.first_line(error)
        raise RunFolderError(f"{path}: cannot write there ({reason})") from None


def file_hash(path):
    """SHA-256 of a file's contents, hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def logged_entries(run_dir):
    """The whole entries of a run's metrics.jsonl, dicts in order; [] without one."""
    entries, _ = _entries(os.path.join(run_dir, "metrics.jsonl"))
    return entries


def logged_step(run_dir):
    """The last step that metrics.jsonl holds; 0 for none."""
    entries = logged_entries(run_dir)
    return max((entry["step"] for entry in entries), default=0)


class Log:
    """Numbers and pictures of a run, as JSON lines and for TensorBoard.

    Attributes:
      history: what metrics.jsonl holds, list of dicts.
      damaged: how many of its lines were no entries, beside one cut short by a crash.
    """

    def __init__(self, run_dir, step):
        """Opens the log of a run that stands at `step`.

        Lines beyond `step`, and a line cut short by a crash, are dropped: the resumed
        run writes them again.

        Raises:
          OSError: it cannot be written; as every method here.
        """
        self._path = os.path.join(run_dir, "metrics.jsonl")
        self._samples = os.path.join(run_dir, "samples")
        self._file = None
        self.history, self.damaged = _entries(self._path)
        self.rewind(step)
        self._board_folder = os.path.join(run_dir, "tensorboard")
        with _board_errors(self._board_folder):
            self._board = tf.summary.create_file_writer(self._board_folder)

    def rewind(self, step):
        """Drops what was logged beyond a step."""
        self.history = [entry for entry in self.history if entry["step"] <= step]
        self._rewrite()

    def _rewrite(self):
        if self._file is not None:
            self._file.close()
        write_text(self._path, [_line(entry) for entry in self.history])
        # Without a buffer: a line that did not fit on the disk is not tried again.
        self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115 - see close

    def scalars(self, step, values):
        """Appends one object; values is a dict of floats."""
        entry = {"step": step, **values}
        line = _line(entry).encode()
        length = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._path)
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(length)
            raise
        self.history.append(entry)
        self._show(step, values)

    def complete(self, values):
        """Adds values to the last entry."""
        self.history[-1] |= values
        self._rewrite()
        self._show(self.history[-1]["step"], values)

    def _show(self, step, values):
        with _board_errors(self._board_folder), self._board.as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=step)

    def picture(self, step, name, pixels):
        """Writes `samples/<name>_<step>.png`; pixels is uint8 [H, W, 3]."""
        images.write_png(os.path.join(self._samples, f"{name}_{step:08d}.png"), pixels)
        with _board_errors(self._board_folder), self._board.as_default():
            tf.summary.image(name, pixels[None], step=step)

    def best(self, name):
        """Largest value logged under a name so far; minus infinity without any."""
        return max((e[name] for e in self.history if name in e), default=-math.inf)

    def sync(self):
        """Has the disk hold every line, before what they stand for is saved."""
        os.fsync(self._file.fileno())

    def close(self):
        self._file.close()
        with contextlib.suppress(tf.errors.OpError):  # On a full disk.
            self._board.close()


@contextlib.contextmanager
def _board_errors(folder):
    """TensorFlow's errors in writing there, as Python's."""
    try:
        yield
    except tf.errors.OpError as error:
        # TensorFlow adds lines that say what it was about to write.
        reason = image_files.first_line(error).rpartition("; ")[2]
        raise OSError(errno.EIO, reason, folder) from None


def _line(entry):
    return json.dumps(entry, allow_nan=False) + "\n"


def _entries(path):
    """The entries of a metrics file, and how many lines before the last are none."""
    lines, entries, damaged = _lines(path), [], 0
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            entry["step"] + 0
            entries.append(entry)
        except (ValueError, TypeError, KeyError):
            damaged += number < len(lines)
    return entries, damaged
