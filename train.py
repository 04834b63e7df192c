"""Trains an inpainting method, or resumes its training.

    python train.py --flagfile=flags/quickstart.cfg
    python train.py --flagfile=flags/celeba.cfg --batch_size=8 --run_dir=runs/small

A flag on the command line overrides the flag file. The same command with the same
--run_dir resumes. SIGTERM and Ctrl-C stop after the current step, with a checkpoint.
"""

import functools
import inspect
import os
import platform
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Before TensorFlow is imported.

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

import inpainting_tf
from baselines.methods import METHODS
from inpainting_tf import data, masks, run_folder, training

FLAGS = flags.FLAGS

# What to train.
flags.DEFINE_enum("method", "parallel_attention", list(METHODS), "Method to train.")
flags.DEFINE_float(
    "width", 1.0, "Multiplier on all channel counts; 1 = as published.", lower_bound=0
)

# Data.
flags.DEFINE_string(
    "dataset",
    "celeb_a",
    "A TensorFlow Datasets name with an `image` feature; folder: every picture below "
    "--data_dir; list: the pictures named in --data_list; synthetic_faces: drawn on "
    "the fly, needs no files.",
)
flags.DEFINE_string(
    "data_dir",
    None,
    "Folder of pictures (folder, list) or of prepared TensorFlow Datasets.",
)
flags.DEFINE_string(
    "data_list",
    None,
    "CSV or text file, in --data_dir or elsewhere, that names pictures relative to "
    "--data_dir, with an optional partition column.",
)
flags.DEFINE_string(
    "split",
    None,
    "Training pictures: TFDS split syntax such as train[:12000], or a partition of "
    "--data_list, or a synthetic_faces population. Default: train; all of a folder.",
)
flags.DEFINE_string(
    "validation_split",
    None,
    "Validation pictures, as --split. Default: validation, val or test where there is "
    "one; otherwise --validation_count pictures are held out by a hash of their names.",
)
flags.DEFINE_integer(
    "validation_count", 200, "Number of validation pictures.", lower_bound=1
)
flags.DEFINE_integer(
    "synthetic_count",
    100_000,
    "Number of training faces of synthetic_faces.",
    lower_bound=1,
)
flags.DEFINE_integer("image_size", 128, "Side of the images in pixels.", lower_bound=16)
flags.DEFINE_string(
    "crop",
    "auto",
    "Centred square that is cut out before resizing: a side in pixels, square for the "
    "largest that fits, or auto: 178 for celeb_a, square for others.",
)
flags.DEFINE_bool("flip", True, "Mirror half of the training images left to right.")
flags.DEFINE_float(
    "max_broken_share",
    0.02,
    "Share of unusable pictures (damaged, too small) that may be skipped; training "
    "stops beyond it.",
    lower_bound=0,
    upper_bound=1,
)

# Masks.
flags.DEFINE_enum("mask", "random_box", list(masks.RULES), "Rule that draws the holes.")
flags.DEFINE_enum(
    "validation_mask", None, list(masks.RULES), "Rule for validation; default: --mask."
)
flags.DEFINE_integer(
    "hole_size", None, "Side of box holes in pixels; default: half the image."
)
flags.DEFINE_float(
    "mask_share",
    None,
    "Share of missing pixels for random_pixels and pattern; default: the rule's own.",
)
flags.DEFINE_string("mask_dir", None, "Folder of mask pictures for --mask=folder.")

# Optimisation.
flags.DEFINE_integer(
    "batch_size", 16, "Images per step, over all devices.", lower_bound=1
)
flags.DEFINE_integer("steps", None, "Step to train to.", lower_bound=1)
flags.DEFINE_float(
    "epochs", None, "Passes over the training pictures, instead of --steps."
)
flags.DEFINE_integer(
    "seed", 0, "Decides initial weights, order, flips and masks.", lower_bound=0
)
flags.DEFINE_bool(
    "deterministic", False, "Same bits on every run, also on GPUs; may be slower."
)
flags.DEFINE_enum(
    "precision",
    "float32",
    ["float32", "mixed_float16", "mixed_bfloat16"],
    "Arithmetic of the layers; weights and losses stay float32.",
)
flags.DEFINE_bool("jit_compile", False, "Compile the step by XLA (one device only).")
flags.DEFINE_enum(
    "devices", "auto", ["auto", "one"], "auto: all visible GPUs; one: a single device."
)


def _method_flag(define, name, text, **bounds):
    """Defines a flag for a method's parameter; without it the method's own default."""
    defaults = {
        method: inspect.signature(network).parameters[name].default
        for method, network in METHODS.items()
        if name in inspect.signature(network).parameters
    }
    defaults = ", ".join(f"{method}: {value}" for method, value in defaults.items())
    return define(name, None, f"{text} Defaults: {defaults}.", **bounds)


