"""Reports of an evaluation: the same results as text in the forms people read.

Input: a `Summary`, and for the web page `Pictures`; both hold finished numbers and
pixels, nothing is measured here. Output: text, which depends on the input alone, so
that two evaluations with equal results give equal bytes (no dates, no machine names).

In order: the structures; numbers and marks shared by all forms; `screen_table`,
`markdown`, `latex`, `csv_text`, `json_text`, `per_image_csv`; `html_report`.

Rounded numbers (4 significant digits of a column's largest) stand in the tables that
people read, exact ones in CSV and JSON. The best value of a column is found before
rounding; equal best values are all marked.
"""

import base64
import csv
import dataclasses
import html
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from inpainting_tf.comparison_figures import (
    Example,
    hole_outline,
    method_styles,
    shown_input,
)
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


@dataclasses.dataclass(frozen=True)
class Pictures:
    """What the web page shows.

    Attributes:
      examples: `comparison_figures.Example`s of equal labels; as many as fit are shown.
      figures: (caption, PNG file's bytes) pairs, all shown.
    """

    examples: Sequence[Example] = ()
    figures: Sequence[tuple[str, bytes]] = ()


def _check_known(kind, name, known):
    if name not in known:
        raise ValueError(
            f"summary: {kind} {name!r} is not listed among the {kind}s "
            f"({', '.join(map(repr, known))})"
        )


# ---------------------------------------------------------------- numbers and marks


def _estimate(table, label, metric):
    """The Estimate in plain floats, or None where there is none."""
    value = table.get(label, {}).get(metric.name)
    if value is None:
        return None
    return Estimate(*(None if x is None else float(x) for x in value))


def _column(summary, table, metric):
    """A column's cells, in the order of the methods."""
    return [_estimate(table, method.label, metric) for method in summary.methods]


def _is_best(cells, metric):
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


def _numbers(cells, interval=True):
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


def _heading(metric, arrow=True):
    unit = f" ({metric.unit})" if metric.unit else ""
    return metric.name + unit + (f" {ARROWS[metric.better]}" if arrow else "")


def _same_count(summary):
    """The number of images if all methods have the same, else None."""
    counts = {method.count for method in summary.methods}
    return counts.pop() if len(counts) == 1 else None


def _has_intervals(summary, metric):
    cells = _column(summary, summary.table, metric)
    return any(cell is not None and cell.low is not None for cell in cells)


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


# ---------------------------------------------------------------- screen


