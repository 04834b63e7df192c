"""Brings weights of the original TensorFlow 1 programs in, as a run folder.

    python -m baselines.released_weights --format=giica_tf1 \\
        --source=model_logs/release_places2_256 --output=runs/giica_places2

| --format  | method | --source                                                      |
|-----------|--------|---------------------------------------------------------------|
| giica_tf1 | giica  | checkpoint of JiahuiYu/generative_inpainting v1.0.0           |
| glcic_tf1 | glcic  | checkpoint of tadax/glcic                                     |
| dcgan_pb  | dcgan  | frozen graph (.pb) of a DCGAN, as the SIIDGM program reads it |

A checkpoint is given by its prefix or its folder. The output is a run folder as
train.py writes it: flags.cfg, run.json with the origin, and one checkpoint, at the
step that the source stood at where it says so. Every program that takes a run folder
takes it.

Stages: find and read the source; build the method that its shapes describe; load, all
or nothing; write beside --output and rename, so that no half of it is ever there.
"""

import os
import platform
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Before TensorFlow is imported.

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

import inpainting_tf
from baselines import released_dcgan, released_giica, released_glcic, tf1_checkpoint
from command_line import method_flags, parsing
from inpainting_tf import run_folder
from inpainting_tf.checkpoints import Checkpoints, TrainingStopped

FLAGS = flags.FLAGS
FORMATS = {"giica_tf1": "giica", "glcic_tf1": "glcic", "dcgan_pb": "dcgan"}


def convert(released_format, source, output, *, image_size=None, bgr=True):
    """Reads released weights and writes the run folder of the method they belong to.

    Args:
      released_format: a key of FORMATS.
      source: checkpoint prefix, folder with a checkpoint, or .pb file.
      output: the run folder, which must not exist or be empty.
      image_size: side of the training images where the source does not decide it.
      bgr: for giica_tf1: the weights were trained on blue, green, red.

    Returns:
      lines that say what was done: size, what was used, what was not, what to know.

    Raises:
      ValueError: a source that cannot be read, does not belong to the method, or an
        output that is not free; nothing is written then.
    """
    _refuse_unless_free(output)
    keras.utils.set_random_seed(0)  # Of what the source does not have.
    if released_format == "dcgan_pb":
        files = [source]
        model, arguments, used, unused, notes = released_dcgan.convert(source)
        step, variables = 0, {*used, *unused}
    else:
        prefix, files = tf1_checkpoint.find(source)
        variables = tf1_checkpoint.read(prefix)
        step = _step(variables)
        if released_format == "giica_tf1":
            model, arguments, unused, notes = released_giica.convert(
                variables, image_size=image_size, bgr=bgr
            )
        else:
            model, arguments, unused, notes = released_glcic.convert(
                variables, image_size=image_size
            )
            model.steps_taken.assign(step)  # Decides the phase of further training.
        used = sorted(set(variables) - set(unused))
    slots = [n for n in unused if tf1_checkpoint.is_optimizer_state(n, variables)]
    others = [name for name in unused if name not in slots]
    facts = {
        "released_weights": {
            "format": released_format,
            "source": os.path.abspath(source),
            "sha256": {os.path.basename(p): run_folder.file_hash(p) for p in files},
            "step": step,
            "used": used,
            "unused": others,
            "unused_optimizer_variables": slots,
            "notes": notes,
        },
        "inpainting_tf": inpainting_tf.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "python": platform.python_version(),
        "parameters": model.count_params(),
        "data": {},  # Unknown; a training run never goes on in this folder.
    }
    method = FORMATS[released_format]
    _write(output, {"method": method, **arguments}, facts, model, step)
    summary = (
        f"{method}: {len(used)} of {len(variables)} variables used, "
        f"{model.count_params():,} parameters, step {step}, in {output}"
    )
    left = f"unused: {len(slots)} of the optimizer; {len(others)} others"
    if others:
        left += f": {', '.join(others)}"
    return [summary, left, *notes]


def _refuse_unless_free(output):
    if os.path.isdir(output):
        if os.listdir(output):
            raise ValueError(f"--output={output} is not empty; name another folder")
    elif os.path.lexists(output):
        raise ValueError(f"--output={output} is a file; name another folder")


def _step(variables):
    """The step that a checkpoint stood at, 0 where it does not say."""
    step = np.asarray(variables.get("global_step", 0))
    return int(step) if step.size == 1 and step >= 0 else 0


def _write(output, arguments, facts, model, step):
    """Writes a run folder, whole or not at all."""
    flag_values = {name: method_flags.text(v) for name, v in arguments.items()}
    try:
        with run_folder.written_whole(output) as folder:
            run_folder.create(folder, flag_values, facts)
            Checkpoints(model, os.path.join(folder, "checkpoints")).save(step)
    except run_folder.RunFolderError as error:
        raise ValueError(f"--output={output}: {error}") from None


def define_flags():
    """Defines the program's flags; importing the functions alone does not."""
    flags.DEFINE_enum("format", None, list(FORMATS), "What --source is.")
    flags.DEFINE_string("source", None, "Checkpoint prefix or folder, or .pb file.")
    flags.DEFINE_string("output", None, "Run folder to write; must be new or empty.")
    flags.DEFINE_integer(
        "image_size",
        None,
        "Side of the training images, where the source does not decide it; default: "
        "256 for giica_tf1, 128 for glcic_tf1.",
        lower_bound=16,
    )
    flags.DEFINE_bool(
        "bgr",
        True,
        "giica_tf1: the weights were trained on blue, green, red, as all that its "
        "program trained; the model takes and gives red, green, blue.",
    )


def main(argv):
    logging.set_verbosity(logging.WARNING)
    try:
        for name in ("format", "source", "output"):
            if not FLAGS[name].value:
                raise ValueError(f"--{name} is missing")
        if FLAGS.format == "dcgan_pb" and FLAGS.image_size:
            raise ValueError("--image_size: a graph of --format=dcgan_pb decides it")
        if FLAGS.format != "giica_tf1" and not FLAGS.bgr:
            raise ValueError("--nobgr is of use to --format=giica_tf1 alone")
        lines = convert(
            FLAGS.format,
            FLAGS.source,
            FLAGS.output,
            image_size=FLAGS.image_size,
            bgr=FLAGS.bgr,
        )
    except (ValueError, TrainingStopped) as error:
        parsing.refuse(argv[0], str(error).splitlines()[0])
    for line in lines:
        print(line, file=sys.stderr)


if __name__ == "__main__":
    define_flags()
    app.run(main, flags_parser=parsing.parse_flags)
