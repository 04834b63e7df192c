"""One pass over a protocol: every method completes every image, and all are measured.

Input: examples (`protocol_examples`), methods, and a folder of values that may have begun
(`measured_values`). A method is an object with `label` and `complete`, a function from
a batch (`image`, `mask`, `index`, `names`) to completed images float32 [B, H, W, 3].
Output: the values, grown to the end of the protocol; what the time was spent on.

Known pixels are restored first, whatever a method does to them, so that all are
measured alike. What is there already is not completed again.
"""

import collections
import contextlib
import sys
import time

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from inpainting_tf import images, metric_table, protocol_examples
from inpainting_tf.progress import say
from inpainting_tf.tensorflow_errors import in_one_line

TRUTH = "_truth"  # Stands for the ground truth among labels.
MASK = "_mask"  # And this one for the mask, among pictures.


class MethodError(ValueError):
    """A method that gives no images to measure; the message says which and why."""


class Stopwatch:
    """Time by what it was spent on.

    Attributes:
      seconds: wall time.
      cpu_seconds: CPU time of all threads, also of what they do for another part.
    """

    def __init__(self):
        self.seconds = collections.Counter()
        self.cpu_seconds = collections.Counter()

    @contextlib.contextmanager
    def on(self, what):
        """Adds the time inside."""
        began, cpu_began = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - began
            self.cpu_seconds[what] += time.process_time() - cpu_began

    def shares(self, total):
        """Percentages of `total` seconds: text, the largest first."""
        return ", ".join(
            f"{what} {100 * seconds / total:.0f} %"
            for what, seconds in self.seconds.most_common()
        )


def measuring(names, size):
    """Compiled function that restores the known pixels and measures.

    Args:
      names: keys of `metric_table.METRICS`.
      size: side of the images.

    Returns:
      function (image, completed, mask) -> dict: `completed` with the known pixels of
      the image, `finite`, bool scalar, `hole_area` [B], and `metrics`, name -> [B].
    """
    image = tf.TensorSpec([None, size, size, 3], tf.float32)
    mask = tf.TensorSpec([None, size, size, 1], tf.float32)

    # For any number of images: the last ones of a protocol need no graph of their own.
    @tf.function(input_signature=[image, image, mask], autograph=False)
    def measure(image, completed, mask):
        completed = images.compose(image, completed, mask)
        return {
            "completed": completed,
            "finite": tf.reduce_all(tf.math.is_finite(completed)),
            "hole_area": tf.reduce_mean(mask, axis=[1, 2, 3]),
            "metrics": {
                name: metric_table.METRICS[name].function(image, completed, mask)
                for name in names
            },
        }

    return measure


