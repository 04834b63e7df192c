"""Measures any set of methods on one frozen protocol, in one pass, side by side.

    python evaluate.py --protocol=synthetic64_frontal_turned \\
        --methods=mean_color,telea,runs/quickstart --output_dir=results/quickstart
    python evaluate.py --protocol=celeba128_center --data_dir=celeba \\
        --methods=early=runs/celeba@5000,late=runs/celeba,runs/glcic,others=their_pngs \\
        --output_dir=results/celeba

Writes to --output_dir: results.{txt,csv,json,md,tex}, per_image.csv, report.html, and
figures/*.{png,pdf}. The same command goes on with an interrupted evaluation.
"""

import os
import signal
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Before TensorFlow is imported.

import tensorflow as tf
from absl import app, flags, logging

from command_line import contenders
from command_line.parsing import UsageError, parse_flags, refuse
from inpainting_tf import (
    features,
    metric_table,
    protocol_examples,
    protocols,
    report_tables,
    run_folder,
    side_by_side,
    side_by_side_results,
)
from inpainting_tf.checkpoints import TrainingStopped
from inpainting_tf.measured_values import MeasuredValues
from inpainting_tf.progress import say
from inpainting_tf.tensorflow_errors import in_one_line

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "protocol", None, "Path of a protocol, or the name of one in protocols/."
)
flags.DEFINE_list(
    "methods",
    None,
    "What to compare, each [label=]source[@checkpoint][+mirrored]: mean_color, telea, "
    "navier_stokes; a run folder (checkpoint best, newest or a step); a recipe of "
    "search.py; a SavedModel; a folder of finished pictures named as the images. "
    "+mirrored takes the mean of what is completed of a picture and its mirror image.",
)
flags.DEFINE_string(
    "data_dir", None, "Folder of the protocol's pictures, where it needs any."
)
flags.DEFINE_string("output_dir", None, "Folder for the results; goes on with its own.")
flags.DEFINE_list(
    "more_metrics",
    [],
    "Metrics beside those of the protocol, see docs/metrics.md, such as hole_ssim.",
)
flags.DEFINE_string(
    "features",
    None,
    "Measure FID and KID on features of: inception (Keras's InceptionV3), or a "
    "SavedModel from images to features. Default: neither is measured.",
)
flags.DEFINE_string(
    "inception_weights", "imagenet", "Weights file of InceptionV3; default: Keras's."
)
flags.DEFINE_integer("batch_size", 16, "Images completed at once.", lower_bound=1)
flags.DEFINE_integer("shown", 8, "Images shown as pictures.", lower_bound=1)


def check_flags():
    """Refuses impossible combinations before anything is built.

    Raises:
      UsageError: naming the flags and what to do.
    """
    for name in ("protocol", "methods", "output_dir"):
        if not FLAGS[name].value:
            raise UsageError(f"--{name} is missing: {FLAGS[name].help}")
    for name in FLAGS.more_metrics:
        if name not in metric_table.METRICS:
            raise UsageError(
                f"--more_metrics={name} is unknown; there are "
                f"{', '.join(metric_table.METRICS)}"
            )


def open_features():
    """The function from images to features that --features names, or None."""
    if not FLAGS.features:
        return None
    if FLAGS.features == "inception":
        return features.inception_features(FLAGS.inception_weights)
    return features.saved_model_features(FLAGS.features)


def feature_fingerprint():
    """Text that changes with the network that --features names."""
    if not FLAGS.features:
        return "none"
    if FLAGS.features != "inception":
        parts = ("saved_model.pb", os.path.join("variables", "variables.index"))
        paths = [os.path.join(FLAGS.features, part) for part in parts]
        return " ".join(run_folder.file_hash(p) for p in paths if os.path.exists(p))
    weights = FLAGS.inception_weights
    return run_folder.file_hash(weights) if os.path.isfile(weights) else weights


def features_name():
    """Whose features FID and KID are of, for the tables; of InceptionV3 also by whom."""
    if FLAGS.features == "inception" and os.path.isfile(FLAGS.inception_weights):
        return f"inception, {os.path.basename(FLAGS.inception_weights)}"
    return FLAGS.features


