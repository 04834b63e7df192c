"""How sure a mean over images is, and whether one method is better than another.

Inputs are per-image values [N] of one metric, outputs plain floats. Images are the unit
that is drawn again: all intervals and p-values speak about other images of the same
kind, not about retraining a method.

Every function is deterministic by its seed: numbers come from NumPy's PCG64 by
`Generator.integers`. NumPy does not promise that stream for ever: it may change at a
release (announced, and last in 1.17 for bounded integers), which would move intervals
in their last printed digits; means never depend on it.

Stages: `bootstrap_interval` of one method's mean; `paired_comparison` of two methods.
"""

import dataclasses

import numpy as np

# Values held at once while resampling, so that memory does not grow with N.
_CHUNK = 2**20
# Up to so many images, all 2^N sign flips are tried.
_EXACT = 16


def bootstrap_interval(values, confidence=0.95, resamples=10_000, seed=0):
    """Percentile bootstrap interval of the mean (Efron 1979; Efron and Tibshirani 1993,
    chapter 13).

    Args:
      values: [N] finite numbers.
      confidence: share of resampled means inside the interval, above 0 and below 1.
      resamples: how often N values are drawn with replacement.
      seed: of the draws.

    Returns:
      (low, high), floats; both the value itself for N = 1.

    Raises:
      ValueError: no values, values that are not finite, or a confidence out of range.
    """
    values = _checked(values, "values")
    return _percentiles(_resampled_means(values, resamples, seed), confidence)


@dataclasses.dataclass(frozen=True)
class PairedComparison:
    """Method a against method b on the same images.

    Attributes:
      count: N, number of images.
      mean_difference: mean of a - b, in the metric's unit; positive is better for a
        metric where higher is better.
      low, high: bootstrap interval of the mean difference.
      probability_better: share of bootstrap resamples in which a's mean is better than
        b's, equal means counted as one half.
      p_value: two-sided sign-flip permutation test of "a - b is symmetric about 0".
      p_value_method: "exact sign flips" or "random sign flips".
      wins, ties, losses: images on which a is better, equal, worse.
    """

    count: int
    mean_difference: float
    low: float
    high: float
    probability_better: float
    p_value: float
    p_value_method: str
    wins: int
    ties: int
    losses: int


def paired_comparison(a, b, better="higher", confidence=0.95, resamples=10_000, seed=0):
    """Compares two methods image by image.

    The p-value is that of Fisher's sign-flip permutation test on the mean difference:
    all 2^N flips up to N = 16, `resamples` random flips beyond, where it is
    (1 + as extreme ones) / (1 + flips) (Phipson and Smyth 2010) and so never below
    1 / (1 + resamples). It is not corrected for the number of pairs compared.

    Args:
      a, b: [N] finite values of the same metric on the same images in the same order.
      better: "higher" or "lower", as in `metrics.Metric`.
      confidence, resamples, seed: as in `bootstrap_interval`.

    Returns:
      PairedComparison.

    Raises:
      ValueError: different lengths, no values, values that are not finite, or an
        argument out of range.
    """
    a, b = _checked(a, "a"), _checked(b, "b")
    if a.shape != b.shape:
        raise ValueError(
            f"paired comparison of {len(a)} and {len(b)} values: both methods must be "
            "measured on the same images"
        )
    if better not in ("higher", "lower"):
        raise ValueError(f'better="{better}": must be "higher" or "lower"')
    difference = a - b
    means = _resampled_means(difference, resamples, seed)
    low, high = _percentiles(means, confidence)
    gain, gains = (difference, means) if better == "higher" else (-difference, -means)
    p_value, method = _sign_flip_test(difference, resamples, seed)
    return PairedComparison(
        count=len(a),
        mean_difference=float(difference.mean()),
        low=low,
        high=high,
        probability_better=float(np.mean((gains > 0) + 0.5 * (gains == 0))),
        p_value=p_value,
        p_value_method=method,
        wins=int(np.sum(gain > 0)),
        ties=int(np.sum(gain == 0)),
        losses=int(np.sum(gain < 0)),
    )


def _checked(values, name):
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(
            f"{name}: needs a list of at least one number, got shape {values.shape}"
        )
    if not np.isfinite(values).all():
        where = int(np.argmin(np.isfinite(values)))
        raise ValueError(f"{name}: value {where} is {values[where]}, not finite")
    return values


def _resampled_means(values, resamples, seed):
    """Means of `resamples` draws of N values with replacement, [resamples]."""
    if resamples < 1:
        raise ValueError(f"resamples={resamples}: must be at least 1")
    generator = np.random.Generator(np.random.PCG64(seed))
    means = np.empty(resamples)
    for part in _parts(resamples, len(values)):
        rows = part.stop - part.start
        drawn = generator.integers(0, len(values), [rows, len(values)])
        means[part] = values[drawn].mean(axis=1)
    return means


def _parts(rows, columns):
    step = max(1, _CHUNK // columns)
    return [slice(i, min(i + step, rows)) for i in range(0, rows, step)]


def _percentiles(means, confidence):
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}: must be above 0 and below 1")
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _sign_flip_test(difference, resamples, seed):
    """Two-sided p-value of the mean under random signs, and how it was found."""
    difference = difference[difference != 0]  # A zero is its own flip.
    count = len(difference)
    # A flip that gives the observed mean up to rounding is as extreme as it.
    threshold = abs(difference.sum()) - 1e-12 * np.abs(difference).sum()
    if count <= _EXACT:
        flips = np.arange(2**count)[:, None] >> np.arange(count) & 1
        extreme = np.abs((1 - 2 * flips) @ difference) >= threshold
        return float(extreme.mean()), "exact sign flips"
    # A stream of its own, so that the test and the interval are independent.
    generator = np.random.Generator(np.random.PCG64([seed, 1]))
    extreme = 0
    for part in _parts(resamples, count):
        flips = generator.integers(0, 2, [part.stop - part.start, count])
        extreme += int(np.sum(np.abs((1 - 2 * flips) @ difference) >= threshold))
    return (1 + extreme) / (1 + resamples), "random sign flips"
