"""Disks that are full, read-only or lose files: a run falls back, or stops in words."""

import contextlib
import functools
import glob
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import programs
import pytest
import tensorflow as tf
from programs import ROOT, entries, weights, without_speed
from small_method import batches, small_method

from inpainting_tf import (
    compiled_steps,
    data,
    health,
    masks,
    run_folder,
    sources,
    training,
)
from inpainting_tf.checkpoints import Checkpoints, TrainingStopped, damage


@pytest.fixture
def saved(tmp_path):
    """A folder with checkpoints of steps 1 to 3, told apart by one weight, best 2."""
    model = small_method()
    checkpoints = Checkpoints(model, str(tmp_path / "checkpoints"))
    for step in (1, 2, 3):
        model.decode.bias.assign([step, step, step])
        checkpoints.save(step, best=step == 2)
    return tmp_path / "checkpoints"


def resumed(folder, **parameters):
    """Resumes in a new process's place: (step, its mark, warnings, checkpoints)."""
    model = small_method()
    checkpoints = Checkpoints(model, str(folder))
    step, warnings = checkpoints.resume(**parameters)
    return step, float(model.decode.bias[0]), warnings, checkpoints


def cut(path, share=0.5):
    size = path.stat().st_size
    os.truncate(path, int(share * size))


def test_a_whole_folder_is_resumed_at_its_newest_without_a_word(saved):
    before = sorted(os.listdir(saved))
    assert resumed(saved, written=3)[:3] == (3, 3.0, [])
    assert sorted(os.listdir(saved)) == before


@pytest.mark.parametrize("ending", ["index", "data-00000-of-00001"])
def test_a_cut_newest_checkpoint_falls_back_to_the_one_before(saved, ending):
    for share in (0, 0.1, 0.5, 0.9, 0.999):
        folder = saved.parent / f"cut_{share}"
        shutil.copytree(saved, folder)
        cut(folder / f"step-3.{ending}", share)
        step, mark, warnings, checkpoints = resumed(folder, written=3)
        assert (step, mark) == (2, 2.0)
        assert len(warnings) == 1 and "step-3 is damaged (" in warnings[0]
        assert "\n" not in warnings[0]
        assert (folder / "damaged-step-3.index").exists()
        checkpoints.save(4)
        assert resumed(folder, written=4)[:3] == (4, 2.0, [])


def test_every_flipped_bit_that_matters_is_noticed(saved):
    """A flip is noticed, or changes nothing that is restored."""
    expected = _arrays(saved / "step-3")
    draw = np.random.default_rng(0)
    noticed = 0
    for name in ("step-3.index", "step-3.data-00000-of-00001"):
        whole = (saved / name).read_bytes()
        for place in draw.integers(0, len(whole), 40):
            broken = bytearray(whole)
            broken[place] ^= 1 << draw.integers(8)
            (saved / name).write_bytes(broken)
            if damage(str(saved / "step-3")):
                noticed += 1
            else:
                for key, value in _arrays(saved / "step-3").items():
                    np.testing.assert_array_equal(value, expected[key])
        (saved / name).write_bytes(whole)
    assert noticed > 40


def _arrays(prefix):
    reader = tf.train.load_checkpoint(str(prefix))
    return {n: reader.get_tensor(n) for n in reader.get_variable_to_shape_map()}


@pytest.mark.parametrize(
    "content", [None, b"", b"\x00" * 100, b"model_checkpoint_path"]
)
def test_the_list_of_checkpoints_is_not_needed(saved, content):
    (saved / "checkpoint").unlink()
    if content is not None:
        (saved / "checkpoint").write_bytes(content)
    step, mark, warnings, _ = resumed(saved, written=3)
    assert (step, mark, warnings) == (3, 3.0, [])
    assert tf.train.latest_checkpoint(str(saved)) == str(saved / "step-3")


def test_a_checkpoint_that_the_list_does_not_name_yet_is_taken(saved):
    """Killed between a checkpoint's last file and the list."""
    listed = (saved / "checkpoint").read_text()
    Checkpoints(small_method(), str(saved)).save(4)
    (saved / "checkpoint").write_text(listed)
    assert resumed(saved, written=3)[0] == 4


def test_what_was_listed_anew_is_deleted_when_its_time_comes(saved):
    """Runs that are killed often do not fill the disk."""
    for step in (4, 5, 6):  # Each ends between a checkpoint's last file and the list.
        lists = [folder / "checkpoint" for folder in (saved, saved / "best")]
        listed = [path.read_text() for path in lists]
        *_, checkpoints = resumed(saved)
        checkpoints.save(step, best=True)
        for path, text in zip(lists, listed, strict=True):
            path.write_text(text)
    assert resumed(saved)[0] == 6
    resumed(saved)[3].save(7, best=True)
    kept = sorted(path.name for path in saved.glob("*.index"))
    assert kept == [f"step-{step}.index" for step in (5, 6, 7)]
    assert [p.name for p in (saved / "best").glob("*.index")] == ["step-7.index"]
    assert len([*saved.rglob("*.data-*")]) == 4


