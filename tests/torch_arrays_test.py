"""Arrays of a PyTorch file are cut right, and nothing else in it is believed or run."""

import os
import pickle

import numpy as np
import pytest
import torch_files
from torch_files import array

from command_line import torch_arrays


def read(content, folder):
    path = folder / "weights.pth"
    path.write_bytes(content)
    return torch_arrays.read(str(path))


def test_arrays_lie_where_offset_and_strides_say(tmp_path):
    values = np.arange(24, dtype=np.float32)
    state = {
        "plain": array((2, 3), (3, 1), 0, 24),
        "later": array((2, 3), (3, 1), 5, 24),
        "transposed": array((3, 2, 4), (4, 12, 1), 0, 24),
        "one": array((), (), 7, 24),
    }
    found = read(torch_files.file(state, values), tmp_path)
    assert list(found) == list(state)
    np.testing.assert_array_equal(found["plain"], values[:6].reshape(2, 3))
    np.testing.assert_array_equal(found["later"], values[5:11].reshape(2, 3))
    expected = values.reshape(2, 3, 4).transpose(1, 0, 2)
    np.testing.assert_array_equal(found["transposed"], expected)
    assert found["one"] == 7 and found["one"].dtype == np.float32


def test_whole_numbers_keep_their_type(tmp_path):
    state = {"count": array((), (), 0, 1, "LongStorage")}
    found = read(torch_files.file(state, [2**40], np.int64), tmp_path)
    assert found["count"] == 2**40 and found["count"].dtype == np.int64


class Payload:
    def __reduce__(self):
        return os.mkdir, ("made_by_a_file",)


@pytest.mark.parametrize("place", range(5))
def test_nothing_in_a_file_is_run(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    payload = pickle.dumps(Payload(), protocol=2)
    pickle.loads(payload)  # It is a live one.
    os.rmdir("made_by_a_file")
    content = torch_files.file({"weight": array()}, replaced={place: payload})
    if place == 2:  # Nobody looks at what stands there.
        assert list(read(content, tmp_path)) == ["weight"]
    else:
        with pytest.raises(ValueError):
            read(content, tmp_path)
    assert os.listdir(tmp_path) == ["weights.pth"]


@pytest.mark.parametrize(
    "claimed, said",
    [
        (array((30_000, 30_000), (0, 0)), "larger than its storage"),
        (array((2, 3), (4, 1)), "larger than its storage"),
        (array((2, 3), (3, 1), 1), "larger than its storage"),
        (array((2, 3), (-3, 1), 3), "larger than its storage"),
        (array(size=2**60), "cut short"),
        (array(size=7), "cut short"),
        (array(storage="HalfStorage"), "no state_dict"),
        ((torch_files.Named("builtins", "print"), ("text",)), "it holds a builtins"),
    ],
)
def test_more_than_a_file_holds_is_refused_before_memory_is_taken(
    claimed, said, tmp_path
):
    with pytest.raises(ValueError, match=said):
        read(torch_files.file({"weight": claimed}), tmp_path)


@pytest.mark.parametrize("content", [b"", b"Dear Sir or Madam", pickle.dumps({})])
def test_other_files_are_refused(content, tmp_path):
    with pytest.raises(ValueError):
        read(content, tmp_path)


def test_a_file_cut_short_anywhere_is_refused(tmp_path):
    content = torch_files.file({"weight": array()})
    for end in range(len(content)):
        with pytest.raises(ValueError):
            read(content[:end], tmp_path)