def screen_table(summary, width=100):
    """Aligned plain text; metrics go to further blocks where the width is used up.

    Args:
      summary: `Summary`.
      width: columns of the terminal.

    Returns:
      str, ending with a line break; `*` marks the best of a column.
    """
    count = _same_count(summary)
    of_images = f", {count} images" if count is not None else ""
    lines = [summary.protocol + of_images, f"protocol {summary.protocol_hash}", ""]
    labels = _shortened([method.label for method in summary.methods], width // 3)
    columns = []
    if count is None:
        counts = [str(method.count) for method in summary.methods]
        columns.append(["images", *counts])
    for metric in summary.metrics:
        cells = _column(summary, summary.table, metric)
        columns.append(_screen_column(_heading(metric, arrow=False), cells, metric))
    lines += _blocks(["method", *labels], columns, width)
    for metric in summary.metrics:
        columns = []
        for group in summary.groups:
            cells = _column(summary, group.table, metric)
            if any(cells):
                heading = f"{group.name} (n={group.count})"
                columns.append(_screen_column(heading, cells, metric, interval=False))
        if columns:
            by = f" by {summary.grouping}" if summary.grouping else " by group"
            lines.append(_heading(metric, arrow=False) + by)
            lines += _blocks(["method", *labels], columns, width)
    lines.append("* best in its column. [95 % interval of the mean]")
    for better in ARROWS:
        names = [m.name for m in summary.metrics if m.better == better]
        if names:
            lines += _wrapped(f"{better.capitalize()} is better: ", names, width)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _screen_column(heading, cells, metric, interval=True):
    """A heading and one text per cell, with means aligned on the point."""
    texts = _numbers(cells, interval)
    marks = ["*" if best else " " for best in _is_best(cells, metric)]
    widest = max(len(mean) for mean, _ in texts)
    rows = [
        f"{mean or '-':>{widest}}{mark} {low_high}".rstrip()
        for (mean, low_high), mark in zip(texts, marks, strict=True)
    ]
    return [heading, *rows]


def _blocks(first, columns, width):
    """Joins columns of text, in as many blocks as the width needs."""
    lines, block, used = [], [], 0
    padded_first = _pad(first)
    for column in [_pad(column) for column in columns]:
        if block and used + 2 + len(column[0]) > width:
            lines += [*_rows(padded_first, block), ""]
            block = []
        if not block:
            used = len(padded_first[0])
        block.append(column)
        used += 2 + len(column[0])
    return [*lines, *_rows(padded_first, block), ""]


def _rows(first, block):
    heading, *rows = ("  ".join(row) for row in zip(first, *block, strict=True))
    return [heading, "-" * len(heading), *rows]


def _pad(texts):
    widest = max(map(len, texts))
    return [text.ljust(widest) for text in texts]


def _shortened(labels, longest):
    """Labels cut to their ends, which tell paths apart, where all stay different."""
    short = [
        label if len(label) <= longest else "..." + label[3 - longest :]
        for label in labels
    ]
    return short if len({*short}) == len(labels) else labels


def _wrapped(start, names, width):
    lines = [start]
    for i, name in enumerate(names):
        piece = name + (", " if i + 1 < len(names) else "")
        if len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("  ")
        lines[-1] += piece
    return lines


# ---------------------------------------------------------------- Markdown


def markdown(summary):
    """A Markdown document (GitHub's tables), best values in bold.

    Args:
      summary: `Summary`.

    Returns:
      str.
    """
    escape = _escape_markdown
    lines = [f"# {escape(summary.protocol)}", ""]
    if summary.description:
        lines += [escape(summary.description), ""]
    count = _same_count(summary)
    of_images = f" {count} images." if count is not None else ""
    lines += [f"Protocol hash: `{summary.protocol_hash}`.{of_images}", ""]
    lines += ["Mean over images and its 95 % interval; the best in bold.", ""]
    columns = [
        (_heading(metric), _column(summary, summary.table, metric), metric)
        for metric in summary.metrics
    ]
    lines += _markdown_table(summary, columns, with_count=count is None)
    for metric, columns in _group_columns(summary):
        title = f"{_heading(metric)} by {summary.grouping or 'group'}"
        lines += [f"## {escape(title)}", ""]
        lines += _markdown_table(summary, columns)
    if summary.comparisons:
        lines += ["## Pairs of methods", ""]
        for metric, sentences in _sentences(summary):
            lines += [f"{escape(_heading(metric))}:", ""]
            lines += [f"- {escape(sentence)}" for sentence in sentences] + [""]
    lines += ["## Methods", ""]
    for method in summary.methods:
        lines.append(f"- **{escape(method.label)}**{escape(_about(method))}")
    lines += ["", "## Metrics", ""]
    for metric in summary.metrics:
        formula = f": {metric.formula}" if metric.formula else ""
        lines.append(f"- **{escape(metric.name)}**{escape(formula)}")
    if summary.command or summary.versions:
        lines += ["", "## How to reproduce", ""]
    if summary.command:
        lines += [f"    {line}" for line in summary.command.splitlines()] + [""]
    if summary.versions:
        lines.append(escape(_versions(summary)))
    return "\n".join(lines).rstrip() + "\n"


def _markdown_table(summary, columns, with_count=False):
    """Lines of a table; columns are (heading, cells, metric)."""
    rows = [["method"], *([method.label] for method in summary.methods)]
    rows = [[_escape_markdown(text) for text in row] for row in rows]
    if with_count:
        rows[0].append("images")
        for row, method in zip(rows[1:], summary.methods, strict=True):
            row.append(str(method.count))
    for heading, cells, metric in columns:
        rows[0].append(_escape_markdown(heading))
        texts, best = _numbers(cells), _is_best(cells, metric)
        for row, (mean, low_high), is_best in zip(rows[1:], texts, best, strict=True):
            mean = f"**{mean}**" if is_best else mean or "–"
            row.append(f"{mean} {low_high}".strip())
    rule = ["---"] + ["---:"] * (len(rows[0]) - 1)
    return [f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:])] + [""]


def _escape_markdown(text):
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"([\\`*\[\]<>|&~$#])", r"\\\1", text)
    # An underscore inside a word is no mark, and names are full of them.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)


