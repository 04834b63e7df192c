"""Several processes on this machine train one run, as several machines would.

Weights of two runs are compared variable by variable: the norm of the difference over the
norm of the variable; what is still near 0, where it began, is measured as if it were 0.01.
"""

import collections
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest
import tensorflow as tf
from programs import ROOT, SMALL_RUN, entries, weights, without_speed

from inpainting_tf import data
from inpainting_tf.meeting import check_devices
from inpainting_tf.workers import (
    Place,
    WorkersError,
    is_lost,
    lost,
    read_place,
)

TWO = ["a:1", "b:2"]

RUN = (
    *SMALL_RUN,
    "--method=context_encoder",
    "--mask=center",
    "--batch_size=16",
    "--validate_every=5",
    "--checkpoint_every=3",
)


def config(cluster, kind="worker", index=0):
    return json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})


def free_addresses(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


_launched = []


@pytest.fixture(autouse=True)
def nothing_left_running():
    """A test that fails leaves no process behind."""
    yield
    for process in _launched:
        process.kill()
        process.wait()
        process.errors.close()
    _launched.clear()


def launch(arguments, place=None):
    """Starts Python; place: TF_CONFIG. Its standard error is a file, never full."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CONFIG": place or ""}
    errors = tempfile.TemporaryFile("a+")
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=errors,
    )
    process.errors = errors
    _launched.append(process)
    return process


def start(flags, run_dir, place=None):
    """Starts train.py; place: TF_CONFIG."""
    return launch(["train.py", *flags, f"--run_dir={run_dir}"], place)


def start_two(flags, run_dir):
    """Two workers; the second one is told a folder of its own, which it must not use."""
    cluster = {"worker": free_addresses(2)}
    folders = (run_dir, f"{run_dir}-not-used")
    return [
        start(flags, folder, config(cluster, index=index))
        for index, folder in enumerate(folders)
    ]


def end(process, seconds=300):
    """Waits; returns (exit status, standard error without TensorFlow's own lines)."""
    process.wait(seconds)
    process.errors.seek(0)
    errors = process.errors.read()
    own = [
        x for x in errors.splitlines() if not x.startswith(("I0", "W0", "E0", "WARN"))
    ]
    return process.returncode, "\n".join(own)


def wait_for_step(run_dir, step, processes):
    while all(process.poll() is None for process in processes):
        try:
            if entries(run_dir)[-1]["step"] >= step:
                return
        except (OSError, ValueError, IndexError):
            pass
        time.sleep(0.01)
    raise AssertionError([end(process) for process in processes if process.poll()])


def differences(run_dir, other_dir, step, other_step=None):
    """Norm of the difference over the norm, by name, of weights and statistics."""
    one = weights(run_dir, step)
    other = weights(other_dir, step if other_step is None else other_step)
    assert one.keys() == other.keys()
    found = {}
    for name, value in one.items():
        if not name.startswith("weights"):
            continue
        norm = np.linalg.norm(np.float64(value))
        apart = np.linalg.norm(np.float64(other[name]) - value)
        found[name] = apart / max(norm, 0.01 * np.sqrt(value.size))
    return found


def moments_apart(run_dir, other_dir, step):
    """As `differences`, of all that an optimizer keeps together, by its name.

    Adam's steps hide a wrong scale of the gradients; its moments have it.
    """
    one, other = weights(run_dir, step), weights(other_dir, step)
    found = collections.defaultdict(list)
    for name, value in one.items():
        kept = re.match(r"model/(\w+_optimizer)/_variables/", name)
        if kept and value.ndim:  # Not its step count and rate.
            apart = np.linalg.norm(np.float64(other[name]) - value)
            found[kept[1]].append((apart, np.linalg.norm(np.float64(value))))
    return {
        name: np.divide(*np.linalg.norm(values, axis=0))
        for name, values in found.items()
    }


# -------------------------------------------------------------------- TF_CONFIG


def test_a_process_without_a_cluster_trains_alone():
    assert read_place(None) is read_place("") is read_place("{}") is None
    assert read_place(config({"worker": ["a:1"]})) is None


@pytest.mark.parametrize(
    ("cluster", "kind", "index", "number"),
    [
        ({"worker": TWO}, "worker", 1, 1),
        ({"worker": TWO}, "worker", "1", 1),
        ({"chief": ["c:3"], "worker": TWO}, "chief", 0, 0),
        ({"chief": ["c:3"], "worker": TWO}, "worker", 1, 2),
    ],
)
def test_workers_are_numbered_from_the_chief_on(cluster, kind, index, number):
    place = read_place(config(cluster, kind, index))
    assert place.index == number
    assert place.addresses == (*cluster.get("chief", []), *cluster["worker"])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{worker: 1}", "is not JSON"),
        (config({"worker": TWO}, "worker", 2), "the index 2 .* from 0 to 1"),
        (config({"worker": TWO}, "worker", -1), "the index -1"),
        (config({"worker": TWO}, "worker", "one"), "without a whole number"),
        (config({"worker": TWO}, "worker", 1.7), "without a whole number"),
        (config({"worker": TWO}, "worker", math.inf), "without a whole number"),
        (config({"worker": TWO}, "worker", True), "without a whole number"),
        (config({"worker": TWO}, ["worker"]), '"type" is none of'),
        (config({"worker": TWO}, "chief"), '"type" is none of'),
        (json.dumps({"cluster": {"worker": TWO}}), '"type" is none of'),
        (config({"worker": TWO, "ps": ["p:1"]}), 'type "ps"'),
        (config({"worker": "a:1,b:2"}), "no list of addresses"),
        (config({"worker": ["a", "b:2"]}), 'address "a", not host:port'),
        (config({"worker": ["a:1", "a:1"]}), "two workers one address"),
        (config({"chief": TWO, "worker": ["c:3"]}), "2 chiefs"),
        (config(TWO), "is no object"),
    ],
)
def test_a_malformed_tf_config_is_refused_in_one_line(text, fault):
    with pytest.raises(WorkersError, match=f"^TF_CONFIG .*{fault}") as caught:
        read_place(text)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------ meeting, and losing


