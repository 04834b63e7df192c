"""Features are those that the original program computes with the same weights."""

import os

import numpy as np
import programs
import torch_files

from command_line import imagenet_features, torch_arrays
from inpainting_tf import features

GOLDEN = os.path.join(os.path.dirname(__file__), "golden", "efficientnet_lite")
REDUCED = os.path.join(GOLDEN, "reduced.pth")


def test_features_are_those_that_the_original_program_computes():
    recorded = np.load(os.path.join(GOLDEN, "features.npz"))
    arrays = torch_arrays.read(REDUCED)
    network = imagenet_features.network(arrays, size=recorded["image"].shape[1])
    found = network(np.float32(recorded["image"]) / 127.5 - 1)
    # Of values up to 6: random weights make rounding grow from layer to layer.
    np.testing.assert_allclose(found, recorded["features"], atol=1e-3)


def test_the_program_writes_features_that_evaluate_can_use(tmp_path):
    path = str(tmp_path / "features")
    status, errors = programs.run(
        "-m",
        "command_line.imagenet_features",
        f"--weights={REDUCED}",
        f"--output={path}",
    )
    assert status == 0, errors
    assert os.listdir(tmp_path) == ["features"]
    image = np.random.default_rng(0).uniform(-1, 1, [3, 20, 28, 3]).astype(np.float32)
    found = features.saved_model_features(path)(image)
    assert found.shape == (3, 77) and np.ptp(found, axis=0).max() > 0.01


def test_the_program_refuses_in_one_line_and_leaves_nothing(tmp_path):
    other = tmp_path / "other.pth"
    other.write_bytes(torch_files.file({"weight": torch_files.array()}))
    (tmp_path / "file").write_text("no folder")
    for weights, output, said in (
        (other, f"{tmp_path}/features", "not the weights"),
        ("none", f"{tmp_path}/features", "No such file"),
        (REDUCED, f"{tmp_path}/file", "--output="),
        (REDUCED, "", "--output="),
        (REDUCED, f"{tmp_path}/file/features", "cannot write there"),
    ):
        status, errors = programs.run(
            "-m",
            "command_line.imagenet_features",
            f"--weights={weights}",
            f"--output={output}",
        )
        assert status == 2 and said in errors.splitlines()[-1], errors
    assert sorted(os.listdir(tmp_path)) == ["file", "other.pth"]
