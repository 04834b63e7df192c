"""A PyTorch file's arrays and features are those that PyTorch has, all else refused."""

import os
import pickle

import numpy as np
import programs
import pytest

from command_line import imagenet_features
from command_line.parsing import UsageError
from inpainting_tf import features

GOLDEN = os.path.join(os.path.dirname(__file__), "golden", "efficientnet_lite")
REDUCED = os.path.join(GOLDEN, "reduced.pth")


def test_features_are_those_that_the_original_program_computes():
    recorded = np.load(os.path.join(GOLDEN, "features.npz"))
    arrays = imagenet_features.read_arrays(REDUCED)
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


class Unexpected:
    def __reduce__(self):
        return os.mkdir, ("made_by_a_file",)


def start():
    parts = imagenet_features.MAGIC, imagenet_features.PROTOCOL, {}
    return b"".join(pickle.dumps(part, protocol=2) for part in parts)


@pytest.mark.parametrize(
    "content, said",
    [
        (b"Dear Sir or Madam", "not the weights"),
        (b"", "not the weights"),
        (pickle.dumps({}), "not the weights"),
        (start() + pickle.dumps(Unexpected()), "it holds a .*mkdir"),
        (start() + pickle.dumps({}) + pickle.dumps(["7"]), "not the weights"),
    ],
)
def test_other_files_are_refused_and_nothing_in_them_is_run(
    content, said, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=said):
        imagenet_features.read_arrays(str(path))
    assert os.listdir(tmp_path) == ["weights.pth"]


def test_a_file_cut_short_is_refused(tmp_path):
    with open(REDUCED, "rb") as file:
        content = file.read()
    path = tmp_path / "weights.pth"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UsageError, match="not the weights"):
        imagenet_features.read_arrays(str(path))


def test_weights_of_another_network_are_refused_in_one_line(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(start() + pickle.dumps({}) + pickle.dumps([]))
    for given, said in ((path, "holds no EfficientNet-Lite0"), ("none", "No such")):
        status, errors = programs.run(
            "-m",
            "command_line.imagenet_features",
            f"--weights={given}",
            f"--output={tmp_path}/features",
        )
        assert status == 2 and said in errors.splitlines()[-1], errors
    assert os.listdir(tmp_path) == ["weights.pth"]