def command_line(protocol):
    """The command that gives these results anywhere."""
    words = ["python evaluate.py"]
    for name in ("protocol", "methods", "more_metrics", "features", "batch_size"):
        if value := FLAGS[name].value:
            text = ",".join(value) if isinstance(value, list) else value
            words.append(f"--{name}={text}")
    if FLAGS.features == "inception" and os.path.isfile(FLAGS.inception_weights):
        file = os.path.basename(FLAGS.inception_weights)
        words.append(f"--inception_weights=<{file}>")
    if protocol.needs_files:
        words.append("--data_dir=<its pictures>")
    return " ".join([*words, "--output_dir=<a folder>"])


def run():
    """Evaluates what the flags name.

    Returns:
      (wall time in seconds from the first image on, Stopwatch of its parts).
    """
    check_flags()
    protocol = protocols.read(FLAGS.protocol)
    names = list(dict.fromkeys([*protocol.metrics, *FLAGS.more_metrics]))
    methods = contenders.open_all(FLAGS.methods, protocol.size, protocol.names)
    labels = [method.label for method in methods]
    extract = open_features()
    if protocol.needs_files:
        protocol_examples.find_images(protocol, FLAGS.data_dir)
    facts = {
        "protocol": protocol.hash,
        "metrics": names,
        "definitions": metric_table.definition_hash(names),
        "features": feature_fingerprint(),
        "shown": FLAGS.shown,
    }
    values = MeasuredValues(
        FLAGS.output_dir, facts, {m.label: m.fingerprint for m in methods}
    )
    say(
        f"protocol {protocol.name} ({protocol.hash}): {len(protocol)} images of "
        f"{protocol.size}x{protocol.size}, {len(methods)} method"
        f"{'s' * (len(methods) > 1)}"
    )
    began, watch = time.perf_counter(), side_by_side.Stopwatch()
    one_pass = side_by_side.Pass(
        protocol,
        methods,
        values,
        names,
        data_dir=FLAGS.data_dir,
        batch_size=FLAGS.batch_size,
        shown=FLAGS.shown,
        extract=extract,
        stopwatch=watch,
    )
    one_pass.run()
    with watch.on("tables"):
        columns = side_by_side_results.read_columns(values, labels, names)
        set_level = None
        if extract is not None:
            set_level = side_by_side_results.distances(
                values, labels, one_pass.feature_size
            )
        summary = side_by_side_results.summarise(
            protocol,
            methods,
            columns,
            names,
            set_level=set_level,
            features_name=features_name(),
            command=command_line(protocol),
        )
    with watch.on("methods"):
        examples = side_by_side_results.read_examples(
            protocol, labels, values, FLAGS.shown
        )
        offsets = side_by_side_results.attention_offsets(methods, examples)
    with watch.on("pictures"):
        made = side_by_side_results.draw(
            protocol, methods, columns, names, summary, examples, offsets
        )
        side_by_side_results.write(FLAGS.output_dir, summary, values, examples, made)
    print(report_tables.screen_table(summary))
    if summary.description != protocol.title:
        say(summary.description)
    seconds = time.perf_counter() - began
    say(
        f"{seconds:.0f} s: {watch.shares(seconds)}; look at "
        f"{os.path.join(FLAGS.output_dir, 'report.html')}"
    )
    return seconds, watch


def main(_):
    # TensorFlow warns of retracing, as it takes the graphs of several methods for one's.
    logging.set_verbosity(logging.ERROR)
    try:
        run()
    except OSError as error:
        refuse("evaluate.py", f"{error.filename or '--output_dir'}: {error.strerror}")
    except (ValueError, TrainingStopped) as error:
        refuse("evaluate.py", str(error).strip().splitlines()[0])
    except tf.errors.OpError as error:
        refuse("evaluate.py", f"a method failed: {in_one_line(error.message)}")
    except KeyboardInterrupt:
        say("interrupted; run the same command to go on")
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
