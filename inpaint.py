"""Completes photos: the missing part of one, or of every photo in a folder.

    python inpaint.py --image=photo.jpg --mask=mask.png --output=completed.png
    python inpaint.py --image=photos/ --mask=masks/ --output=completed/ \\
        --weights=runs/celeba
    python inpaint.py --image=photo.jpg --box=120,80,60,40 --output=completed.png \\
        --methods=telea,navier_stokes,runs/celeba

The mask has the photo's size, white = missing; instead of one, --box, --color_key,
--transparent or --mask_rule say what is missing. The photo comes back as a PNG file of
its own size, whose known pixels, ICC profile, EXIF and transparency are the photo's own
(`inpainting_tf/photos.py`). Several methods also give a picture of all side by side.

Photos of a folder that are completed already, with the same flags, are skipped, so that
the same command goes on where it was interrupted.

Exit status: 0 all completed, 1 some were not, 2 wrong command line, 130 interrupted.
"""

import operator
import os
import signal
import sys
import time
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Before TensorFlow is imported.

import tensorflow as tf
from absl import app, flags, logging
from tqdm import tqdm

from command_line import photo_methods, photo_outputs, photo_sources
from command_line.memory import reuse_large_blocks
from command_line.parsing import UsageError, parse_flags, refuse
from inpainting_tf import (
    completion,
    masks,
    photo_figures,
    photo_masks,
    photos,
)
from inpainting_tf.checkpoints import TrainingStopped
from inpainting_tf.image_files import first_line
from inpainting_tf.progress import say
from inpainting_tf.tensorflow_errors import in_one_line
from serving import pictures

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "image", None, "A photo (JPEG, PNG, BMP, GIF or WebP), or a folder of photos."
)
flags.DEFINE_string(
    "mask",
    None,
    "A picture of the photo's size, white = missing; for a folder of photos one for "
    "all, or a folder with masks of the photos' names.",
)
flags.DEFINE_string(
    "output",
    None,
    "PNG file or folder for one photo, folder for a folder of photos; default: beside "
    "the photo or folder, with the method's name added.",
)
flags.DEFINE_list(
    "methods",
    [],
    "What completes, each [label=]source: telea, navier_stokes, mean_color; anything "
    "that --weights takes; a recipe of search.py; or the name of a method whose "
    "weights are among --weights. Behind any of them +mirrored takes the mean of what "
    "is completed of a photo and its mirror image. Default: all of --weights.",
)
flags.DEFINE_list(
    "weights",
    [],
    "Trained weights, each [label=]source: a name of those that come along, a run "
    "folder (with @best, @newest or @step), the path of a checkpoint, a SavedModel, "
    "or a TF1 checkpoint of GIICA or GLCIC. Default: the first that comes along.",
)
flags.DEFINE_multi_string(
    "box",
    [],
    "LEFT,TOP,WIDTH,HEIGHT in pixels from the upper left corner: is missing. May be "
    "given several times.",
)
flags.DEFINE_string(
    "color_key",
    None,
    "Colour that marks what is missing in the photo itself: 255,0,255 or #ff00ff or "
    "magenta.",
)
flags.DEFINE_integer(
    "color_tolerance",
    40,
    "Levels by which red, green and blue may differ from --color_key.",
    lower_bound=0,
    upper_bound=255,
)
flags.DEFINE_bool(
    "transparent", False, "What is fully transparent in the photo is missing."
)
flags.DEFINE_enum(
    "mask_rule",
    None,
    [rule for rule in masks.RULES if rule != "folder"],
    "Draws the hole by a rule of the training, another for each photo of a folder.",
)
flags.DEFINE_integer(
    "hole_size",
    None,
    "Side of the holes of --mask_rule=center, random_box or box_in_patch in pixels; "
    "default: half the photo.",
    lower_bound=1,
)
flags.DEFINE_integer("seed", 0, "Of --mask_rule.", lower_bound=0)
flags.DEFINE_enum(
    "missing",
    "auto",
    photo_masks.POLARITIES,
    "What is missing in a mask: white, black, or auto, which is white unless the mask "
    "is evidently inverted.",
)
flags.DEFINE_integer(
    "grow", 0, "Pixels by which the hole is made larger on all sides.", lower_bound=0
)
flags.DEFINE_integer(
    "working_size",
    None,
    "Side in pixels of the windows that networks complete; larger ones show more "
    "detail and take longer. Default: what each was trained at.",
    lower_bound=16,
)
flags.DEFINE_bool(
    "blend",
    False,
    "Blend what networks fill in with the colours around the hole: no seam, no tint. "
    "Searches have --blending in their recipes.",
)
flags.DEFINE_bool("overwrite", False, "Complete photos of a folder again.")


