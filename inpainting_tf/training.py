"""The training loop, the same for every method.

A method is a model with `call(image, hole, training) -> dict` and `update(batch) ->
dict of scalar losses`; everything about players, phases and weights of losses is its
own. The loop compiles `update` under a tf.distribute strategy, feeds it, and keeps the
run: checkpoints, validation, samples, logs, resuming and stopping.

Stages of a step: update -> measurements -> log -> checkpoint, in this order, so that
whatever a checkpoint stands for is already logged when the checkpoint exists.
"""

import math
import os
import signal
import sys
import time

import tensorflow as tf
from tqdm import tqdm

from inpainting_tf import evaluation, figures, images
from inpainting_tf.checkpoints import Checkpoints, TrainingStopped
from inpainting_tf.contextual_attention import offsets_to_color
from inpainting_tf.run_folder import Log


def choose_strategy(devices="auto"):
    """The distribution strategy for a machine.

    Args:
      devices: "auto" for all visible GPUs, mirrored where there are several; "one"
        for a single device; or a list of device names to mirror over.

    Returns:
      tf.distribute.Strategy.
    """
    if devices == "auto":
        devices = [gpu.name for gpu in tf.config.list_logical_devices("GPU")]
    if devices != "one" and len(devices) > 1:
        return tf.distribute.MirroredStrategy(devices)
    return tf.distribute.get_strategy()


def compile_step(model, strategy, jit_compile=False):
    """Compiles `model.update` for all replicas.

    Args:
      model: the method, created in the strategy's scope.
      strategy: the tf.distribute strategy.
      jit_compile: compile by XLA; for one replica only.

    Returns:
      function from a (distributed) batch to a dict of scalar losses, means over the
      global batch.
    """
    if strategy.num_replicas_in_sync == 1:
        return tf.function(model.update, jit_compile=jit_compile)

    @tf.function
    def step(batch):
        results = strategy.run(model.update, args=(batch,))
        return {
            name: strategy.reduce("MEAN", value, axis=None)
            for name, value in results.items()
        }

    return step


def compile_forward(model, size=None):
    """The method outside training as a compiled function (image, mask) -> dict.

    Args:
      model: a Keras model, see the README's contract.
      size: side of the images, for one graph that takes any number of them; None
        makes a graph for the shapes that come.
    """
    signature = None
    if size is not None:
        signature = [tf.TensorSpec([None, size, size, c], tf.float32) for c in (3, 1)]
    return tf.function(
        lambda image, mask: model(image, mask, training=False),
        input_signature=signature,
        reduce_retracing=True,
    )


def validate(forward, batches):
    """Completes the validation examples.

    Args:
      forward: function (image, mask) -> dict with `completed`.
      batches: fixed validation batches, see `data.fixed_batches`.

    Returns:
      (measures, samples): dict of mean psnr, ssim, l1, empty for a network that
      completes nothing (a prior); and the first batch's inputs and outputs, dict of
      tensors.
    """
    first = next(iter(batches))
    samples = {**first, **forward(first["image"], first["mask"])}
    if "completed" not in samples:
        return {}, samples

    def inpaint(image, mask):
        return forward(image, mask)["completed"]

    return evaluation.measure(inpaint, batches), samples


