"""A latent search that shows what it has found so far, while it runs.

Input: what `latent_completion.LatentCompletion.complete` takes, one picture, and a
function to be told. Output: the completion that the search gives unwatched, bit for bit.

Stages: the search's graph with a call of Python in its loop, every few iterations.
"""

import threading

import tensorflow as tf


class WatchedSearch:
    """`watched(image, mask, report) -> completed`; one at a time, others wait.

    Attributes:
      iterations: of the search, at most.
    """

    def __init__(self, search, every=5):
        """
        Args:
          search: has `complete(image, mask, watch=...)` and `iterations`, as
            `baselines.siidgm.SIIDGM`.
          every: iterations from one report to the next.
        """
        self.iterations = search.iterations
        self._search = search
        self._every = every
        self._report = None
        # The graph calls whichever report is set: a graph for each would be compiled
        # anew, for seconds.
        self._lock = threading.Lock()
        self._compiled = tf.function(self._complete, reduce_retracing=True)

    def __call__(self, image, mask, report):
        """Searches, blends and composes.

        Args:
          image: float32 [1, S, S, 3] in [-1, 1], S the GAN's size.
          mask: float32 [1, S, S, 1], 1 = missing.
          report: function (iteration, found, loss): an int from 0 on, float32 [S, S, 3]
            in [-1, 1], and a float. Restarts run in groups (`group_size`), of which the
            best is told; groups run one after the other, each from iteration 0 on. What
            it raises ends the search.

        Returns:
          completed, float32 [1, S, S, 3].

        Raises:
          tf.errors.OpError: report raised something.
        """
        with self._lock:
            self._report = report
            try:
                return self._compiled(image, mask)
            finally:
                self._report = None

    def _complete(self, image, mask):
        return self._search.complete(image, mask, watch=self._watch)["completed"]

    def _watch(self, step, generated, values):
        def tell():
            best = tf.argmin(values[:, 0])
            arguments = [step, generated[best], values[best, 0]]
            tf.numpy_function(self._tell, arguments, [])
            return step

        tf.cond(step % self._every == 0, tell, lambda: step)

    def _tell(self, step, found, loss):
        self._report(int(step), found, float(loss))
