"""train.py as a user runs it: learning, resuming, stopping, and refusing."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import programs
import pytest
import tensorflow as tf
from PIL import Image
from programs import ROOT, entries, weights, without_speed

TINY = (
    *programs.SMALL_RUN,
    "--adversarial_weight=1",
    "--averaging_decay=0.9",
    "--validate_every=4",
    "--checkpoint_every=4",
    "--deterministic",
)


def train(*flags, environment=None):
    return programs.run("train.py", *flags, environment=environment)


def refusal(*flags):
    return programs.refusal("train.py", *flags)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A run of twelve steps in one go."""
    run_dir = str(tmp_path_factory.mktemp("runs") / "uninterrupted")
    status, errors = train(*TINY, "--steps=12", f"--run_dir={run_dir}")
    assert status == 0, errors
    return run_dir


def test_a_run_leaves_what_the_contract_names(uninterrupted):
    names = set(os.listdir(uninterrupted))
    assert names == {
        "flags.cfg",
        "run.json",
        "last_checkpoint.txt",
        "metrics.jsonl",
        "checkpoints",
        "samples",
        "tensorboard",
    }
    log = entries(uninterrupted)
    assert [entry["step"] for entry in log] == list(range(13))
    for key in ("context_loss", "adversarial_loss", "discriminator_loss"):
        assert all(np.isfinite(entry[key]) for entry in log[1:])
    assert {"validation/psnr", "validation/ssim", "validation/l1"} <= set(log[4])
    # Random weights keep nobody waiting for their validation.
    assert "mean_color_fill/psnr" in log[0] and "validation/psnr" not in log[0]
    with open(os.path.join(uninterrupted, "run.json")) as file:
        facts = json.load(file)
    assert facts["tensorflow"] == tf.__version__ and facts["seed"] == 0
    picture = Image.open(os.path.join(uninterrupted, "samples", "step_00000012.png"))
    assert picture.width > 5 * 32 and picture.height > 4 * 32
    kept = [n for n in os.listdir(f"{uninterrupted}/checkpoints") if ".index" in n]
    assert sorted(kept) == ["step-12.index", "step-4.index", "step-8.index"]
    assert os.listdir(f"{uninterrupted}/checkpoints/best")


@pytest.mark.slow
def test_the_effective_flags_repeat_the_run(uninterrupted, tmp_path):
    status, errors = train(
        f"--flagfile={uninterrupted}/flags.cfg", f"--run_dir={tmp_path}/again"
    )
    assert status == 0, errors
    assert without_speed(entries(f"{tmp_path}/again")) == without_speed(
        entries(uninterrupted)
    )


