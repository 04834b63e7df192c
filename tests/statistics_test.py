"""Intervals and paired comparisons against SciPy and closed formulas."""

import itertools

import numpy as np
import pytest
from scipy import stats

from inpainting_tf import statistics
from inpainting_tf.statistics import bootstrap_interval, paired_comparison

RNG = np.random.default_rng(5)


def test_interval_of_a_mean_nears_the_normal_one():
    values = RNG.normal(30, 4, 400)
    low, high = bootstrap_interval(values, confidence=0.9)
    error = values.std() / np.sqrt(400)
    expected = stats.norm.interval(0.9, values.mean(), error)
    np.testing.assert_allclose((low, high), expected, atol=0.05 * error)


def test_interval_of_skewed_values_is_that_of_scipy():
    values = RNG.exponential(2, 60)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, rng=3
    ).confidence_interval
    found = bootstrap_interval(values)
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_interval_of_two_values_has_the_binomial_shares():
    """Means 0, 1/2, 1 with shares 1/4, 1/2, 1/4."""
    assert bootstrap_interval([0, 1], confidence=0.6) == (0, 1)
    assert bootstrap_interval([0, 1], confidence=0.4) == (0.5, 0.5)
    assert bootstrap_interval([3.5]) == (3.5, 3.5)


def test_numbers_depend_on_the_seed_alone(monkeypatch):
    a, b = RNG.normal(0, 1, [2, 50])
    interval, comparison = bootstrap_interval(a), paired_comparison(a, b)
    assert bootstrap_interval(a) == interval
    assert bootstrap_interval(a, seed=1) != interval
    monkeypatch.setattr(statistics, "_CHUNK", 777)  # Other pieces, the same draws.
    assert bootstrap_interval(a) == interval
    assert paired_comparison(a, b) == comparison


def test_recorded_numbers_stay():
    """The stream of draws is part of what two machines must share."""
    values = np.arange(20.0) ** 2
    np.testing.assert_allclose(
        bootstrap_interval(values, resamples=1000), (75.54625, 172.0), rtol=1e-12
    )


def test_exact_p_value_is_that_of_all_sign_flips():
    a, b = RNG.normal(0.4, 1, 9), RNG.normal(0, 1, 9)
    flipped = [
        abs(np.dot(signs, a - b)) for signs in itertools.product([1, -1], repeat=9)
    ]
    expected = np.mean(np.array(flipped) >= abs((a - b).sum()) - 1e-12)
    found = paired_comparison(a, b)
    assert found.p_value == expected
    assert found.p_value_method == "exact sign flips"
    scipy_p = stats.permutation_test(
        (a, b), lambda x, y: np.mean(x - y), permutation_type="samples"
    ).pvalue
    assert found.p_value == pytest.approx(scipy_p)


def test_random_p_value_nears_those_of_scipy():
    a = RNG.normal(0.25, 1, 100)
    b = np.zeros(100)
    found = paired_comparison(a, b)
    assert found.p_value_method == "random sign flips"
    assert found.p_value == pytest.approx(stats.ttest_rel(a, b).pvalue, abs=0.01)


def test_comparison_counts_and_directions():
    a, b = np.array([1.0, 2, 3, 4]), np.array([0.0, 2, 1, 5])
    higher, lower = (paired_comparison(a, b, better) for better in ("higher", "lower"))
    assert (higher.count, higher.mean_difference) == (4, 0.5)
    assert (higher.wins, higher.ties, higher.losses) == (2, 1, 1)
    assert (lower.wins, lower.ties, lower.losses) == (1, 1, 2)
    assert lower.mean_difference == 0.5 and lower.p_value == higher.p_value
    assert higher.probability_better + lower.probability_better == pytest.approx(1)
    assert higher.low <= 0.5 <= higher.high


def test_a_method_that_always_wins_is_surely_better():
    b = RNG.normal(0, 1, 12)
    found = paired_comparison(b + 1, b)
    assert found.probability_better == 1
    assert found.p_value == 2 / 2**12
    assert paired_comparison(b + 1, b, "lower").probability_better == 0


def test_equal_methods_are_undecided():
    values = RNG.normal(0, 1, 30)
    found = paired_comparison(values, values)
    assert (found.low, found.high, found.mean_difference) == (0, 0, 0)
    assert found.probability_better == 0.5 and found.p_value == 1
    assert (found.wins, found.ties, found.losses) == (0, 30, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_interval([]), "at least one number"),
        (lambda: bootstrap_interval([1, np.nan]), "value 1 is nan"),
        (lambda: bootstrap_interval([1], confidence=95), "confidence=95"),
        (lambda: bootstrap_interval([1], resamples=0), "resamples=0"),
        (lambda: paired_comparison([1, 2], [1]), "2 and 1 values"),
        (lambda: paired_comparison([1], [1], "more"), 'better="more"'),
    ],
)
def test_bad_values_are_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_many_columns_and_pairs_get_the_numbers_of_one_alone():
    """Also where pairs have unequal numbers of ties, and a column is all zeros."""
    columns = RNG.normal(0, 1, [4, 40])
    columns[1, :7], columns[3] = columns[0, :7], 0
    assert statistics.bootstrap_intervals(columns) == [
        bootstrap_interval(values) for values in columns
    ]
    pairs = [
        (columns[i], columns[j], better)
        for i, j in itertools.combinations(range(4), 2)
        for better in ("higher", "lower")
    ]
    assert statistics.paired_comparisons(pairs) == [
        paired_comparison(*pair) for pair in pairs
    ]
    assert statistics.bootstrap_intervals([]) == statistics.paired_comparisons([]) == []


def test_columns_of_other_images_are_refused():
    with pytest.raises(ValueError, match="columns of different lengths"):
        statistics.bootstrap_intervals([[1, 2], [1, 2, 3]])
