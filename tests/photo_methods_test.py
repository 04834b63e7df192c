"""Methods that complete photos, opened by every name that they have."""

import os
import pathlib
import re
import shutil

import numpy as np
import programs
import pytest
import small_exports
import tensorflow as tf
from released_weights_test import random_arrays, save_checkpoint

import inpainting_tf
from baselines import classical, released_glcic
from baselines.glcic import GLCIC
from benchmarks import fresh_runs
from command_line import (
    photo_methods,
    photo_sources,
    search_recipes,
    trained,
    weights_along,
)
from command_line.parsing import UsageError
from inpainting_tf import exporting, images, serving, synthetic_faces


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder with a run of glcic and one of dcgan."""
    folder = str(tmp_path_factory.mktemp("runs"))
    for method in ("glcic", "dcgan"):
        small_exports.write_run(folder, method)
    return folder


@pytest.fixture(scope="module")
def glcic(runs):
    """Its method: building a network takes a second."""
    return inpainting_tf.load(f"{runs}/glcic")


def photo(height=32, width=32):
    generator = np.random.default_rng(0)
    rgb = generator.integers(0, 256, [height, width, 3], np.uint8)
    mask = np.zeros([height, width], bool)
    mask[5:20, 8:21] = True
    return rgb, mask


def completed_by(model, rgb, mask):
    """What a network's own call completes, uint8 [H, W, 3]."""
    completed = model.call(
        images.to_float(rgb[None]), tf.cast(mask[None, ..., None], tf.float32)
    )["completed"]
    return images.to_uint8(completed)[0].numpy()


def assert_alike(found, wanted):
    """Compiled, a network may round a level the other way."""
    assert np.abs(found.astype(int) - wanted).max() <= 1


def test_a_photo_of_the_trained_size_is_completed_as_the_network_completes_it(
    runs, glcic
):
    rgb, mask = photo()
    completed = glcic(rgb, mask)
    assert_alike(completed, completed_by(trained.load(f"{runs}/glcic")[0], rgb, mask))
    np.testing.assert_array_equal(completed[~mask], rgb[~mask])


def test_the_three_lines_of_the_readme_complete_an_array(tmp_path, monkeypatch):
    with open(os.path.join(programs.ROOT, "README.md"), encoding="utf-8") as file:
        blocks = re.findall(r"(?s)```python\n(.*?)```", file.read())
    (lines,) = [block for block in blocks if "inpainting_tf.load" in block]
    assert len(lines.splitlines()) == 3
    run_dir, model = small_exports.write_run(str(tmp_path), "parallel_attention")
    os.rename(run_dir, tmp_path / "celeba128")  # What is there goes first.
    monkeypatch.chdir(tmp_path)
    rgb, mask = photo()
    names = {"photo": rgb, "mask": mask}
    exec(lines, names)
    assert names["completed"].dtype == np.uint8
    assert_alike(names["completed"], completed_by(model, rgb, mask))
    np.testing.assert_array_equal(names["completed"][~mask], rgb[~mask])


def test_paths_are_taken_and_what_is_neither_path_nor_text_is_refused(runs, glcic):
    method = inpainting_tf.load(pathlib.Path(runs) / "glcic", working_size=np.int64(48))
    assert (method.label, method.window_size) == ("glcic", 48)
    with pytest.raises(TypeError, match="NoneType"):
        inpainting_tf.load(None)
    for working_size in (0, -8, 32.5, "32"):
        with pytest.raises(ValueError, match=f"working_size: {working_size}; must be"):
            inpainting_tf.load("mean_color", working_size)


def test_a_checkpoint_is_named_by_its_step_or_its_files(runs, glcic):
    rgb, mask = photo(50, 41)
    path = f"{runs}/glcic/checkpoints/step-{small_exports.STEP}"
    method = inpainting_tf.load(f"{path}.index")
    assert (method.label, method.window_size) == ("glcic", 32)
    assert_alike(method(rgb, mask), glcic(rgb, mask))
    assert method.fingerprint == glcic.fingerprint
    assert photo_sources.label_of(f"{runs}/glcic@newest", "weights") == "glcic"
    assert photo_sources.label_of(f"mine={path}", "methods") == "mine"


