"""Results as tables that people read: on screen, in Markdown, in LaTeX.

Input: a `results.Summary`. Output: text, with rounded numbers and the best of each
column marked. In order: `screen_table`, `markdown`, `latex`.
"""

import re

from inpainting_tf import results

# ---------------------------------------------------------------- screen


def screen_table(summary, width=100):
    """Aligned plain text; metrics go to further blocks where the width is used up.

    Args:
      summary: `Summary`.
      width: columns of the terminal.

    Returns:
      str, ending with a line break; `*` marks the best of a column.
    """
    count = results.same_count(summary)
    of_images = f", {count} images" if count is not None else ""
    lines = [summary.protocol + of_images, f"protocol {summary.protocol_hash}", ""]
    labels = _shortened([method.label for method in summary.methods], width // 3)
    columns = []
    if count is None:
        counts = [str(method.count) for method in summary.methods]
        columns.append(["images", *counts])
    for metric in summary.metrics:
        cells = results.column(summary, summary.table, metric)
        columns.append(
            _screen_column(results.heading(metric, arrow=False), cells, metric)
        )
    lines += _blocks(["method", *labels], columns, width)
    for metric in summary.metrics:
        columns = []
        for group in summary.groups:
            cells = results.column(summary, group.table, metric)
            if any(cells):
                heading = f"{group.name} (n={group.count})"
                columns.append(_screen_column(heading, cells, metric, interval=False))
        if columns:
            by = f" by {summary.grouping}" if summary.grouping else " by group"
            lines.append(results.heading(metric, arrow=False) + by)
            lines += _blocks(["method", *labels], columns, width)
    lines.append("* best in its column. [95 % interval of the mean]")
    for better in results.ARROWS:
        names = [m.name for m in summary.metrics if m.better == better]
        if names:
            lines += _wrapped(f"{better.capitalize()} is better: ", names, width)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _screen_column(heading, cells, metric, interval=True):
    """A heading and one text per cell, with means aligned on the point."""
    texts = results.number_texts(cells, interval)
    marks = ["*" if best else " " for best in results.is_best(cells, metric)]
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
    count = results.same_count(summary)
    of_images = f" {count} images." if count is not None else ""
    lines += [f"Protocol hash: `{summary.protocol_hash}`.{of_images}", ""]
    lines += ["Mean over images and its 95 % interval; the best in bold.", ""]
    columns = [
        (
            results.heading(metric),
            results.column(summary, summary.table, metric),
            metric,
        )
        for metric in summary.metrics
    ]
    lines += _markdown_table(summary, columns, with_count=count is None)
    for metric, columns in results.group_columns(summary):
        title = f"{results.heading(metric)} by {summary.grouping or 'group'}"
        lines += [f"## {escape(title)}", ""]
        lines += _markdown_table(summary, columns)
    if summary.comparisons:
        lines += ["## Pairs of methods", ""]
        for metric, sentences in results.sentences(summary):
            lines += [f"{escape(results.heading(metric))}:", ""]
            lines += [f"- {escape(sentence)}" for sentence in sentences] + [""]
    lines += ["## Methods", ""]
    for method in summary.methods:
        lines.append(f"- **{escape(method.label)}**{escape(results.about(method))}")
    lines += ["", "## Metrics", ""]
    for metric in summary.metrics:
        formula = f": {metric.formula}" if metric.formula else ""
        lines.append(f"- **{escape(metric.name)}**{escape(formula)}")
    if summary.command or summary.versions:
        lines += ["", "## How to reproduce", ""]
    if summary.command:
        lines += [f"    {line}" for line in summary.command.splitlines()] + [""]
    if summary.versions:
        lines.append(escape(results.versions(summary)))
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
        texts, best = results.number_texts(cells), results.is_best(cells, metric)
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
    count = results.same_count(summary)
    of_images = f" {count} images." if count is not None else ""
    # Hashes are longer than a line.
    pieces = re.findall(".{1,16}", summary.protocol_hash)
    protocol_hash = r"\allowbreak ".join(map(escape, pieces))
    caption = (
        f"{escape(summary.protocol)}.{of_images} Mean and 95\\,\\% interval; best in "
        f"bold. Protocol \\texttt{{{protocol_hash}}}."
    )
    columns = [
        (_latex_heading(metric), results.column(summary, summary.table, metric), metric)
        for metric in summary.metrics
    ]
    lines = _latex_table(
        summary, columns, columns_per_table, caption, with_count=count is None
    )
    for metric, columns in results.group_columns(summary):
        caption = (
            f"{escape(summary.protocol)}: {_latex_heading(metric)} by "
            f"{escape(summary.grouping or 'group')}."
        )
        columns = [(escape(heading), *rest) for heading, *rest in columns]
        lines += ["", *_latex_table(summary, columns, columns_per_table, caption)]
    return "\n".join(lines) + "\n"


def _latex_heading(metric):
    arrow = r"$\uparrow$" if metric.better == "higher" else r"$\downarrow$"
    return f"{_escape_latex(results.heading(metric, arrow=False))} {arrow}"


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
            best = results.is_best(cells, metric)
            for j, (mean, low_high) in enumerate(results.number_texts(cells)):
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
