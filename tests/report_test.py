"""Tables say what was measured: numbers, marks, escapes, and a page without network."""

import csv
import html.parser
import io
import json
import math
import re

import numpy as np
import pytest

from inpainting_tf import report
from inpainting_tf.comparison_figures import Example, comparison_grid, png_bytes
from inpainting_tf.statistics import PairedComparison

NASTY = 'a_<b>&|$x^2$ "q" 50% #1 {z} ~\\ *w*'


def comparison(metric, a, b, difference, low, high, probability):
    result = PairedComparison(
        count=10,
        mean_difference=difference,
        low=low,
        high=high,
        probability_better=probability,
        p_value=0.01,
        p_value_method="exact sign flips",
        wins=7,
        ties=1,
        losses=2,
    )
    return report.Comparison(metric, a, b, result)


def make_summary(**changes):
    table = {
        "telea": {
            "psnr": (21.23456789, 20.5, 22.0),
            "l1": (0.0312345, 0.03, 0.033),
            "fid": (88.5, None, None),
        },
        "glcic": {
            "psnr": report.Estimate(np.float32(24.7), 24.0, 25.125),
            "l1": (0.0123456789, 0.012, 0.0125),
            "fid": (99.25, None, None),
        },
        NASTY: {"psnr": (9.5, 9.25, 9.75), "l1": (0.25, 0.2, 0.3)},
    }
    frontal = {"telea": {"psnr": (22.0, 21.0, 23.0)}, "glcic": {"psnr": (20, 19, 21)}}
    turned = {"telea": {"psnr": (10.0, 9.0, 11.0)}, "glcic": {"psnr": (30, 29, 31)}}
    arguments = {
        "protocol": "celeba_128_center",
        "protocol_hash": "0123456789abcdef" * 4,
        "metrics": [
            report.MetricColumn("psnr", "dB", "higher", "10 log10(255^2 / <e>)"),
            report.MetricColumn("l1", "share", "lower", "sum |x - y| / (255 n)"),
            report.MetricColumn("fid", "", "lower", "Heusel et al. & others"),
        ],
        "methods": [
            report.MethodRow("telea", 10, "OpenCV", "opencv 4.10"),
            report.MethodRow("glcic", 10, "Iizuka et al. 2017", "runs/glcic"),
            report.MethodRow(NASTY, 10, "<script>alert(1)</script>", "", "CC BY-NC"),
        ],
        "table": table,
        "grouping": "pose",
        "groups": [
            report.Group("frontal", 6, frontal),
            report.Group("turned", 4, turned),
        ],
        "comparisons": [
            comparison("psnr", "telea", "glcic", -3.4654, -4.0, -3.0, 0.0),
            comparison("l1", "telea", "glcic", 0.0189, 0.018, 0.02, 0.0),
            comparison("psnr", "glcic", NASTY, 0.1, -0.2, 0.4, 0.7),
        ],
        "versions": {"tensorflow": "2.21.0"},
        "command": "python evaluate.py --methods=telea,glcic && echo '<done>'",
    }
    return report.Summary(**(arguments | changes))


def make_pictures(count=3, size=24):
    rng = np.random.default_rng(0)
    mask = np.zeros([size, size, 1], np.float32)
    mask[4:12, 6:18] = 1
    examples = [
        Example(
            f"<face> {i}",
            rng.integers(0, 256, [size, size, 3]).astype(np.uint8),
            mask,
            {
                label: rng.integers(0, 256, [size, size, 3]).astype(np.uint8)
                for label in ("telea", NASTY)
            },
        )
        for i in range(count)
    ]
    figure = png_bytes(comparison_grid(examples[:1]))
    return report.Pictures(examples, [("Grid & <caption>", figure)])


def csv_rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_holds_exact_numbers_of_all_images_and_of_groups():
    summary = make_summary()
    rows = csv_rows(report.csv_text(summary))
    assert list(rows[0]) == (
        ["protocol_hash", "method", "group", "metric", "mean", "low", "high", "count"]
    )
    tables = {"all": summary.table} | {g.name: g.table for g in summary.groups}
    cells = [
        (label, group, metric, *numbers)
        for group, table in tables.items()
        for label, row in table.items()
        for metric, numbers in row.items()
    ]
    read = [
        (r["method"], r["group"], r["metric"])
        + tuple(float(r[k]) if r[k] else None for k in ("mean", "low", "high"))
        for r in rows
    ]
    assert sorted(map(repr, read)) == sorted(
        repr((*c[:3], *(None if x is None else float(x) for x in c[3:]))) for c in cells
    )
    counts = {(r["group"], r["count"]) for r in rows}
    assert counts == {("all", "10"), ("frontal", "6"), ("turned", "4")}
    assert {r["protocol_hash"] for r in rows} == {summary.protocol_hash}