def draw_samples(samples, rows=8):
    """The sample grid: input with hole, predicted, completed, truth, attention.

    Of a network that completes nothing, a sheet of what it generates.

    Args:
      samples: dict with `image`, `mask` and a model's outputs, batch first.
      rows: how many examples.

    Returns:
      uint8 picture [height, width, 3].
    """
    if "completed" not in samples:
        generated = images.to_uint8(samples["predicted"][: rows * rows]).numpy()
        columns = min(rows, math.ceil(math.sqrt(len(generated))))
        return figures.sheet(generated, columns)
    samples = {name: value[:rows] for name, value in samples.items()}
    image, mask = samples["image"], samples["mask"]
    white = tf.ones_like(image)
    columns = {
        "input": images.to_uint8(images.compose(image, white, mask)),
        "predicted": images.to_uint8(samples["predicted"]),
        "completed": images.to_uint8(samples["completed"]),
        "truth": images.to_uint8(image),
    }
    if "attention_offsets" in samples:
        colors = offsets_to_color(samples["attention_offsets"].numpy())
        columns["attention"] = images.to_uint8(colors)
    columns = {name: pictures.numpy() for name, pictures in columns.items()}
    return figures.sample_grid(columns, scale=max(1, 128 // image.shape[1]))


class _StopSignals:
    """Turns the first SIGTERM or SIGINT into a request; a second one acts at once."""

    def __enter__(self):
        self.received = None
        self._previous = {
            number: signal.signal(number, self._receive)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def _receive(self, number, frame):
        self.received = signal.Signals(number)
        signal.signal(number, self._previous[number])

    def __exit__(self, *_):
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class _Progress:
    """A bar on a terminal; in a log file, a line every few seconds."""

    def __init__(self, step, steps, batch_size, seconds_between_lines=15.0):
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

    def close(self):
        if self._bar is not None:
            self._bar.close()


def _clock(seconds):
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def say(line):
    """Prints a line for the user without breaking a progress bar."""
    tqdm.write(line, file=sys.stderr)


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
):
    """Trains a method to a step count, resuming where its run folder stands.

    Args:
      model: the method, built in the strategy's scope.
      make_batches: function from the first step to a dataset of training batches.
      validation_batches: finite dataset, the same at every pass.
      strategy: tf.distribute strategy.
      run_dir: prepared run folder, see `run_folder`.
      steps: step to train to.
      batch_size: images per step, for the rate shown.
      log_every, validate_every, checkpoint_every: periods in steps.
      keep: number of newest checkpoints kept.
      jit_compile: compile the step by XLA.

    Returns:
      the signal that stopped training early, or None when it ran to the end.

    Raises:
      TrainingStopped: a loss or a weight is not finite, or the newest checkpoint
        cannot be restored.
    """
    checkpoints = Checkpoints(model, os.path.join(run_dir, "checkpoints"), keep)
    step = checkpoints.restore()
    if step >= steps:
        say(f"{run_dir} is at step {step} already; raise --steps to go on")
        return None
    log = Log(run_dir, step)
    if step:
        say(f"resuming {run_dir} at step {step}")

    forward = compile_forward(model)

    def validation():
        measures, samples = validate(forward, validation_batches)
        log.picture(step, "step", draw_samples(samples))
        if measures:
            say(f"step {step}: validation {describe(measures)}")
        return {f"validation/{name}": value for name, value in measures.items()}

    if step == 0 and not log.history:
        values = validation()
        if values:
            floor = evaluation.measure(evaluation.mean_color_fill, validation_batches)
            say(f"mean-colour fill: validation {describe(floor)}")
            values |= {f"mean_color_fill/{name}": floor[name] for name in floor}
        log.scalars(0, values)
    compiled_step = compile_step(model, strategy, jit_compile)
    progress = _Progress(step, steps, batch_size)
    pending = []
    began = time.monotonic()
    try:
        with _StopSignals() as stop:
            batches = iter(strategy.experimental_distribute_dataset(make_batches(step)))
            while step < steps and stop.received is None:
                pending.append(compiled_step(next(batches)))
                step += 1
                last = step == steps
                due_validation = step % validate_every == 0 or last
                due_checkpoint = step % checkpoint_every == 0 or last
                if step % log_every and not due_validation and not due_checkpoint:
                    continue
                values = _finite_values(pending, step, checkpoints)
                seconds = time.monotonic() - began
                progress.advance(step, len(pending), seconds, values)
                values["images_per_second"] = len(pending) * batch_size / seconds
                if due_validation or due_checkpoint:
                    checkpoints.refuse_non_finite(step)
                best = False
                if due_validation:
                    best_before = log.best("validation/psnr")
                    values.update(validation())
                    best = values.get("validation/psnr", -math.inf) > best_before
                if step % log_every == 0 or due_validation:
                    log.scalars(step, values)
                if due_checkpoint or best:
                    checkpoints.save(step, best)
                pending = []
                began = time.monotonic()
            if stop.received is not None:
                _finite_values(pending, step, checkpoints)
                checkpoints.refuse_non_finite(step)
                checkpoints.save(step)
                say(f"{stop.received.name}: stopped at step {step}, checkpoint saved")
            else:
                say(f"finished; look at {os.path.join(run_dir, 'samples')}")
            return stop.received
    finally:
        progress.close()
        log.close()


def _finite_values(pending, step, checkpoints):
    """Reads the losses of the steps since the last report; returns the last ones.

    Reading only now lets a GPU run ahead of the host in between.
    """
    first = step - len(pending) + 1
    for at, results in enumerate(pending, start=first):
        values = {name: float(value) for name, value in results.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise TrainingStopped(
                    f"step {at}: {name} is {value}; {checkpoints.kept()}; try a lower "
                    "--learning_rate or a --clip_norm in another --run_dir"
                )
    return values if pending else {}


def describe(measures):
    """Measures in words: "PSNR 24.10 dB  SSIM 0.850  L1 0.0310"."""
    return (
        f"PSNR {measures['psnr']:.2f} dB  SSIM {measures['ssim']:.3f}  "
        f"L1 {measures['l1']:.4f}"
    )