# What says which pixels are missing; exactly one is given.
HOLES = ("mask", "box", "color_key", "transparent", "mask_rule")


def check_flags():
    """Refuses impossible combinations before anything is loaded.

    Raises:
      UsageError: naming the flags and what to do.
    """
    if not FLAGS.image:
        raise UsageError("--image is missing; name a photo or a folder of photos")
    given = [name for name in HOLES if FLAGS[name].value]
    if len(given) != 1:
        raise UsageError(
            f"{' and '.join(f'--{n}' for n in given) or 'nothing'} says what is "
            f"missing; give one of {', '.join(f'--{n}' for n in HOLES)}"
        )
    for name, owner in (("missing", "mask"), ("color_tolerance", "color_key")):
        if not FLAGS[name].using_default_value and not FLAGS[owner].value:
            raise UsageError(f"--{name} is of use to --{owner} alone")
    if FLAGS.hole_size and FLAGS.mask_rule not in masks.BOX_RULES:
        raise UsageError(
            f"--hole_size is of use to --mask_rule={', '.join(masks.BOX_RULES)} alone"
        )
    if FLAGS.color_key:
        photo_masks.parse_color(FLAGS.color_key)
    parse_boxes()


def parse_boxes():
    """--box as a list of (left, top, width, height)."""
    boxes = []
    for text in FLAGS.box:
        try:
            left, top, width, height = (int(part) for part in text.split(","))
        except ValueError:
            raise UsageError(
                f"--box={text}: must be LEFT,TOP,WIDTH,HEIGHT, four whole numbers"
            ) from None
        boxes.append((left, top, width, height))
    return boxes


def find_hole(pair, photo):
    """Which pixels of a photo are missing.

    Args:
      pair: pictures.Pair.
      photo: photos.Photo.

    Returns:
      (missing, note): bool [H, W]; a line about how the mask was read, or "".

    Raises:
      MaskError, PictureError, ImageError, ValueError: with what is wrong.
    """
    note = ""
    height, width = photo.rgb.shape[:2]
    if FLAGS.mask:
        if pair.mask is None:
            raise pictures.PictureError(pair.reason)
        try:
            missing, note = photo_masks.read(read(pair.mask), photo, FLAGS.missing)
        except ValueError as error:
            raise photo_masks.MaskError(f"mask {pair.mask}: {error}") from None
        note = note and f"mask {pair.mask}: {note}"
    elif FLAGS.box:
        missing = photo_masks.from_boxes(parse_boxes(), height, width)
    elif FLAGS.color_key:
        color = photo_masks.parse_color(FLAGS.color_key)
        missing = photo_masks.from_color(photo.rgb, color, FLAGS.color_tolerance)
    elif FLAGS.transparent:
        if photo.alpha is None or photo.alpha.all():
            raise photo_masks.MaskError("nothing in the photo is fully transparent")
        missing = photo.alpha == 0
    else:
        # By the name, so that a photo's hole does not depend on the others.
        name = os.path.relpath(pair.photo, FLAGS.image)
        seed = [FLAGS.seed, zlib.crc32(name.encode())]
        drawn, _ = masks.draw(
            FLAGS.mask_rule, seed, height, width, hole_size=FLAGS.hole_size
        )
        missing = drawn.numpy()[..., 0] > 0
    if FLAGS.grow:
        missing = photo_masks.grow(missing, FLAGS.grow)
    photo_masks.check(missing)
    return missing, note


def read(path):
    with open(path, "rb") as file:
        return file.read()


