"""The training loop, the same for every method.

A method is a model with `call(image, hole, training) -> dict` and `update(batch) ->
dict of scalar losses`; everything about players, phases and weights of losses is its
own. The loop compiles `update` under a tf.distribute strategy, feeds it, and keeps the
run: checkpoints, validation, samples, logs, resuming and stopping.

Stages of a step: update -> measurements -> log -> checkpoint, in this order, so that
whatever a checkpoint stands for is already logged when the checkpoint exists. So a
process may be killed at any moment, and the next one goes on as if nothing had been.
"""

import math
import os
import time
from typing import NamedTuple

from inpainting_tf import (
    compiled_steps,
    evaluation,
    figures,
    health,
    run_folder,
)
from inpainting_tf.checkpoints import Checkpoints, NotFinite, TrainingStopped
from inpainting_tf.progress import Progress, say
from inpainting_tf.run_folder import Log
from inpainting_tf.stopping import Abandoned, Agreement, StopSignals
from inpainting_tf.workers import ALONE


class Schedule(NamedTuple):
    """At which steps a run logs, validates and saves, and at which it ends."""

    steps: int
    log_every: int
    validate_every: int
    checkpoint_every: int

    def validates(self, step):
        return step % self.validate_every == 0 or step == self.steps

    def saves(self, step):
        return step % self.checkpoint_every == 0 or step == self.steps

    def logs(self, step):
        return step % self.log_every == 0 or self.validates(step)

    def reads_losses(self, step):
        return self.logs(step) or self.saves(step)


def train(
    model,
    make_batches,
    validation_batches,
    *,
    strategy,
    run_dir,
    steps,
    batch_size,
    log_every=10,
    validate_every=500,
    checkpoint_every=500,
    keep=3,
    jit_compile=False,
    rollbacks=0,
    validate_start=False,
    team=ALONE,
):
    """Trains a method to a step count, resuming where its run folder stands.

    Of several workers this is the chief's part; the others `follow`.

    Args:
      model: the method, built in the strategy's scope.
      make_batches: function (first step, number of rollbacks so far, data.Share) ->
        dataset of training batches.
      validation_batches: finite dataset, the same at every pass.
      strategy: tf.distribute strategy.
      run_dir: prepared run folder, see `run_folder`.
      steps: step to train to.
      batch_size: images per step, for the rate shown.
      log_every, validate_every, checkpoint_every: periods in steps.
      keep: number of newest checkpoints kept.
      jit_compile: compile the step by XLA.
      rollbacks: how often, over the whole run, training may go back to the last
        checkpoint, and on with other batches, after a loss or weight that is not
        finite.
      validate_start: validate a new run's first weights too, its best so far; random
        ones are not worth the wait.
      team: workers.Team that trains it.

    Returns:
      the signal that stopped training early, or None when it ran to the end.

    Raises:
      TrainingStopped: a loss or a weight is not finite, no checkpoint can be restored
        though some were written, or the disk takes no more.
      RunFolderError: another process is training there.
    """
    checkpoints = Checkpoints(model, os.path.join(run_dir, "checkpoints"), keep)
    lock = run_folder.lock(run_dir)
    try:
        return _train(
            model,
            checkpoints,
            make_batches,
            validation_batches,
            strategy=strategy,
            run_dir=run_dir,
            schedule=Schedule(steps, log_every, validate_every, checkpoint_every),
            batch_size=batch_size,
            jit_compile=jit_compile,
            rollbacks=rollbacks,
            validate_start=validate_start,
            team=team,
        )
    except OSError as error:
        raise TrainingStopped(
            f"{error.filename or run_dir} cannot be written ({error.strerror}); "
            f"{checkpoints.kept()}; make room or let it be written to, then run the "
            "same command"
        ) from None
    finally:
        os.close(lock)


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


