"""Measures any set of methods on one frozen protocol, in one pass, side by side.

    python evaluate.py --protocol=synthetic64_frontal_turned \\
        --methods=mean_color,telea,runs/quickstart --output_dir=results/quickstart
    python evaluate.py --protocol=celeba128_center --data_dir=celeba \\
        --methods=early=runs/celeba@5000,late=runs/celeba,runs/glcic,others=their_pngs \\
        --output_dir=results/celeba

Writes to --output_dir: results.{txt,csv,json,md,tex}, per_image.csv, report.html, and
figures/*.{png,pdf}. The same command goes on with an interrupted evaluation.
"""

import functools
import itertools
import os
import signal
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Before TensorFlow is imported.

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging
from tqdm import tqdm

import inpainting_tf
from command_line import contenders
from command_line.parsing import UsageError, parse_flags, refuse
from inpainting_tf import (
    features,
    figure_charts,
    figure_files,
    figure_grids,
    figure_style,
    figure_tiles,
    images,
    metrics,
    protocol_examples,
    protocols,
    report_files,
    report_page,
    report_tables,
    results,
    run_folder,
    statistics,
    training,
)
from inpainting_tf.measured_values import MeasuredValues

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "protocol", None, "Path of a protocol, or the name of one in protocols/."
)
flags.DEFINE_list(
    "methods",
    None,
    "What to compare, each [label=]source[@checkpoint]: mean_color, telea, "
    "navier_stokes; a run folder (checkpoint best, newest or a step); a recipe of "
    "search.py; a SavedModel; a folder of finished pictures named as the images.",
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

# Methods are compared in pairs by the first so many metrics of the protocol.
COMPARED_METRICS = 2

TRUTH = "_truth"  # Stands for the ground truth among labels.


def check_flags():
    """Refuses impossible combinations before anything is built.

    Raises:
      UsageError: naming the flags and what to do.
    """
    for name in ("protocol", "methods", "output_dir"):
        if not FLAGS[name].value:
            raise UsageError(f"--{name} is missing: {FLAGS[name].help}")
    for name in FLAGS.more_metrics:
        if name not in metrics.METRICS:
            raise UsageError(
                f"--more_metrics={name} is unknown; there are "
                f"{', '.join(metrics.METRICS)}"
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
        return " ".join(contenders.file_hash(p) for p in paths if os.path.exists(p))
    weights = FLAGS.inception_weights
    return contenders.file_hash(weights) if os.path.isfile(weights) else weights


def measuring(names):
    """Compiled function (image, completed, mask) -> {metric name: [B]}."""

    @tf.function(reduce_retracing=True)
    def measure(image, completed, mask):
        return {
            name: metrics.METRICS[name].function(image, completed, mask)
            for name in names
        }

    return measure


class Pass:
    """One pass over the examples: completes, measures, keeps."""

    def __init__(self, protocol, methods, values, metric_names, extract):
        self.protocol, self.methods, self.values = protocol, methods, values
        self.extract = extract
        self.measure = measuring(metric_names)
        self.seconds = dict.fromkeys([method.label for method in methods], 0.0)
        self.examples = None
        self.feature_size = 0
        if extract is not None:
            probe = tf.zeros([1, protocol.size, protocol.size, 3])
            self.feature_size = int(extract(probe).shape[-1])

    def run(self):
        """Goes on where each method stands, to the end of the protocol."""
        done = {m.label: len(self.values.rows(m.label)) for m in self.methods}
        if self.feature_size:
            for label in [*done, TRUTH]:
                have = self.values.feature_count(label, self.feature_size)
                done[label] = min(done.get(label, have), have)
        for label, count in done.items():
            if label != TRUTH:
                self.values.cut(label, count)
            if self.feature_size:
                self.values.cut_features(label, count, self.feature_size)
        start = min(done.values())
        if start:
            training.say(f"going on at image {start} of {len(self.protocol)}")
        self.examples = protocol_examples.open_examples(
            self.protocol, FLAGS.data_dir, batch_size=FLAGS.batch_size, start=start
        )
        with tqdm(
            total=len(self.protocol),
            initial=start,
            unit="image",
            disable=not sys.stderr.isatty(),
        ) as bar:
            for batch in self.examples:
                self._batch(batch, done)
                bar.update(len(batch["index"]))

    def _batch(self, batch, done):
        if self.feature_size:
            fresh = [i for i, n in enumerate(batch["index"]) if n >= done[TRUTH]]
            if fresh:
                extracted = self.extract(tf.gather(batch["image"], fresh)).numpy()
                self.values.add(TRUTH, [], extracted)
        for number, image, mask in self._shown(batch, batch["image"], batch["mask"]):
            self.values.show(number, TRUTH, images.to_uint8(image).numpy())
            shown_mask = tf.repeat(tf.cast(mask * 255, tf.uint8), 3, axis=-1)
            self.values.show(number, "_mask", shown_mask.numpy())
        for method in self.methods:
            fresh = [i for i, n in enumerate(batch["index"]) if n >= done[method.label]]
            if not fresh:
                continue
            part = {
                "image": tf.gather(batch["image"], fresh),
                "mask": tf.gather(batch["mask"], fresh),
                "index": [batch["index"][i] for i in fresh],
                "names": [batch["name"][i] for i in fresh],
                "groups": [batch["group"][i] for i in fresh],
            }
            self._method(method, part)

    def _method(self, method, part):
        began = time.perf_counter()
        # Finished on the device before the clock is read.
        completed = np.asarray(method.complete(part))
        self.seconds[method.label] += time.perf_counter() - began
        image, mask = part["image"], part["mask"]
        if completed.shape != tuple(image.shape):
            raise UsageError(
                f"--methods: {method.label} completes images of shape "
                f"{tuple(image.shape)} to {completed.shape}"
            )
        if not np.isfinite(np.where(mask > 0, completed, 0)).all():
            raise UsageError(
                f"--methods: {method.label} gives values that are not finite, for one "
                f"of the images {', '.join(part['names'][:3])}, ..."
            )
        # Whatever a method does to known pixels, all are measured alike.
        completed = images.compose(image, tf.constant(completed, tf.float32), mask)
        measured = self.measure(image, completed, mask)
        measured = {name: value.numpy() for name, value in measured.items()}
        areas = tf.reduce_mean(mask, axis=[1, 2, 3]).numpy()
        extracted = self.extract(completed).numpy() if self.feature_size else None
        for number, pixels in self._shown(part, completed):
            self.values.show(number, method.label, images.to_uint8(pixels).numpy())
        rows = [
            {
                "index": part["index"][i],
                "image": part["names"][i],
                "group": part["groups"][i],
                "hole_area": float(areas[i]),
                "exact": part["names"][i] not in self.examples.differing,
                **{name: float(value[i]) for name, value in measured.items()},
            }
            for i in range(len(part["index"]))
        ]
        self.values.add(method.label, rows, extracted)

    def _shown(self, part, *tensors):
        for place, number in enumerate(part["index"]):
            if number < FLAGS.shown:
                yield number, *(tensor[place] for tensor in tensors)


def distances(values, labels, size):
    """FID and KID of every method: label -> {"fid": ..., "kid": ...}."""

    def summed(label):
        total, sample = features.FeatureStatistics(), features.FeatureSample()
        for batch in values.features(label, size):
            total.update(batch)
            sample.update(batch)
        return total, sample.features()

    truth, truth_sample = summed(TRUTH)
    result = {}
    for label in labels:
        own, sample = summed(label)
        fid = features.frechet_distance(
            truth.mean(), truth.covariance(), own.mean(), own.covariance()
        )
        subset = min(1000, len(sample))
        # All subsets of that size are the same one where there are not more images.
        kid, _ = features.kernel_distance(
            truth_sample, sample, subset, 100 if len(sample) > subset else 1
        )
        result[label] = {
            "fid": results.Estimate(fid),
            "kid": results.Estimate(kid),
        }
    return result


def estimates(rows, names):
    """Mean and 95 % interval of every metric: name -> Estimate."""
    result = {}
    for name in names:
        numbers = [row[name] for row in rows]
        low, high = statistics.bootstrap_interval(numbers)
        result[name] = results.Estimate(float(np.mean(numbers)), low, high)
    return result


def summarise(protocol, methods, rows, names, set_level):
    """The Summary of all values, see `results`."""
    columns = [
        results.MetricColumn(name, metric.unit, metric.better, metric.formula)
        for name, metric in metrics.METRICS.items()
        if name in names
    ]
    columns.sort(key=lambda column: names.index(column.name))
    if set_level:
        columns += [
            results.MetricColumn("fid", "", "lower", f"Frechet, {FLAGS.features}"),
            results.MetricColumn("kid", "", "lower", f"kernel, {FLAGS.features}"),
        ]
    labels = [method.label for method in methods]
    differing = sum(not row["exact"] for row in rows[labels[0]])
    inexact = ""
    if differing:
        inexact = (
            f" {differing} images were decoded or drawn with other last bits than when "
            "the protocol was frozen: last digits may differ."
        )
    groups = []
    for name in protocol.group_names:
        own = {
            label: [row for row in rows[label] if row["group"] == name]
            for label in labels
        }
        groups.append(
            results.Group(
                name,
                len(own[labels[0]]),
                {label: estimates(own[label], names) for label in labels},
            )
        )
    comparisons = [
        results.Comparison(
            name,
            a,
            b,
            statistics.paired_comparison(
                [row[name] for row in rows[a]],
                [row[name] for row in rows[b]],
                metrics.METRICS[name].better,
            ),
        )
        for name in names[:COMPARED_METRICS]
        for a, b in itertools.combinations(labels, 2)
    ]
    return results.Summary(
        protocol=protocol.name,
        protocol_hash=protocol.hash,
        metrics=columns,
        methods=[
            results.MethodRow(m.label, len(rows[m.label]), m.description)
            for m in methods
        ],
        table={
            label: estimates(rows[label], names) | set_level.get(label, {})
            for label in labels
        },
        description=protocol.title + inexact,
        grouping="hole area" if protocol.area_bins else "group",
        groups=groups,
        comparisons=comparisons,
        versions={
            "inpainting_tf": inpainting_tf.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
        },
        command=" ".join(
            ["python evaluate.py"]
            + [
                f"--{name}={','.join(value) if isinstance(value, list) else value}"
                for name in ("protocol", "methods", "more_metrics", "features")
                if (value := FLAGS[name].value)
            ]
            + (["--data_dir=<its pictures>"] if protocol.needs_files else [])
            + ["--output_dir=<a folder>"]
        ),
    )


def attention(method, examples):
    """Attention offsets [N, h, w, 2] of a method on the examples; None without any."""
    if method.forward is None:
        return None
    image = images.to_float(np.stack([example.image for example in examples]))
    mask = np.stack([example.mask for example in examples])[..., np.newaxis]
    outputs = method.forward(image, tf.constant(mask, tf.float32))
    offsets = outputs.get("attention_offsets")
    return None if offsets is None else offsets.numpy()


def training_logs(methods):
    """What the methods that are runs logged, losses and validation: label -> curves."""
    runs = {}
    for method in methods:
        curves = {}
        if method.run_dir:
            curves = figure_charts.read_metrics(method.run_dir)
        if any(len(steps) > 1 for steps, _ in curves.values()):
            runs[method.label] = curves
    return runs


def draw_figures(protocol, methods, rows, values, names, summary):
    """The figures that the results call for.

    Returns:
      (examples, {file name: (caption, function of size "screen" or "print")}).
    """
    labels = [method.label for method in methods]
    styles = figure_style.method_styles(labels)
    examples = [
        figure_tiles.Example(
            os.path.basename(protocol.names[number]),
            values.shown(number, TRUTH),
            values.shown(number, "_mask")[..., 0] > 0,
            {label: values.shown(number, label) for label in labels},
        )
        for number in range(min(FLAGS.shown, len(protocol)))
    ]
    made = {
        "comparison": (
            "The first images: input, truth, and what each method makes of it.",
            functools.partial(figure_grids.comparison_grid, examples),
        )
    }
    first = names[0]
    metric = metrics.METRICS[first]
    areas = [row["hole_area"] for row in rows[labels[0]]]
    if np.ptp(areas) > 0.01:
        made["hole_area"] = (
            f"{first} by the share of missing pixels.",
            functools.partial(
                figure_charts.metric_against_hole_area,
                areas,
                {label: [row[first] for row in rows[label]] for label in labels},
                first,
                metric.unit,
                metric.better,
                styles=styles,
            ),
        )
    if len(summary.groups) == 2:
        made["groups"] = (
            f"{' against '.join(protocol.group_names)}: means with 95 % intervals.",
            functools.partial(
                figure_charts.frontal_against_turned,
                {group.name: group.table for group in summary.groups},
                [
                    (c.name, c.unit, c.better)
                    for c in summary.metrics
                    if c.name in names
                ],
                labels,
                styles=styles,
            ),
        )
    for method in methods:
        offsets = attention(method, examples)
        if offsets is not None:
            made[f"attention_{method.label}"] = (
                f"Where the contextual attention of {method.label} looked.",
                functools.partial(
                    figure_grids.attention_offsets,
                    [example.completed[method.label] for example in examples],
                    offsets,
                    [example.mask for example in examples],
                    [example.name for example in examples],
                ),
            )
    runs = training_logs(methods)
    if runs:
        made["training"] = (
            "What the runs logged while they were trained.",
            functools.partial(figure_charts.loss_curves, runs, styles=styles),
        )
    return examples, made


def write_all(folder, summary, rows, examples, made):
    """Writes tables, figures and the page, each whole or not at all."""
    texts = {
        "results.txt": report_tables.screen_table(summary),
        "results.csv": report_files.csv_text(summary),
        "results.json": report_files.json_text(summary),
        "results.md": report_tables.markdown(summary),
        "results.tex": report_tables.latex(summary),
        "per_image.csv": report_files.per_image_csv(
            {"protocol_hash": summary.protocol_hash, "method": label, **row}
            for label in rows
            for row in rows[label]
        ),
    }
    shown = []
    for name, (caption, make) in made.items():
        figure = make(size="screen")
        figure_files.save(figure, os.path.join(folder, "figures", name))
        figure_files.save(
            make(size="print"), os.path.join(folder, "figures", f"{name}_print")
        )
        if name != "comparison":  # The page has the examples themselves.
            shown.append((caption, figure_files.png_bytes(figure)))
    pictures = report_page.Pictures(examples, shown)
    texts["report.html"] = report_page.html_report(summary, pictures)
    for name, text in texts.items():
        run_folder.write_text(os.path.join(folder, name), text)


def run():
    """Evaluates what the flags name; returns the exit status."""
    check_flags()
    protocol = protocols.read(FLAGS.protocol)
    names = [*protocol.metrics]
    names += [name for name in FLAGS.more_metrics if name not in names]
    methods = contenders.open_all(FLAGS.methods, protocol.size, protocol.names)
    extract = open_features()
    if protocol.needs_files:
        protocol_examples.find_images(protocol, FLAGS.data_dir)
    facts = {
        "protocol": protocol.hash,
        "metrics": names,
        "definitions": metrics.definition_hash(names),
        "features": feature_fingerprint(),
        "shown": FLAGS.shown,
    }
    values = MeasuredValues(
        FLAGS.output_dir, facts, {m.label: m.fingerprint for m in methods}
    )
    training.say(
        f"protocol {protocol.name} ({protocol.hash}): {len(protocol)} images of "
        f"{protocol.size}x{protocol.size}, {len(methods)} method"
        f"{'s' * (len(methods) > 1)}"
    )
    began = time.perf_counter()
    pass_over = Pass(protocol, methods, values, names, extract)
    pass_over.run()
    rows = {m.label: values.rows(m.label) for m in methods}
    set_level = {}
    if extract is not None:
        set_level = distances(values, list(rows), pass_over.feature_size)
    summary = summarise(protocol, methods, rows, names, set_level)
    examples, made = draw_figures(protocol, methods, rows, values, names, summary)
    write_all(FLAGS.output_dir, summary, rows, examples, made)
    print(report_tables.screen_table(summary))
    if summary.description != protocol.title:
        training.say(summary.description)
    seconds = time.perf_counter() - began
    busy = sum(pass_over.seconds.values())
    training.say(
        f"{seconds:.0f} s, {100 * busy / seconds:.0f} % of it in the methods; look at "
        f"{os.path.join(FLAGS.output_dir, 'report.html')}"
    )
    return 0


def main(_):
    logging.set_verbosity(logging.WARNING)
    try:
        sys.exit(run())
    except OSError as error:
        refuse("evaluate.py", f"{error.filename or '--output_dir'}: {error.strerror}")
    except (ValueError, training.TrainingStopped) as error:
        refuse("evaluate.py", str(error).strip().splitlines()[0])
    except tf.errors.OpError as error:
        refuse("evaluate.py", f"a method failed: {error.message.splitlines()[0]}")
    except KeyboardInterrupt:
        training.say("interrupted; run the same command to go on")
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
