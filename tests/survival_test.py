"""Runs killed at many moments and restarted end as if nothing had happened.

Slow: `python -m pytest tests/survival_test.py -m slow -n 0 -s` takes half an hour or
more a method. Each run is killed `KILLS` times by SIGKILL at moments that a seed draws:
at any time after the start, while a checkpoint is written, while validating, and, where
there are phases, when one begins; and is restarted by the same command.

The same by hand, for one method: `-k glcic`.
"""

import glob
import os
import random
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from programs import ROOT, SMALL_RUN, entries, weights, without_speed

KILLS = 25
STEPS, VALIDATE_EVERY, CHECKPOINT_EVERY = 60, 6, 4

TINY = (
    *SMALL_RUN,
    "--hole_size=16",
    "--local_patch_size=16",
    "--validation_count=24",
    f"--validate_every={VALIDATE_EVERY}",
    f"--checkpoint_every={CHECKPOINT_EVERY}",
    f"--steps={STEPS}",
    "--deterministic",
)
# The flags of a method, and the steps after which a phase begins.
METHODS = {
    "parallel_attention": (
        ["--adversarial_weight=1", "--averaging_decay=0.9", "--attention_rate=1"],
        [],
    ),
    "glcic": (["--completion_steps=20", "--discriminator_steps=15"], [20, 35]),
    "giica": (["--critic_updates=2", "--coarse_pretraining_steps=20"], [20]),
}