def complete(pair, methods, outputs):
    """Completes one photo by all methods and writes what comes out.

    Args:
      pair: pictures.Pair.
      methods: list of completion.PhotoMethod.
      outputs: photo_outputs.Outputs.

    Returns:
      dict: label -> seconds.

    Raises:
      ValueError, tf.errors.OpError, OSError of an input: it cannot be completed.
      photo_outputs.OutputError: an output cannot be written.
    """
    photo = photos.read(read(pair.photo))
    missing, note = find_hole(pair, photo)
    for line in (*photo.notes, *([note] if note else [])):
        say(f"{pair.photo}: {line}")
    completed, seconds = {}, {}
    texts = outputs.texts(pair)
    for method in methods:
        began = time.monotonic()
        completed[method.label] = completion.complete(photo.rgb, missing, method)
        seconds[method.label] = time.monotonic() - began
        png = photo.completed_png(completed[method.label], missing, texts[method.label])
        photo_outputs.write(outputs.completion(pair, method.label), png)
    if path := outputs.side_by_side(pair):
        png = photo_figures.side_by_side(photo.rgb, missing, completed)
        text = texts[photo_outputs.SIDE_BY_SIDE]
        photo_outputs.write(path, photos.with_text(png, text))
    return seconds


def settings():
    """The flags that decide, beside methods and files, what a completion holds."""
    names = (*HOLES[1:], "color_tolerance", "hole_size", "seed", "missing", "grow")
    return [(name, FLAGS[name].value) for name in names]


def run():
    """Completes what the flags name; returns the exit status."""
    check_flags()
    single = not os.path.isdir(FLAGS.image)
    name = "completed"
    if len(FLAGS.methods) + len(FLAGS.weights) == 1:
        flag = "methods" if FLAGS.methods else "weights"
        name = photo_sources.label_of(FLAGS[flag].value[0], flag)
    pairs = pictures.pair_up(FLAGS.image, FLAGS.mask, FLAGS.output, name)
    root = None if single else FLAGS.output or f"{os.path.normpath(FLAGS.image)}_{name}"
    methods = photo_methods.open_all(FLAGS.methods, FLAGS.weights, FLAGS.working_size)
    if FLAGS.blend:
        plain, methods = methods, [completion.blending(m) for m in methods]
        if all(map(operator.is_, plain, methods)):
            say(
                "--blend changes nothing here: classical fills begin at the hole's "
                "border, searches blend by their recipe (--blending)"
            )
    for method in methods:
        say(f"{method.label}: {method.description}")
    outputs = photo_outputs.Outputs(root, methods, settings())
    outputs.check(pairs)
    again = FLAGS.overwrite or single  # A single photo was asked for by name.
    todo = [pair for pair in pairs if again or not outputs.are_finished(pair)]
    failures, done, stopped = [], 0, None
    with tqdm(total=len(todo), unit="photo", disable=not sys.stderr.isatty()) as bar:
        try:
            for pair in todo:
                try:
                    seconds = complete(pair, methods, outputs)
                    done += 1
                except photo_outputs.OutputError as error:  # A full disk, say.
                    stopped = str(error)
                    break
                except (OSError, ValueError, tf.errors.OpError, MemoryError) as error:
                    failures.append(f"{pair.photo}: {in_words(error)}")
                bar.update()
        except KeyboardInterrupt:
            stopped = "interrupted; run the same command to go on"
    for line in [*failures, *([stopped] if stopped else [])]:
        say(f"inpaint.py: {line}")
    if single and done:
        shown = outputs.side_by_side(pairs[0]) or pairs[0].output
        times = ", ".join(f"{label} {value:.1f} s" for label, value in seconds.items())
        say(f"completed: {shown} ({times})")
    elif not single:
        skipped, left = len(pairs) - len(todo), len(todo) - done - len(failures)
        say(
            f"{done} completed"
            + (f", {skipped} skipped (finished; --overwrite)" if skipped else "")
            + (f", {len(failures)} failed" if failures else "")
            + (f", {left} not tried" if left else "")
            + f": {root}"
        )
    if stopped and stopped.startswith("interrupted"):
        return 128 + signal.SIGINT
    return 0 if done == len(todo) else 1


def in_words(error):
    """One line of what is wrong with a photo, for its user."""
    if isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError)):
        return "not enough memory; try a smaller --working_size"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, tf.errors.OpError):
        return f"the method failed: {in_one_line(error.message)}"
    return first_line(error)


def main(_):
    reuse_large_blocks()
    logging.set_verbosity(logging.WARNING)
    try:
        sys.exit(run())
    except (ValueError, TrainingStopped) as error:
        refuse("inpaint.py", str(error).strip().splitlines()[0])
    except OSError as error:
        refuse("inpaint.py", f"{error.filename or '--image'}: {error.strerror}")
    except KeyboardInterrupt:  # Before the first photo.
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