@pytest.mark.slow
def test_a_killed_run_resumes_bit_for_bit(uninterrupted, tmp_path):
    run_dir = str(tmp_path / "killed")
    process = subprocess.Popen(
        [sys.executable, "train.py", *TINY, "--steps=12", f"--run_dir={run_dir}"],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    log_path = os.path.join(run_dir, "metrics.jsonl")
    deadline = time.monotonic() + 200
    # Kill between two checkpoints: after step 6 is logged, before step 8 is saved.
    while time.monotonic() < deadline:
        if os.path.exists(log_path) and len(entries(run_dir)) > 6:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(entries(run_dir)) < 13
    status, errors = train(*TINY, "--steps=12", f"--run_dir={run_dir}")
    assert status == 0, errors
    assert f"resuming {run_dir} at step" in errors
    assert without_speed(entries(run_dir)) == without_speed(entries(uninterrupted))
    expected = weights(uninterrupted, 12)
    resumed = weights(run_dir, 12)
    assert resumed.keys() == expected.keys()
    assert any(name.startswith("weights/") for name in expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)


@pytest.mark.slow
def test_sigterm_saves_a_checkpoint_and_the_same_command_goes_on(
    uninterrupted, tmp_path
):
    run_dir = str(tmp_path / "terminated")
    flags = [*TINY, "--checkpoint_every=1000", f"--run_dir={run_dir}"]
    process = subprocess.Popen(
        [sys.executable, "train.py", *flags, "--steps=1000"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    log_path = os.path.join(run_dir, "metrics.jsonl")
    while not (os.path.exists(log_path) and len(entries(run_dir)) > 2):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    stopped_at = entries(run_dir)[-1]["step"]
    assert f"stopped at step {stopped_at}" in errors
    assert os.path.exists(f"{run_dir}/checkpoints/step-{stopped_at}.index")
    status, errors = train(*flags, f"--steps={stopped_at + 2}")
    assert status == 0, errors
    assert f"at step {stopped_at}" in errors
    compared = min(stopped_at + 2, 12)
    ours, theirs = (without_speed(entries(r)) for r in (run_dir, uninterrupted))
    for own, other in zip(ours[1:compared], theirs[1:compared], strict=True):
        for key in ("context_loss", "discriminator_loss"):
            assert own[key] == other[key]


def test_another_configuration_in_the_same_folder_is_refused(uninterrupted):
    line = refusal(
        *TINY, "--steps=12", "--seed=3", "--width=0.1", f"--run_dir={uninterrupted}"
    )
    assert "--seed was 0, is 3" in line and "--width was 0.05, is 0.1" in line


@pytest.mark.slow
def test_a_later_last_step_continues_the_run(uninterrupted, tmp_path):
    run_dir = str(tmp_path / "longer")
    assert train(*TINY, "--steps=4", f"--run_dir={run_dir}")[0] == 0
    status, errors = train(*TINY, "--steps=8", f"--run_dir={run_dir}")
    assert status == 0, errors
    assert without_speed(entries(run_dir)) == without_speed(entries(uninterrupted)[:9])


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_with_step_and_name(tmp_path):
    status, errors = train(
        *TINY, "--steps=40", "--learning_rate=1e30", f"--run_dir={tmp_path}/sick"
    )
    assert status == 2, errors
    line = errors.strip().splitlines()[-1]
    assert re.match(
        r"train.py: step \d+: (\w+_loss is (nan|inf)|weight \S+ is not finite); ", line
    )
    assert "no checkpoint had been written yet" in line
    assert not any("step-" in n for n in os.listdir(f"{tmp_path}/sick/checkpoints"))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--steps=1"], "--run_dir is missing"),
        (["--run_dir=r"], "give either --steps or --epochs"),
        (["--run_dir=r", "--steps=1", "--epochs=1"], "give either --steps or --epochs"),
        (["--run_dir=r", "--stepz=1"], "Unknown command line flag 'stepz'"),
        (["--run_dir=r", "--steps=1", "leftover"], "'leftover' is not a flag"),
        (["--run_dir=r", "--steps=0"], "--steps=0"),
        (["--run_dir=r", "--steps=1", "--mask=hexagon"], "hexagon"),
        (
            ["--run_dir=r", "--steps=1", "--mask=center,hex"],
            "--mask=center,hex: must be",
        ),
        (["--run_dir=r", "--steps=1", "--mask=folder"], "--mask_dir go together"),
        (["--run_dir=r", "--steps=1", "--dataset=folder"], "needs --data_dir"),
        (
            ["--run_dir=r", "--steps=1", "--dataset=folder", "--data_dir=absent"],
            "--data_dir=absent: no such folder",
        ),
        (
            ["--run_dir=r", "--steps=1", "--crop=100"],
            "--crop=100 is smaller than --image_size=128",
        ),
        # With the default data set: refused before anything would be downloaded.
        (["--run_dir=r", "--steps=1", "--image_size=50"], "--image_size=50"),
        (["--run_dir=r", "--steps=1", "--hole_size=999"], "999 does not fit"),
        (
            ["--run_dir=r", "--steps=1", "--mask=free_form", "--hole_size=9"],
            "--hole_size is of no use to --mask=free_form",
        ),
        (
            ["--run_dir=r", "--steps=1", "--mask_share=0.5"],
            "--mask_share is of no use to --mask=random_box",
        ),
        (["--flagfile=absent.cfg"], "absent.cfg"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_flags_that_cannot_work_are_refused_in_one_line(flags, message):
    assert message in refusal(*flags)
    assert not os.path.exists(os.path.join(ROOT, "r"))


def test_a_line_without_dashes_in_a_flag_file_is_refused(tmp_path):
    path = tmp_path / "typo.cfg"
    path.write_text("--steps=1\nrun_dir=r\n")
    assert "'run_dir=r' is not a flag" in refusal(f"--flagfile={path}")


def test_the_command_line_wins_over_a_flag_file_in_any_order(tmp_path):
    path = tmp_path / "recipe.cfg"
    path.write_text("--crop=100\n")
    for flagfile in ([f"--flagfile={path}"], ["--flagfile", str(path)]):
        line = refusal("--crop=90", *flagfile, "--run_dir=r", "--steps=1")
        assert "--crop=90" in line


@pytest.mark.slow
def test_a_run_starts_from_the_weights_of_another_and_mixes_holes(
    uninterrupted, tmp_path
):
    flags = (*TINY, f"--run_dir={tmp_path}/second", "--seed=5", "--learning_rate=0")
    flags += ("--mask=random_box,free_form", f"--initial_weights={uninterrupted}@8")
    status, errors = train(*flags, "--steps=4")
    assert status == 0, errors
    assert f"starting from the weights of {uninterrupted}/checkpoints/step-8" in errors
    first, last = weights(uninterrupted, 8), weights(f"{tmp_path}/second", 4)
    for name, value in last.items():
        if name.startswith("weights/completion"):
            averaged = name.replace("completion", "averaged_completion", 1)
            np.testing.assert_array_equal(value, first[averaged])
    log = entries(f"{tmp_path}/second")
    assert len(log) == 5 and {"validation/psnr", "mean_color_fill/psnr"} <= set(log[0])
    best = os.listdir(f"{tmp_path}/second/checkpoints/best")
    assert "step-0.index" in best  # Nothing is learned at rate 0.
    status, errors = train(*flags, "--steps=5", "--initial_weights=absent")
    assert status == 2 and "--initial_weights was" in errors


@pytest.mark.slow
def test_changed_data_is_refused_when_resuming(tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        picture = Image.fromarray(rng.integers(0, 256, [40, 40, 3], np.uint8))
        picture.save(folder / f"{i}.png")
    flags = [*TINY, "--dataset=folder", f"--data_dir={folder}", "--log_every=2"]
    flags += [f"--run_dir={tmp_path}/run", "--precision=mixed_bfloat16"]
    status, errors = train(*flags, "--epochs=1")
    assert status == 0, errors
    assert entries(f"{tmp_path}/run")[-1]["step"] == 2  # 8 pictures in batches of 4
    status, errors = train(*flags, "--epochs=1")
    assert status == 0 and "is at step 2 already" in errors
    picture.resize((50, 50)).save(folder / "11.png")
    line = refusal(*flags, "--epochs=2")
    assert re.search("began with other (training|validation) pictures", line)


@pytest.mark.slow
def test_an_xla_compiled_run_learns_the_same(uninterrupted, tmp_path):
    flags = [flag for flag in TINY if flag != "--deterministic"]
    status, errors = train(
        *flags, "--jit_compile", "--steps=4", f"--run_dir={tmp_path}/jit"
    )
    assert status == 0, errors
    ours, theirs = entries(f"{tmp_path}/jit")[1:5], entries(uninterrupted)[1:5]
    for own, other in zip(ours, theirs, strict=True):
        assert own["context_loss"] == pytest.approx(other["context_loss"], rel=1e-2)


def test_an_unwritable_run_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    line = refusal(*TINY, "--steps=1", f"--run_dir={tmp_path}/file/run")
    assert "cannot write there" in line


def test_a_folder_full_of_damage_is_refused_without_a_stack_trace(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(30):
        (folder / f"{i}.jpg").write_bytes(b"no picture" * (i % 2))
    line = refusal(
        *TINY,
        "--dataset=folder",
        f"--data_dir={folder}",
        "--steps=1",
        f"--run_dir={tmp_path}/run",
    )
    assert "pictures are unusable, more than --max_broken_share" in line


def test_folder_pictures_and_folder_masks_train(tmp_path):
    rng = np.random.default_rng(0)
    for name, size in (("faces", (40, 52)), ("masks", (64, 64))):
        (tmp_path / name).mkdir()
        for i in range(12):
            pixels = rng.integers(0, 256, [*size, 3], np.uint8)
            if name == "masks":
                pixels[...] = 0
                pixels[10 + i : 40, 20:44] = 255
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    (tmp_path / "faces" / "13.png").write_bytes(b"")
    status, errors = train(
        *TINY,
        "--dataset=folder",
        f"--data_dir={tmp_path}/faces",
        "--mask=folder",
        f"--mask_dir={tmp_path}/masks",
        "--max_broken_share=0.5",
        "--steps=6",
        f"--run_dir={tmp_path}/run",
    )
    assert status == 0, errors
    assert "13.png: empty file" in errors
    assert "13.png: empty file" in (tmp_path / "run/unusable_pictures.txt").read_text()
