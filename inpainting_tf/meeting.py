"""How the processes that train one run together meet.

Each comes to the others' addresses, within a time limit that TensorFlow cannot hold up,
and they tell each other which devices they have before they add anything up.

Inputs: a `workers.Place`. Outputs: the strategy that they share.

In order: `own_gpus`, `connect`, `exchange`, `check_devices`.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys

import tensorflow as tf
from tensorflow.python.eager import context  # The workers' notes have no public name.

from inpainting_tf.workers import WorkersError

# How long the first worker to start waits for the last one.
START_SECONDS = 600

# Ends this process if it still waits by then. A process of its own, since TensorFlow
# holds Python's lock while it waits; its input ends with the wait, or with this process.
_WATCHDOG = """
import os, select, signal, sys
parent, seconds, line = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
def end(said):
    if os.getppid() == parent:
        sys.stderr.write(said)
        sys.stderr.flush()
        os.kill(parent, signal.SIGINT)
    os._exit(0)
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda *_: end(""))
if not select.select([sys.stdin], [], [], seconds)[0]:
    end(line + "\\n")
"""


def own_gpus(devices="auto"):
    """The GPUs that this process trains on; devices: as of `connect`."""
    found = tf.config.get_visible_devices("GPU")
    return found[:1] if devices == "one" else found


def connect(place, devices="auto", seconds=START_SECONDS):
    """Meets the other workers; before TensorFlow does anything else in this process.

    Ends the process, with one line and exit status 2, if they do not come in time.

    Args:
      place: Place of this process.
      devices: "auto" for all its visible GPUs, "one" for one device.
      seconds: how long to wait for the last of them.

    Returns:
      tf.distribute.MultiWorkerMirroredStrategy.

    Raises:
      WorkersError: the own address cannot be used, another worker fails meanwhile, or
        they have not all the same number of devices.
    """
    tf.config.set_visible_devices(own_gpus(devices), "GPU")
    own = place.addresses[place.index]
    try:
        with _time_limit(place, seconds):
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
            found = exchange(
                place, "devices", _describe(strategy.extended.worker_devices)
            )
    except (tf.errors.OpError, RuntimeError) as error:
        reason = str(getattr(error, "message", error)).strip().partition("\n")[0]
        raise WorkersError(
            f"{place} cannot begin ({reason}); is {own} free on this machine, and do "
            "the workers reach each other?"
        ) from None
    check_devices(found)
    return strategy


def _describe(devices):
    """Kind and number of some devices in words: "1 GPU", "8 GPUs"."""
    kind = tf.DeviceSpec.from_string(devices[0]).device_type
    return f"{len(devices)} {kind}{'s' * (len(devices) > 1)}"


def exchange(place, topic, text):
    """Texts of all workers, by number; each gives its own, once for a topic.

    By notes at worker 0. A sum over all, as `Team` takes, would wait for ever where the
    numbers of devices are different.
    """
    limit = 60_000  # Milliseconds.
    notes, topic = context.context(), f"inpainting_tf/{topic}"
    notes.set_config_key_value(f"{topic}/{place.index}", text)
    found = [
        notes.get_config_key_value(f"{topic}/{index}", limit)
        for index in range(len(place.addresses))
    ]
    # Whoever refuses what it reads ends, and with worker 0 the notes.
    notes.wait_at_barrier(topic, limit)
    return found


def check_devices(found):
    """Makes sure that all workers have the same devices.

    Args:
      found: what each worker has, in words.

    Raises:
      WorkersError: naming the first that has others than worker 0.
    """
    for index, devices in enumerate(found):
        if devices != found[0]:
            raise WorkersError(
                f"worker {index} has {devices}, worker 0 has {found[0]}; all need the "
                "same: CUDA_VISIBLE_DEVICES or --devices=one leaves some of them out"
            )


@contextlib.contextmanager
def _time_limit(place, seconds):
    others = ", ".join(a for i, a in enumerate(place.addresses) if i != place.index)
    line = (
        f"{place}: no answer within {seconds} s from all of {others}; start every "
        "worker, with the same addresses in TF_CONFIG"
    )
    # Python's own handlers would not run before TensorFlow returns.
    handlers = {
        number: signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    # By C's own exit, whose status is the signal's number, 2: the first process of a
    # container would ignore what is left to the default, SIGKILL by its children too.
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
    libc.signal.restype = ctypes.c_void_p
    libc.signal(signal.SIGINT, ctypes.cast(libc._exit, ctypes.c_void_p))
    watchdog = subprocess.Popen(
        [sys.executable, "-ISc", _WATCHDOG, str(os.getpid()), str(seconds), line],
        stdin=subprocess.PIPE,
    )
    try:
        yield
    finally:
        watchdog.kill()  # First: from here on SIGINT is Python's again.
        watchdog.wait()
        watchdog.stdin.close()
        for number, handler in handlers.items():
            signal.signal(number, handler)
