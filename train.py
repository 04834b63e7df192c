"""Trains an inpainting method, or resumes its training.

    python train.py --flagfile=flags/quickstart.cfg
    python train.py --flagfile=flags/celeba.cfg --batch_size=8 --run_dir=runs/small

`--summary` prints what the method is made of, and what it costs, instead.
A flag on the command line overrides the flag file. The same command with the same
--run_dir resumes. SIGTERM and Ctrl-C stop after the current step, with a checkpoint.
With TF_CONFIG in the environment it is one of several workers (docs/many_machines.md).
"""

import functools
import os
import platform
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Before TensorFlow is imported.

import keras
import tensorflow as tf
from absl import app, flags, logging

import inpainting_tf
from baselines.methods import METHODS
from command_line import data_flags, method_flags, summary, trained
from command_line.parsing import UsageError, parse_flags, refuse
from inpainting_tf import (
    compiled_steps,
    data,
    following,
    masks,
    meeting,
    run_folder,
    sources,
    training,
    workers,
)
from inpainting_tf.checkpoints import TrainingStopped
from inpainting_tf.progress import say

FLAGS = flags.FLAGS

# What to train.
flags.DEFINE_enum("method", "parallel_attention", list(METHODS), "Method to train.")
flags.DEFINE_float(
    "width", 1.0, "Multiplier on all channel counts; 1 = as published.", lower_bound=0
)

# Data; the rest of it in command_line/data_flags.py.
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
flags.DEFINE_bool("flip", True, "Mirror half of the training images left to right.")
flags.DEFINE_float(
    "zoom",
    0.0,
    "Train on random square parts of the pictures, whose sides are at least 1 - zoom of "
    "the whole, enlarged: more to learn from few pictures.",
    lower_bound=0,
    upper_bound=0.9,
)
flags.DEFINE_bool(
    "shared_mask",
    False,
    "One hole for all examples of a batch, as in the programs of GIICA and Context "
    "Encoders; for training only.",
)
flags.DEFINE_string("validation_mask", None, "As --mask, for validation; default: it.")
flags.register_validator(
    "validation_mask", data_flags.are_rules, f"must be {data_flags.RULES_HELP}"
)
flags.DEFINE_string(
    "initial_weights",
    None,
    "Run folder[@checkpoint], or name of weights that come along, from whose weights a "
    "new run starts, instead of random ones. Weights that come along are without "
    "discriminators, which begin anew.",
)

# Optimisation.
flags.DEFINE_integer(
    "batch_size", 16, "Images per step, over all devices.", lower_bound=1
)
flags.DEFINE_integer("steps", None, "Step to train to.", lower_bound=1)
flags.DEFINE_float(
    "epochs", None, "Passes over the training pictures, instead of --steps."
)
flags.DEFINE_integer(
    "seed", 0, "Decides initial weights, order, flips, parts and masks.", lower_bound=0
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
flags.DEFINE_integer(
    "rollbacks",
    0,
    "How often, over the whole run, a loss or weight that is not finite sends training "
    "back to the last checkpoint, and on from there in another order of the pictures.",
    lower_bound=0,
)

method_flags.define(METHODS)
for module in (data_flags, method_flags, summary):  # For --help.
    flags.adopt_module_key_flags(module)

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
    "attention_memory_mb",
    "rollbacks",
)

# Flags that were not always there, with the value that was theirs before.
NEWER = {"averaging_decay": "0.0", "zoom": "0.0"}

# What workers of one run may differ in: where each finds and keeps things.
LOCAL = (
    "run_dir",
    "data_dir",
    "data_list",
    "initial_weights",
    "keep",
    "attention_memory_mb",
)

# From the seed of a run's batches to theirs after a rollback: far from what users take.
ROLLBACK_SEED = 1_000_003


def check_flags():
    """Refuses impossible combinations before anything is built.

    Raises:
      UsageError: naming the flags and what to do.
    """
    if FLAGS.summary:
        method_flags.check(METHODS, FLAGS.method)
        return
    if not FLAGS.run_dir:
        raise UsageError("--run_dir is missing; name a folder for the run")
    if (FLAGS.steps is None) == (FLAGS.epochs is None):
        raise UsageError("give either --steps or --epochs")
    if FLAGS.epochs is not None and FLAGS.epochs <= 0:
        raise UsageError(f"--epochs={FLAGS.epochs}: must be above 0")
    if FLAGS.dataset == "folder" and (FLAGS.split or FLAGS.validation_split):
        raise UsageError("--dataset=folder has no splits; use --dataset=list for them")
    data_flags.check(FLAGS.mask, FLAGS.validation_mask or FLAGS.mask)
    method_flags.check(METHODS, FLAGS.method)


