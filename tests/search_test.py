"""search.py interrupted: its exit status, and results that are whole or not there."""

import json
import os

import numpy as np
import programs
import pytest
import tensorflow as tf

from inpainting_tf import images
from inpainting_tf.search_results import KEPT, SearchResults


def batch_and_outputs(count, seed):
    """What a search of `count` pictures of 16x16 with 3 iterations could have given."""
    generator = np.random.default_rng(seed)
    image = tf.constant(generator.uniform(-1, 1, [count, 16, 16, 3]), tf.float32)
    losses = tf.constant(generator.uniform(0, 1, [count, 4]), tf.float32)
    outputs = {
        **dict.fromkeys(("completed", "predicted"), image),
        **dict.fromkeys(KEPT, losses),
        **{"loss": losses[:, -1], "steps": tf.fill([count], 3)},
        "restart": tf.zeros([count], tf.int32),
    }
    return {"image": image, "mask": tf.ones([count, 16, 16, 1])}, outputs


def opened(folder):
    return SearchResults(str(folder), method="siidgm", image_size=16, grid_rows=4)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_batch_that_is_broken_off_leaves_what_was_there(error, tmp_path, monkeypatch):
    results = opened(tmp_path)
    results.add(["a.png", "b.png"], *batch_and_outputs(2, 0))
    write_png, written = images.write_png, []

    def broken_off(path, pixels):
        if written:
            raise error
        written.append(path)
        write_png(path, pixels)

    monkeypatch.setattr(images, "write_png", broken_off)
    with pytest.raises(error):
        results.add(["c.png", "d.png"], *batch_and_outputs(2, 1))
    monkeypatch.undo()
    assert written and not os.path.exists(written[0])
    assert results.count == 2
    results.add(["e.png"], *batch_and_outputs(1, 2))
    results.write()
    made = ["00000_a.png", "00001_b.png", "00002_e.png"]
    assert sorted(os.listdir(tmp_path / "completed")) == made
    rows = (tmp_path / "results.jsonl").read_text().splitlines()
    assert [json.loads(row)["name"] for row in rows] == ["a.png", "b.png", "e.png"]
    expected = [batch_and_outputs(n, seed)[1]["z"] for n, seed in ((2, 0), (1, 2))]
    with np.load(tmp_path / "losses.npz") as losses:
        np.testing.assert_array_equal(losses["z"], np.concatenate(expected))
    assert not [name for name in os.listdir(tmp_path) if ".tmp" in name]


# A main of its own: two programs' flags cannot be defined in one process.
_INTERRUPTED = """
import sys
import search
from command_line.parsing import parse_flags

def interrupted(*_):
    raise KeyboardInterrupt

search.SearchResults.add = interrupted
parse_flags(sys.argv)
search.main(None)
"""


def test_ctrl_c_in_the_only_batch_ends_as_an_interruption(tmp_path):
    status, errors = programs.run(
        "-c",
        _INTERRUPTED,
        "--gan=celeba64",
        "--iterations=1",
        "--count=1",
        "--dataset=synthetic_faces",
        f"--output_dir={tmp_path}/out",
    )
    assert status == 130, errors
    assert (
        errors.splitlines()[-1] == "interrupted before the first picture was completed"
    )
