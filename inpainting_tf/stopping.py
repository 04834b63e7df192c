"""How a run is asked to stop: SIGTERM of a machine that is taken away, or Ctrl-C.

In order: `Abandoned`, `StopSignals`, `Agreement`.
"""

import signal

from inpainting_tf.progress import say


class Abandoned(Exception):
    """A stop was asked for during a validation, which may take longer than allowed."""


class StopSignals:
    """Turns the first SIGTERM or SIGINT into a request; a second one acts at once.

    Attributes:
      received: the signal, or None.
      work_at_stake: set by the loop once there is something to be saved. Before, in the
        compilation of the step, which may take longer than a machine still has, the
        first one acts at once too.
    """

    def __init__(self):
        """Nothing is received before the `with` block."""
        self.received = None
        self.work_at_stake = False

    def __enter__(self):
        self._previous = {
            number: signal.signal(number, self._receive)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def _receive(self, number, frame):
        signal.signal(number, self._previous[number])
        if self.work_at_stake:
            self.received = signal.Signals(number)
        else:
            signal.raise_signal(number)

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class Agreement:
    """When a run stops: once one of its workers was asked to, all at the same step."""

    def __init__(self, team, stop):
        """
        Args:
          team: workers.Team.
          stop: StopSignals of this worker.
        """
        self._team = team
        self._stop = stop
        self._settled = self._warned = False
        self._last = self._before = None

    @property
    def asked(self):
        """Whether this worker was asked; every step tells it to the others."""
        return self._stop.received is not None

    def note(self, share):
        """Takes what the step at hand tells: the share of workers that were asked."""
        self._before, self._last = self._last, share

    def settle(self, model):
        """Asks all workers outside of a step; each has to call it.

        The chief warns if the workers' weights are no longer the same.
        """
        self._settled = self._team.any(self.asked)
        others = self._team.drifted(model)
        if others and self._team.is_chief and not self._warned:
            self._warned = True
            say(
                f"WARNING: other weights in worker {', '.join(others)} than in worker 0, "
                "which counts; unlike machines round differently: use machines of one "
                "kind, or run the same command again to begin alike"
            )

    def reached(self):
        """Whether to stop now; the same for all workers after the same step."""
        if self._team.count == 1:
            return self.asked
        if self._settled:
            return True
        # Of the step before the last, which has ended: a GPU may still be at the last.
        return self._before is not None and float(self._before) > 0

    def signal(self):
        """The signal that stops the run: that of this worker, if it got one."""
        return self._stop.received or signal.SIGTERM