def test_a_deleted_newest_checkpoint_is_said_to_be_gone(saved):
    for path in saved.glob("step-3*"):
        path.unlink()
    step, mark, warnings, _ = resumed(saved, written=3)
    assert (step, mark) == (2, 2.0)
    assert warnings == ["the checkpoint of step 3 is gone"]


def test_the_best_one_is_the_last_resort(saved):
    for path in [*saved.glob("step-*")]:
        path.unlink()
    step, mark, warnings, _ = resumed(saved, written=3)
    assert (step, mark, len(warnings)) == (2, 2.0, 1)
    assert tf.train.latest_checkpoint(str(saved)) == str(saved / "step-2")


def test_checkpoints_that_are_all_gone_stop_the_run(saved):
    shutil.rmtree(saved)
    with pytest.raises(TrainingStopped, match="no checkpoint, but that of step 3"):
        resumed(saved, written=3)
    assert resumed(saved)[:3] == (0, 0.0, [])  # A run that never had one.


def test_checkpoints_that_are_all_damaged_stop_the_run_and_stay(saved):
    for path in saved.rglob("*.data*"):
        cut(path)
    before = sorted(saved.rglob("*"))
    with pytest.raises(
        TrainingStopped, match="step-3 is damaged.*no whole one is left"
    ):
        resumed(saved, written=3)
    assert sorted(saved.rglob("*")) == before


def test_what_a_killed_process_left_unfinished_is_removed(saved):
    (saved / "step-4_temp").mkdir()
    (saved / "step-4_temp" / "part-00000").write_text("half")
    (saved / "step-4.index.tempstate123").write_text("half")
    (saved / "step-4.data-00000-of-00001").write_text("its index is not there yet")
    (saved / "checkpoint.tmp123").write_text("half")
    (saved / "notes.txt").write_text("the user's own")
    assert resumed(saved, written=3)[:3] == (3, 3.0, [])
    names = {path.name for path in saved.iterdir()}
    assert "notes.txt" in names
    assert not {name for name in names if "temp" in name or "tmp" in name}
    assert not any(name.startswith("step-4") for name in names)


# ------------------------------------------------------------- no room on the disk


