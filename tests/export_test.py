"""export.py as a user runs it: versions, what lies in them, and refusals."""

import json
import os

import numpy as np
import programs
import pytest
import small_exports
import tensorflow as tf

from command_line import served_methods
from inpainting_tf import exporting, serving

SIGNATURES = ("serving_default", "float", "encoded")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder with a run of glcic and one of dcgan."""
    folder = str(tmp_path_factory.mktemp("runs"))
    for method in ("glcic", "dcgan"):
        small_exports.write_run(folder, method)
    return folder


def metadata_of(path):
    with open(os.path.join(path, "assets.extra", "metadata.json")) as file:
        return json.load(file)


def test_a_run_becomes_a_model_that_says_what_it_is(runs, tmp_path):
    status, errors = programs.run(
        "export.py",
        f"--checkpoint={runs}/glcic/checkpoints/step-{small_exports.STEP}",
        f"--export_dir={tmp_path}",
        "--max_pixels=12345",
        "--weights_terms=Ours alone",
    )
    assert status == 0, errors
    path = tmp_path / "glcic" / "1"
    assert f"glcic at step 7: {path}" in errors.splitlines()[-1]
    loaded = tf.saved_model.load(str(path))
    assert {*SIGNATURES} <= {*loaded.signatures}
    for name in SIGNATURES:
        inputs = loaded.signatures[name].structured_input_signature[1]
        assert {*inputs} == {"image", "mask"}
    metadata = metadata_of(path)
    assert metadata["method"] == "glcic"
    assert metadata["step"] == small_exports.STEP
    assert metadata["max_pixels"] == 12345
    assert metadata["terms_of_weights"] == "Ours alone"
    assert {*metadata["signatures"]} == {*SIGNATURES}


def test_a_mirrored_export_takes_the_mean_of_a_picture_and_its_mirror_image(tmp_path):
    signatures = {}
    for flags in ((), ("--mirrored",)):
        status, errors = programs.run(
            "export.py", "--run_dir=study/glcic", f"--export_dir={tmp_path}", *flags
        )
        assert status == 0, errors
        path = str(tmp_path / "glcic" / str(1 + len(flags)))
        assert metadata_of(path).get("mirrored", False) == bool(flags)
        signatures[bool(flags)] = tf.saved_model.load(path).signatures["float"]
    generator = np.random.default_rng(0)
    image = generator.uniform(-1, 1, [2, 32, 44, 3]).astype(np.float32)
    mask = np.zeros([2, 32, 44, 1], np.float32)
    mask[0, 4:17, 20:36] = mask[1, 11:25, 3:14] = 1

    def complete(is_mirrored, image, mask):
        given = {"image": tf.constant(image), "mask": tf.constant(mask)}
        return signatures[is_mirrored](**given)["completed"].numpy()

    one = complete(False, image, mask)
    other = complete(False, image[:, :, ::-1], mask[:, :, ::-1])[:, :, ::-1]
    both = complete(True, image, mask)
    known = np.broadcast_to(mask == 0, image.shape)
    np.testing.assert_array_equal(both[known], image[known])
    assert np.abs(one - other).max() > 0.01
    # At sides that the network takes: others are continued at the right first.
    np.testing.assert_allclose(both, (one + other) / 2, atol=1e-5)


@pytest.fixture
def tiny():
    """A method without weights, quick to export."""
    return serving.ServedMethod(lambda image, mask: tf.zeros_like(image), 32, 4)


def test_versions_count_upwards_and_may_be_chosen(tiny, tmp_path):
    def export(version=None):
        return os.path.basename(
            exporting.export(tiny, str(tmp_path), "grey", {}, version)
        )

    assert [export(), export(), export(7), export()] == ["1", "2", "7", "8"]
    with pytest.raises(exporting.ExportError, match="has a version 7 already"):
        export(7)
    assert sorted(os.listdir(tmp_path / "grey")) == ["1", "2", "7", "8"]


def test_a_version_taken_meanwhile_is_left_alone(tiny, tmp_path, monkeypatch):
    write = exporting._write_graphs

    def write_late(served, folder):
        write(served, folder)
        os.makedirs(tmp_path / "grey" / "1" / "theirs")

    monkeypatch.setattr(exporting, "_write_graphs", write_late)
    path = exporting.export(tiny, str(tmp_path), "grey", {})
    assert os.path.basename(path) == "2"
    assert os.listdir(tmp_path / "grey" / "1") == ["theirs"]


def test_what_fails_or_is_unfinished_is_never_a_version(tiny, tmp_path, monkeypatch):
    seen = []

    def look(*_):
        seen.extend(os.listdir(tmp_path / "grey"))
        raise OSError("disk full")

    monkeypatch.setattr(exporting, "_write_warmup", look)
    with pytest.raises(exporting.ExportError, match="cannot be written .disk full"):
        exporting.export(tiny, str(tmp_path), "grey", {})
    # While it was written it had a name that servers skip; now it is gone.
    assert len(seen) == 1 and not seen[0].isdecimal()
    assert os.listdir(tmp_path / "grey") == []


def test_limits_below_a_methods_own_size_are_refused(tmp_path):
    small = serving.ServedMethod(lambda *_: None, 32, 4, max_pixels=1023)
    with pytest.raises(exporting.ExportError, match="--max_pixels=1023.*1024 pixels"):
        exporting.export(small, str(tmp_path), "grey", {})


def test_what_cannot_be_exported_is_refused_in_one_line(runs, tmp_path):
    out = f"--export_dir={tmp_path}/exports"
    recipe = small_exports.write_recipe(str(tmp_path), "siidgm", f"{runs}/glcic")
    (tmp_path / "file").write_text("no folder")
    asked = {
        "--export_dir is missing": [f"--run_dir={runs}/glcic"],
        "give --run_dir": [out],
        "is no run folder": [out, f"--run_dir={tmp_path}"],
        "completes nothing itself; add --search": [out, f"--run_dir={runs}/dcgan"],
        "must be <run folder>/checkpoints/step-<n>": [out, "--checkpoint=best"],
        "there is no such checkpoint": [
            out,
            f"--checkpoint={runs}/glcic/checkpoints/step-8",
        ],
        "no checkpoint of step 9, only of 7": [
            out,
            f"--run_dir={runs}/glcic",
            "--checkpoint=9",
        ],
        "the searches need one of dcgan": [out, f"--search={recipe}"],
        "absent.cfg: No such file": [out, f"--search={tmp_path}/absent.cfg"],
        "cannot write there": [
            f"--run_dir={runs}/glcic",
            f"--export_dir={tmp_path}/file",
        ],
    }
    lines = programs.refusals("export", list(asked.values()))
    for expected, line in zip(asked, lines, strict=True):
        assert expected in line
    assert not os.path.exists(tmp_path / "exports")


def test_weights_that_are_not_all_there_are_not_exported(tmp_path):
    run_dir, _ = small_exports.write_run(str(tmp_path), "glcic")
    flags_path = os.path.join(run_dir, "flags.cfg")
    with open(flags_path) as file:
        recorded = file.read()
    # A network with a weight that the checkpoint lacks.
    with open(flags_path, "w") as file:
        file.write(recorded + "--mask_channel=false\n")
    with pytest.raises(RuntimeError, match="cannot be restored"):
        served_methods.open_run(run_dir)
    with open(flags_path, "w") as file:
        file.write(recorded)
    prefix = os.path.join(run_dir, "checkpoints", f"step-{small_exports.STEP}")
    os.truncate(f"{prefix}.data-00000-of-00001", 1000)
    with pytest.raises(RuntimeError, match="cannot be restored"):
        served_methods.open_run(run_dir)
