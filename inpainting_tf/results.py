"""The results of an evaluation, and how their numbers are written in every report.

Input: finished numbers; nothing is measured here. `Summary` holds all of one evaluation
and is what `report_tables`, `report_files` and `report_page` turn into text. That text
depends on the summary alone, so that two evaluations with equal results give equal
bytes (no dates, no machine names).

In order: the structures; cells and marks; words.

Rounded numbers (4 significant digits of a column's largest) stand in the tables that
people read, exact ones in CSV and JSON. The best value of a column is found before
rounding; equal best values are all marked.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from inpainting_tf.statistics import PairedComparison

ALL = "all"  # Name, in CSV and JSON, of the group that holds every image.
ARROWS = {"higher": "↑", "lower": "↓"}


# ---------------------------------------------------------------- structures


class Estimate(NamedTuple):
    """A metric's mean over images with its 95 % interval.

    Metrics of a whole set of images (FID, KID) may have no interval: None, None.
    """

    mean: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class MetricColumn:
    """What a metric is called and how to read it; `better` is "higher" or "lower"."""

    name: str
    unit: str = ""
    better: str = "lower"
    formula: str = ""


@dataclasses.dataclass(frozen=True)
class MethodRow:
    """A method as it was measured; `count` is its number of images."""

    label: str
    count: int
    description: str = ""
    source: str = ""  # Checkpoint, file or program that the results come from.
    terms: str = ""  # Licence or terms of use of released weights, if any.


@dataclasses.dataclass(frozen=True)
class Group:
    """A part of the images, such as one range of hole areas, and its own table."""

    name: str
    count: int
    table: Mapping[str, Mapping[str, tuple]]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Methods a and b by a metric, on the same images."""

    metric: str
    a: str
    b: str
    result: PairedComparison  # Of a against b.


@dataclasses.dataclass(frozen=True)
class Summary:
    """The results of one evaluation.

    Attributes:
      protocol, protocol_hash: name and hash of what was measured.
      metrics: columns, in the order to show.
      methods: rows, in the order to show.
      table: label -> metric name -> `Estimate` or (mean, low, high). A metric that
        was not measured for a method is left out.
      description: of the protocol, one or a few sentences.
      grouping: what the groups are, such as "hole area" or "pose".
      groups: parts of the images, each with a table like the whole.
      comparisons: pairs of methods.
      versions: package name -> version.
      command: the command line that gives these results.

    Raises:
      ValueError: names repeated or unknown, or `better` neither higher nor lower.
    """

    protocol: str
    protocol_hash: str
    metrics: Sequence[MetricColumn]
    methods: Sequence[MethodRow]
    table: Mapping[str, Mapping[str, tuple]]
    description: str = ""
    grouping: str = ""
    groups: Sequence[Group] = ()
    comparisons: Sequence[Comparison] = ()
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    command: str = ""

    def __post_init__(self):
        names = [metric.name for metric in self.metrics]
        labels = [method.label for method in self.methods]
        groups = [ALL, *(group.name for group in self.groups)]
        for kind, given in (("metric", names), ("method", labels), ("group", groups)):
            for name in given:
                if given.count(name) > 1:
                    raise ValueError(f"summary: two {kind}s are called {name!r}")
        for metric in self.metrics:
            if metric.better not in ARROWS:
                raise ValueError(
                    f"summary: metric {metric.name!r} has better={metric.better!r}; "
                    'it must be "higher" or "lower"'
                )
        for table in (self.table, *(group.table for group in self.groups)):
            for label, row in table.items():
                _check_known("method", label, labels)
                for name in row:
                    _check_known("metric", name, names)
        for pair in self.comparisons:
            _check_known("metric", pair.metric, names)
            _check_known("method", pair.a, labels)
            _check_known("method", pair.b, labels)


def _check_known(kind, name, known):
    if name not in known:
        raise ValueError(
            f"summary: {kind} {name!r} is not listed among the {kind}s "
            f"({', '.join(map(repr, known))})"
        )


# ---------------------------------------------------------------- cells and marks


def estimate(table, label, metric):
    """The Estimate in plain floats, or None where there is none."""
    value = table.get(label, {}).get(metric.name)
    if value is None:
        return None
    return Estimate(*(None if x is None else float(x) for x in value))


def column(summary, table, metric):
    """A column's cells, in the order of the methods."""
    return [estimate(table, method.label, metric) for method in summary.methods]


