"""How a run is asked to stop: SIGTERM of a machine that is taken away, or Ctrl-C.

In order: `Abandoned`, `StopSignals`.
"""

import signal


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