@pytest.mark.parametrize(
    "signature", ["float", pytest.param("serving_default", marks=pytest.mark.slow)]
)
def test_a_saved_model_completes_in_windows_of_its_own_size(tmp_path, signature):
    served = serving.ServedMethod(lambda image, mask: 0.5 - 0 * image, 24, None)
    path = exporting.export(served, str(tmp_path), "grey", {"method": "grey"})
    if signature == "serving_default":  # As other programs export: bytes alone.
        loaded = tf.saved_model.load(path)
        bytes_alone = {signature: loaded.signatures[signature]}
        path = str(tmp_path / "grey" / "2")
        tf.saved_model.save(loaded, path, bytes_alone)
    method = inpainting_tf.load(path)
    assert method.label == "grey"  # Not the version's number.
    assert method.window_size == (24 if signature == "float" else 256)
    rgb, mask = photo(50, 41)
    mask[...] = False
    mask[9:15, 20:30] = True
    completed = method(rgb, mask)
    np.testing.assert_array_equal(completed[~mask], rgb[~mask])
    if signature == "float":
        assert (completed[mask] == 191).all()
    else:  # Enlarged to 256x256 and reduced again, where it borders on noise.
        assert np.abs(completed[mask] - 191.0).mean() < 15


@pytest.mark.slow
def test_released_weights_are_brought_in_as_they_are(tmp_path):
    model = GLCIC(image_size=64, width=0.03125, mask_channel=False)
    named = released_glcic.released_variables(model)
    arrays = random_arrays({name: variable for name, (variable, _) in named.items()})
    save_checkpoint(str(tmp_path), arrays)
    method = inpainting_tf.load(f"places={tmp_path}")
    assert (method.label, method.window_size) == ("places", 64)
    assert "released weights" in method.description
    released_glcic.load_released_weights(model, arrays)
    rgb, mask = photo(64, 64)
    assert_alike(method(rgb, mask), completed_by(model, rgb, mask))


def test_weights_that_come_along_are_found_by_name(runs, glcic, tmp_path, monkeypatch):
    monkeypatch.setattr(weights_along, "WEIGHTS_DIR", str(tmp_path))
    assert inpainting_tf.weights() == []
    with pytest.raises(UsageError, match="no weights come along"):
        photo_methods.open_all([], [])
    for name in ("faces64", "faces128"):
        shutil.copytree(f"{runs}/glcic", tmp_path / name)
    (tmp_path / "README.md").write_text("no weights")
    assert inpainting_tf.weights() == ["faces128", "faces64"]
    assert photo_sources.label_of("faces64", "weights") == "faces64"
    assert [m.label for m in photo_methods.open_all([], [])] == ["faces128"]
    # A method's name takes the first of its weights.
    (method,) = photo_methods.open_all(["glcic"], [])
    rgb, mask = photo()
    assert_alike(method(rgb, mask), glcic(rgb, mask))
    with pytest.raises(
        UsageError, match="no weights of this name .* faces128, faces64"
    ):
        inpainting_tf.load("faces32")


def test_the_weights_of_the_package_complete_better_than_the_mean_colour():
    """Drawn faces will do, though they were trained on photos."""
    method, by_mean = map(inpainting_tf.load, ("celeba128", "mean_color"))
    assert method.window_size == 128
    faces, _ = synthetic_faces.render(tf.range(4, dtype=tf.int64), 128, split="test")
    mask = np.zeros([128, 128], bool)
    mask[40:88, 36:92] = True
    errors = {method: [], by_mean: []}
    for rgb in faces.numpy():
        for each, found in errors.items():
            found.append(np.abs(each(rgb, mask).astype(int) - rgb)[mask].mean())
    assert np.mean(errors[method]) < 0.8 * np.mean(errors[by_mean])


