"""What a run shows while it trains: a bar on a terminal, lines in a log file.

In order: `Progress`, `say`.
"""

import sys
import time

from tqdm import tqdm

from inpainting_tf import health


class Progress:
    """A bar on a terminal; in a log file, a line every few seconds."""

    def __init__(self, step, steps, batch_size, seconds_between_lines=15.0):
        """
        Args:
          step, steps: where the run stands, and where it ends.
          batch_size: images per step.
          seconds_between_lines: in a log file.
        """
        self._steps = steps
        self._batch_size = batch_size
        self._interval = seconds_between_lines
        self._said = self._began = time.monotonic()
        self._busy = 0.0
        self._trained = self._reports = 0
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(
                initial=step,
                total=steps,
                dynamic_ncols=True,
                bar_format="{percentage:3.0f}% |{bar:16}| {n}/{total} {remaining} left"
                "  {desc}",
            )

    def advance(self, step, count, seconds, values):
        """Reports that `count` steps up to `step` took `seconds` of training."""
        # The first report holds the compilation, which says nothing about the rest.
        if self._reports == 1:
            self._busy = self._trained = 0
        self._reports += 1
        self._busy += seconds
        self._trained += count
        rate = self._trained * self._batch_size / self._busy
        losses = "  ".join(
            f"{name.removesuffix('_loss')} {value:.4g}"
            for name, value in values.items()
            if not name.startswith(health.PREFIX)
        )
        if self._bar is not None:
            self._bar.set_description_str(f"{rate:.1f} images/s  {losses}")
            self._bar.update(count)
        elif step == self._steps or time.monotonic() - self._said > self._interval:
            self._said = time.monotonic()
            left = (self._steps - step) * self._busy / self._trained
            say(
                f"step {step}/{self._steps}  {100 * step / self._steps:.0f} %  "
                f"{rate:.1f} images/s  {_clock(left)} left  {losses}"
            )

    def rewind(self, step):
        """Goes back to a step."""
        if self._bar is not None:
            self._bar.n = step
            self._bar.refresh()

    def close(self):
        """Leaves the bar as it stands."""
        if self._bar is not None:
            self._bar.close()


def _clock(seconds):
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def say(line):
    """Prints a line for the user without breaking a progress bar."""
    tqdm.write(line, file=sys.stderr)
