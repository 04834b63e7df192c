"""The training loop, the same for every method.

A method is a model with `call(image, hole, training) -> dict` and `update(batch) ->
dict of scalar losses`; everything about players, phases and weights of losses is its
own. The loop compiles `update` under a tf.distribute strategy, feeds it, and lets
`training_run` keep the run: checkpoints, validation, samples, logs, resuming, stopping.

Stages of a step: update -> measurements -> log -> checkpoint, in this order, so that
whatever a checkpoint stands for is already logged when the checkpoint exists. So a
process may be killed at any moment, and the next one goes on as if nothing had been.
"""

import os
from typing import NamedTuple

from inpainting_tf import run_folder
from inpainting_tf.checkpoints import Checkpoints, NotFinite, TrainingStopped
from inpainting_tf.compiled_steps import compile_agreed_step, distribute
from inpainting_tf.stopping import Abandoned
from inpainting_tf.training_run import Run
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
      TrainingStopped: a loss, a weight or what a validation measures is not finite, no
        checkpoint can be restored though some were written, or the disk takes no more.
      RunFolderError: another process is training there.
    """
    checkpoints = Checkpoints(model, os.path.join(run_dir, "checkpoints"), keep)
    schedule = Schedule(steps, log_every, validate_every, checkpoint_every)
    lock = run_folder.lock(run_dir)
    try:
        run = Run(
            model,
            checkpoints,
            validation_batches,
            run_dir=run_dir,
            schedule=schedule,
            batch_size=batch_size,
            rollbacks=rollbacks,
            team=team,
        )
        run.catch_up(validate_start)
        if run.step >= steps:
            run.leave()
            return None
        compiled_step = compile_agreed_step(
            model, strategy, team, run.agreement, jit_compile
        )

        def batches_from_here():
            return distribute(make_batches, strategy, model, run.step, run.rolled_back)

        with run:
            return _train(run, schedule, compiled_step, batches_from_here)
    except OSError as error:
        raise TrainingStopped(
            f"{error.filename or run_dir} cannot be written ({error.strerror}); "
            f"{checkpoints.kept()}; make room or let it be written to, then run the "
            "same command"
        ) from None
    finally:
        os.close(lock)


def _train(run, schedule, compiled_step, batches_from_here):
    """The loop of `train`; returns and raises as that.

    Args:
      run: training_run.Run, entered.
      schedule: Schedule.
      compiled_step: function from a batch to losses.
      batches_from_here: function () -> iterator over the batches after the run's step.
    """
    batches = batches_from_here()
    while run.step < schedule.steps and not run.agreement.reached():
        run.take(compiled_step(next(batches)))
        if not schedule.reads_losses(run.step):
            continue
        try:
            losses = run.read_losses()
        except NotFinite as fault:
            run.go_back(fault)
            batches = batches_from_here()
            continue
        try:
            run.keep(losses)
        except Abandoned:
            break
    return run.end()