@contextlib.contextmanager
def largest_file(size):
    """Lets no file of this process grow beyond a size in bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_a_checkpoint_that_finds_no_room_leaves_the_others_whole(saved):
    model = small_method()
    checkpoints = Checkpoints(model, str(saved))
    checkpoints.resume()
    before = sorted(saved.rglob("*"))
    with largest_file(500), pytest.raises(TrainingStopped) as stopped:
        checkpoints.save(4)
    words = str(stopped.value)
    assert words.startswith("step 4: the checkpoint cannot be written (")
    assert f"the last good checkpoint is {saved}/step-3" in words and "\n" not in words
    assert sorted(saved.rglob("*")) == before
    assert resumed(saved, written=3)[:3] == (3, 3.0, [])


def test_a_line_that_finds_no_room_is_not_half_there(tmp_path):
    log = run_folder.Log(str(tmp_path), 0)
    log.scalars(1, {"loss": 0.5})
    length = (tmp_path / "metrics.jsonl").stat().st_size
    with largest_file(length + 10), pytest.raises(OSError):
        log.scalars(2, {"loss": 0.5})
    log.scalars(2, {"loss": 0.25})
    log.close()
    assert [e["loss"] for e in entries(str(tmp_path))] == [0.5, 0.25]
    with largest_file(5), pytest.raises(OSError):
        run_folder.write_text(str(tmp_path / "facts.json"), "{} " * 50)
    assert sorted(os.listdir(tmp_path)) == ["metrics.jsonl", "tensorboard"]


@pytest.mark.parametrize("fault", ["full", "a folder in its place"])
def test_an_unusable_picture_that_cannot_be_noted_stops_in_one_line(tmp_path, fault):
    (tmp_path / "faces").mkdir()
    (tmp_path / "faces" / "empty.png").write_bytes(b"")
    note = tmp_path / "unusable_pictures.txt"
    if fault != "full":
        note.mkdir()
    source = sources.folder_source(str(tmp_path / "faces"))
    loader = data.Loader(
        source,
        16,
        "square",
        1.0,
        functools.partial(run_folder.note_unusable, str(tmp_path)),
    )
    draw_mask = functools.partial(masks.draw, "random_box", height=16, width=16)
    pictures = data.fixed_batches(
        source, loader, draw_mask, size=16, batch_size=1, seed=0, count=1
    )
    with largest_file(5) if fault == "full" else contextlib.nullcontext():
        with pytest.raises(tf.errors.OpError):
            next(iter(pictures))
    reason = "File too large" if fault == "full" else "Is a directory"
    assert str(loader.failure) == (
        f"{note}: cannot note an unusable picture there ({reason}); make room or let it "
        "be written to, then run the same command"
    )


def test_damaged_lines_of_a_log_are_dropped_and_counted(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(
        b'{"step": 0}\n{"step": 1, "a"\n\x00\x00\n3\n{"step": 2}\n{"step": 3, "lo'
    )
    log = run_folder.Log(str(tmp_path), 9)
    assert log.damaged == 3
    log.close()
    assert [e["step"] for e in entries(str(tmp_path))] == [0, 2]


def small_run(run_dir, **parameters):
    """The loop on a SmallMethod, checkpoints every 4 steps."""
    run_folder.prepare(run_dir, {"steps": "12"}, {"data": {}})
    return training.train(
        small_method(),
        lambda first_step, *_: batches(first_step, count=20),
        batches(count=1),
        strategy=compiled_steps.choose_strategy("one"),
        run_dir=run_dir,
        batch_size=4,
        log_every=1,
        validate_every=4,
        checkpoint_every=4,
        **{"steps": 12, **parameters},
    )


def test_a_run_says_how_many_steps_a_lost_checkpoint_costs(tmp_path, capsys):
    expected, run_dir = str(tmp_path / "expected"), str(tmp_path / "run")
    small_run(expected)
    small_run(run_dir, steps=10)  # Checkpoints of steps 4, 8 and 10.
    for path in (tmp_path / "run/checkpoints").rglob("step-10.data*"):
        cut(path)  # The newest one, and the best one if it is the same.
    capsys.readouterr()
    small_run(run_dir)
    said = capsys.readouterr().err
    assert re.search(
        r"WARNING: checkpoint \S+step-10 is damaged \(.*\); going on from step 8: 2 "
        "steps are lost",
        said,
    )
    # Only the extra validation at step 10 differs, and it is gone with its step.
    assert without_speed(entries(run_dir)) == without_speed(entries(expected))
    shutil.rmtree(tmp_path / "run/checkpoints")
    with pytest.raises(TrainingStopped, match="that of step 12 had been written"):
        small_run(run_dir, steps=16)
    assert [e["step"] for e in entries(run_dir)] == list(range(13))


def test_a_run_without_a_checkpoint_begins_again_and_says_so(tmp_path, capsys):
    run_dir = str(tmp_path / "run")
    run_folder.prepare(run_dir, {}, {"data": {}})
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 0}\n{"step": 3}\n')
    small_run(run_dir, steps=4)
    said = capsys.readouterr().err
    assert "had come to step 3" in said and "beginning again at step 0" in said


def test_a_folder_that_is_being_trained_in_is_refused(tmp_path):
    run_folder.prepare(str(tmp_path / "run"), {}, {"data": {}})
    descriptor = run_folder.lock(str(tmp_path / "run"))
    with pytest.raises(run_folder.RunFolderError, match="by another process"):
        small_run(str(tmp_path / "run"))
    os.close(descriptor)
    assert small_run(str(tmp_path / "run")) is None


def stopped_run(run_dir):
    """A `small_run` that is stopped by the first validation batch of step 4."""
    model = small_method()
    run_folder.prepare(run_dir, {"steps": "12"}, {"data": {}})

    class Stopping:
        """Validation batches, of which the first of step 4 brings a SIGTERM."""

        def __iter__(self):
            if int(model.completion_optimizer.iterations) == 4:
                signal.raise_signal(signal.SIGTERM)
            return iter(batches(count=1))

    stopped = training.train(
        model,
        lambda first_step, *_: batches(first_step, count=20),
        Stopping(),
        strategy=compiled_steps.choose_strategy("one"),
        run_dir=run_dir,
        steps=12,
        batch_size=4,
        log_every=1,
        validate_every=4,
        checkpoint_every=4,
    )
    assert stopped == signal.SIGTERM
    log = entries(run_dir)
    assert log[-1]["step"] == 4 and "validation/psnr" not in log[-1]
    assert not os.path.exists(f"{run_dir}/samples/step_00000004.png")


@pytest.mark.parametrize("stale", [False, True], ids=["", "with a stale picture"])
def test_a_stop_during_validation_is_made_up_for(tmp_path, stale):
    """The stop comes with the first validation batch of step 4; a picture of that step
    may be there from before, of steps that were lost and trained again."""
    expected, run_dir = str(tmp_path / "expected"), str(tmp_path / "run")
    small_run(expected)
    stopped_run(run_dir)
    if stale:
        (tmp_path / "run/samples/step_00000004.png").write_bytes(b"of lost steps")
    small_run(run_dir)
    assert without_speed(entries(run_dir)) == without_speed(entries(expected))
    for folder in ("checkpoints", "checkpoints/best", "samples"):
        assert {*os.listdir(f"{run_dir}/{folder}")} == {
            *os.listdir(f"{expected}/{folder}")
        }
    for name in os.listdir(f"{expected}/samples"):
        picture, other = (
            pathlib.Path(folder, "samples", name) for folder in (run_dir, expected)
        )
        assert picture.read_bytes() == other.read_bytes(), name
    for name, value in weights(expected, 12).items():
        np.testing.assert_array_equal(weights(run_dir, 12)[name], value)


def test_a_validation_that_is_made_up_for_says_of_health_what_it_would_have_said(
    tmp_path, capsys, monkeypatch
):
    """Outputs of one colour are warned of when they are so twice in a row."""
    flat = dict.fromkeys(map("health/{}".format, health.MEASURES), 0.0)
    flat |= {"health/truth_diversity": 1.0, "health/output_diversity": 1.0}
    flat |= {"health/flat_outputs": 1.0}
    monkeypatch.setattr(health, "output_measures", lambda samples: flat)

    def of_health():
        said = capsys.readouterr().err
        return [line for line in said.splitlines() if "health:" in line]

    small_run(str(tmp_path / "expected"))
    expected = of_health()
    assert any("step 8: health: WARNING" in line for line in expected)
    stopped_run(str(tmp_path / "run"))
    before = of_health()
    small_run(str(tmp_path / "run"))
    assert before + of_health() == expected


# --------------------------------------------------------------- on a small disk

TINY = (
    *programs.SMALL_RUN,
    "--validate_every=4",
    "--checkpoint_every=4",
    "--deterministic",
)


def test_tensorflows_words_for_a_full_disk_are_told_in_one_line(tmp_path):
    said = f"{tmp_path}/events.v2; No space left on device\n\tFailed to flush 3 events"
    with pytest.raises(OSError) as caught, run_folder._board_errors("board"):
        raise tf.errors.ResourceExhaustedError(None, None, said)
    assert caught.value.strerror == "No space left on device"
    assert caught.value.filename == "board"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 12 MB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def started(*flags):
    return subprocess.Popen(
        [sys.executable, "train.py", *TINY, *flags],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def ends_in_one_line(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2, errors
    assert "Traceback" not in errors
    lines = [line for line in errors.splitlines() if line.startswith("train.py: ")]
    assert len(lines) == 1, errors
    print(lines[0])
    return lines[0]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["full", "full at once", "read-only"])
def test_a_full_or_read_only_disk_stops_the_run_and_the_same_command_goes_on(
    small_disk, tmp_path, fault
):
    expected, run_dir = str(tmp_path / "expected"), str(small_disk / "run")
    assert (
        programs.run("train.py", *TINY, "--steps=40", f"--run_dir={expected}")[0] == 0
    )
    flags = ["--steps=40", f"--run_dir={run_dir}"]
    ballast = small_disk / "ballast"

    def fill():
        # Unbuffered, so that nothing is left for close() to fail on.
        with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\x00" * 4096)

    if fault == "full at once":
        fill()
        assert "cannot write there (No space left on device)" in ends_in_one_line(
            started(*flags)
        )
        ballast.unlink()
    else:
        process = started(*flags)
        while not glob.glob(f"{run_dir}/checkpoints/step-4.index"):
            assert process.poll() is None
            time.sleep(0.01)
        if fault == "full":
            fill()
            line = ends_in_one_line(process)
            assert "No space left on device" in line
            assert "the last good checkpoint is" in line
            ballast.unlink()
        else:
            # A disk that is written to can only fail, not be made read-only.
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=300)
            subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
            assert "cannot write there (Read-only file system)" in ends_in_one_line(
                started(*flags)
            )
            subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    status, errors = programs.run("train.py", *TINY, *flags)
    assert status == 0, errors
    assert fault == "full at once" or "resuming" in errors
    assert without_speed(entries(run_dir)) == without_speed(entries(expected))
    for name, value in weights(expected, 40).items():
        np.testing.assert_array_equal(weights(run_dir, 40)[name], value)