def test_a_search_takes_the_gan_of_the_package_and_search_py_by_its_name():
    (method,) = photo_methods.open_all(["siidgm"], [])
    assert method.is_search and "on a dcgan at step 8000" in method.description
    recipe = os.path.join(programs.ROOT, "flags", "siidgm_celeba.cfg")
    search, gan, step = search_recipes.read(recipe).open()
    assert step == 8000 and gan.image_size == 64
    z = tf.zeros([2, 100])
    faces = search.gan.generator(z, training=False)
    assert faces.shape == [2, 64, 64, 3] and 0.05 < tf.math.reduce_std(faces) < 1


def test_methods_take_their_weights_and_the_others_follow(runs):
    opened = photo_methods.open_all(
        ["telea", "net=glcic"], ["more=mean_color", f"{runs}/glcic"]
    )
    assert [(m.label, m.window_size) for m in opened] == [
        ("telea", None),
        ("net", 32),
        ("more", None),
    ]


def test_mirrored_methods_take_the_mean_of_a_photo_and_its_mirror_image(runs, glcic):
    rgb, mask = photo()
    opened = photo_methods.open_all(["telea+mirrored"], [f"{runs}/glcic+mirrored"])
    for one, both in zip((inpainting_tf.load("telea"), glcic), opened, strict=True):
        turned = one(rgb[:, ::-1], mask[:, ::-1])[:, ::-1].astype(float)
        wanted = (one(rgb, mask) + turned) / 2
        assert np.abs(both(rgb, mask) - wanted).max() <= 1
        image = images.to_float(rgb[None])
        bare = both.inpaint(image, tf.cast(mask[None, ..., None], tf.float32))
        np.testing.assert_array_equal(bare[0][~mask], image[0][~mask])
        assert both.label == f"{one.label}_mirrored"
        assert both.fingerprint != one.fingerprint
        assert both.window_size == one.window_size and both.attend is None
        if one.label == "telea":  # The network, untrained, paints one shade.
            assert np.abs(turned - wanted).max() > 10


def test_mirrored_goes_with_labels_checkpoints_and_names_of_methods(runs):
    checkpoint = f"kept={runs}/glcic@{small_exports.STEP}+mirrored"
    opened = photo_methods.open_all(
        ["glcic+mirrored", "own=telea+mirrored", checkpoint, "siidgm+mirrored"],
        [f"net={runs}/glcic", f"{runs}/dcgan"],
    )
    labels = [method.label for method in opened]
    assert labels == ["glcic_mirrored", "own", "kept", "siidgm_mirrored"]
    assert opened[-1].is_search and opened[-1].watch is None
    assert all("mirror image" in method.description for method in opened)
    assert photo_sources.label_of("a=glcic+mirrored", "methods") == "a"
    one, both = photo_methods.open_all(["glcic", "glcic+mirrored"], [f"{runs}/glcic"])
    assert both.fingerprint == f"mirrored {one.fingerprint}"
    with pytest.raises(UsageError, match="behind --methods=glcic instead"):
        photo_methods.open_all(["glcic"], [f"{runs}/glcic+mirrored"])
    with pytest.raises(UsageError, match=r"absent\+mirrored: there is no file"):
        photo_methods.open_all([], ["absent+mirrored"])
    for text in ("telea+mirrored@7", "telea+mirrored+mirrored"):
        with pytest.raises(UsageError, match="comes last"):
            photo_methods.open_all([text], [])


