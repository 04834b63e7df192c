"""What an evaluation leaves behind: tables, figures and the page, from its values.

Input: the values of a finished pass (`measured_values`, `side_by_side`). Output: files.
Numbers are held as columns, 8 bytes each; rows are read from disk where needed.

Stages: `read_columns`; `distances` of feature sets; `summarise` to a `results.Summary`;
`draw` the figures that the results call for; `write` everything.
"""

import contextlib
import functools
import itertools
import os

import keras
import numpy as np
import tensorflow as tf

import inpainting_tf
from inpainting_tf import (
    features,
    figure_charts,
    figure_files,
    figure_grids,
    figure_style,
    figure_tiles,
    images,
    metric_table,
    report_files,
    report_page,
    report_tables,
    results,
    run_folder,
    statistics,
)
from inpainting_tf.side_by_side import MASK, TRUTH

# Methods are compared in pairs by the first so many metrics of the protocol.
COMPARED_METRICS = 2


def read_columns(values, labels, names):
    """The numbers of every method: label -> name -> float64 [N].

    Args:
      values: MeasuredValues.
      labels: methods.
      names: metrics; `hole_area` and `exact` (1 where an example had the very pixels
        that were frozen) come along.
    """
    names = ["hole_area", "exact", *names]
    return {label: values.columns(label, names) for label in labels}


def distances(values, labels, size):
    """FID and KID of every method: label -> {"fid": Estimate, "kid": Estimate}.

    Args:
      values: MeasuredValues, with features of the methods and of the truth.
      labels: methods.
      size: numbers per image.
    """

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


def summarise(
    protocol, methods, columns, names, *, set_level=None, features_name="", command=""
):
    """The Summary of all values, see `results`.

    Args:
      protocol: Protocol.
      methods: objects with `label`, `description` and `terms`.
      columns: from `read_columns`.
      names: metrics, in the order to show.
      set_level: from `distances`, if they were measured.
      features_name: of the network whose features they are.
      command: command line that gives these results.
    """
    labels = [method.label for method in methods]
    shown = [
        results.MetricColumn(
            name,
            metric_table.METRICS[name].unit,
            metric_table.METRICS[name].better,
            metric_table.METRICS[name].formula,
        )
        for name in names
    ]
    if set_level:
        shown += [
            results.MetricColumn("fid", "", "lower", f"Frechet, {features_name}"),
            results.MetricColumn("kid", "", "lower", f"kernel, {features_name}"),
        ]
    differing = int(np.sum(columns[labels[0]]["exact"] == 0))
    inexact = ""
    if differing:
        inexact = (
            f" {differing} images were decoded or drawn with other last bits than when "
            "the protocol was frozen: last digits may differ."
        )
    groups = []
    for name in protocol.group_names:
        chosen = [protocol.group_of(i) == name for i in range(len(protocol))]
        table = _estimates(columns, labels, names, np.array(chosen))
        groups.append(results.Group(name, sum(chosen), table))
    table = _estimates(columns, labels, names, slice(None))
    return results.Summary(
        protocol=protocol.name,
        protocol_hash=protocol.hash,
        metrics=shown,
        methods=[
            results.MethodRow(
                m.label,
                len(columns[m.label]["exact"]),
                m.description,
                terms=m.terms,
            )
            for m in methods
        ],
        table={
            label: table[label] | (set_level or {}).get(label, {}) for label in labels
        },
        description=protocol.title + inexact,
        grouping="hole area" if protocol.area_bins else "group",
        groups=groups,
        comparisons=_comparisons(columns, labels, names[:COMPARED_METRICS]),
        versions={
            "inpainting_tf": inpainting_tf.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
        },
        command=command,
    )


def _estimates(columns, labels, names, chosen):
    """Means and 95 % intervals: label -> name -> Estimate."""
    numbers = [columns[label][name][chosen] for label in labels for name in names]
    intervals = iter(statistics.bootstrap_intervals(numbers))
    means = iter([float(np.mean(of_one)) for of_one in numbers])
    return {
        label: {name: results.Estimate(next(means), *next(intervals)) for name in names}
        for label in labels
    }


def _comparisons(columns, labels, names):
    which = [
        (name, a, b) for name in names for a, b in itertools.combinations(labels, 2)
    ]
    pairs = [
        (columns[a][name], columns[b][name], metric_table.METRICS[name].better)
        for name, a, b in which
    ]
    compared = statistics.paired_comparisons(pairs)
    return [
        results.Comparison(*names, result)
        for names, result in zip(which, compared, strict=True)
    ]


