"""Summaries: sentences, equal bytes in every form, and wrong ones refused."""

import pytest
from sample_results import NASTY, comparison, make_pictures, make_summary

from inpainting_tf import report_files, report_page, report_tables, results


def test_sentences_put_the_better_method_first():
    summary = make_summary()
    psnr, l1, _ = summary.metrics
    first, second, third = summary.comparisons
    assert results.in_words(first, psnr) == (
        "glcic is better than telea: +3.47 dB [3.00, 4.00], over 99.9 % sure, "
        "on 2 of 10 images"
    )
    assert results.in_words(second, l1) == (
        "glcic is better than telea: -0.0189 [-0.0200, -0.0180], over 99.9 % sure, "
        "on 2 of 10 images"
    )
    assert results.in_words(third, psnr) == (
        f"no clear difference between glcic and {NASTY}: +0.100 dB [-0.200, 0.400]"
    )


def test_sentences_of_a_lower_metric_whose_first_method_is_better():
    metric = results.MetricColumn("l1", "share", "lower")
    pair = comparison("l1", "a", "b", -0.5, -0.75, -0.25, 0.985)
    assert results.in_words(pair, metric) == (
        "a is better than b: -0.500 [-0.750, -0.250], 98.5 % sure, on 7 of 10 images"
    )


def test_equal_summaries_give_equal_bytes():
    forms = (
        report_tables.screen_table,
        report_tables.markdown,
        report_tables.latex,
        report_files.csv_text,
        report_files.json_text,
        lambda summary: report_page.html_report(summary, make_pictures()),
    )
    for form in forms:
        assert form(make_summary()) == form(make_summary())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"table": {"teela": {}}}, "'teela' is not listed"),
        ({"table": {"telea": {"psrn": (1, 1, 1)}}}, "'psrn' is not listed"),
        ({"groups": [results.Group("all", 1, {})]}, "two groups are called 'all'"),
        ({"metrics": [results.MetricColumn("l1", better="less")]}, "better='less'"),
        ({"methods": [results.MethodRow("a", 1)] * 2}, "two methods are called 'a'"),
    ],
)
def test_wrong_summaries_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_summary(**changes)