def test_a_worker_alone_gives_up_in_one_line():
    program = (
        "import os; from inpainting_tf import meeting, workers; "
        "meeting.connect(workers.read_place(os.environ['TF_CONFIG']), seconds=2)"
    )
    clusters = [free_addresses(2), free_addresses(2)]
    processes = [
        launch(["-c", program], config({"worker": addresses}, index=index))
        for index, addresses in enumerate(clusters)
    ]
    for index, process in enumerate(processes):
        status, errors = end(process, seconds=120)
        assert status == 2, errors
        assert errors == (
            f"worker {index} of 2: no answer within 2 s from all of "
            f"{clusters[index][1 - index]}; start every worker, with the same addresses "
            "in TF_CONFIG"
        )


def test_workers_tell_each_other_and_all_refuse_unequal_devices():
    program = (
        "import os, sys; from inpainting_tf import meeting, workers; "
        "place = workers.read_place(os.environ['TF_CONFIG']); meeting.connect(place); "
        "meeting.check_devices(meeting.exchange(place, 'test', sys.argv[1]))"
    )
    cluster = {"worker": free_addresses(2)}
    processes = [
        launch(["-c", program, devices], config(cluster, index=index))
        for index, devices in enumerate(["8 GPUs", "4 GPUs"])
    ]
    for process in processes:
        status, errors = end(process, seconds=120)
        assert status == 1
        assert "WorkersError: worker 1 has 4 GPUs, worker 0 has 8 GPUs; " in errors


def test_devices_of_one_number_but_another_kind_are_refused():
    check_devices(["1 GPU"] * 3)
    with pytest.raises(WorkersError, match="worker 2 has 1 CPU, worker 0 has 1 GPU"):
        check_devices(["1 GPU", "1 GPU", "1 CPU"])


def test_flags_that_do_not_fit_are_refused_before_anyone_is_waited_for(tmp_path):
    place = config({"worker": free_addresses(2)})
    odd = start((*RUN, "--steps=9", "--batch_size=5"), str(tmp_path / "run"), place)
    xla = start((*RUN, "--steps=9", "--jit_compile"), str(tmp_path / "run"), place)
    for process, line in (
        (odd, "--batch_size=5 cannot be shared equally by 2 devices"),
        (xla, "--jit_compile works on one device; leave it out with TF_CONFIG"),
    ):
        assert end(process) == (2, f"train.py: {line}")


