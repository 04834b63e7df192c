"""Tables say what was measured: rounded numbers, marks, escapes."""

import math
import re

from sample_results import NASTY, make_summary

from inpainting_tf import report_tables, results


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
    whole, by_pose = markdown_tables(report_tables.markdown(make_summary()))
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
    text = report_tables.screen_table(make_summary(), width=60)
    lines = text.splitlines()
    assert max(len(line) for line in lines if "0123" not in line) <= 60
    starred = re.findall(r"([\d.]+)\*", text)
    assert sorted(starred) == ["0.0123", "22.00", "24.70", "30.00", "88.50"]
    assert re.search(r"glcic +20.00 +30.00\*", text)
    wide = report_tables.screen_table(make_summary(), width=120).splitlines()
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
    text = report_tables.screen_table(
        make_summary(table=table, groups=[], comparisons=[])
    )
    assert text.count("5.000*") == 2
    assert re.search(r"nan(?!\*)", text)
    # A better value that rounds to the same text is still the only best.
    table["glcic"] = {"psnr": (5.00001, 4, 6)}
    text = report_tables.screen_table(
        make_summary(table=table, groups=[], comparisons=[])
    )
    assert re.search(r"glcic +5.000\*", text)
    assert text.count("5.000*") == 1


def test_different_numbers_of_images_get_a_column():
    methods = [*make_summary().methods[:2], results.MethodRow(NASTY, 7)]
    summary = make_summary(methods=methods)
    assert markdown_tables(report_tables.markdown(summary))[0][4][1] == "7"
    assert "images" in report_tables.screen_table(summary).splitlines()[3]


def test_latex_escapes_marks_and_balances():
    text = report_tables.latex(make_summary(), columns_per_table=2)
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