def is_best(cells, metric):
    """Whether each cell holds the best mean of its column."""
    means = [math.nan if cell is None else cell.mean for cell in cells]
    finite = [mean for mean in means if math.isfinite(mean)]
    if not finite:
        return [False] * len(cells)
    best = max(finite) if metric.better == "higher" else min(finite)
    return [mean == best for mean in means]


def _decimals(values, digits=4):
    """Decimals that show `digits` significant digits of the largest finite value."""
    sizes = [abs(v) for v in values if v is not None and math.isfinite(v) and v]
    if not sizes:
        return 2
    return min(max(digits - 1 - math.floor(math.log10(max(sizes))), 0), 9)


def number_texts(cells, interval=True):
    """Cells as (mean, interval) text; "" for what is missing."""
    present = [cell for cell in cells if cell is not None]
    decimals = _decimals([cell.mean for cell in present])
    texts = []
    for cell in cells:
        if cell is None:
            texts.append(("", ""))
            continue
        has_interval = interval and cell.low is not None and cell.high is not None
        low_high = [f"{x:.{decimals}f}" for x in cell[1:] if has_interval]
        texts.append(
            (
                f"{cell.mean:.{decimals}f}",
                f"[{', '.join(low_high)}]" if has_interval else "",
            )
        )
    return texts


# ---------------------------------------------------------------- words


def heading(metric, arrow=True):
    """A metric's name with its unit, and an arrow to its better end."""
    unit = f" ({metric.unit})" if metric.unit else ""
    return metric.name + unit + (f" {ARROWS[metric.better]}" if arrow else "")


def group_columns(summary):
    """For each metric measured in groups: (metric, columns), one per group."""
    for metric in summary.metrics:
        columns = [
            (
                f"{group.name} (n={group.count})",
                column(summary, group.table, metric),
                metric,
            )
            for group in summary.groups
        ]
        if any(cell is not None for _, cells, _ in columns for cell in cells):
            yield metric, columns


def same_count(summary):
    """The number of images if all methods have the same, else None."""
    counts = {method.count for method in summary.methods}
    return counts.pop() if len(counts) == 1 else None


def about(method):
    """What is known of a method beside its label: ": ...", or ""."""
    parts = [method.description, method.source, method.terms]
    text = "; ".join(part for part in parts if part)
    return f": {text}" if text else ""


def versions(summary):
    """The packages that measured, "tensorflow 2.21.0, ..."."""
    return ", ".join(f"{name} {version}" for name, version in summary.versions.items())


def sentences(summary):
    """For each metric compared: (metric, sentences)."""
    for metric in summary.metrics:
        pairs = [pair for pair in summary.comparisons if pair.metric == metric.name]
        if pairs:
            yield metric, [in_words(pair, metric) for pair in pairs]


def in_words(comparison, metric):
    """A comparison as a sentence, the better method first.

    Args:
      comparison: `Comparison`.
      metric: its `MetricColumn`.

    Returns:
      str, such as "glcic is better than telea: +1.20 dB [1.00, 1.40], over 99.9 % sure,
      on 93 of 100 images"; "no clear difference" where the interval holds 0.
    """
    a, b, result = comparison.a, comparison.b, comparison.result
    numbers = [result.mean_difference, result.low, result.high]
    probability, wins = result.probability_better, result.wins
    if (result.mean_difference < 0) == (metric.better == "higher"):
        a, b = b, a
        numbers = [-numbers[0], -numbers[2], -numbers[1]]
        probability, wins = 1 - probability, result.losses
    decimals = _decimals(numbers, digits=3)
    # Adding 0 turns a negative zero, which would print as -0.00, into a zero.
    difference, low, high = (round(float(x), decimals) + 0.0 for x in numbers)
    unit = f" {metric.unit}" if metric.unit not in ("", "share") else ""
    amount = (
        f"{difference:+.{decimals}f}{unit} [{low:.{decimals}f}, {high:.{decimals}f}]"
    )
    # Judged before rounding.
    if not (numbers[1] > 0 or numbers[2] < 0):
        return f"no clear difference between {a} and {b}: {amount}"
    sure = "over 99.9" if probability > 0.999 else f"{100 * probability:.1f}"
    return (
        f"{a} is better than {b}: {amount}, {sure} % sure, "
        f"on {wins} of {result.count} images"
    )
