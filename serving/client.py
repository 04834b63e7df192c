"""Completes photos by a model that TF Serving serves.

    python -m serving.client photo.jpg mask.png --model=glcic
    python -m serving.client photos/ masks/ --model=giica --output=completed/
    python -m serving.client photos/ mask.png --model=glcic --transport=rest

The photo is any picture file; the mask has its size, white = missing. Folders are
walked; photos that are completed already are skipped, so that the same command goes on
where it was interrupted.

Exit status: 0 all completed, 1 some were not, 2 wrong command line, 130 interrupted.
"""

import os
import signal
import sys

from absl import app, flags
from tqdm import tqdm

from command_line.parsing import UsageError, parse_flags, refuse
from inpainting_tf import image_files
from serving import local_model, pictures, transport

FLAGS = flags.FLAGS

flags.DEFINE_string("model", None, "name of the model, as in models.config")
flags.DEFINE_enum("transport", "grpc", ["grpc", "rest"], "interface of TF Serving")
flags.DEFINE_string(
    "server",
    None,
    "host:port of TF Serving; if not given, localhost:8500 for grpc and localhost:8501 "
    "for rest; rest takes http://... and https://... too",
)
flags.DEFINE_integer(
    "version", None, "version of the model; the newest if not given", 0
)
flags.DEFINE_string("label", None, "version label, such as stable or canary")
flags.DEFINE_string(
    "output",
    None,
    "PNG file or folder for one photo, folder for a folder of photos; if not given, "
    "beside the photo or folder, with the model's name added",
)
flags.DEFINE_bool("overwrite", False, "complete photos of a folder again")
flags.DEFINE_float(
    "timeout", 120.0, "seconds for one attempt; searches need minutes", 0.0
)
flags.DEFINE_integer(
    "retries", 4, "further attempts when the server is busy, restarts or is late", 0
)
flags.DEFINE_float(
    "first_wait", 0.5, "seconds before the first retry; then doubled", 0.0
)
flags.DEFINE_string(
    "check",
    None,
    "exported model (a SavedModel or its folder of versions) that completes each photo "
    "here too, for comparison",
)
flags.DEFINE_integer(
    "tolerance", 0, "largest difference, in levels of 0..255, that --check lets pass", 0
)


def parse(argv):
    return parse_flags(argv, positional=("a photo or folder", "a mask or folder"))


class Check:
    """Compares every answer with the model on this machine; counts what it finds."""

    def __init__(self, folder, version):
        self._path = local_model.find(folder, version)
        self._model = local_model.LocalModel(self._path)
        self._same_bytes = self._answers = self._largest = 0
        self._worst = None

    def __call__(self, pair, photo_png, mask_png, answer):
        difference = self._model.largest_difference(photo_png, mask_png, answer)
        self._answers += 1
        if difference is None:
            self._same_bytes += 1
        elif self._worst is None or difference > self._largest:
            self._largest, self._worst = difference, pair.photo

    def report(self, tolerance):
        """One line, and whether every difference is within the tolerance."""
        line = (
            f"check: {self._same_bytes} of {self._answers} answers are the bytes of "
            f"{self._path}"
        )
        if self._worst is not None:
            line += f"; largest difference {self._largest} of 255 ({self._worst})"
        return line, self._largest <= tolerance


def complete(pair, model, check):
    """Completes one photo and writes it.

    Args:
      pair: pictures.Pair.
      model: see transport.connect.
      check: Check or None.

    Raises:
      pictures.PictureError, transport.RequestError, local_model.LocalModelError: this
        photo cannot be completed.
      OSError: the output cannot be written.
    """
    photo_png, mask_png, missing = pictures.load(pair)
    answer = transport.with_retries(
        lambda: model.complete(photo_png, mask_png), FLAGS.retries, FLAGS.first_wait
    )
    pictures.check_answer(answer, missing)
    image_files.write_bytes(pair.output, answer)
    if check:
        check(pair, photo_png, mask_png, answer)


def say(line):
    print(line, file=sys.stderr, flush=True)


def run(photo, mask):
    """Completes what the command line names; returns the exit status."""
    if not FLAGS.model:
        raise UsageError("--model must name a model, as in models.config")
    if FLAGS.version is not None and FLAGS.label is not None:
        raise UsageError("--version and --label both choose the version; give one")
    if FLAGS.timeout <= 0:
        raise UsageError("--timeout must be above 0 seconds")
    pairs = pictures.pair_up(photo, mask, FLAGS.output, FLAGS.model)
    # A single photo was asked for by name; every answer is wanted for a comparison.
    single = not os.path.isdir(photo)
    again = FLAGS.overwrite or FLAGS.check or single
    todo = [pair for pair in pairs if again or not pair.is_finished()]
    check = FLAGS.check and Check(FLAGS.check, FLAGS.version)
    server = FLAGS.server or f"localhost:{8500 if FLAGS.transport == 'grpc' else 8501}"
    model = transport.connect(
        FLAGS.transport,
        server,
        FLAGS.model,
        version=FLAGS.version,
        label=FLAGS.label,
        timeout=FLAGS.timeout,
    )
    failures, done, stopped = [], 0, None
    with tqdm(total=len(todo), unit="photo", disable=not sys.stderr.isatty()) as bar:
        try:
            for pair in todo:
                try:
                    complete(pair, model, check)
                    done += 1
                except (pictures.PictureError, local_model.LocalModelError) as error:
                    failures.append(f"{pair.photo}: {error}")
                except transport.RequestError as error:
                    if error.every_request:
                        stopped = f"{error}"
                        break
                    failures.append(f"{pair.photo}: {error}")
                except OSError as error:  # A full disk, say: the next would fail too.
                    stopped = f"{pair.output} cannot be written: {error.strerror}"
                    break
                bar.update()
        except KeyboardInterrupt:
            stopped = "interrupted"
        finally:
            model.close()

    for line in [*failures, *([stopped] if stopped else [])]:
        say(f"client.py: {line}")
    accepted = True
    if check and done:
        line, accepted = check.report(FLAGS.tolerance)
        say(line)
    if single:
        if done:
            say(f"completed: {pairs[0].output}")
    else:
        skipped = len(pairs) - len(todo)
        left = len(todo) - done - len(failures)
        say(
            f"{done} completed"
            + (f", {skipped} skipped (there already; --overwrite)" if skipped else "")
            + (f", {len(failures)} failed" if failures else "")
            + (f", {left} not tried" if left else "")
        )
    if stopped == "interrupted":
        return 128 + signal.SIGINT
    return 0 if accepted and done == len(todo) else 1


def main(argv):
    try:
        sys.exit(run(*argv[1:]))
    except ValueError as error:
        refuse("client.py", error)
    except KeyboardInterrupt:  # Before the first photo.
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
