"""Files for programs hold exact numbers and survive being read back."""

import csv
import io
import json
import math

import numpy as np
import pytest
from sample_results import NASTY, make_summary

from inpainting_tf import report_files


def csv_rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_holds_exact_numbers_of_all_images_and_of_groups():
    summary = make_summary()
    rows = csv_rows(report_files.csv_text(summary))
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
    content = json.loads(report_files.json_text(summary))
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
    content = json.loads(report_files.json_text(make_summary(table=table)))
    assert content["table"]["telea"]["psnr"] == {"mean": None, "low": None, "high": 1}


def test_per_image_csv_round_trips_and_refuses_other_columns():
    rows = [
        {"image": 'a,"b".png', "method": NASTY, "psnr": np.float32(0.1), "fid": None},
        {"image": "c\nd", "method": "x", "psnr": np.float64(1 / 3), "fid": 2},
    ]
    read = csv_rows("".join(report_files.per_image_csv(iter(rows))))
    assert [r["image"] for r in read] == ['a,"b".png', "c\nd"]
    assert [r["method"] for r in read] == [NASTY, "x"]
    assert [float(r["psnr"]) for r in read] == [float(np.float32(0.1)), 1 / 3]
    assert [r["fid"] for r in read] == ["", "2"]
    assert list(report_files.per_image_csv([])) == []
    with pytest.raises(ValueError, match="row 1 has the columns method"):
        list(report_files.per_image_csv([{"image": 1}, {"method": 1}]))
