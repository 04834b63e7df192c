"""Every recipe: accepted by its program, and, shortened, run to its end and resumed."""

import json
import os
import shutil

import numpy as np
import programs
import pytest
import tensorflow as tf
from PIL import Image
from programs import ROOT, entries, weights, without_speed

RECIPES = sorted(os.listdir(os.path.join(ROOT, "flags")))
SEARCH_RECIPES = [name for name in RECIPES if name.startswith(("siidgm", "symmetric"))]
TRAIN_RECIPES = [name for name in RECIPES if name not in SEARCH_RECIPES]

# The embedded-data recipes of the methods that train, shortened so that every phase
# still occurs and the checkpoint of step 3 lies inside one.
TOY = (
    "--synthetic_count=40",
    "--width=0.05",
    "--batch_size=4",
    "--steps=6",
    "--validation_count=4",
    "--log_every=1",
    "--validate_every=3",
    "--checkpoint_every=3",
    "--deterministic",
)
METHODS = {
    # At 32x32 a centred hole leaves its attention no valid patch, and so no gradient.
    "parallel_attention": (),
    "context_encoder": ("--image_size=32", "--hole_size=16"),
    "dcgan": (),
    "giica": (
        "--image_size=32",
        "--hole_size=16",
        "--local_patch_size=16",
        "--coarse_pretraining_steps=2",
        "--critic_updates=2",
    ),
    "glcic": (
        "--image_size=32",
        "--hole_size=16",
        "--local_patch_size=16",
        "--completion_steps=1",
        "--discriminator_steps=3",
    ),
}


def every_recipe(program, recipes, *flags):
    """What a program says last of each recipe: name -> line."""
    lines = [[f"--flagfile=flags/{recipe}", *flags] for recipe in recipes]
    return dict(zip(recipes, programs.refusals(program, lines), strict=True))


def train(method, run_dir):
    """Runs the shortened recipe of a method; returns what was said."""
    recipe = {"parallel_attention": "quickstart"}.get(method, f"{method}_synthetic")
    status, errors = programs.run(
        "train.py",
        f"--flagfile=flags/{recipe}.cfg",
        *TOY,
        *METHODS[method],
        f"--run_dir={run_dir}",
    )
    assert status == 0, errors
    return errors


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory):
    """Function from a method to the folder of its shortened recipe's run."""
    folder = tmp_path_factory.mktemp("recipes")

    def run_of(method):
        run_dir = str(folder / method)
        if not os.path.exists(run_dir):
            train(method, run_dir)
        return run_dir

    return run_of


@pytest.mark.slow
def test_every_training_recipe_is_accepted_up_to_its_data(tmp_path):
    """Data that is not there is refused last, so the rest of the recipe was fine."""
    said = every_recipe(
        "train",
        TRAIN_RECIPES,
        "--dataset=list",
        "--split=",
        "--validation_split=",
        f"--data_dir={tmp_path}",
        "--data_list=absent.csv",
        "--width=0.05",
        f"--run_dir={tmp_path}/run",
    )
    for recipe, line in said.items():
        assert "--data_list=absent.csv: " in line, (recipe, line)


@pytest.mark.slow
def test_every_search_recipe_is_accepted_up_to_its_data(toy_run, tmp_path):
    said = every_recipe(
        "search",
        SEARCH_RECIPES,
        "--dataset=list",
        f"--data_dir={tmp_path}",
        "--data_list=absent.csv",
        f"--gan={toy_run('dcgan')}",
        f"--output_dir={tmp_path}/found",
    )
    for recipe, line in said.items():
        assert "--data_list=absent.csv: " in line, (recipe, line)


@pytest.mark.parametrize(
    "method",
    [pytest.param(m, marks=pytest.mark.slow if m != "dcgan" else ()) for m in METHODS],
)
def test_an_embedded_recipe_trains_every_player(method, toy_run):
    run_dir = toy_run(method)
    log = entries(run_dir)
    assert [entry["step"] for entry in log] == list(range(7))
    assert all(np.isfinite(value) for entry in log for value in entry.values())
    before, after = weights(run_dir, 3), weights(run_dir, 6)
    kernels = [
        name
        for name in before
        if name.startswith("weights/") and name.split("/")[1].endswith("kernel")
    ]
    assert len(kernels) > 8
    still = [name for name in kernels if np.array_equal(before[name], after[name])]
    assert not still


