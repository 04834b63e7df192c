"""Several processes that train one run together: who they are, and what they settle.

The processes, usually one a machine, are named by the environment variable TF_CONFIG as
tf.distribute.MultiWorkerMirroredStrategy reads it:

    {"cluster": {"worker": ["host-a:2222", "host-b:2222"]},
     "task": {"type": "worker", "index": 0}}

Every worker takes the same steps, on its own examples of each batch. Worker 0, the chief
(the task of type "chief", where there is one), alone reads and writes the run folder: what
a run goes on from reaches the others through `Team.share`.

Inputs: TF_CONFIG. Outputs: a strategy, and a `Team` by which the workers agree. A worker
that is gone ends the others within half a minute: TensorFlow raises what `is_lost` knows.

In order: `WorkersError`, `Place`, `read_place`, `own_gpus`, `connect`, `exchange`,
`check_devices`, `is_lost`, `lost`, `Team`, `ALONE`.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import signal
import subprocess
import sys
from typing import NamedTuple

import keras
import tensorflow as tf
from tensorflow.python.eager import context  # The workers' notes have no public name.

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

# What TensorFlow raises when another worker ends, hangs or cannot be reached.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,  # It has been started anew.
)

_EXAMPLE = (
    '{"cluster": {"worker": ["host-a:2222", "host-b:2222"]}, '
    '"task": {"type": "worker", "index": 0}}'
)


class WorkersError(ValueError):
    """Workers that cannot train together; the message is one line."""


class Place(NamedTuple):
    """A process among the workers of a run.

    Attributes:
      index: its number, 0 for the chief.
      addresses: "host:port" of every worker, by number.
    """

    index: int
    addresses: tuple

    def __str__(self):
        return f"worker {self.index} of {len(self.addresses)}"


def read_place(text):
    """What TF_CONFIG says.

    Args:
      text: its value; None or "" where it is not set.

    Returns:
      Place; None for a process that trains alone, a cluster's only one among them.

    Raises:
      WorkersError: it is not as the module describes.
    """
    if not (text or "").strip():
        return None
    try:
        config = json.loads(text)
    except ValueError as error:
        raise _malformed(f"is not JSON ({error})") from None
    cluster = config.get("cluster") if isinstance(config, dict) else None
    if not cluster:
        return None  # TensorFlow takes this for a process alone, too.
    if not isinstance(cluster, dict):
        raise _malformed('has a "cluster" that is no object')
    if others := sorted({*cluster} - {"chief", "worker"}):
        raise _malformed(
            f'has tasks of type "{others[0]}"; here are only "worker" and "chief"'
        )
    for job, addresses in cluster.items():
        if not isinstance(addresses, list) or not addresses:
            raise _malformed(f'has no list of addresses for "{job}"')
        for address in addresses:
            host, _, port = str(address).rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise _malformed(f'has the address "{address}", not host:port')
    chiefs = cluster.get("chief", [])
    if len(chiefs) > 1:
        raise _malformed(f"has {len(chiefs)} chiefs; there is one at most")
    addresses = (*chiefs, *cluster.get("worker", []))
    if len({*addresses}) < len(addresses):
        raise _malformed("gives two workers one address")
    place = Place(_index(config.get("task"), cluster), addresses)
    return place if len(addresses) > 1 else None


def _index(task, cluster):
    """Number of a task among all workers."""
    kind, index = (
        (task.get("type"), task.get("index"))
        if isinstance(task, dict)
        else (None, None)
    )
    if not isinstance(kind, str) or kind not in cluster:
        raise _malformed(f'has a "task" whose "type" is none of {sorted(cluster)}')
    if isinstance(index, str) and index.isdecimal():
        index = int(index)  # Schedulers often quote it.
    if type(index) is not int:
        raise _malformed('has a "task" without a whole number as "index"')
    count = len(cluster[kind])
    if not 0 <= index < count:
        raise _malformed(
            f'has the index {index} for a "{kind}"; with {count} of them it is from 0 to '
            f"{count - 1}"
        )
    return index + len(cluster.get("chief", [])) * (kind == "worker")


def _malformed(what):
    return WorkersError(f"TF_CONFIG {what}; it looks like {_EXAMPLE}")


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


def is_lost(error):
    """Whether a TensorFlow error says that another worker is gone.

    GPUs' own collectives may say so as an error of any kind, by their name alone.
    """
    vague = isinstance(error, (tf.errors.InternalError, tf.errors.UnknownError))
    named = any(word in str(error.message) for word in ("NCCL", "nccl", "ollective"))
    return isinstance(error, _LOST) or (vague and named)


def lost(place, error):
    """The line that says why a worker stops whose TensorFlow raised such an error."""
    reason = str(error.message).strip().splitlines() or [type(error).__name__]
    # Where it begins, and not the way that it took.
    reason = next((x for x in reason if "ollective" in x or "RPC" in x), reason[0])
    return (
        f"{place} stops: another worker has ended, hangs or cannot be reached "
        f"({reason}); run the same command everywhere, to go on from the last checkpoint"
    )


class Team:
    """The workers of a run as one of them sees them; a process alone is its own chief.

    All workers call the same methods in the same order; each waits for the others.

    Attributes:
      place: Place, None for a process alone.
      count: number of workers.
      is_chief: whether this one keeps the run.
    """

    def __init__(self, place=None, strategy=None):
        """
        Args:
          place: Place of this process; None for one that trains alone.
          strategy: what `connect` returned.
        """
        self.place = place
        self.count = len(place.addresses) if place else 1
        self.is_chief = not place or place.index == 0
        self._strategy = strategy

    def _sum(self, tensor):
        """Sum over all workers, by their host devices."""
        if self.count == 1:
            return tensor
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, tensor, axis=None)

    def any(self, own):
        """Whether something holds for any worker."""
        return int(self._sum(tf.constant(int(own), tf.int64))) > 0

    def wait(self):
        """Returns when all workers have come to this."""
        self.any(False)

    def compare(self, facts):
        """Makes sure that all workers were started alike.

        Args:
          facts: dict from what it is, in the plural, to its text.

        Raises:
          WorkersError: by every worker, naming those that differ from the chief.
        """
        for name, others in self._differing(facts).items():
            if others:
                raise WorkersError(
                    f"other {name} in worker {', '.join(others)} than in worker 0; run "
                    "the same command, on the same data, everywhere"
                )

    def drifted(self, model):
        """Numbers, as texts, of the workers whose weights are not the chief's."""
        if self.count == 1:
            return []
        digest = hashlib.sha256()
        for variable in model.variables:
            digest.update(tf.convert_to_tensor(variable).numpy().tobytes())
        return self._differing({"weights": digest.hexdigest()})["weights"]

    def _differing(self, facts):
        """For each fact the workers, as texts, in which it is not as in the chief."""
        if self.count == 1:
            return {}
        table = [[0] * self.count for _ in facts]
        for row, text in zip(table, facts.values(), strict=True):
            digest = hashlib.sha256(text.encode()).digest()
            row[self.place.index] = int.from_bytes(digest[:7], "big")
        table = self._sum(tf.constant(table, tf.int64)).numpy()
        return {
            name: [str(i) for i, value in enumerate(row) if value != row[0]]
            for name, row in zip(facts, table, strict=True)
        }

    def share(self, model, *numbers):
        """Gives every worker the chief's weights and optimizers.

        Args:
          model: the method, built in the strategy's scope.
          *numbers: ints; the chief's reach the others as well.

        Returns:
          list of int, the chief's numbers.
        """
        if self.count == 1:
            return list(numbers)

        def of_chief(value):
            # Whole numbers in the one type that all devices add up.
            wide = value if value.dtype.is_floating else tf.cast(value, tf.int64)
            total = self._sum(wide if self.is_chief else tf.zeros_like(wide))
            return tf.cast(total, value.dtype)

        for variable in _state(model):
            variable.assign(of_chief(tf.convert_to_tensor(variable)))
        return [int(n) for n in of_chief(tf.constant(numbers, tf.int64))]


def _state(model):
    """All variables that training moves: weights, and what optimizers keep."""
    variables = list(model.variables)
    for value in vars(model).values():
        if isinstance(value, keras.optimizers.Optimizer):
            variables += value.variables
    return list({id(variable): variable for variable in variables}.values())


ALONE = Team()
