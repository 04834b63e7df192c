"""Several processes that train one run together: who they are, and what they settle.

The processes, usually one a machine, are named by the environment variable TF_CONFIG as
tf.distribute.MultiWorkerMirroredStrategy reads it:

    {"cluster": {"worker": ["host-a:2222", "host-b:2222"]},
     "task": {"type": "worker", "index": 0}}

Every worker takes the same steps, on its own examples of each batch. Worker 0, the chief
(the task of type "chief", where there is one), alone reads and writes the run folder: what
a run goes on from reaches the others through `Team.share`.

Inputs: TF_CONFIG. Outputs: a `Place`, and a `Team` by which the workers agree. A worker
that is gone ends the others within half a minute: TensorFlow raises what `is_lost` knows.

In order: `WorkersError`, `Place`, `read_place`, `is_lost`, `lost`, `Team`, `ALONE`. How
they come together: `meeting`.
"""

import hashlib
import json
from typing import NamedTuple

import keras
import tensorflow as tf

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
          strategy: what `meeting.connect` returned.
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
