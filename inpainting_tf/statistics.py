"""How sure a mean over images is, and whether one method is better than another.

Inputs are per-image values [N] of one metric, outputs plain floats. Images are the unit
that is drawn again: all intervals and p-values speak about other images of the same
kind, not about retraining a method.

Every function is deterministic by its seed: numbers come from NumPy's PCG64 by
`Generator.integers`. NumPy does not promise that stream for ever: it may change at a
release (announced, and last in 1.17 for bounded integers), which would move intervals
in their last printed digits; means never depend on it.

Draws are shared: intervals of many methods and metrics on the same images come from one
set of resamples, whose means are one matrix product. Values are summed as whole
multiples of a power of two, about 2^-53 of their largest sum: exactly, so that means
are the same in any order, in any piece, on any machine.

Stages: `bootstrap_intervals` of methods' means; `paired_comparisons` of methods.
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
    return bootstrap_intervals([values], confidence, resamples, seed)[0]


def bootstrap_intervals(columns, confidence=0.95, resamples=10_000, seed=0):
    """`bootstrap_interval` of each of many columns of values, of equal length.

    Args:
      columns: list of [N] finite numbers.
      confidence, resamples, seed: as there.

    Returns:
      list of (low, high), the same numbers as one column at a time.

    Raises:
      ValueError: as there, or columns of different lengths.
    """
    columns = [_checked(values, "values") for values in columns]
    means = _resampled_means(columns, resamples, seed)
    return [_percentiles(of_one, confidence) for of_one in means]


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
      better: "higher" or "lower", as in `metric_table.Metric`.
      confidence, resamples, seed: as in `bootstrap_interval`.

    Returns:
      PairedComparison.

    Raises:
      ValueError: different lengths, no values, values that are not finite, or an
        argument out of range.
    """
    return paired_comparisons([(a, b, better)], confidence, resamples, seed)[0]


def paired_comparisons(pairs, confidence=0.95, resamples=10_000, seed=0):
    """`paired_comparison` of each of many pairs on as many images.

    Args:
      pairs: list of (a, b, better), as there.
      confidence, resamples, seed: as there.

    Returns:
      list of PairedComparison, the same numbers as one pair at a time.

    Raises:
      ValueError: as there, or pairs of different lengths.
    """
    differences = []
    for a, b, better in pairs:
        a, b = _checked(a, "a"), _checked(b, "b")
        if a.shape != b.shape:
            raise ValueError(
                f"paired comparison of {len(a)} and {len(b)} values: both methods must "
                "be measured on the same images"
            )
        if better not in ("higher", "lower"):
            raise ValueError(f'better="{better}": must be "higher" or "lower"')
        differences.append(a - b)
    all_means = _resampled_means(differences, resamples, seed)
    tests = _sign_flip_tests(differences, resamples, seed)
    compared = []
    for (_, _, better), difference, means, (p_value, p_value_method) in zip(
        pairs, differences, all_means, tests, strict=True
    ):
        low, high = _percentiles(means, confidence)
        sign = 1 if better == "higher" else -1
        gain, gains = sign * difference, sign * means
        compared.append(
            PairedComparison(
                count=len(difference),
                mean_difference=float(difference.mean()),
                low=low,
                high=high,
                probability_better=float(np.mean((gains > 0) + 0.5 * (gains == 0))),
                p_value=p_value,
                p_value_method=p_value_method,
                wins=int(np.sum(gain > 0)),
                ties=int(np.sum(gain == 0)),
                losses=int(np.sum(gain < 0)),
            )
        )
    return compared


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


def _resampled_means(columns, resamples, seed):
    """Means of `resamples` draws of N of a column's values with replacement.

    Args:
      columns: list of K arrays [N].

    Returns:
      [K, resamples].
    """
    if resamples < 1:
        raise ValueError(f"resamples={resamples}: must be at least 1")
    if len({len(values) for values in columns}) > 1:
        raise ValueError("columns of different lengths: not of the same images")
    if not columns:
        return np.empty([0, resamples])
    whole, unit = _whole_numbers(np.stack(columns))
    count = whole.shape[1]
    generator = np.random.Generator(np.random.PCG64(seed))
    means = np.empty([len(columns), resamples])
    for part in _parts(resamples, count):
        rows = part.stop - part.start
        drawn = generator.integers(0, count, [rows, count])
        drawn += count * np.arange(rows)[:, None]  # Each row has numbers of its own.
        times = np.bincount(drawn.ravel(), minlength=rows * count)
        times = times.reshape(rows, count).astype(np.float64)
        means[:, part] = whole @ times.T
    return means * unit / count


def _whole_numbers(columns):
    """Splits [K, N] into whole numbers and units [K, 1], powers of two: any N of a
    column's numbers have a sum of at most 2^53, and add up exactly."""
    largest = np.abs(columns).max(axis=1, keepdims=True) * columns.shape[1]
    unit = np.ldexp(1.0, np.maximum(np.frexp(largest)[1] - 52, -1000))
    return np.round(columns / unit), unit


def _parts(rows, columns):
    step = max(1, _CHUNK // columns)
    return [slice(i, min(i + step, rows)) for i in range(0, rows, step)]


def _percentiles(means, confidence):
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence}: must be above 0 and below 1")
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def _sign_flip_tests(differences, resamples, seed):
    """Two-sided p-values of the means under random signs, and how each was found."""
    # A zero is its own flip.
    differences = [difference[difference != 0] for difference in differences]
    found = [None] * len(differences)
    for count in {len(difference) for difference in differences}:
        # Those with as many values share their flips.
        places = [i for i, d in enumerate(differences) if len(d) == count]
        together = np.stack([differences[i] for i in places], axis=1)
        for i, result in zip(
            places, _sign_flips(together, resamples, seed), strict=True
        ):
            found[i] = result
    return found


def _sign_flips(differences, resamples, seed):
    """The same of [N, K] without zeros."""
    count = len(differences)
    # A flip that gives the observed mean up to rounding is as extreme as it.
    slack = 1e-12 * np.abs(differences).sum(axis=0)
    threshold = np.abs(differences.sum(axis=0)) - slack
    if count <= _EXACT:
        flips = np.arange(2**count)[:, None] >> np.arange(count) & 1
        extreme = np.abs((1.0 - 2.0 * flips) @ differences) >= threshold
        return [(float(p), "exact sign flips") for p in extreme.mean(axis=0)]
    # A stream of its own, so that the test and the interval are independent.
    generator = np.random.Generator(np.random.PCG64([seed, 1]))
    extreme = 0
    for part in _parts(resamples, count):
        flips = generator.integers(0, 2, [part.stop - part.start, count])
        sums = np.abs((1.0 - 2.0 * flips) @ differences)
        extreme += np.sum(sums >= threshold, axis=0)
    return [(float(p), "random sign flips") for p in (1 + extreme) / (1 + resamples)]
