"""Results as files that programs read: CSV, JSON, and a CSV of single images.

Input: a `results.Summary`, or rows of single images. Output: text, with exact numbers.
In order: `csv_text`, `per_image_csv`, `json_text`.
"""

import csv
import dataclasses
import io
import json
import math

import numpy as np

from inpainting_tf import results


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
        groups = [(results.ALL, method.count, summary.table)]
        groups += [(group.name, group.count, group.table) for group in summary.groups]
        for group, count, table in groups:
            for metric in summary.metrics:
                cell = results.estimate(table, method.label, metric)
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
        cells = {
            m.name: results.estimate(table, method.label, m) for m in summary.metrics
        }
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