def open_sources():
    """Opens the training and validation pictures that the flags name."""
    split, count = FLAGS.split, FLAGS.validation_count
    if FLAGS.dataset == "synthetic_faces":
        return (
            sources.SyntheticFacesSource(split or "train", FLAGS.synthetic_count),
            sources.SyntheticFacesSource(FLAGS.validation_split or "test", count),
        )
    if FLAGS.dataset == "folder":
        return sources.hold_out(sources.folder_source(FLAGS.data_dir), count)
    if FLAGS.dataset == "list":
        return sources.list_sources(
            FLAGS.data_list, FLAGS.data_dir, split, FLAGS.validation_split, count
        )
    return sources.tfds_sources(
        FLAGS.dataset, FLAGS.data_dir, split or "train", FLAGS.validation_split
    )


def method_arguments():
    """Keyword arguments of the method's class."""
    own = {"image_size": FLAGS.image_size, "width": FLAGS.width, "seed": FLAGS.seed}
    shared = method_flags.shared_arguments(METHODS[FLAGS.method], own)
    return shared | method_flags.arguments(METHODS, FLAGS.method)


def try_holes(model, draw_mask, count=4):
    """Completes grey images, so that holes a method cannot take are refused now.

    Raises:
      ValueError: by the method, saying what it takes.
    """
    seeds = tf.stack([tf.range(count), tf.zeros([count], tf.int32)], axis=1)
    size = FLAGS.image_size
    holes = tf.stack([draw_mask(seed)[0] for seed in seeds])
    # Not through Keras, which would wrap the one line in many.
    model.call(tf.zeros([count, size, size, 3]), holes)


def check_replicas(count, way_out):
    """Refuses flags that do not go with so many devices.

    Args:
      count: number of devices, of all workers together.
      way_out: what to do about --jit_compile.

    Raises:
      UsageError: naming the flag.
    """
    if FLAGS.batch_size % count:
        raise UsageError(
            f"--batch_size={FLAGS.batch_size} cannot be shared equally by "
            f"{count} devices"
        )
    if FLAGS.jit_compile and count > 1:
        raise UsageError(f"--jit_compile works on one device; {way_out}")


def join_workers():
    """Meets the other workers, where TF_CONFIG names some.

    Returns:
      (workers.Team, strategy).
    """
    place = workers.read_place(os.environ.get("TF_CONFIG"))
    if place is None:
        strategy = compiled_steps.choose_strategy(FLAGS.devices)
        check_replicas(strategy.num_replicas_in_sync, "add --devices=one")
        return workers.ALONE, strategy
    own = len(meeting.own_gpus(FLAGS.devices)) or 1
    check_replicas(own * len(place.addresses), "leave it out with TF_CONFIG")
    say(f"{place}: waiting for all of {', '.join(place.addresses)}")
    strategy = meeting.connect(place, FLAGS.devices)
    return workers.Team(place, strategy), strategy


def check_folder(team):
    """Refuses a run folder, and workers, that do not fit these flags."""
    values = data_flags.effective_flags(METHODS)
    shared = {name: text for name, text in values.items() if name not in LOCAL}
    team.compare({"flags": repr(sorted(shared.items())), "versions": repr(versions())})
    if team.is_chief:
        newer = {name: text for name, text in NEWER.items() if name in values}
        run_folder.check(FLAGS.run_dir, values, CHANGEABLE, newer)


def versions():
    """Of what a run's numbers depend on."""
    return {
        "inpainting_tf": inpainting_tf.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "python": platform.python_version(),
    }


