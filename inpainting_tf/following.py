"""What the workers beside the chief do: its steps, on examples of their own.

They keep nothing. Weights, optimizers and the step come from the chief at the start and
after a rollback; everything else that is decided on the way follows from numbers that are
the same in all workers, so that both loops meet in the same order at

1. `team.share`, before the first step and after each rollback,
2. every step, which adds up gradients and the wishes to stop,
3. `agreement.settle`, after each validation (the chief's alone): it compares weights too,
4. `team.wait`, at the end: the chief's last checkpoint is written by then.

Inputs: the arguments of `training.train` that are no matter of keeping a run.
"""

from inpainting_tf.checkpoints import NotFinite, refuse_non_finite
from inpainting_tf.compiled_steps import compile_agreed_step, distribute
from inpainting_tf.progress import say
from inpainting_tf.stopping import Agreement, StopSignals
from inpainting_tf.training import Schedule
from inpainting_tf.training_run import finite_values


def follow(
    model,
    make_batches,
    *,
    strategy,
    steps,
    log_every,
    validate_every,
    checkpoint_every,
    rollbacks,
    team,
):
    """Trains along with the chief.

    Args: as of `training.train`.

    Returns:
      the signal that stopped training early, or None when it ran to the end.

    Raises:
      NotFinite: as the chief.
    """
    schedule = Schedule(steps, log_every, validate_every, checkpoint_every)
    stop = StopSignals()
    agreement = Agreement(team, stop)
    step, rolled_back = team.share(model, 0, 0)
    compiled_step = compile_agreed_step(model, strategy, team, agreement)
    say(f"{team.place}: from step {step} on; worker 0 keeps the run")
    pending = []
    with stop:
        batches = distribute(make_batches, strategy, model, step, rolled_back)
        while step < steps and not agreement.reached():
            pending.append(compiled_step(next(batches)))
            step += 1
            stop.work_at_stake = True
            if not schedule.reads_losses(step):
                continue
            try:
                finite_values(pending, step, _kept)
                if schedule.validates(step) or schedule.saves(step):
                    refuse_non_finite(model, step, _kept)
            except NotFinite:
                if rolled_back >= rollbacks:
                    raise
                step, rolled_back = team.share(model, 0, 0)
                batches = distribute(make_batches, strategy, model, step, rolled_back)
                pending = []
                continue
            pending = []
            if schedule.validates(step):
                agreement.settle(model)
        stopped = agreement.signal() if agreement.reached() else None
        if stopped is not None:
            finite_values(pending, step, _kept)
            refuse_non_finite(model, step, _kept)
        team.wait()
        word = f"{stopped.name}: stopped" if stopped is not None else "finished"
        say(f"{team.place}: {word} at step {step}")
        return stopped


def _kept():
    return "worker 0 says which checkpoint remains"