@pytest.mark.slow
def test_searches_take_a_gan_by_their_name_or_their_recipe(runs, tmp_path):
    gan = f"{runs}/dcgan"
    recipe = small_exports.write_recipe(str(tmp_path), "siidgm", gan)
    opened = photo_methods.open_all(["symmetric_search", recipe], [gan])
    assert [m.label for m in opened] == ["symmetric_search", "siidgm"]
    assert "symmetric_search on a dcgan at step 7" in opened[0].description
    rgb, mask = photo(40, 70)
    completed = opened[1](rgb, mask)  # Three iterations.
    np.testing.assert_array_equal(completed[~mask], rgb[~mask])
    assert (completed[mask] != rgb[mask]).any()


def test_several_searches_search_one_gan(runs):
    names = ["siidgm", "symmetric_search"]
    methods = photo_methods.open_all(names, [f"{runs}/dcgan"])
    assert [method.label for method in methods] == names
    assert all(method.is_search for method in methods)


def test_classical_fills_are_opencvs_on_the_whole_photo():
    rgb, mask = photo(45, 60)
    wanted = classical.telea(
        images.to_float(rgb[None]), mask[None, ..., None].astype(np.float32)
    )
    found = inpainting_tf.load("telea")(rgb, mask)
    np.testing.assert_array_equal(found, images.to_uint8(wanted)[0])


def test_networks_of_any_size_take_another_working_size(runs):
    method = inpainting_tf.load(f"{runs}/glcic", working_size=50)
    rgb, mask = photo(50, 50)
    assert method.window_size == 50
    np.testing.assert_array_equal(method(rgb, mask)[~mask], rgb[~mask])


@pytest.mark.slow
def test_a_network_of_central_holes_completes_holes_at_the_border(tmp_path):
    run_dir = str(tmp_path / "centre")
    fresh_runs.write(run_dir, "context_encoder", 32, 0.0625, seed=1)
    method = inpainting_tf.load(run_dir)
    assert method.central_holes
    with pytest.raises(UsageError, match="32x32 alone; leave working_size out"):
        inpainting_tf.load(run_dir, working_size=64)
    rgb, mask = photo(60, 90)
    mask[:6, :6] = mask[50:, 80:] = True
    completed = method(rgb, mask)
    np.testing.assert_array_equal(completed[~mask], rgb[~mask])


def test_what_completes_nothing_is_refused_with_what_there_is(runs, tmp_path):
    (tmp_path / "empty").mkdir()
    checkpoint = tf.train.Checkpoint(x=tf.Variable(1.0))
    for name in ("other", "cut", "several/a", "several/b", "step-5"):
        checkpoint.write(str(tmp_path / name))
    (tmp_path / "cut.data-00000-of-00001").unlink()
    asked = {
        # Nothing of flags, which a caller in Python has none of.
        "absent": "^absent: there is no file or folder absent, .* telea, navier_stokes",
        f"{tmp_path}/empty": "neither a run folder .* nor a recipe",
        f"{tmp_path}/other": "of neither a run of train.py nor",
        f"{runs}/dcgan": "completes nothing itself; add the search",
        f"{runs}/glcic@8": "no checkpoint of step 8, only of 7",
        "absent@8": "there is no file or folder absent",
        f"{tmp_path}/cut": "cut: the checkpoint has an .index but 0 of its .data",
        f"{tmp_path}/several": "several must be .* found in it: a, b",
        f"{tmp_path}/step-5": "of neither a run of train.py nor",
        "telea@8": "only a run folder has checkpoints",
        f"my run={runs}/glcic": "^my run=.*: the label 'my run' must be",
        f"{tmp_path}/absent.cfg": "No such file",
    }
    for source, expected in asked.items():
        with pytest.raises(UsageError, match=expected):
            inpainting_tf.load(source)
    for methods, weights, expected in (
        (["giica"], [f"{runs}/glcic"], "giica needs weights, and none of it"),
        (["context_encoder"], [], "context_encoder needs weights"),
        (["telea", "telea"], [], "2 methods are called telea"),
    ):
        with pytest.raises(UsageError, match=expected):
            photo_methods.open_all(methods, weights)