def run():
    """Builds what the flags describe and trains it; returns the exit status."""
    check_flags()
    if FLAGS.summary:
        model = METHODS[FLAGS.method](**method_arguments())
        print("\n".join(summary.describe(model, FLAGS.image_size, FLAGS.batch_size)))
        return 0
    team, strategy = join_workers()
    check_folder(team)
    keras.utils.set_random_seed(FLAGS.seed)
    if FLAGS.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.mixed_precision.set_dtype_policy(FLAGS.precision)

    # What can be refused without the data comes before it: opening may mean a download.
    bank = data_flags.load_mask_bank()
    draw_mask = data_flags.mask_rule(FLAGS.mask, bank)
    draw_validation_mask = data_flags.mask_rule(
        FLAGS.validation_mask or FLAGS.mask, bank
    )
    with strategy.scope():
        model = METHODS[FLAGS.method](**method_arguments())
    for draw in (draw_mask, draw_validation_mask):
        try_holes(model, draw)
    started = FLAGS.initial_weights and not run_folder.noted_checkpoint(FLAGS.run_dir)
    if started and team.is_chief:
        prefix, absent = trained.start_from(model, FLAGS.method, FLAGS.initial_weights)
        rest = f"; not in it, begin anew: {', '.join(absent)}" if absent else ""
        say(f"starting from the weights of {prefix}{rest}")
    source, validation_source = open_sources()
    pictures_per_step = FLAGS.batch_size * model.batches_per_step
    steps = FLAGS.steps or max(1, round(FLAGS.epochs * len(source) / pictures_per_step))
    facts = {
        **versions(),
        "seed": FLAGS.seed,
        "parameters": model.count_params(),
        "training_pictures": len(source),
        "data": {
            "training pictures": sources.fingerprint(source),
            "validation pictures": sources.fingerprint(validation_source),
            "masks": None if bank is None else masks.fingerprint(bank),
        },
    }
    team.compare({name: str(value) for name, value in facts["data"].items()})
    if team.is_chief:
        run_folder.prepare(FLAGS.run_dir, data_flags.effective_flags(METHODS), facts)
    say(
        f"{FLAGS.method}: {model.count_params():,} parameters, {len(source):,} "
        f"training pictures, {min(FLAGS.validation_count, len(validation_source)):,} "
        f"for validation, {steps} steps of {FLAGS.batch_size}"
    )
    note_unusable = None
    if team.is_chief:
        note_unusable = functools.partial(run_folder.note_unusable, FLAGS.run_dir)
    loader, validation_loader = (
        data_flags.loader(pictures, note_unusable)
        for pictures in (source, validation_source)
    )

    def batches(first_step, rollbacks, share):
        return data.batches(
            source,
            loader,
            draw_mask,
            size=FLAGS.image_size,
            batch_size=pictures_per_step,
            seed=FLAGS.seed + ROLLBACK_SEED * rollbacks,
            flip=FLAGS.flip,
            zoom=FLAGS.zoom,
            first_step=first_step,
            examples_per_mask=FLAGS.batch_size if FLAGS.shared_mask else 1,
            share=share,
        )

    # What all workers have to do alike.
    shared = {
        "strategy": strategy,
        "steps": steps,
        "log_every": FLAGS.log_every,
        "validate_every": FLAGS.validate_every,
        "checkpoint_every": FLAGS.checkpoint_every,
        "rollbacks": FLAGS.rollbacks,
        "team": team,
    }

    def keep_run():
        return training.train(
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
            run_dir=FLAGS.run_dir,
            batch_size=FLAGS.batch_size,
            keep=FLAGS.keep,
            jit_compile=FLAGS.jit_compile,
            validate_start=bool(started),
            **shared,
        )

    try:
        if team.is_chief:
            stopped = keep_run()
        else:
            stopped = following.follow(model, batches, **shared)
    except tf.errors.OpError as error:
        failure = loader.failure or validation_loader.failure
        if failure is None and "assertion failed: " in error.message:
            # What a method found wrong with a batch, such as a hole it cannot take.
            said = error.message.partition("assertion failed: ")[2].splitlines()[0]
            failure = ValueError(said.partition("]")[0].lstrip("["))
        if failure is None:
            raise
        raise failure from None
    finally:
        data_flags.report_unusable(
            {**loader.broken, **validation_loader.broken},
            say,
            os.path.join(FLAGS.run_dir, "unusable_pictures.txt")
            if team.is_chief
            else None,
        )
    if stopped is not None:
        say("run the same command to go on")
        return 128 + stopped
    return 0


def main(_):
    logging.set_verbosity(logging.WARNING)  # TensorFlow logs every saved shard.
    # Before and after the loop, which handles its own: nothing is there to be saved.
    # (The first process of a container would ignore the signal.)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        sys.exit(run())
    except tf.errors.OpError as error:
        place = workers.read_place(os.environ.get("TF_CONFIG"))
        if place is None or not workers.is_lost(error):
            raise
        refuse("train.py", workers.lost(place, error))
    except (ValueError, TrainingStopped) as error:
        refuse("train.py", error)
    except KeyboardInterrupt:  # Before or after the loop, which handles its own.
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    parse = functools.partial(parse_flags, alternatives=[("steps", "epochs")])
    app.run(main, flags_parser=parse)