def start(method, run_dir):
    return subprocess.Popen(
        [
            sys.executable,
            "train.py",
            f"--method={method}",
            *TINY,
            *METHODS[method][0],
            f"--run_dir={run_dir}",
        ],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def logged(run_dir):
    """The last step in metrics.jsonl, -1 before there is any."""
    try:
        with open(f"{run_dir}/metrics.jsonl", "rb") as file:
            steps = re.findall(rb'^{"step": (\d+),', file.read(), re.MULTILINE)
    except FileNotFoundError:
        return -1
    return int(steps[-1]) if steps else -1


def wait_until(process, condition, pause=0.002):
    """Waits; False if the process ended before the condition was met."""
    while process.poll() is None:
        if condition():
            return True
        time.sleep(pause)
    return False


def writes_checkpoint(run_dir):
    """Whether a checkpoint is half there: temporary files, or data without index."""
    for folder in (f"{run_dir}/checkpoints", f"{run_dir}/checkpoints/best"):
        names = os.listdir(folder) if os.path.isdir(folder) else []
        if any("temp" in name or name.startswith("checkpoint.tmp") for name in names):
            return True
        data = {name.partition(".")[0] for name in names if ".data-" in name}
        if data - {name.partition(".")[0] for name in names if ".index" in name}:
            return True
    return False


def schedule(method, seed):
    """KILLS moments, in the order of their steps: (kind, step to wait for)."""
    draw = random.Random(seed)
    changes = METHODS[method][1]
    moments = [("phase change", step) for step in changes]
    moments += [
        ("validation", VALIDATE_EVERY * draw.randint(1, STEPS // VALIDATE_EVERY) - 1)
        for _ in range(6)
    ]
    moments += [("checkpoint", draw.randrange(STEPS - 6)) for _ in range(7)]
    moments += [("start", 0) for _ in range(3)]
    while len(moments) < KILLS:
        moments.append(("any time", draw.randrange(STEPS - 1)))
    # What must be waited for grows, so that every process has something left to do;
    # starts that are killed lie anywhere in between.
    starts = [m for m in moments if m[0] == "start"]
    others = sorted((m for m in moments if m[0] != "start"), key=lambda m: m[1])
    for moment in starts:
        others.insert(draw.randrange(len(others)), moment)
    return others


def kill(process, run_dir, kind, step, draw):
    """Kills a process at a moment; returns whether it was still running."""
    if kind == "start":  # Importing, building, restoring, or compiling.
        time.sleep(draw.uniform(0, 25))
    else:
        wait_until(process, lambda: logged(run_dir) >= step)
        if kind == "checkpoint":
            wait_until(process, lambda: writes_checkpoint(run_dir), pause=0)
            time.sleep(draw.choice([0, 0, 0.002, 0.005, 0.01]))
        else:
            time.sleep(draw.uniform(0, 0.25))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def assert_whole_so_far(run_dir):
    """What a killed process leaves: nothing that was finished is damaged."""
    if not os.path.exists(f"{run_dir}/metrics.jsonl"):
        return
    steps = [entry["step"] for entry in entries(run_dir)]
    assert steps == list(range(len(steps)))
    for path in glob.glob(f"{run_dir}/samples/*.png"):
        assert tf.io.decode_png(tf.io.read_file(path)).shape[-1] == 3
    for index in glob.glob(f"{run_dir}/checkpoints/**/*.index", recursive=True):
        reader = tf.train.load_checkpoint(index.removesuffix(".index"))
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)


def files(run_dir):
    """Every file but TensorBoard's, of which each process writes its own."""
    found = glob.glob(f"{run_dir}/**", recursive=True, include_hidden=True)
    return {
        os.path.relpath(path, run_dir)
        for path in found
        if os.path.isfile(path) and "tfevents" not in path
    }


def assert_same_run(run_dir, expected_dir):
    assert without_speed(entries(run_dir)) == without_speed(entries(expected_dir))
    expected, resumed = weights(expected_dir, STEPS), weights(run_dir, STEPS)
    assert resumed.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)
    assert files(run_dir) == files(expected_dir)
    for name in files(expected_dir):
        if name.startswith("samples"):
            with open(f"{run_dir}/{name}", "rb") as own:
                with open(f"{expected_dir}/{name}", "rb") as other:
                    assert own.read() == other.read(), name


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("method", METHODS)
def test_a_run_killed_many_times_ends_as_if_uninterrupted(method, tmp_path):
    expected_dir, run_dir = str(tmp_path / "expected"), str(tmp_path / "killed")
    _, errors = (process := start(method, expected_dir)).communicate()
    assert process.returncode == 0, errors
    draw = random.Random(method)
    done = []
    for kind, step in schedule(method, method):
        process = start(method, run_dir)
        if kill(process, run_dir, kind, step, draw):
            unfinished = writes_checkpoint(run_dir)
            done.append((kind, logged(run_dir), unfinished))
            print(f"{method}: killed {len(done)}: {done[-1]}", flush=True)
        assert_whole_so_far(run_dir)
    # A process may come to its end before its moment.
    assert len(done) >= KILLS - 2
    assert any(unfinished for *_, unfinished in done)
    _, errors = (process := start(method, run_dir)).communicate()
    assert process.returncode == 0, errors
    assert "WARNING: checkpoint" not in errors
    assert_same_run(run_dir, expected_dir)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_sigterm_at_any_moment_ends_within_half_a_minute(tmp_path):
    """Also in a validation, which the next process makes up for."""
    method = "parallel_attention"
    expected_dir, run_dir = str(tmp_path / "expected"), str(tmp_path / "terminated")
    _, errors = (process := start(method, expected_dir)).communicate()
    assert process.returncode == 0, errors
    draw = random.Random(0)
    for step in (-1, 0, 3, 5, 11, 17, 23, 30, 41):
        process = start(method, run_dir)
        if step < 0:
            time.sleep(15)
        else:
            assert wait_until(process, lambda: logged(run_dir) >= step)  # noqa: B023
            time.sleep(draw.uniform(0, 0.05))
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        _, errors = process.communicate(timeout=30)
        print(f"SIGTERM at {logged(run_dir)}: {time.monotonic() - began:.1f} s")
        # Before train.py has set its handler, the signal itself ends the process.
        assert process.returncode in (128 + signal.SIGTERM, -signal.SIGTERM), errors
        if "stopped at step" in errors:
            at = re.search(r"stopped at step (\d+), checkpoint saved", errors)[1]
            assert os.path.exists(f"{run_dir}/checkpoints/step-{at}.index")
    _, errors = (process := start(method, run_dir)).communicate()
    assert process.returncode == 0, errors
    assert without_speed(entries(run_dir)) == without_speed(entries(expected_dir))
    for name, value in weights(expected_dir, STEPS).items():
        np.testing.assert_array_equal(weights(run_dir, STEPS)[name], value)


def test_programs_kill_schedule_covers_every_kind_of_moment():
    for method in METHODS:
        moments = schedule(method, method)
        assert len(moments) == KILLS
        kinds = {kind for kind, _ in moments}
        assert {"any time", "checkpoint", "validation", "start"} <= kinds
        assert ("phase change" in kinds) == bool(METHODS[method][1])