def _train(
    model,
    checkpoints,
    make_batches,
    validation_batches,
    *,
    strategy,
    run_dir,
    schedule,
    batch_size,
    jit_compile,
    rollbacks,
    validate_start,
    team,
):
    """`train` in a folder that no other process trains in."""
    steps = schedule.steps
    step = _resume(checkpoints, run_dir)
    rolled_back = run_folder.rollbacks(run_dir)
    team.share(model, step, rolled_back)
    log = Log(run_dir, step)
    if log.damaged:
        say(f"WARNING: {log.damaged} damaged lines of metrics.jsonl are dropped")
    monitor = health.Monitor(log.history)
    stop = StopSignals()
    agreement = Agreement(team, stop)
    compiled_forward = compiled_steps.compile_forward(model)

    def forward(image, mask):
        if stop.received is not None:
            raise Abandoned
        return compiled_forward(image, mask)

    def report(measures, samples):
        log.picture(step, "step", figures.draw_samples(samples))
        if measures:
            say(f"step {step}: validation {evaluation.describe(measures)}")
        values = {f"validation/{name}": value for name, value in measures.items()}
        return values | health.output_measures(samples)

    def validation():
        return report(*evaluation.validate(forward, validation_batches))

    def look_at_start():
        if validate_start:
            measures, samples = evaluation.validate(forward, validation_batches)
        else:
            measures, samples = (
                {},
                evaluation.complete_first(forward, validation_batches),
            )
        values = report(measures, samples)
        if "completed" in samples:
            floor = evaluation.measure(evaluation.mean_color_fill, validation_batches)
            say(f"mean-colour fill: validation {evaluation.describe(floor)}")
            values |= {f"mean_color_fill/{name}": floor[name] for name in floor}
        return values

    def save(best=False):
        log.sync()
        checkpoints.save(step, best)
        run_folder.note_checkpoint(run_dir, step)

    if step == 0 and not log.history:
        log.scalars(0, look_at_start())
        if "validation/psnr" in log.history[-1]:
            save(best=True)
    elif _validation_missing(log, step) and schedule.validates(step):
        best_before = log.best("validation/psnr")
        log.complete(validation())
        if log.best("validation/psnr") > best_before:
            save(best=True)
    if step >= steps:
        say(f"{run_dir} is at step {step} already; raise --steps to go on")
        log.close()
        team.wait()
        return None
    if rollbacks and checkpoints.newest_path is None:
        checkpoints.save(step)  # To go back to.
    compiled_step = compiled_steps.compile_agreed_step(
        model, strategy, team, agreement, jit_compile
    )
    progress = Progress(step, steps, batch_size)

    def distributed_batches():
        return compiled_steps.distribute(
            make_batches, strategy, model, step, rolled_back
        )

    pending = []
    began = time.monotonic()
    try:
        with stop:
            batches = distributed_batches()
            while step < steps and not agreement.reached():
                pending.append(compiled_step(next(batches)))
                step += 1
                stop.work_at_stake = True
                if not schedule.reads_losses(step):
                    continue
                due_validation = schedule.validates(step)
                due_checkpoint = schedule.saves(step)
                try:
                    reported = finite_values(pending, step, checkpoints.kept)
                    if due_validation or due_checkpoint:
                        checkpoints.refuse_non_finite(step)
                except NotFinite as fault:
                    rolled_back = _note_rollback(
                        run_dir, rollbacks, step, fault, checkpoints
                    )
                    step = checkpoints.restore()
                    team.share(model, step, rolled_back)
                    log.rewind(step)
                    monitor = health.Monitor(log.history)
                    progress.rewind(step)
                    batches = distributed_batches()
                    pending = []
                    began = time.monotonic()
                    continue
                seconds = time.monotonic() - began
                progress.advance(step, len(pending), seconds, reported)
                values = {n: v for n, v in reported.items() if math.isfinite(v)}
                values["images_per_second"] = len(pending) * batch_size / seconds
                best = False
                if due_validation:
                    best_before = log.best("validation/psnr")
                    try:
                        measured = validation()
                    except Abandoned:  # The next process does it.
                        log.scalars(step, values)
                        pending = []
                        agreement.settle(model)
                        break
                    values |= measured
                    best = values.get("validation/psnr", -math.inf) > best_before
                if schedule.logs(step):
                    monitor.observe({**reported, **values})
                    if due_validation and (summary := monitor.summary()):
                        say(f"step {step}: health: {summary}")
                    for sentence in monitor.news():
                        say(f"step {step}: health: WARNING: {sentence}")
                    log.scalars(step, values)
                if due_checkpoint or best:
                    save(best)
                if due_validation:
                    agreement.settle(model)
                pending = []
                began = time.monotonic()
            stopped = agreement.signal() if agreement.reached() else None
            if stopped is not None:
                finite_values(pending, step, checkpoints.kept)
                checkpoints.refuse_non_finite(step)
                save()
                say(f"{stopped.name}: stopped at step {step}, checkpoint saved")
            else:
                say(f"finished; look at {os.path.join(run_dir, 'samples')}")
            team.wait()
            return stopped
    finally:
        progress.close()
        log.close()


def _validation_missing(log, step):
    """Whether a run was stopped during the validation of the step it stands at."""
    last = log.history[-1] if log.history else {}
    return last.get("step") == step and not os.path.exists(
        log.picture_path(step, "step")
    )


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
                raise NotFinite(
                    f"step {at}: {name} is {value}; {kept()}; try a lower "
                    "--learning_rate or a --clip_norm in another --run_dir"
                )
    if not pending:
        return {}
    return {name: float(value) for name, value in pending[-1].items()}
