"""A package's InceptionV3 is read exactly, and anything else refused in one line."""

import base64

import numpy as np
import programs
import pytest

from command_line import inception_weights
from command_line.parsing import UsageError

MODEL = (
    "!function(e){e.model={modelTopology:{keras_version:1},weightsManifest:"
    '[{paths:["one","two"],weights:[{name:"conv2d_1/kernel",shape:[2,3],dtype:"float32",'
    'quantization:{min:-.5,scale:.25,dtype:"uint8"}},{name:"batch_normalization_1/beta",'
    'shape:[14],dtype:"float32",quantization:{min:1,scale:2e-1,dtype:"uint8"}}]}]}}(this)'
)


def package(folder, files):
    path = folder / "package"
    (path / inception_weights.FOLDER).mkdir(parents=True)
    for name, text in files.items():
        (path / inception_weights.FOLDER / f"{name}.min.js").write_text(text)
    return str(path)


def shard(levels):
    data = base64.b64encode(bytes(levels)).decode()
    return f'!function(e){{return"{data}"}}(this)'


def whole():
    return {"model": MODEL, "one": shard(range(12)), "two": shard(range(12, 20))}


def test_levels_of_all_shards_become_the_values_that_they_stand_for(tmp_path):
    arrays = inception_weights.read_weights(package(tmp_path, whole()))
    assert sorted(arrays) == ["batch_normalization_1/beta", "conv2d_1/kernel"]
    np.testing.assert_allclose(
        arrays["conv2d_1/kernel"], np.arange(6).reshape(2, 3) / 4 - 0.5
    )
    np.testing.assert_allclose(
        arrays["batch_normalization_1/beta"], 1 + 0.2 * np.arange(6, 20), rtol=1e-6
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"model": "nothing"},
        {"one": "!function(e){}(this)"},
        {"two": shard(range(12, 36))},
        {"two": "x" * (inception_weights.MAX_BYTES + 1)},
    ],
)
def test_other_packages_are_refused(changed, tmp_path):
    files = whole() | changed
    with pytest.raises(UsageError, match="not the package nsfwjs"):
        inception_weights.read_weights(package(tmp_path, files))


def test_the_program_refuses_in_one_line(tmp_path):
    for files, said in (
        ({"model": "Dear Sir or Madam"}, "not the package"),
        ({}, "No such"),
    ):
        given = package(tmp_path / said[:3], files)
        status, errors = programs.run(
            "-m",
            "command_line.inception_weights",
            f"--package={given}",
            f"--output={tmp_path}/out.weights.h5",
        )
        assert status == 2 and said in errors.splitlines()[-1], errors
