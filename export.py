"""Exports a trained method as a SavedModel that TensorFlow Serving loads as it is.

    python export.py --run_dir=runs/glcic --export_dir=exported
    python export.py --checkpoint=runs/glcic/checkpoints/step-5000 --export_dir=exported
    python export.py --search=flags/siidgm_paper.cfg --run_dir=runs/dcgan \\
        --export_dir=exported

--mirrored exports the mean of what is completed of a picture and of its mirror image.
Writes <export_dir>/<method>/<version>/, the next version unless --version says which:
graphs, weights, assets.extra/metadata.json, and warm-up requests for the server. What
the signatures take and give is in `inpainting_tf/serving.py`.
"""

import dataclasses
import os
import signal
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Before TensorFlow is imported.

import tensorflow as tf
from absl import app, flags, logging

from command_line import served_methods, trained, weights_along
from command_line.parsing import UsageError, parse_flags, refuse
from inpainting_tf import exporting, self_ensemble
from inpainting_tf.checkpoints import TrainingStopped
from inpainting_tf.progress import say

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "run_dir",
    None,
    "Run folder of the method, or of the dcgan that --search searches; or the name of "
    "weights that come along.",
)
flags.DEFINE_string(
    "checkpoint",
    None,
    "With --run_dir: best, newest, or a step that was kept; else the path of one, "
    "<run_dir>/checkpoints/step-<n>. Default: the best where there is one.",
)
flags.DEFINE_string(
    "search", None, "Recipe of search.py, to export a search of a trained dcgan."
)
flags.DEFINE_string("export_dir", None, "Folder for the exports of all methods.")
flags.DEFINE_integer(
    "version", None, "Number of the version; default: the next one.", lower_bound=1
)
flags.DEFINE_integer(
    "max_pixels",
    None,
    "Height times width of the largest picture that the model accepts, whose longer side "
    "may be four times that of a square of as many; larger ones are "
    f"refused before they cost memory. Default: {served_methods.MAX_PIXELS}; "
    f"{served_methods.MAX_PIXELS_REDUCED} for methods that reduce pictures to a size of "
    "their own.",
    lower_bound=1,
)
flags.DEFINE_bool(
    "mirrored",
    False,
    "Complete a picture and its mirror image, and take the mean: twice the work, a "
    "smaller error of networks.",
)
flags.DEFINE_string(
    "weights_terms",
    None,
    "Licence or terms of the weights, for the metadata. Default: says what they were "
    "trained on.",
)


def source():
    """Run folder (or None) and checkpoint (or None) that the flags name."""
    if not FLAGS.export_dir:
        raise UsageError("--export_dir is missing; name a folder for the exports")
    if FLAGS.run_dir:
        return weights_along.find(FLAGS.run_dir), FLAGS.checkpoint
    if FLAGS.checkpoint:
        return trained.split_checkpoint(FLAGS.checkpoint)
    if not FLAGS.search:
        raise UsageError(
            "give --run_dir=<run folder>, --checkpoint=<run folder>/checkpoints/step-<n>,"
            " or --search=<recipe of search.py>"
        )
    return None, None


def run():
    """Exports what the flags name; returns the exit status."""
    began = time.monotonic()
    # Graphs run anywhere, but searches group their examples by the device at hand.
    tf.config.set_visible_devices([], "GPU")
    run_dir, checkpoint = source()
    limits = {"max_pixels": FLAGS.max_pixels, "terms": FLAGS.weights_terms}
    if FLAGS.search:
        name, served, about = served_methods.open_search(
            FLAGS.search, run_dir, checkpoint, **limits
        )
    else:
        name, served, about = served_methods.open_run(run_dir, checkpoint, **limits)
    if FLAGS.mirrored:
        served = dataclasses.replace(
            served, inpaint=self_ensemble.mirrored(served.inpaint), attend=None
        )
        about |= {"mirrored": True}
    path = exporting.export(served, FLAGS.export_dir, name, about, FLAGS.version)
    seconds = time.monotonic() - began
    mirrored = ", mirrored" if FLAGS.mirrored else ""
    say(f"{name} at step {about['step']}{mirrored}: {path}, {seconds:.0f} s")
    return 0


def main(_):
    logging.set_verbosity(logging.ERROR)
    try:
        sys.exit(run())
    except (ValueError, TrainingStopped) as error:
        refuse("export.py", str(error).strip().splitlines()[0])
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