@pytest.mark.parametrize(
    ("error", "is_loss"),
    [
        (tf.errors.UnavailableError(None, None, ""), True),
        (tf.errors.InternalError(None, None, "NCCL: unhandled system error"), True),
        (tf.errors.UnknownError(None, None, "Collective op aborted"), True),
        (tf.errors.InternalError(None, None, "CUDA: misaligned address"), False),
        (tf.errors.ResourceExhaustedError(None, None, "collective: OOM"), False),
    ],
)
def test_another_worker_is_gone_by_what_tensorflow_raises(error, is_loss):
    assert is_lost(error) == is_loss
    line = lost(Place(1, ("a:1", "b:2")), error)
    assert line.startswith("worker 1 of 2 stops: another worker has ended")
    assert "\n" not in line


# ----------------------------------------------------------------- shares of data


@pytest.mark.parametrize(
    ("processes", "count", "parts"), [(1, 2, 1), (2, 1, 1), (2, 2, 3), (4, 1, 6)]
)
def test_shares_are_together_the_batches_of_one_process(processes, count, parts):
    """A method that splits its batch in parts finds in each what one device finds."""
    replicas, batch, steps = processes * count, 8, 3
    rows = batch // replicas
    found = collections.defaultdict(dict)
    for process in range(processes):
        share = data.Share(process * count, count, replicas, parts)
        own = [
            share.position(n, batch * parts)
            for n in range(steps * batch * parts // processes)
        ]
        # What tf.distribute does: a batch for each of the replicas in turn.
        batches = np.reshape(own, [steps, count, parts, rows])
        for step, replica in np.ndindex(steps, count):
            found[step][share.first + replica] = batches[step, replica]
    for step in range(steps):
        together = np.concatenate([found[step][r] for r in range(replicas)], axis=1)
        first = step * batch * parts
        expected = np.arange(first, first + batch * parts).reshape(parts, batch)
        np.testing.assert_array_equal(together, expected)


# ---------------------------------------------------------------- two processes


def test_two_workers_train_as_one_process_and_only_the_chief_writes(tmp_path):
    """With batch normalisation; Adam's steps are as small as below, and why."""
    flags = (*RUN, "--adversarial_weight=0", "--learning_rate=2e-6", "--steps=3")
    together, alone = str(tmp_path / "together"), str(tmp_path / "alone")
    for process in (*start_two(flags, together), start(flags, alone)):
        status, errors = end(process)
        assert status == 0, errors
        assert "WARNING: other weights" not in errors
    assert sorted(os.listdir(tmp_path)) == ["alone", "together"]
    for one, other in zip(entries(together), entries(alone), strict=True):
        losses = [name for name in other if name.endswith("_loss")]
        assert [one[n] for n in losses] == pytest.approx(
            [other[n] for n in losses], rel=1e-4
        )
    apart = differences(alone, together, 3)
    assert max(apart.values()) < 1e-5, apart
    apart = moments_apart(alone, together, 3)
    assert set(apart) == {"completion_optimizer"}
    assert max(apart.values()) < 1e-3, apart


def test_a_lost_chief_ends_the_other_worker_in_one_line(tmp_path):
    """While the chief starts: in the loop the slow test below kills each of them."""
    run_dir = str(tmp_path / "run")
    flags = (*RUN, "--steps=100000", "--width=0.01")
    chief, other = start_two(flags, run_dir)
    while not os.path.exists(run_dir):
        assert chief.poll() is other.poll() is None, (end(chief), end(other))
        time.sleep(0.1)
    chief.kill()
    killed = time.monotonic()
    status, errors = end(other)
    assert time.monotonic() - killed < 60
    assert status == 2, errors
    assert "Traceback" not in errors
    (line,) = [x for x in errors.splitlines() if x.startswith("train.py: ")]
    assert "worker 1 of 2 stops: another worker has ended" in line


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_stopped_and_killed_workers_resume_as_if_nothing_had_been(tmp_path):
    """SIGTERM to one; then a worker is killed; then the chief hangs."""
    flags = (*RUN, "--steps=24", "--deterministic")
    expected, run_dir = str(tmp_path / "expected"), str(tmp_path / "run")
    assert [end(process)[0] for process in start_two(flags, expected)] == [0, 0]

    processes = start_two(flags, run_dir)
    wait_for_step(run_dir, 4, processes)
    processes[1].send_signal(signal.SIGTERM)
    said = [end(process) for process in processes]
    assert [status for status, _ in said] == [128 + signal.SIGTERM] * 2, said
    stopped = entries(run_dir)[-1]["step"]
    assert f"stopped at step {stopped}, checkpoint saved" in said[0][1]
    assert f"worker 1 of 2: SIGTERM: stopped at step {stopped}" in said[1][1]

    for victim, way, steps in ((1, signal.SIGKILL, 4), (0, signal.SIGSTOP, 8)):
        processes = start_two(flags, run_dir)
        wait_for_step(run_dir, stopped + steps, processes)
        processes[victim].send_signal(way)
        killed = time.monotonic()
        status, errors = end(processes[1 - victim])
        assert time.monotonic() - killed < 60
        assert (status, "Traceback" in errors) == (2, False), errors
        assert "another worker has ended" in errors.splitlines()[-1]
        print(f"{way.name} to worker {victim}: {time.monotonic() - killed:.0f} s")
        processes[victim].kill()
        end(processes[victim])

    said = [end(process) for process in start_two(flags, run_dir)]
    assert [status for status, _ in said] == [0, 0], said
    assert "resuming" in said[0][1]
    assert without_speed(entries(run_dir)) == without_speed(entries(expected))
    resumed = weights(run_dir, 24)
    for name, value in weights(expected, 24).items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)
    assert sorted(os.listdir(tmp_path)) == ["expected", "run"]