def _group_columns(summary):
    """For each metric measured in groups: (metric, columns), one per group."""
    for metric in summary.metrics:
        columns = [
            (
                f"{group.name} (n={group.count})",
                _column(summary, group.table, metric),
                metric,
            )
            for group in summary.groups
        ]
        if any(cell is not None for _, cells, _ in columns for cell in cells):
            yield metric, columns


def _sentences(summary):
    """For each metric compared: (metric, sentences)."""
    for metric in summary.metrics:
        pairs = [pair for pair in summary.comparisons if pair.metric == metric.name]
        if pairs:
            yield metric, [in_words(pair, metric) for pair in pairs]


def _about(method):
    parts = [method.description, method.source, method.terms]
    text = "; ".join(part for part in parts if part)
    return f": {text}" if text else ""


def _versions(summary):
    return ", ".join(f"{name} {version}" for name, version in summary.versions.items())


# ---------------------------------------------------------------- LaTeX


def latex(summary, columns_per_table=4):
    r"""LaTeX tables for \usepackage{booktabs}: intervals below the means, best bold.

    Args:
      summary: `Summary`.
      columns_per_table: metrics or groups side by side; more go into a further tabular.

    Returns:
      str: one table environment for all images and one for each metric by group.
    """
    escape = _escape_latex
    count = _same_count(summary)
    of_images = f" {count} images." if count is not None else ""
    # Hashes are longer than a line.
    pieces = re.findall(".{1,16}", summary.protocol_hash)
    protocol_hash = r"\allowbreak ".join(map(escape, pieces))
    caption = (
        f"{escape(summary.protocol)}.{of_images} Mean and 95\\,\\% interval; best in "
        f"bold. Protocol \\texttt{{{protocol_hash}}}."
    )
    columns = [
        (_latex_heading(metric), _column(summary, summary.table, metric), metric)
        for metric in summary.metrics
    ]
    lines = _latex_table(
        summary, columns, columns_per_table, caption, with_count=count is None
    )
    for metric, columns in _group_columns(summary):
        caption = (
            f"{escape(summary.protocol)}: {_latex_heading(metric)} by "
            f"{escape(summary.grouping or 'group')}."
        )
        columns = [(escape(heading), *rest) for heading, *rest in columns]
        lines += ["", *_latex_table(summary, columns, columns_per_table, caption)]
    return "\n".join(lines) + "\n"


def _latex_heading(metric):
    arrow = r"$\uparrow$" if metric.better == "higher" else r"$\downarrow$"
    return f"{_escape_latex(_heading(metric, arrow=False))} {arrow}"


_LONG_LABEL = 20  # Letters, from which on a LaTeX table breaks the labels.


def _latex_label(label):
    text = _escape_latex(label)
    if len(label) <= _LONG_LABEL:
        return text
    return r"\raggedright " + re.sub(r"(\\_|/)", r"\1\\allowbreak{}", text)


def _latex_table(summary, columns, columns_per_table, caption, with_count=False):
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\small",
        f"\\caption{{{caption}}}",
        r"\medskip",
    ]
    blocks = [
        columns[i : i + columns_per_table]
        for i in range(0, len(columns), columns_per_table)
    ]
    for i, block in enumerate(blocks):
        lines += [r"\par\medskip"] if i else []
        labels = [_latex_label(method.label) for method in summary.methods]
        rows = [["method"], *([label] for label in labels)]
        below = [[""] for _ in summary.methods]
        if with_count:
            rows[0].append("images")
            for row, small, method in zip(
                rows[1:], below, summary.methods, strict=True
            ):
                row.append(str(method.count))
                small.append("")
        for heading, cells, metric in block:
            rows[0].append(heading)
            best = _is_best(cells, metric)
            for j, (mean, low_high) in enumerate(_numbers(cells)):
                rows[j + 1].append(f"\\textbf{{{mean}}}" if best[j] else mean or "--")
                # A bracket right after a line break would be read as its argument.
                small = f"{{\\scriptsize {low_high}}}" if low_high else ""
                below[j].append(small)
        is_long = any(len(method.label) > _LONG_LABEL for method in summary.methods)
        first = "p{9em}" if is_long else "l"
        lines.append(f"\\begin{{tabular}}{{{first}{'r' * (len(rows[0]) - 1)}}}")
        lines += [r"\toprule", " & ".join(rows[0]) + r" \\", r"\midrule"]
        for row, small in zip(rows[1:], below, strict=True):
            lines.append(" & ".join(row) + r" \\")
            if any(small):
                lines.append(" & ".join(small) + r" \\")
        lines += [r"\bottomrule", r"\end{tabular}"]
    return [*lines, r"\end{table}"]