# Parameters of methods; each method takes those it knows.
METHOD_FLAGS = (
    _method_flag(
        flags.DEFINE_integer,
        "local_patch_size",
        "Side of the local discriminator's patch; None: 7/16 of the image.",
        lower_bound=1,
    ),
    _method_flag(
        flags.DEFINE_bool, "attention_branch", "False leaves it out (ablation)."
    ),
    _method_flag(
        flags.DEFINE_integer,
        "attention_rate",
        "Downscaling inside the contextual attention.",
        lower_bound=1,
    ),
    _method_flag(
        flags.DEFINE_bool,
        "attention_propagation",
        "False leaves the fuse step out (ablation).",
    ),
    _method_flag(
        flags.DEFINE_bool, "local_discriminator", "False leaves it out (ablation)."
    ),
    _method_flag(
        flags.DEFINE_float,
        "adversarial_weight",
        "Weight of the adversarial loss; 0: no discriminators.",
        lower_bound=0,
    ),
    _method_flag(flags.DEFINE_float, "learning_rate", "Rate of Adam.", lower_bound=0),
    _method_flag(
        flags.DEFINE_float,
        "discriminator_learning_rate",
        "Rate of the discriminators' Adam; None: as --learning_rate.",
        lower_bound=0,
    ),
    _method_flag(
        flags.DEFINE_float,
        "beta_1",
        "Adam's decay of the first moment.",
        lower_bound=0,
        upper_bound=0.9999,
    ),
    _method_flag(
        flags.DEFINE_float,
        "beta_2",
        "Adam's decay of the second moment.",
        lower_bound=0,
        upper_bound=0.999999,
    ),
    _method_flag(
        flags.DEFINE_float,
        "clip_norm",
        "Largest L2 norm of each player's gradient; None: no limit.",
        lower_bound=1e-12,
    ),
    _method_flag(
        flags.DEFINE_float,
        "averaging_decay",
        "Decay of the moving average of the weights that is used outside training; "
        "0: no average.",
        lower_bound=0,
        upper_bound=0.999999,
    ),
)

# The run.
flags.DEFINE_string("run_dir", None, "Folder of the run; resumes where it stands.")
flags.DEFINE_integer("log_every", 10, "Steps between log entries.", lower_bound=1)
flags.DEFINE_integer(
    "validate_every", 500, "Steps between validations and samples.", lower_bound=1
)
flags.DEFINE_integer(
    "checkpoint_every", 500, "Steps between checkpoints.", lower_bound=1
)
flags.DEFINE_integer(
    "keep", 3, "Newest checkpoints kept, beside the best.", lower_bound=1
)

# What may differ when a run is resumed: how far, where, and how often it reports.
CHANGEABLE = (
    "steps",
    "epochs",
    "run_dir",
    "data_dir",
    "data_list",
    "log_every",
    "checkpoint_every",
    "keep",
)


class UsageError(ValueError):
    """Flags that do not fit together; the message is one line."""


def parse_flags(argv):
    """Parses the command line; flags given there win over any --flagfile."""
    files, rest = [], []
    words = iter(argv[1:])
    for word in words:
        if word in ("--flagfile", "-flagfile"):
            word = f"--flagfile={next(words, '')}"
        (files if word.lstrip("-").startswith("flagfile=") else rest).append(word)
    try:
        leftover = FLAGS([argv[0], *files, *rest])[1:]
        given = {word.lstrip("-").partition("=")[0] for word in rest}
        for name, replaced in (("steps", "epochs"), ("epochs", "steps")):
            if name in given and replaced not in given:
                FLAGS[replaced].unparse()  # The recipe's own length.
        if leftover:
            raise UsageError(
                f"{leftover[0]!r} is not a flag; flags are written --name=value, in "
                "flag files too"
            )
    except (flags.Error, UsageError) as error:
        _exit(str(error).splitlines()[0])
    return [argv[0]]


def _exit(message):
    print(f"train.py: {message}", file=sys.stderr)
    sys.exit(2)