def read_examples(protocol, labels, values, count):
    """The first `count` examples as they were completed."""
    return [
        figure_tiles.Example(
            os.path.basename(protocol.names[number]),
            values.shown(number, TRUTH),
            values.shown(number, MASK)[..., 0] > 0,
            {label: values.shown(number, label) for label in labels},
        )
        for number in range(min(count, len(protocol)))
    ]


def attention_offsets(methods, examples):
    """Where methods with attention look in the examples: label -> int [N, h, w, 2].

    Args:
      methods: objects with `label` and `forward`, function (image, mask) -> dict, or
        None.
      examples: from `read_examples`.
    """
    image = images.to_float(np.stack([example.image for example in examples]))
    mask = np.stack([example.mask for example in examples])[..., np.newaxis]
    mask = tf.constant(mask, tf.float32)
    found = {}
    for method in methods:
        outputs = {} if method.forward is None else method.forward(image, mask)
        if "attention_offsets" in outputs:
            found[method.label] = outputs["attention_offsets"].numpy()
    return found


def draw(protocol, methods, columns, names, summary, examples, offsets):
    """The figures that the results call for.

    Args:
      protocol, columns, names: as in `summarise`.
      methods: objects with `label` and `run_dir`, "" where there is none.
      summary: from `summarise`.
      examples: from `read_examples`.
      offsets: from `attention_offsets`.

    Returns:
      {file name: (caption, function of `size`, "screen" or "print", to a Figure)}.
    """
    labels = [method.label for method in methods]
    styles = figure_style.method_styles(labels)
    made = {
        "comparison": (
            "The first images: input, truth, and what each method makes of it.",
            functools.partial(figure_grids.comparison_grid, examples),
        )
    }
    first = names[0]
    metric = metric_table.METRICS[first]
    areas = columns[labels[0]]["hole_area"]
    if np.ptp(areas) > 0.01:
        made["hole_area"] = (
            f"{first} by the share of missing pixels.",
            functools.partial(
                figure_charts.metric_against_hole_area,
                areas,
                {label: columns[label][first] for label in labels},
                first,
                metric.unit,
                metric.better,
                interval=_remembered_intervals(),
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
    for label, of_examples in offsets.items():
        made[f"attention_{label}"] = (
            f"Where the contextual attention of {label} looked.",
            functools.partial(
                figure_grids.attention_offsets,
                [example.completed[label] for example in examples],
                of_examples,
                [example.mask for example in examples],
                [example.name for example in examples],
            ),
        )
    runs = _training_logs(methods)
    if runs:
        made["training"] = (
            "What the runs logged while they were trained.",
            functools.partial(figure_charts.loss_curves, runs, styles=styles),
        )
    return made


def _remembered_intervals():
    """`bootstrap_interval` for a figure that is drawn twice."""
    known = {}

    def interval(values):
        key = values.tobytes()
        if key not in known:
            known[key] = statistics.bootstrap_interval(values)
        return known[key]

    return interval


def _training_logs(methods):
    """What the methods that are runs logged, losses and validation: label -> curves."""
    runs = {}
    for method in methods:
        curves = {}
        if method.run_dir:
            # A run may have logged nothing; its results stand without curves.
            with contextlib.suppress(ValueError):
                curves = figure_charts.read_metrics(method.run_dir)
        if any(len(steps) > 1 for steps, _ in curves.values()):
            runs[method.label] = curves
    return runs


def write(folder, summary, values, examples, made):
    """Writes tables, figures and the page, each whole or not at all.

    Args:
      folder: where to.
      summary: from `summarise`.
      values: MeasuredValues, for per_image.csv.
      examples: from `read_examples`.
      made: from `draw`.
    """
    shown = []
    for name, (caption, make) in made.items():
        stem = os.path.join(folder, "figures", name)
        png, _ = figure_files.save(make(size="screen"), stem)
        figure_files.save(make(size="print"), f"{stem}_print")
        if name != "comparison":  # The page has the examples themselves.
            with open(png, "rb") as file:
                shown.append((caption, file.read()))
    texts = {
        "results.txt": report_tables.screen_table(summary),
        "results.csv": report_files.csv_text(summary),
        "results.json": report_files.json_text(summary),
        "results.md": report_tables.markdown(summary),
        "results.tex": report_tables.latex(summary),
        "per_image.csv": report_files.per_image_csv(
            {"protocol_hash": summary.protocol_hash, "method": method.label, **row}
            for method in summary.methods
            for row in values.rows(method.label)
        ),
        "report.html": report_page.html_report(
            summary, report_page.Pictures(examples, shown)
        ),
    }
    for name, text in texts.items():
        run_folder.write_text(os.path.join(folder, name), text)
