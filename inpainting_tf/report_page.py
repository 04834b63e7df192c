"""Results as one web page that opens without a network: everything is inside it.

Input: a `results.Summary` and `Pictures`. Output: the text of an HTML file. Its looks
are in report_page.css beside this file; it has no scripts.

In order: `Pictures`; `html_report`; the sections in the order of the page.
"""

import base64
import dataclasses
import html
import io
import re
from collections.abc import Sequence
from importlib import resources

import numpy as np
from PIL import Image

from inpainting_tf import results
from inpainting_tf.figure_style import method_styles
from inpainting_tf.figure_tiles import Example, hole_outline, shown_input

_STYLE_FILE = resources.files("inpainting_tf") / "report_page.css"
_STYLE = "\n" + _STYLE_FILE.read_text("utf-8")


@dataclasses.dataclass(frozen=True)
class Pictures:
    """What the web page shows.

    Attributes:
      examples: `figure_tiles.Example`s of equal labels; as many as fit are shown.
      figures: (caption, PNG file's bytes) pairs, all shown.
    """

    examples: Sequence[Example] = ()
    figures: Sequence[tuple[str, bytes]] = ()


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
    count = results.same_count(summary)
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
        (_html_heading(metric), results.column(summary, summary.table, metric), metric)
        for metric in summary.metrics
    ]
    note = "Mean over images with its 95 % interval; best of each column in bold."
    without = [m.name for m in summary.metrics if not _has_intervals(summary, m)]
    if without:
        note += f" Over the whole set, without an interval: {', '.join(without)}."
    table = _html_table(
        summary, columns, with_count=results.same_count(summary) is None
    )
    return _paragraph(note) + table


def _has_intervals(summary, metric):
    cells = results.column(summary, summary.table, metric)
    return any(cell is not None and cell.low is not None for cell in cells)


def _html_groups(summary):
    parts = []
    for metric, columns in results.group_columns(summary):
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
    name = html.escape(results.heading(metric, arrow=False))
    arrow = results.ARROWS[metric.better]
    return f'{name} <span title="{metric.better} is better">{arrow}</span>'


def _html_label(label):
    """A name that may be broken after its underscores and slashes."""
    pieces = re.split(r"(?<=[_/])", label)
    return "<wbr>".join(html.escape(piece) for piece in pieces)


def _html_table(summary, columns, with_count=False):
    styles = method_styles([method.label for method in summary.methods])
    heads = ["method", *(["images"] if with_count else []), *(c[0] for c in columns)]
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    texts = [
        (results.number_texts(cells), results.is_best(cells, m))
        for _, cells, m in columns
    ]
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
    for metric, sentences in results.sentences(summary):
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
        about = html.escape(results.about(method).removeprefix(": "))
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
        parts.append(_paragraph(f"Measured with {results.versions(summary)}."))
    if parts:
        parts.append(
            f"<p>A run measured the same thing if it prints protocol "
            f"<code>{html.escape(summary.protocol_hash)}</code>.</p>"
        )
    return "".join(parts)