def check_flags():
    """Refuses impossible combinations before anything is built.

    Raises:
      UsageError: naming the flags and what to do.
    """
    if not FLAGS.run_dir:
        raise UsageError("--run_dir is missing; name a folder for the run")
    if (FLAGS.steps is None) == (FLAGS.epochs is None):
        raise UsageError("give either --steps or --epochs")
    if FLAGS.epochs is not None and FLAGS.epochs <= 0:
        raise UsageError(f"--epochs={FLAGS.epochs}: must be above 0")
    if FLAGS.dataset in ("folder", "list") and not FLAGS.data_dir:
        raise UsageError(f"--dataset={FLAGS.dataset} needs --data_dir")
    if (FLAGS.dataset == "list") != bool(FLAGS.data_list):
        raise UsageError("--dataset=list and --data_list go together")
    if FLAGS.dataset == "folder" and (FLAGS.split or FLAGS.validation_split):
        raise UsageError("--dataset=folder has no splits; use --dataset=list for them")
    if FLAGS.dataset == "synthetic_faces" and FLAGS.data_dir:
        raise UsageError("--dataset=synthetic_faces needs no --data_dir")
    rules = {FLAGS.mask, FLAGS.validation_mask or FLAGS.mask}
    if ("folder" in rules) != bool(FLAGS.mask_dir):
        raise UsageError("--mask=folder and --mask_dir go together")
    for flag, takers in (
        ("hole_size", masks.BOX_RULES),
        ("mask_share", masks.DEFAULT_SHARE),
    ):
        if FLAGS[flag].value is not None and not rules & {*takers}:
            raise UsageError(
                f"--{flag} is of no use to --mask={FLAGS.mask}, only to "
                f"{', '.join(takers)}"
            )
    crop = crop_rule()
    if crop != "square" and crop < FLAGS.image_size:
        raise UsageError(
            f"--crop={crop} is smaller than --image_size={FLAGS.image_size}"
        )
    parameters = inspect.signature(METHODS[FLAGS.method]).parameters
    for flag in METHOD_FLAGS:
        if flag.value is not None and flag.name not in parameters:
            known = [f.name for f in METHOD_FLAGS if f.name in parameters]
            raise UsageError(
                f"--{flag.name} is no parameter of {FLAGS.method}, which takes "
                f"--{', --'.join(known)}"
            )


def crop_rule():
    """The crop that --crop stands for: "square" or a side in pixels."""
    if FLAGS.crop == "auto":
        return 178 if FLAGS.dataset == "celeb_a" else "square"
    if FLAGS.crop == "square":
        return "square"
    if not FLAGS.crop.isdecimal() or int(FLAGS.crop) == 0:
        raise UsageError(f"--crop={FLAGS.crop}: must be auto, square or a side")
    return int(FLAGS.crop)


def open_sources():
    """Opens the training and validation pictures that the flags name."""
    split, count = FLAGS.split, FLAGS.validation_count
    if FLAGS.dataset == "synthetic_faces":
        return (
            data.SyntheticFacesSource(split or "train", FLAGS.synthetic_count),
            data.SyntheticFacesSource(FLAGS.validation_split or "test", count),
        )
    if FLAGS.dataset == "folder":
        return data.hold_out(data.folder_source(FLAGS.data_dir), count)
    if FLAGS.dataset == "list":
        return data.list_sources(
            FLAGS.data_list, FLAGS.data_dir, split, FLAGS.validation_split, count
        )
    return data.tfds_sources(
        FLAGS.dataset, FLAGS.data_dir, split or "train", FLAGS.validation_split
    )


def mask_rule(rule, bank=None):
    """The function that draws one example's mask and box from a stateless seed.

    Args:
      rule: name of the rule.
      bank: masks of --mask_dir, for the rule `folder`.
    """

    def draw(seed):
        return masks.draw(
            rule,
            seed,
            FLAGS.image_size,
            FLAGS.image_size,
            hole_size=FLAGS.hole_size if rule in masks.BOX_RULES else None,
            share=FLAGS.mask_share if rule in masks.DEFAULT_SHARE else None,
            bank=bank,
        )

    draw(np.zeros(2, np.int32))  # An impossible rule is refused now, not in the loop.
    return draw


def load_mask_bank():
    """The masks of --mask_dir as a tensor, or None without the flag.

    A tensor, since a NumPy array would become a constant of every graph.
    """
    if not FLAGS.mask_dir:
        return None
    size = FLAGS.image_size
    return tf.constant(masks.load_bank(FLAGS.mask_dir, size, size))


def method_arguments():
    """Keyword arguments of the method's class, from the flags it knows."""
    given = {flag.name: flag.value for flag in METHOD_FLAGS if flag.value is not None}
    return {"image_size": FLAGS.image_size, "width": FLAGS.width, **given}