def test_json_holds_exact_numbers_and_null_for_what_is_not_finite():
    summary = make_summary()
    content = json.loads(report.json_text(summary))
    for label, row in summary.table.items():
        assert content["table"][label] == {
            metric: {
                key: None if x is None else float(x)
                for key, x in zip(("mean", "low", "high"), numbers, strict=True)
            }
            for metric, numbers in row.items()
        }
    assert content["groups"][1]["table"]["glcic"]["psnr"]["mean"] == 30
    assert content["comparisons"][0]["mean_difference"] == -3.4654
    assert content["comparisons"][0]["p_value"] == 0.01
    assert content["methods"][2]["label"] == NASTY
    table = summary.table | {"telea": {"psnr": (math.nan, math.inf, 1.0)}}
    content = json.loads(report.json_text(make_summary(table=table)))
    assert content["table"]["telea"]["psnr"] == {"mean": None, "low": None, "high": 1}


def test_per_image_csv_round_trips_and_refuses_other_columns():
    rows = [
        {"image": 'a,"b".png', "method": NASTY, "psnr": np.float32(0.1), "fid": None},
        {"image": "c\nd", "method": "x", "psnr": np.float64(1 / 3), "fid": 2},
    ]
    read = csv_rows("".join(report.per_image_csv(iter(rows))))
    assert [r["image"] for r in read] == ['a,"b".png', "c\nd"]
    assert [r["method"] for r in read] == [NASTY, "x"]
    assert [float(r["psnr"]) for r in read] == [float(np.float32(0.1)), 1 / 3]
    assert [r["fid"] for r in read] == ["", "2"]
    assert list(report.per_image_csv([])) == []
    with pytest.raises(ValueError, match="row 1 has the columns method"):
        list(report.per_image_csv([{"image": 1}, {"method": 1}]))


def markdown_tables(text):
    """Tables as lists of rows of unescaped cells."""
    tables, was_row = [], False
    for line in text.splitlines():
        if line.startswith("| "):
            if not was_row:
                tables.append([])
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            tables[-1].append([re.sub(r"\\(\W|_)", r"\1", c.strip()) for c in cells])
        was_row = line.startswith("| ")
    return tables


def test_markdown_numbers_and_labels_survive_reading_it_back():
    whole, by_pose = markdown_tables(report.markdown(make_summary()))
    assert whole[0] == ["method", "psnr (dB) ↑", "l1 (share) ↓", "fid ↓"]
    assert [row[0] for row in whole[2:]] == ["telea", "glcic", NASTY]
    assert whole[2][1:] == [
        "21.23 [20.50, 22.00]",
        "0.0312 [0.0300, 0.0330]",
        "**88.50**",
    ]
    assert whole[3][1:] == [
        "**24.70** [24.00, 25.12]",
        "**0.0123** [0.0120, 0.0125]",
        "99.25",
    ]
    assert whole[4][3] == "–"
    assert by_pose[0] == ["method", "frontal (n=6)", "turned (n=4)"]
    assert by_pose[2][1:] == ["**22.00** [21.00, 23.00]", "10.00 [9.00, 11.00]"]
    assert by_pose[3][1:] == ["20.00 [19.00, 21.00]", "**30.00** [29.00, 31.00]"]


def test_screen_table_marks_the_best_aligns_points_and_fits_the_width():
    text = report.screen_table(make_summary(), width=60)
    lines = text.splitlines()
    assert max(len(line) for line in lines if "0123" not in line) <= 60
    starred = re.findall(r"([\d.]+)\*", text)
    assert sorted(starred) == ["0.0123", "22.00", "24.70", "30.00", "88.50"]
    assert re.search(r"glcic +20.00 +30.00\*", text)
    wide = report.screen_table(make_summary(), width=120).splitlines()
    (glcic,) = (line for line in wide if "24.70* [24.00, 25.12]" in line)
    (telea,) = (line for line in wide if "21.23  [20.50, 22.00]" in line)
    assert glcic.index("24.70") == telea.index("21.23")
    assert glcic.index("99.25") == telea.index("88.50")


def test_equal_best_values_are_all_marked_and_nan_never():
    table = {
        "telea": {"psnr": (5.0, 4, 6)},
        "glcic": {"psnr": (5.0, 4, 6)},
        NASTY: {"psnr": (math.nan, math.nan, math.nan)},
    }
    text = report.screen_table(make_summary(table=table, groups=[], comparisons=[]))
    assert text.count("5.000*") == 2
    assert re.search(r"nan(?!\*)", text)
    # A better value that rounds to the same text is still the only best.
    table["glcic"] = {"psnr": (5.00001, 4, 6)}
    text = report.screen_table(make_summary(table=table, groups=[], comparisons=[]))
    assert re.search(r"glcic +5.000\*", text)
    assert text.count("5.000*") == 1


def test_different_numbers_of_images_get_a_column():
    methods = [*make_summary().methods[:2], report.MethodRow(NASTY, 7)]
    summary = make_summary(methods=methods)
    assert markdown_tables(report.markdown(summary))[0][4][1] == "7"
    assert "images" in report.screen_table(summary).splitlines()[3]