def test_workers_started_with_other_flags_all_refuse(tmp_path):
    cluster = {"worker": free_addresses(2)}
    processes = [
        start(
            (*RUN, f"--steps={9 + i}"), str(tmp_path / "run"), config(cluster, index=i)
        )
        for i in range(2)
    ]
    for process in processes:
        status, errors = end(process)
        assert status == 2, errors
        assert "train.py: other flags in worker 1 than in worker 0" in errors
    assert not os.listdir(tmp_path)


# Learning rates at which 50 steps of Adam leave rounding where it is. At the usual ones
# it grows: where a gradient is 0 but for rounding, Adam takes a whole step all the same.
FIFTY = {
    "parallel_attention": [
        "--adversarial_weight=1",
        "--attention_rate=1",
        "--mask=random_box",
    ],
    "context_encoder": ["--discriminator_learning_rate=2e-6"],
    "glcic": [
        "--completion_steps=20",
        "--discriminator_steps=10",
        "--mask=random_box",
        "--learning_rate=2e-7",
    ],
    "giica": ["--image_size=64", "--critic_updates=1", "--mask=random_box"],
    "dcgan": ["--image_size=64"],
}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("method", FIFTY)
def test_fifty_steps_of_two_workers_are_those_of_one_process(method, tmp_path):
    flags = (*RUN, f"--method={method}", "--learning_rate=2e-6", *FIFTY[method])
    flags = (*flags, "--steps=50", "--validate_every=50", "--checkpoint_every=50")
    flags = (*flags, "--rollbacks=1")  # Keeps the start, as the checkpoint of step 0.
    together, alone = str(tmp_path / "together"), str(tmp_path / "alone")
    for status, errors in map(end, start_two(flags, together)):
        assert status == 0, errors
    status, errors = end(start(flags, alone))
    assert status == 0, errors
    apart = differences(alone, together, 50)
    # Batch normalisation takes these biases out again: their gradients are 0 but for
    # rounding, and the mean that it keeps follows them.
    biased = r"generator.(project|enlargements.[0-2])|discriminator.convolutions.[1-3]"
    free = rf"({biased}).bias|(generator|discriminator).norms.\d.moving_mean"
    if method == "dcgan":
        named = re.compile(rf"weights/({free})/")
        # TensorFlow doubles the dots of names.
        left_out = [n for n in apart if named.match(n.replace("..", "."))]
        assert len(left_out) == 14
        apart = {n: value for n, value in apart.items() if n not in left_out}
    worst = max(apart, key=apart.get)
    moved = differences(alone, alone, 50, other_step=0)
    print(
        f"{method}: {apart[worst]:.1e} at most ({worst}), {np.median(list(apart.values())):.1e} "
        f"the median; moved by {np.median(list(moved.values())):.1e}, the median"
    )
    assert apart[worst] < 1e-5, worst
    kept = moments_apart(alone, together, 50)
    print(f"{method}: optimizers {kept}")
    assert kept and max(kept.values()) < 1e-2, kept
    assert np.median(list(moved.values())) > 1e-5
