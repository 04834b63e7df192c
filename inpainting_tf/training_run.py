"""A run as it is kept: what is measured, logged, saved and said at a step, and undone.

Of several workers the chief keeps the run. In order: a run's start, what it owes before
the first step, a step's results, what is due at a step, going back, the end; then what
these take: validation, samples, resuming, recording a rollback, reading losses.
"""

import contextlib
import math
import os
import time

from inpainting_tf import compiled_steps, evaluation, figures, health, run_folder
from inpainting_tf.checkpoints import NotFinite
from inpainting_tf.progress import Progress, say
from inpainting_tf.run_folder import Log
from inpainting_tf.stopping import Abandoned, Agreement, StopSignals


class Run:
    """A run folder and the model that is trained in it, at one step.

    A context: inside, SIGTERM and SIGINT ask the run to stop, see `agreement`, and steps
    are taken and kept; after it, its log and progress are closed. What is written may
    raise OSError or TrainingStopped, where the disk takes no more.

    Attributes:
      step: steps trained.
      rolled_back: how often it went back to a checkpoint, which its batches depend on.
      agreement: stopping.Agreement of its workers on when to stop.
    """

    def __init__(
        self,
        model,
        checkpoints,
        validation_batches,
        *,
        run_dir,
        schedule,
        batch_size,
        rollbacks,
        team,
    ):
        """Resumes what the folder holds, and tells the other workers.

        Args:
          checkpoints: Checkpoints of the model in the folder.
          schedule: training.Schedule.
          model, validation_batches, run_dir, batch_size, rollbacks, team: as of
            `training.train`.

        Raises:
          TrainingStopped: no checkpoint can be restored though some were written.
        """
        self._model = model
        self._checkpoints = checkpoints
        self._validation_batches = validation_batches
        self._run_dir = run_dir
        self._schedule = schedule
        self._batch_size = batch_size
        self._rollbacks = rollbacks
        self._team = team
        self.step = _resume(checkpoints, run_dir)
        self.rolled_back = run_folder.rollbacks(run_dir)
        team.share(model, self.step, self.rolled_back)
        self._log = Log(run_dir, self.step)
        if self._log.damaged:
            say(
                f"WARNING: {self._log.damaged} damaged lines of metrics.jsonl are dropped"
            )
        self._monitor = health.Monitor(self._log.history)
        self._stop = StopSignals()
        self.agreement = Agreement(team, self._stop)
        self._compiled_forward = compiled_steps.compile_forward(model)

    def catch_up(self, validate_start):
        """Measures what is owed at the step it stands at: a new run's start, or a
        validation that was cut off.

        Args:
          validate_start: as of `training.train`.

        Raises:
          NotFinite: what is measured is not.
        """
        log = self._log
        if self.step == 0 and not log.history:
            log.scalars(0, self._look_at_start(validate_start))
            if "validation/psnr" in log.history[-1]:
                self._save(best=True)
        elif self._schedule.validates(self.step) and _validation_missing(
            log, self.step
        ):
            best_before = log.best("validation/psnr")
            log.complete(self._validate())
            self._monitor = health.Monitor(log.history[:-1])
            self._watch_health(log.history[-1])
            if log.best("validation/psnr") > best_before:
                self._save(best=True)

    def __enter__(self):
        if self._rollbacks and self._checkpoints.newest_path is None:
            self._checkpoints.save(self.step)  # To go back to.
        with contextlib.ExitStack() as stack:
            stack.callback(self._log.close)
            progress = Progress(self.step, self._schedule.steps, self._batch_size)
            stack.callback(progress.close)
            stack.enter_context(self._stop)
            self._exits = stack.pop_all()
        self._progress = progress
        self._begin_span()
        return self

    def __exit__(self, *error):
        return self._exits.__exit__(*error)

    def _begin_span(self):
        """Begins the steps up to the next report."""
        self._pending = []
        self._began = time.monotonic()

    def take(self, results):
        """Takes what a step returned, unread: a GPU may still be at it."""
        self._pending.append(results)
        self.step += 1
        self._stop.work_at_stake = True

    def read_losses(self):
        """Reads the losses since the last report, and the weights where they are kept.

        Returns:
          dict of the last step's losses; its numbers of health may not be finite.

        Raises:
          NotFinite: naming step and loss or weight.
        """
        losses = finite_values(self._pending, self.step, self._checkpoints.kept)
        if self._schedule.validates(self.step) or self._schedule.saves(self.step):
            self._checkpoints.refuse_non_finite(self.step)
        return losses

    def keep(self, losses):
        """Measures, logs and saves what is due at the step, in this order.

        Args:
          losses: as of `read_losses`.

        Raises:
          Abandoned: it is to stop during a validation, which the next process does.
          NotFinite: what a validation measures is not. No rollback is tried: the other
            workers, which do not validate, would not know of it.
        """
        seconds = time.monotonic() - self._began
        self._progress.advance(self.step, len(self._pending), seconds, losses)
        values = {name: v for name, v in losses.items() if math.isfinite(v)}
        images_seen = len(self._pending) * self._batch_size
        values["images_per_second"] = images_seen / seconds
        due_validation = self._schedule.validates(self.step)
        best = False
        if due_validation:
            best_before = self._log.best("validation/psnr")
            try:
                values |= self._validate()
            except Abandoned:
                self._log.scalars(self.step, values)
                self._begin_span()
                self.agreement.settle(self._model)
                raise
            best = values.get("validation/psnr", -math.inf) > best_before
        if self._schedule.logs(self.step):
            self._watch_health({**losses, **values})
            self._log.scalars(self.step, values)
        if self._schedule.saves(self.step) or best:
            self._save(best)
        if due_validation:
            self.agreement.settle(self._model)
        self._begin_span()

    def go_back(self, fault):
        """Restores the last checkpoint; the batches from there are to be others.

        Args:
          fault: NotFinite.

        Raises:
          NotFinite: it has gone back as often as allowed.
        """
        self.rolled_back = _note_rollback(
            self._run_dir, self._rollbacks, self.step, fault, self._checkpoints
        )
        self.step = self._checkpoints.restore()
        self._team.share(self._model, self.step, self.rolled_back)
        self._log.rewind(self.step)
        self._monitor = health.Monitor(self._log.history)
        self._progress.rewind(self.step)
        self._begin_span()

    def end(self):
        """Ends the run, with a checkpoint where it was asked to stop.

        Returns:
          the signal that stopped it, or None when it ran to the end.

        Raises:
          NotFinite: a loss or weight of the last steps is not finite.
        """
        stopped = self.agreement.signal() if self.agreement.reached() else None
        if stopped is not None:
            finite_values(self._pending, self.step, self._checkpoints.kept)
            self._checkpoints.refuse_non_finite(self.step)
            self._save()
            say(f"{stopped.name}: stopped at step {self.step}, checkpoint saved")
        else:
            say(f"finished; look at {os.path.join(self._run_dir, 'samples')}")
        self._team.wait()
        return stopped

    def leave(self):
        """Leaves a run that is at its last step already."""
        say(f"{self._run_dir} is at step {self.step} already; raise --steps to go on")
        self._log.close()
        self._team.wait()

    def _forward(self, image, mask):
        if self._stop.received is not None:
            raise Abandoned
        return self._compiled_forward(image, mask)

    def _look_at_start(self, validate_start):
        """Samples, and measures if wanted, of a new run; and of the floor to clear."""
        samples = self._complete_first()
        measures = self._measure(samples) if validate_start else {}
        values = self._report(measures, samples)
        if "completed" in samples:
            floor = evaluation.measure(
                evaluation.mean_color_fill, self._validation_batches
            )
            say(f"mean-colour fill: validation {evaluation.describe(floor)}")
            values |= {f"mean_color_fill/{name}": floor[name] for name in floor}
        return values

    def _validate(self):
        samples = self._complete_first()
        return self._report(self._measure(samples), samples)

    def _complete_first(self):
        """The first validation batch and the model's outputs for it, dict of tensors."""
        first = next(iter(self._validation_batches))
        return {**first, **self._forward(first["image"], first["mask"])}

    def _measure(self, samples):
        """Mean psnr, ssim, l1 of the validation examples; empty for a network that
        completes nothing (a prior)."""
        if "completed" not in samples:
            return {}
        return evaluation.measure(
            lambda image, mask: self._forward(image, mask)["completed"],
            self._validation_batches,
        )

    def _report(self, measures, samples):
        """Draws samples and says what was measured; returns it under its names.

        Raises:
          NotFinite: naming the step and what is not finite.
        """
        values = {f"validation/{name}": value for name, value in measures.items()}
        values |= health.output_measures(samples)
        for name, value in values.items():
            if not math.isfinite(value):
                name += " in validation"
                raise _not_finite(self.step, name, value, self._checkpoints.kept)
        self._log.picture(self.step, "step", figures.draw_samples(samples))
        if measures:
            say(f"step {self.step}: validation {evaluation.describe(measures)}")
        return values

    def _watch_health(self, values):
        self._monitor.observe(values)
        if self._schedule.validates(self.step) and (summary := self._monitor.summary()):
            say(f"step {self.step}: health: {summary}")
        for sentence in self._monitor.news():
            say(f"step {self.step}: health: WARNING: {sentence}")

    def _save(self, best=False):
        self._log.sync()
        self._checkpoints.save(self.step, best)
        run_folder.note_checkpoint(self._run_dir, self.step)