def test_latex_escapes_marks_and_balances():
    text = report.latex(make_summary(), columns_per_table=2)
    assert r"\textbf{24.70}" in text
    assert r"\textbf{0.0123}" in text
    assert r"\textbf{88.50}" in text
    assert r"\scriptsize [20.50, 22.00]" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    label = (
        r"\raggedright a\_\allowbreak{}\textless{}b\textgreater{}\&\textbar{}\$x\textasciicircum{}2\$ "
        r'"q" 50\% \#1 \{z\} \textasciitilde{}\textbackslash{} {*}w{*} & '
    )
    assert text.count(label) == 3
    for row in re.findall(r"^.*\\\\$", text, re.MULTILINE):
        columns = len(re.findall(r"(?<!\\)&", row)) + 1
        assert columns in (2, 3)
    # Braces balance once escaped ones are gone.
    bare = re.sub(r"\\[{}\\]", "", text)
    assert bare.count("{") == bare.count("}")


def test_sentences_put_the_better_method_first():
    summary = make_summary()
    psnr, l1, _ = summary.metrics
    first, second, third = summary.comparisons
    assert report.in_words(first, psnr) == (
        "glcic is better than telea: +3.47 dB [3.00, 4.00], over 99.9 % sure, "
        "on 2 of 10 images"
    )
    assert report.in_words(second, l1) == (
        "glcic is better than telea: -0.0189 [-0.0200, -0.0180], over 99.9 % sure, "
        "on 2 of 10 images"
    )
    assert report.in_words(third, psnr) == (
        f"no clear difference between glcic and {NASTY}: +0.100 dB [-0.200, 0.400]"
    )


def test_sentences_of_a_lower_metric_whose_first_method_is_better():
    metric = report.MetricColumn("l1", "share", "lower")
    pair = comparison("l1", "a", "b", -0.5, -0.75, -0.25, 0.985)
    assert report.in_words(pair, metric) == (
        "a is better than b: -0.500 [-0.750, -0.250], 98.5 % sure, on 7 of 10 images"
    )


class Page(html.parser.HTMLParser):
    """Checks nesting and collects attributes and text."""

    VOID = ("meta", "img", "wbr", "path", "use")

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.words, self.cells = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, *pair) for pair in attributes]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag, attributes):
        self.attributes += [(tag, *pair) for pair in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if {"td", "th"} & {*self.open} and self.cells:
            self.cells[-1] += data


def test_page_parses_escapes_everything_and_needs_no_network():
    text = report.html_report(make_summary(), make_pictures())
    page = Page(text)
    tags = {tag for tag, *_ in page.attributes}
    assert "script" not in text.replace("&lt;script", "").replace("&lt;/script", "")
    links = [v for _, name, v in page.attributes if name in ("src", "href")]
    assert links
    assert all(v.startswith(("data:image/", "#")) for v in links)
    assert not re.search(r"https?:|url\(|@import|//[a-z]", text.split("<body>")[0])
    targets = {v for _, name, v in page.attributes if name == "id"}
    assert {v[1:] for v in links if v.startswith("#")} <= targets
    assert {"img", "svg", "path", "use"} <= tags
    words = "".join(page.words)
    for shown in (NASTY, "<face> 2", "Grid & <caption>", "<script>alert(1)</script>"):
        assert shown in words
    for section in ("Results", "By pose", "Pairs of methods", "How to reproduce"):
        assert section in words
    assert make_summary().protocol_hash in words
    assert "sum |x - y| / (255 n)" in words
    assert "21.23[20.50, 22.00]" in page.cells
    assert re.search(r"<b>24.70</b>", text)
    assert not re.search(r"<b>21.23</b>", text)


def test_page_shows_as_many_examples_as_fit_and_at_least_one():
    pictures = make_pictures(count=6, size=100)
    whole = report.html_report(make_summary(), pictures)
    assert whole.count('<tr class="name">') == 6
    limit = len(whole) - 2 * 100 * 100 * 3
    some = report.html_report(make_summary(), pictures, max_bytes=limit)
    shown = some.count('<tr class="name">')
    assert 1 <= shown < 6
    assert len(some) <= limit
    assert f"{shown} of 6 examples" in some
    least = report.html_report(make_summary(), pictures, max_bytes=0)
    assert least.count('<tr class="name">') == 1


def test_page_without_pictures_groups_and_pairs_leaves_their_sections_out():
    text = report.html_report(make_summary(groups=[], comparisons=[]))
    Page(text)
    for name in ("examples", "figures", "pairs", "groups"):
        assert f'id="{name}"' not in text


def test_equal_summaries_give_equal_bytes():
    forms = (
        report.screen_table,
        report.markdown,
        report.latex,
        report.csv_text,
        report.json_text,
        lambda summary: report.html_report(summary, make_pictures()),
    )
    for form in forms:
        assert form(make_summary()) == form(make_summary())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": {"teela": {}}}, "'teela' is not listed"),
        ({"table": {"telea": {"psrn": (1, 1, 1)}}}, "'psrn' is not listed"),
        ({"groups": [report.Group("all", 1, {})]}, "two groups are called 'all'"),
        ({"metrics": [report.MetricColumn("l1", better="less")]}, "better='less'"),
        ({"methods": [report.MethodRow("a", 1)] * 2}, "two methods are called 'a'"),
    ],
)
def test_wrong_summaries_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_summary(**changes)