_LATEX_CHARACTERS = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "×": r"$\times$",
} | {character: f"\\{character}" for character in "&%$#_{}"}
# After the end of a row, LaTeX would take these for arguments of the line break.
_LATEX_CHARACTERS |= {character: f"{{{character}}}" for character in "[]*"}


def _escape_latex(text):
    text = re.sub(r"\s+", " ", text)
    return "".join(_LATEX_CHARACTERS.get(character, character) for character in text)


# ---------------------------------------------------------------- CSV and JSON


def csv_text(summary):
    """One row per method, group and metric, exact numbers.

    Args:
      summary: `Summary`.

    Returns:
      str with the columns protocol_hash, method, group, metric, mean, low, high,
      count; group "all" holds every image, missing intervals are empty.
    """
    rows = [
        ["protocol_hash", "method", "group", "metric", "mean", "low", "high", "count"]
    ]
    for method in summary.methods:
        groups = [(ALL, method.count, summary.table)]
        groups += [(group.name, group.count, group.table) for group in summary.groups]
        for group, count, table in groups:
            for metric in summary.metrics:
                cell = _estimate(table, method.label, metric)
                if cell is not None:
                    start = [summary.protocol_hash, method.label, group, metric.name]
                    rows.append([*start, *cell, int(count)])
    return _csv(rows)


def per_image_csv(rows):
    """Values of single images as CSV, exact numbers, line by line.

    Args:
      rows: iterable of dicts with the same keys, such as image, method, hole_area and
        one per metric; None becomes an empty cell.

    Yields:
      str, lines; the keys of the first dict are the heading, nothing without rows.

    Raises:
      ValueError: a dict with other keys.
    """
    heading = None
    for number, row in enumerate(rows):
        if heading is None:
            heading = list(row)
            yield _csv([heading])
        if [*row] != heading:
            raise ValueError(
                f"per_image_csv: row {number} has the columns {', '.join(row)}, "
                f"the first has {', '.join(heading)}"
            )
        yield _csv([row.values()])


def _csv(rows):
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    # NumPy's floats would be written with their type's name or rounded to their size.
    writer.writerows([_plain(value) for value in row] for row in rows)
    return file.getvalue()


def _plain(value):
    """NumPy scalars as Python numbers."""
    if isinstance(value, np.generic):
        value = value.item()
    return value


def json_text(summary):
    """The whole summary as JSON, exact numbers; null for a number that is not finite.

    Args:
      summary: `Summary`.

    Returns:
      str; the keys are the attributes of `Summary`, estimates are objects with mean,
      low and high, comparisons have the attributes of their result beside metric, a, b.
    """
    content = {
        "protocol": summary.protocol,
        "protocol_hash": summary.protocol_hash,
        "description": summary.description,
        "metrics": [dataclasses.asdict(metric) for metric in summary.metrics],
        "methods": [dataclasses.asdict(method) for method in summary.methods],
        "table": _json_table(summary, summary.table),
        "grouping": summary.grouping,
        "groups": [
            {
                "name": group.name,
                "count": group.count,
                "table": _json_table(summary, group.table),
            }
            for group in summary.groups
        ],
        "comparisons": [
            {"metric": pair.metric, "a": pair.a, "b": pair.b}
            | dataclasses.asdict(pair.result)
            for pair in summary.comparisons
        ],
        "versions": dict(summary.versions),
        "command": summary.command,
    }
    text = json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def _json_table(summary, table):
    rows = {}
    for method in summary.methods:
        cells = {m.name: _estimate(table, method.label, m) for m in summary.metrics}
        rows[method.label] = {
            name: cell._asdict() for name, cell in cells.items() if cell is not None
        }
    return rows


def _finite(content):
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_finite(value) for value in content]
    content = _plain(content)
    return (
        None if isinstance(content, float) and not math.isfinite(content) else content
    )


# ---------------------------------------------------------------- web page