class Pass:
    """One pass over the examples: completes, measures, keeps.

    Attributes:
      feature_size: numbers per image of `extract`, 0 without it.
    """

    def __init__(
        self,
        protocol,
        methods,
        values,
        metric_names,
        *,
        data_dir=None,
        batch_size=16,
        shown=8,
        extract=None,
        stopwatch=None,
    ):
        """Prepares the pass.

        Args:
          protocol: Protocol.
          methods: list of methods, see above.
          values: MeasuredValues.
          metric_names: keys of `metric_table.METRICS`.
          data_dir: folder of the protocol's files, if it needs any.
          batch_size: images completed at once.
          shown: number of first images that are kept as pictures.
          extract: function from images [B, H, W, 3] to features [B, D], or None.
          stopwatch: takes the time of "methods", "images" and "measuring".
        """
        self._protocol, self._methods, self._values = protocol, methods, values
        self._data_dir, self._batch_size = data_dir, batch_size
        self._shown, self._extract = shown, extract
        self._watch = stopwatch or Stopwatch()
        self._measure = measuring(metric_names, protocol.size)
        self._examples = None
        self.feature_size = 0
        if extract is not None:
            probe = tf.zeros([1, protocol.size, protocol.size, 3])
            self.feature_size = int(extract(probe).shape[-1])

    def run(self):
        """Goes on where each method stands, to the end of the protocol.

        Raises:
          MethodError: a method fails in TensorFlow, or its completions have another
            shape, or are not finite.
          ProtocolError: an image or a mask that is not the frozen one.
        """
        done = self._done()
        start = min(done.values())
        if start:
            say(f"going on at image {start} of {len(self._protocol)}")
        # Networks round by their batch: it is the same one as without an interruption.
        start -= start % self._batch_size
        with self._watch.on("images"):
            self._examples = protocol_examples.open_examples(
                self._protocol,
                self._data_dir,
                batch_size=self._batch_size,
                start=start,
            )
            batches = iter(self._examples)
        with tqdm(
            total=len(self._protocol),
            initial=start,
            unit="image",
            disable=not sys.stderr.isatty(),
        ) as bar:
            while True:
                with self._watch.on("images"):  # What was not ready in time.
                    batch = next(batches, None)
                if batch is None:
                    return
                self._truth(batch, done)
                for method in self._methods:
                    if batch["index"][-1] >= done[method.label]:
                        self._method(method, _from(batch, 0), done[method.label])
                bar.update(len(batch["index"]))

    def _done(self):
        """How many images are whole: label -> number; the rest is cut off."""
        done = {m.label: self._values.count(m.label) for m in self._methods}
        if self.feature_size:
            for label in [*done, TRUTH]:
                have = self._values.feature_count(label, self.feature_size)
                done[label] = min(done.get(label, have), have)
        for label, count in done.items():
            if label != TRUTH:
                self._values.cut(label, count)
            if self.feature_size:
                self._values.cut_features(label, count, self.feature_size)
        return done

    def _truth(self, batch, done):
        with self._watch.on("measuring"):
            if self.feature_size:
                fresh = _from(batch, done[TRUTH])
                if fresh["index"]:
                    extracted = self._extract(fresh["image"]).numpy()
                    self._values.add(TRUTH, [], extracted)
            for place, number in self._to_show(batch):
                image, mask = batch["image"][place], batch["mask"][place]
                self._values.show(number, TRUTH, images.to_uint8(image).numpy())
                mask = tf.repeat(tf.cast(mask * 255, tf.uint8), 3, axis=-1)
                self._values.show(number, MASK, mask.numpy())

    def _method(self, method, part, first):
        """Completes a batch and keeps what belongs to images from `first` on."""
        image, mask = part["image"], part["mask"]
        with self._watch.on("methods"):
            try:
                # Finished on the device before the clock is read.
                completed = np.asarray(method.complete(part), np.float32)
            except tf.errors.OpError as error:
                raise MethodError(
                    f"--methods: {method.label} failed: {in_one_line(error.message)}"
                ) from None
        with self._watch.on("measuring"):
            if completed.shape != tuple(image.shape):
                raise MethodError(
                    f"--methods: {method.label} completes images of shape "
                    f"{tuple(image.shape)} to {completed.shape}"
                )
            measured = self._measure(image, tf.constant(completed), mask)
            if not measured["finite"]:
                raise MethodError(
                    f"--methods: {method.label} gives values that are not finite, for "
                    f"one of the images {', '.join(part['names'][:3])}, ..."
                )
            extracted = None
            if self.feature_size:
                extracted = self._extract(measured["completed"]).numpy()
            for place, number in self._to_show(part):
                pixels = images.to_uint8(measured["completed"][place]).numpy()
                self._values.show(number, method.label, pixels)
            areas = measured["hole_area"].numpy().tolist()
            columns = {k: v.numpy().tolist() for k, v in measured["metrics"].items()}
            rows = [
                {
                    "index": part["index"][i],
                    "image": part["names"][i],
                    "group": part["groups"][i],
                    "hole_area": areas[i],
                    "exact": part["names"][i] not in self._examples.differing,
                    **{name: column[i] for name, column in columns.items()},
                }
                for i in range(len(part["index"]))
            ]
            skipped = max(first - part["index"][0], 0)
            if extracted is not None:
                extracted = extracted[skipped:]
            self._values.add(method.label, rows[skipped:], extracted)

    def _to_show(self, part):
        for place, number in enumerate(part["index"]):
            if number < self._shown:
                yield place, number


def _from(batch, start):
    """The examples of a batch from number `start` on, as methods take them."""
    skipped = sum(number < start for number in batch["index"])
    return {
        "image": batch["image"][skipped:],
        "mask": batch["mask"][skipped:],
        "index": batch["index"][skipped:],
        "names": batch["name"][skipped:],
        "groups": batch["group"][skipped:],
    }