def _resume(checkpoints, run_dir):
    """Restores the newest whole checkpoint; says what is lost; returns its step."""
    logged = run_folder.logged_step(run_dir)
    noted = run_folder.noted_checkpoint(run_dir)
    step, warnings = checkpoints.resume(noted)
    lost = max(logged, noted) - step
    loss = f"{lost} steps are lost" if lost else "nothing is lost"
    for warning in warnings:
        say(f"WARNING: {warning}; going on from step {step}: {loss}")
    if step:
        again = f", {lost} steps are trained again" if lost else ""
        say(f"resuming {run_dir} at step {step}{again}")
    elif logged:
        say(
            f"WARNING: {run_dir} had come to step {logged} and was stopped before its "
            "first checkpoint: beginning again at step 0"
        )
    return step


def _validation_missing(log, step):
    """Whether a run was stopped during the validation of the step it stands at.

    The log says so: a picture of the step may be there from steps that were lost.
    """
    last = log.history[-1] if log.history else {}
    # A network that completes nothing logs the second only.
    of_validation = {"validation/psnr", health.PREFIX + "saturated_outputs"}
    return last.get("step") == step and not of_validation & last.keys()


def _note_rollback(run_dir, allowed, step, fault, checkpoints):
    """Records that training goes back to the last checkpoint; returns how often it did.

    Raises:
      NotFinite: `fault`, when it has gone back as often as allowed.
    """
    done = run_folder.rollbacks(run_dir)
    if done >= allowed:
        if allowed:
            fault = NotFinite(f"{fault}; all {allowed} --rollbacks are used up")
        raise fault
    say(f"WARNING: {fault}")
    say(f"going back, with other batches from there: rollback {done + 1} of {allowed}")
    return run_folder.note_rollback(
        run_dir, step=step, checkpoint=checkpoints.newest_path, fault=str(fault)
    )


def finite_values(pending, step, kept):
    """Reads the losses of the steps since the last report; returns the last values.

    Reading only now lets a GPU run ahead of the host in between.

    Args:
      pending: what the steps returned, the last of them of `step`.
      step: int.
      kept: function that gives words on which checkpoint remains.

    Returns:
      dict of the last step's values, floats; empty without a step.

    Raises:
      NotFinite: naming step and loss.
    """
    first = step - len(pending) + 1
    for at, results in enumerate(pending, start=first):
        for name, value in results.items():
            # Gradients may overflow under float16; the optimizer skips such a step.
            if name.startswith(health.PREFIX):
                continue
            if not math.isfinite(value := float(value)):
                raise _not_finite(at, name, value, kept)
    if not pending:
        return {}
    return {name: float(value) for name, value in pending[-1].items()}


def _not_finite(step, name, value, kept):
    return NotFinite(
        f"step {step}: {name} is {value}; {kept()}; try a lower --learning_rate or a "
        "--clip_norm in another --run_dir"
    )