def html_report(summary, pictures=None, max_bytes=5_000_000):
    """One HTML file that opens without a network: everything is inside it.

    Args:
      summary: `Summary`.
      pictures: `Pictures`, or None.
      max_bytes: examples are shown, from the first on, while the page stays below;
        the first one always. Figures and tables are not left out.

    Returns:
      str, a whole page.
    """
    pictures = pictures or Pictures()
    sections = [
        ("results", "Results", _html_results(summary)),
        ("groups", f"By {summary.grouping or 'group'}", _html_groups(summary)),
        ("pairs", "Pairs of methods", _html_pairs(summary)),
        ("figures", "Figures", _html_figures(pictures.figures)),
        ("measured", "What was measured", _html_measured(summary)),
        ("reproduce", "How to reproduce", _html_reproduce(summary)),
    ]
    used = len(_STYLE) + sum(len(body.encode()) for _, _, body in sections)
    examples = _html_examples(pictures.examples, max_bytes - used - 20_000)
    sections.insert(3, ("examples", "Examples", examples))
    sections = [section for section in sections if section[2]]
    contents = " ".join(
        f'<a href="#{name}">{html.escape(title)}</a>' for name, title, _ in sections
    )
    body = "\n".join(
        f'<section id="{name}">\n<h2>{html.escape(title)}</h2>\n{text}\n</section>'
        for name, title, text in sections
    )
    title = html.escape(summary.protocol)
    count = _same_count(summary)
    facts = [f"{count} images"] if count is not None else []
    facts += [f"{len(summary.methods)} methods", f"{len(summary.metrics)} metrics"]
    description = _paragraph(summary.description)
    return (
        "<!DOCTYPE html>\n"
        f'<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n"
        f"{description}<p>{', '.join(facts)}; protocol "
        f"<code>{html.escape(summary.protocol_hash)}</code></p>\n"
        f"<nav>{contents}</nav>\n</header>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _paragraph(text):
    return f"<p>{html.escape(text)}</p>\n" if text else ""


def _html_results(summary):
    columns = [
        (_html_heading(metric), _column(summary, summary.table, metric), metric)
        for metric in summary.metrics
    ]
    note = "Mean over images with its 95 % interval; best of each column in bold."
    without = [m.name for m in summary.metrics if not _has_intervals(summary, m)]
    if without:
        note += f" Over the whole set, without an interval: {', '.join(without)}."
    table = _html_table(summary, columns, with_count=_same_count(summary) is None)
    return _paragraph(note) + table


def _html_groups(summary):
    parts = []
    for metric, columns in _group_columns(summary):
        columns = [(html.escape(heading), *rest) for heading, *rest in columns]
        table = _html_table(summary, columns)
        parts.append(_unfolding(_html_heading(metric), table, is_open=not parts))
    return "".join(parts)


def _unfolding(title, content, is_open):
    return (
        f"<details{' open' if is_open else ''}><summary>{title}</summary>\n"
        f"{content}</details>\n"
    )


def _html_heading(metric):
    name = html.escape(_heading(metric, arrow=False))
    arrow = ARROWS[metric.better]
    return f'{name} <span title="{metric.better} is better">{arrow}</span>'


def _html_label(label):
    """A name that may be broken after its underscores and slashes."""
    pieces = re.split(r"(?<=[_/])", label)
    return "<wbr>".join(html.escape(piece) for piece in pieces)


def _html_table(summary, columns, with_count=False):
    styles = method_styles([method.label for method in summary.methods])
    heads = ["method", *(["images"] if with_count else []), *(c[0] for c in columns)]
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    texts = [(_numbers(cells), _is_best(cells, m)) for _, cells, m in columns]
    rows = []
    for i, method in enumerate(summary.methods):
        color = styles[method.label].color
        row = (
            f'<th scope="row"><span class="dot" style="background:{color}"></span>'
            f"{_html_label(method.label)}</th>"
        )
        row += f"<td>{method.count}</td>" if with_count else ""
        for numbers, best in texts:
            mean, low_high = numbers[i]
            mean = f"<b>{mean}</b>" if best[i] else mean or "–"
            row += f"<td>{mean}<small>{low_high}</small></td>"
        rows.append(f"<tr>{row}</tr>\n")
    return _scrolling(
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody>\n"
        "</table>"
    )


def _scrolling(content):
    # Focusable, so that the keyboard can scroll it.
    return f'<div class="scroll" tabindex="0">{content}</div>\n'


def _html_pairs(summary):
    parts = []
    for metric, sentences in _sentences(summary):
        items = "".join(f"<li>{html.escape(text)}</li>\n" for text in sentences)
        items = f"<ul>\n{items}</ul>\n"
        parts.append(_unfolding(_html_heading(metric), items, is_open=not parts))
    if not parts:
        return ""
    note = (
        "Mean difference on the same images with its 95 % interval. Each pair stands "
        "for itself: among many pairs a few differ by chance."
    )
    return _paragraph(note) + "".join(parts)


def _html_examples(examples, room):
    """A table of pictures, one example per row, as many as `room` bytes hold."""
    if not examples:
        return ""
    labels = list(examples[0].completed)
    heads = ["input", "truth", *labels]
    head = "".join(f'<th scope="col">{_html_label(text)}</th>' for text in heads)
    rows = []
    for number, example in enumerate(examples):
        row = _html_example(example, heads, number)
        room -= len(row.encode())
        if rows and room < 0:
            break
        rows.append(row)
    note = "The line is the border of the hole; input shows the missing pixels in grey."
    if len(rows) < len(examples):
        note += f" {len(rows)} of {len(examples)} examples, as many as fit on the page."
    return _paragraph(note) + _scrolling(
        f'<table class="examples">\n<thead><tr>{head}</tr></thead>\n<tbody>\n'
        f"{''.join(rows)}</tbody>\n</table>"
    )


def _html_example(example, heads, number):
    height, width = example.image.shape[:2]
    outline = hole_outline(example.mask)
    if outline is not None:
        # Half a pixel: outlines are in pixel centres, an SVG's in pixel corners.
        path = "".join(
            f"M{x0 + 0.5:g} {y0 + 0.5:g}L{x1 + 0.5:g} {y1 + 0.5:g}"
            for (x0, y0), (x1, y1) in outline
        )
    pictures = [shown_input(example), example.image, *example.completed.values()]
    cells = []
    for i, (label, picture) in enumerate(zip(heads, pictures, strict=True)):
        alt = html.escape(f"{label}, {example.name}")
        drawing = f'<img src="{_data_uri(picture)}" alt="{alt}">'
        if outline is not None and i != 1:
            # Written once per example and used for every picture of it.
            inner = f'<use href="#hole-{number}"/>'
            if i == 0:
                inner = f'<path id="hole-{number}" d="{path}"/>'
            drawing += (
                f'<svg viewBox="0 0 {width} {height}" aria-hidden="true"'
                f"{' class=input' if i == 0 else ''}>{inner}</svg>"
            )
        cells.append(f'<td><div class="tile">{drawing}</div></td>')
    name = f'<th colspan="{len(heads)}"><span>{html.escape(example.name)}</span></th>'
    return f'<tr class="name">{name}</tr>\n<tr>{"".join(cells)}</tr>\n'


def _data_uri(pixels):
    """Pixels as an embedded file: exact up to 128 x 128, else JPEG of high quality."""
    picture, file = Image.fromarray(np.asarray(pixels, np.uint8)), io.BytesIO()
    if max(picture.size) <= 128:
        picture.save(file, "PNG")
        kind = "png"
    else:
        picture.save(file, "JPEG", quality=92, subsampling=0)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _html_figures(figures):
    parts = []
    for caption, data in figures:
        uri = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        text = html.escape(caption)
        parts.append(
            f'<figure><div class="scroll" tabindex="0"><img src="{uri}" alt="{text}">'
            f"</div><figcaption>{text}</figcaption></figure>\n"
        )
    return "".join(parts)


def _html_measured(summary):
    parts = ["<h3>Metrics</h3>\n<dl>\n"]
    for metric in summary.metrics:
        formula = html.escape(metric.formula or "no formula given")
        parts.append(
            f"<dt>{_html_heading(metric)}</dt>\n<dd>{formula}; {metric.better} is "
            "better</dd>\n"
        )
    parts.append("</dl>\n<h3>Methods</h3>\n<dl>\n")
    for method in summary.methods:
        about = html.escape(_about(method).removeprefix(": "))
        about = f"{about} " if about else ""
        parts.append(
            f"<dt>{html.escape(method.label)}</dt>\n"
            f"<dd>{about}({method.count} images)</dd>\n"
        )
    return "".join(parts) + "</dl>"


def _html_reproduce(summary):
    parts = []
    if summary.command:
        parts.append(f'<pre tabindex="0">{html.escape(summary.command)}</pre>\n')
    if summary.versions:
        parts.append(_paragraph(f"Measured with {_versions(summary)}."))
    if parts:
        parts.append(
            f"<p>A run measured the same thing if it prints protocol "
            f"<code>{html.escape(summary.protocol_hash)}</code>.</p>"
        )
    return "".join(parts)


_STYLE = """
:root { --text: #1c1e21; --faint: #5c636b; --line: #d8dce0; --page: #ffffff;
  --head: #f2f4f6; --link: #0b5394; --mark: #00c8f0; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e6e8; --faint: #a3abb3;
  --line: #3a4046; --page: #16181b; --head: #22262a; --link: #8ab8ea; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 0 1.25rem 4rem; max-width: 76rem; color: var(--text);
  background: var(--page); font: 1rem/1.5 system-ui, sans-serif; }
header { padding-top: 1.5rem; border-bottom: 1px solid var(--line); }
h1 { margin: 0 0 .25rem; font-size: 1.6rem; overflow-wrap: anywhere; }
h2 { margin: 2.25rem 0 .5rem; font-size: 1.25rem; }
h3 { margin: 1.5rem 0 .5rem; font-size: 1rem; }
p { margin: .35rem 0 .75rem; max-width: 46rem; }
header p { color: var(--faint); }
code { overflow-wrap: anywhere; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; padding-bottom: .9rem; }
a { color: var(--link); text-decoration: none; }
a:hover { text-decoration: underline; }
.scroll { overflow: auto; max-height: 90vh; max-width: max-content;
  border: 1px solid var(--line); border-radius: 4px; }
table { border-collapse: separate; border-spacing: 0; }
th, td { padding: .35rem .8rem; border-bottom: 1px solid var(--line);
  text-align: right; vertical-align: top; white-space: nowrap;
  font-variant-numeric: tabular-nums; background: var(--page); }
tbody tr:last-child > * { border-bottom: 0; }
thead th { position: sticky; top: 0; z-index: 1; background: var(--head);
  font-weight: 600; }
th:first-child { position: sticky; left: 0; z-index: 1; text-align: left;
  font-weight: 600; }
thead th:first-child { z-index: 2; }
td small { display: block; color: var(--faint); font-size: .75rem; }
tbody th:first-child { min-width: 7rem; max-width: 18rem; white-space: normal;
  overflow-wrap: anywhere; }
.dot { display: inline-block; width: .6rem; height: .6rem; margin-right: .5rem;
  border-radius: 50%; box-shadow: 0 0 0 1px var(--line); }
.examples th, .examples td { padding: .25rem; border-bottom: 0; text-align: center; }
.examples thead th { padding: .35rem .25rem; font-size: .8rem; white-space: normal;
  vertical-align: bottom; overflow-wrap: break-word; max-width: 8.75rem; }
.examples thead th:first-child { left: auto; text-align: center; z-index: 1; }
.examples .name th { padding: .6rem .25rem 0; text-align: left; font-size: .75rem;
  font-weight: 400; color: var(--faint); }
.examples .name span { position: sticky; left: .25rem; }
.examples .name th:first-child { position: static; max-width: none; }
.tile { position: relative; width: 8.25rem; }
.tile img { display: block; width: 100%; image-rendering: pixelated; }
.tile svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.tile svg { fill: none; stroke: var(--mark); stroke-width: .8px;
  stroke-linecap: square; }
.tile svg.input { stroke-width: 2px; }
.tile path { vector-effect: non-scaling-stroke; }
details { border-bottom: 1px solid var(--line); }
summary { padding: .4rem 0; font-weight: 600; cursor: pointer; }
ul { margin: 0 0 .8rem; padding-left: 1.25rem; }
figure { margin: 1rem 0 2rem; }
figure .scroll { max-height: none; background: #ffffff; }
figure img { display: block; max-width: 100%; height: auto; }
figcaption { margin-top: .35rem; color: var(--faint); font-size: .875rem; }
dt { font-weight: 600; }
dd { margin: 0 0 .6rem; color: var(--faint); overflow-wrap: anywhere; }
pre { overflow-x: auto; padding: .75rem 1rem; border: 1px solid var(--line);
  border-radius: 4px; background: var(--head); font-size: .875rem; }
@media (max-width: 40rem) {
  body { padding: 0 .75rem 3rem; }
  th, td { padding: .3rem .5rem; font-size: .85rem; }
  .tile { width: 6rem; }
  tbody th:first-child { max-width: 8.5rem; }
  .examples thead th { max-width: 6.5rem; font-size: .72rem; }
  figure img { max-width: none; width: 40rem; }
}
@media print { .scroll { overflow: visible; max-height: none; } nav { display: none; } }
"""