def effective_flags():
    """Every flag of this program that has a value, and the method's defaults."""
    module_flags = FLAGS.flags_by_module_dict()[sys.argv[0]]
    values = {flag.name: flag.value for flag in module_flags if flag.value is not None}
    parameters = inspect.signature(METHODS[FLAGS.method]).parameters
    for flag in METHOD_FLAGS:
        default = getattr(parameters.get(flag.name), "default", None)
        if default is not None:
            values.setdefault(flag.name, default)
    return {name: str(value) for name, value in values.items()}


def report_unusable(broken):
    """Names the pictures that had to be skipped, {name: reason}."""
    for name, reason in sorted(broken.items())[:5]:
        training.say(f"unusable picture, replaced: {name}: {reason}")
    if len(broken) > 5:
        path = os.path.join(FLAGS.run_dir, "unusable_pictures.txt")
        training.say(f"and {len(broken) - 5} more, all in {path}")


def run():
    """Builds what the flags describe and trains it; returns the exit status."""
    check_flags()
    run_folder.check(FLAGS.run_dir, effective_flags(), CHANGEABLE)
    keras.utils.set_random_seed(FLAGS.seed)
    if FLAGS.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.mixed_precision.set_dtype_policy(FLAGS.precision)
    strategy = training.choose_strategy(FLAGS.devices)
    if FLAGS.batch_size % strategy.num_replicas_in_sync:
        raise UsageError(
            f"--batch_size={FLAGS.batch_size} cannot be shared equally by "
            f"{strategy.num_replicas_in_sync} devices"
        )
    if FLAGS.jit_compile and strategy.num_replicas_in_sync > 1:
        raise UsageError("--jit_compile works on one device; add --devices=one")

    # What can be refused without the data comes before it: opening may mean a download.
    bank = load_mask_bank()
    draw_mask = mask_rule(FLAGS.mask, bank)
    draw_validation_mask = mask_rule(FLAGS.validation_mask or FLAGS.mask, bank)
    with strategy.scope():
        model = METHODS[FLAGS.method](**method_arguments())
    source, validation_source = open_sources()
    steps = FLAGS.steps or max(1, round(FLAGS.epochs * len(source) / FLAGS.batch_size))
    facts = {
        "inpainting_tf": inpainting_tf.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "python": platform.python_version(),
        "seed": FLAGS.seed,
        "parameters": model.count_params(),
        "training_pictures": len(source),
        "data": {
            "training pictures": data.fingerprint(source),
            "validation pictures": data.fingerprint(validation_source),
            "masks": None if bank is None else masks.fingerprint(bank),
        },
    }
    run_folder.prepare(FLAGS.run_dir, effective_flags(), facts)
    training.say(
        f"{FLAGS.method}: {model.count_params():,} parameters, {len(source):,} "
        f"training pictures, {min(FLAGS.validation_count, len(validation_source)):,} "
        f"for validation, {steps} steps of {FLAGS.batch_size}"
    )
    loader, validation_loader = (
        data.Loader(
            pictures,
            FLAGS.image_size,
            crop_rule(),
            FLAGS.max_broken_share,
            functools.partial(run_folder.note_unusable, FLAGS.run_dir),
        )
        for pictures in (source, validation_source)
    )

    def batches(first_step):
        return data.batches(
            source,
            loader,
            draw_mask,
            size=FLAGS.image_size,
            batch_size=FLAGS.batch_size * model.batches_per_step,
            seed=FLAGS.seed,
            flip=FLAGS.flip,
            first_step=first_step,
        )

    try:
        stopped = training.train(
            model,
            batches,
            data.fixed_batches(
                validation_source,
                validation_loader,
                draw_validation_mask,
                size=FLAGS.image_size,
                batch_size=FLAGS.batch_size,
                seed=0,
                count=FLAGS.validation_count,
            ),
            strategy=strategy,
            run_dir=FLAGS.run_dir,
            steps=steps,
            batch_size=FLAGS.batch_size,
            log_every=FLAGS.log_every,
            validate_every=FLAGS.validate_every,
            checkpoint_every=FLAGS.checkpoint_every,
            keep=FLAGS.keep,
            jit_compile=FLAGS.jit_compile,
        )
    except tf.errors.OpError:
        failure = loader.failure or validation_loader.failure
        if failure is None:
            raise
        raise failure from None
    finally:
        report_unusable({**loader.broken, **validation_loader.broken})
    if stopped is not None:
        training.say("run the same command to go on")
        return 128 + stopped
    return 0


def main(_):
    logging.set_verbosity(logging.WARNING)  # TensorFlow logs every saved shard.
    try:
        sys.exit(run())
    except (ValueError, training.TrainingStopped) as error:
        _exit(error)
    except KeyboardInterrupt:  # Before or after the loop, which handles its own.
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
