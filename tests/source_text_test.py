"""How a method is written on the command line: what each part of the text becomes."""

import pytest

from command_line.parsing import UsageError
from command_line.source_text import check_apart, own_name, parse


@pytest.mark.parametrize(
    "text, parts",
    [
        ("telea", ("", "telea", "", False)),
        ("runs/a@best", ("", "runs/a", "best", False)),
        ("own=runs/a@7+mirrored", ("own", "runs/a", "7", True)),
        ("study/glcic+mirrored", ("", "study/glcic", "", True)),
        ("runs/x=1/y", ("", "runs/x=1/y", "", False)),
    ],
)
def test_a_text_is_taken_apart(text, parts):
    written = parse(text)
    found = (written.label, written.source, written.checkpoint, written.is_mirrored)
    assert found == parts
    assert written.said == f"--methods={text}" and parse(text, None).said == text


@pytest.mark.parametrize("checkpoint", ["", "7"])
@pytest.mark.parametrize("mirrored", ["", "+mirrored"])
def test_a_folder_that_is_there_may_be_called_so_itself(
    checkpoint, mirrored, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a+mirrored").mkdir()
    at = f"@{checkpoint}" if checkpoint else ""
    written = parse(f"own=a+mirrored{at}{mirrored}")
    assert (written.source, written.checkpoint) == ("a+mirrored", checkpoint)
    assert written.is_mirrored == bool(mirrored)
    with pytest.raises(UsageError, match="write label=source"):
        parse(f"a+mirrored{at}{mirrored}")


def test_the_label_is_the_given_one_or_is_made_of_a_name():
    assert parse("own=telea+mirrored").label_or("telea") == "own"
    assert parse("telea+mirrored").label_or("telea") == "telea_mirrored"
    assert parse("telea").label_or("telea") == "telea"


@pytest.mark.parametrize(
    "text", ["a+mirrored@best", "a@best+mirrored+mirrored", "x=a+mirrored+mirrored"]
)
def test_mirrored_in_another_place_is_refused(text):
    with pytest.raises(UsageError, match="comes last, and once"):
        parse(text)


def test_a_label_that_cannot_name_a_file_is_refused():
    with pytest.raises(UsageError, match="the label 'my run' must be"):
        parse("my run=telea")


def test_an_export_is_called_by_its_method_and_another_number_by_itself(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for method in ("glcic", "giica", "my net"):
        (tmp_path / method / "1").mkdir(parents=True)
        (tmp_path / method / "1" / "saved_model.pb").touch()
    (tmp_path / "pictures" / "1").mkdir(parents=True)
    paths = ["glcic/1", "giica/1/", "./glcic/1", "pictures/1", "flags/a.cfg", "telea"]
    names = [own_name(path) for path in paths]
    assert names == ["glcic", "giica", "glcic", "1", "a", "telea"]
    monkeypatch.chdir(tmp_path / "giica")
    assert own_name("1") == "giica"
    with pytest.raises(UsageError, match="the label 'my net' must be"):
        parse(f"{tmp_path}/my net/1")


def test_labels_that_are_shared_are_refused():
    check_apart(["a", "b"])
    with pytest.raises(UsageError, match="^2 methods are called b; tell them apart"):
        check_apart(["a", "b", "b"])