@pytest.mark.slow
def test_glcic_goes_through_its_three_phases(toy_run):
    log = entries(toy_run("glcic"))[1:]
    assert [entry["phase"] for entry in log] == [0, 1, 1, 1, 2, 2]
    assert [entry["discriminator_loss"] > 0 for entry in log] == [False] + [True] * 5
    rests = [entry["completion_loss"] == 0 for entry in log]
    assert rests == [False, True, True, True, False, False]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_run_resumed_inside_a_phase_ends_in_the_same_bits(method, toy_run, tmp_path):
    whole, resumed = toy_run(method), str(tmp_path / method)
    shutil.copytree(whole, resumed, ignore=shutil.ignore_patterns("step-6*", "best"))
    checkpoints = os.path.join(resumed, "checkpoints")
    tf.compat.v1.train.update_checkpoint_state(
        checkpoints, os.path.join(checkpoints, "step-3")
    )
    assert f"resuming {resumed} at step 3" in train(method, resumed)
    assert without_speed(entries(resumed)) == without_speed(entries(whole))
    expected, found = weights(whole, 6), weights(resumed, 6)
    assert expected.keys() == found.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def search(method, gan, output_dir, *flags):
    status, errors = programs.run(
        "search.py",
        f"--flagfile=flags/{method}_synthetic.cfg",
        "--iterations=12",
        "--count=3",
        "--batch_size=2",
        f"--gan={gan}",
        f"--output_dir={output_dir}",
        *flags,
    )
    assert status == 0, errors
    with open(os.path.join(output_dir, "results.jsonl")) as file:
        results = [json.loads(line) for line in file]
    return results, dict(np.load(os.path.join(output_dir, "losses.npz")))


def check_pictures(folder, results):
    for entry in results:
        assert 0 < entry["psnr"] < 100 and entry["restart"] in (0, 1)
        with Image.open(folder / entry["file"]) as picture:
            assert picture.size == (64, 64)
    for name in ("grid.png", "losses.png"):
        with Image.open(folder / name) as picture:
            assert np.ptp(np.asarray(picture)) == 255


def test_symmetric_search_completes_pictures_and_leaves_its_losses(toy_run, tmp_path):
    shown = "--shown_iterations=12,3"
    results, losses = search(
        "symmetric_search", toy_run("dcgan"), tmp_path / "out", shown
    )
    for name in ("iterations.png", "iterations.pdf"):
        assert os.path.getsize(tmp_path / "out" / name) > 10_000
    check_pictures(tmp_path / "out", results)
    assert [entry["steps"] for entry in results] == [12, 12, 12]
    assert losses["losses"].shape == (3, 13) and losses["z"].shape == (3, 100)
    assert np.all(losses["losses"].min(axis=1) < losses["losses"][:, 0])


@pytest.mark.slow
def test_siidgm_gives_the_same_whatever_the_batch(toy_run, tmp_path):
    flags = ("siidgm", toy_run("dcgan"))
    results, losses = search(*flags, tmp_path / "two", "--restarts=2")
    check_pictures(tmp_path / "two", results)
    again, alone = search(*flags, tmp_path / "one", "--restarts=2", "--batch_size=1")
    np.testing.assert_allclose(alone["z"], losses["z"], atol=1e-6)
    assert [entry["file"] for entry in again] == [entry["file"] for entry in results]


def test_known_pixels_of_searched_pictures_are_the_inputs(toy_run, tmp_path):
    flags = ("--mask=left_half", "--blending=none")
    search("siidgm", toy_run("dcgan"), tmp_path / "out", *flags)
    grid = np.asarray(Image.open(tmp_path / "out" / "grid.png")).astype(int)
    tile = 2 * 64  # Pictures of 64 are drawn twice as large, with gaps of 4.
    lefts = [4 + column * (tile + 4) for column in range(4)]
    top = grid.shape[0] - 3 * (tile + 4)
    tiles = [grid[top : top + tile, left : left + tile] for left in lefts]
    given, found, completed, truth = tiles
    np.testing.assert_array_equal(completed[:, 64:], truth[:, 64:])
    np.testing.assert_array_equal(completed[:, :64], found[:, :64])
    assert np.all(given[:, :64] == 255) and np.any(found[:, 64:] != truth[:, 64:])


def test_search_refuses_what_it_cannot_search(toy_run, tmp_path):
    gan, out = f"--gan={toy_run('dcgan')}", f"--output_dir={tmp_path}/out"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    recipe = "--flagfile=flags/siidgm_synthetic.cfg"
    asked = {
        "absent is no run folder": [out, f"--gan={tmp_path}/absent"],
        "holds a run of glcic": [out, f"--gan={toy_run('glcic')}"],
        "no checkpoint of step 4, only of 3, 6": [out, gan, "--gan_checkpoint=4"],
        "makes 64x64 images": [out, gan, "--image_size=32"],
        "--literal is no parameter of siidgm": [out, gan, "--literal"],
        "is not empty": [f"--output_dir={tmp_path}/full", gan],
        "neighbourhood=4: must be odd": [out, gan, "--neighbourhood=4"],
        "optimizer='sgd' is unknown": [out, gan, "--optimizer=sgd"],
    }
    lines = programs.refusals("search", [[recipe, *flags] for flags in asked.values()])
    for expected, line in zip(asked, lines, strict=True):
        assert expected.removeprefix("--") in line
    assert not os.path.exists(tmp_path / "out")
    assert os.listdir(tmp_path / "full") == ["mine.txt"]


def test_holes_that_a_method_cannot_take_are_refused_by_name(tmp_path):
    line = programs.refusal(
        "train.py",
        "--flagfile=flags/context_encoder_synthetic.cfg",
        "--width=0.05",
        "--mask=random_box",
        f"--run_dir={tmp_path}/run",
    )
    assert "context_encoder with --region=center takes --mask=center" in line
    assert not os.path.exists(tmp_path / "run")
