"""Values on disk: read one by one, cut and gone on with."""

import tracemalloc

import numpy as np
import pytest

from inpainting_tf import report_files, run_folder
from inpainting_tf.measured_values import MeasuredValues, ValuesError

NUMBERS = ("psnr", "ssim", "l1")


def row(index):
    return {
        "index": index,
        "image": f"faces/{index:06d}.png",
        "exact": index % 3 > 0,
        **{name: 1 / (index + k + 1) for k, name in enumerate(NUMBERS)},
    }


def opened(folder, **methods):
    return MeasuredValues(str(folder), {"protocol": "p"}, methods or {"a": "1"})


def test_rows_and_columns_are_what_was_added(tmp_path):
    values = opened(tmp_path)
    assert values.count("a") == 0 and list(values.rows("a")) == []
    assert values.columns("a", ["psnr"])["psnr"].shape == (0,)
    values.add("a", [row(0), row(1)])
    values.add("a", [row(2)])
    del values  # Of one evaluation at a time.
    again = opened(tmp_path)
    assert list(again.rows("a")) == [row(i) for i in range(3)]
    columns = again.columns("a", ["exact", "l1"])
    np.testing.assert_array_equal(columns["exact"], [0, 1, 1])
    np.testing.assert_array_equal(columns["l1"], [1 / 3, 1 / 4, 1 / 5])


def test_a_line_cut_short_is_none_and_goes_with_the_next_cut(tmp_path):
    values = opened(tmp_path)
    values.add("a", [row(i) for i in range(4)])
    path = tmp_path / "values" / "a.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert values.count("a") == 3
    values.cut("a", 3)
    values.add("a", [row(3)])
    assert path.read_bytes() == whole
    values.cut("a", 1)
    assert list(values.rows("a")) == [row(0)]


def test_another_method_under_a_label_is_refused(tmp_path):
    opened(tmp_path, a="1", b="1")
    opened(tmp_path, b="1", c="1")
    with pytest.raises(ValuesError, match="holds values of another a "):
        opened(tmp_path, a="2")


def test_memory_is_eight_bytes_a_number_however_many_the_images(tmp_path):
    """A dict per image would take thirty times what is allowed here."""
    values, count = opened(tmp_path), 20_000
    for start in range(0, count, 1000):
        values.add("a", [row(i) for i in range(start, start + 1000)])
    tracemalloc.start()
    try:
        columns = values.columns("a", NUMBERS)
        assert values.count("a") == count
        values.cut("a", count - 1)
        run_folder.write_text(
            str(tmp_path / "per_image.csv"),
            report_files.per_image_csv(values.rows("a")),
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    numbers = 8 * count * len(NUMBERS)
    assert sum(column.nbytes for column in columns.values()) == numbers
    assert peak < 1.3 * numbers + 200_000
    with open(tmp_path / "per_image.csv") as file:
        assert sum(1 for _ in file) == count


def test_one_evaluation_at_a_time_writes_a_folder(tmp_path):
    folder = str(tmp_path / "out")
    first = MeasuredValues(folder, {}, {})
    with pytest.raises(ValuesError, match="by another evaluation"):
        MeasuredValues(folder, {}, {})
    del first
    MeasuredValues(folder, {}, {})


@pytest.mark.parametrize("line", ["garbage", '{"index": 0}', "[]", "5"])
def test_a_damaged_line_is_named(tmp_path, line):
    values = MeasuredValues(str(tmp_path), {}, {})
    values.add("a", [{"index": 0, "psnr": 1.0}])
    with open(tmp_path / "values" / "a.jsonl", "a") as file:
        file.write(line + "\n")
    with pytest.raises(ValuesError, match="a.jsonl: line 2 is not"):
        values.columns("a", ["psnr"])


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(ValuesError, match="evaluation.json is damaged"):
        MeasuredValues(str(tmp_path), {}, {})
