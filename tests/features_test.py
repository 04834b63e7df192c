"""FID and KID against SciPy and closed formulas; features of networks on disk."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import linalg

from inpainting_tf import features, images
from inpainting_tf.features import FeatureSample, FeatureStatistics

RNG = np.random.default_rng(11)


def correlated(count, depth, shift=0.0):
    return RNG.normal(shift, 1, [count, depth]) @ RNG.normal(0, 1, [depth, depth])


def test_statistics_of_batches_are_those_of_all_features():
    values = correlated(50, 7, shift=20) + 100
    statistics = FeatureStatistics()
    for start, stop in ((0, 1), (1, 18), (18, 18), (18, 50)):
        statistics.update(values[start:stop])
    assert statistics.count == 50
    np.testing.assert_allclose(statistics.mean(), values.mean(axis=0))
    np.testing.assert_allclose(
        statistics.covariance(), np.cov(values, rowvar=False), rtol=1e-9
    )


def test_frechet_distance_is_that_of_scipys_matrix_root():
    first, second = correlated(60, 9), correlated(70, 9, shift=0.5)
    moments = [(x.mean(axis=0), np.cov(x, rowvar=False)) for x in (first, second)]
    (mean1, cov1), (mean2, cov2) = moments
    expected = np.square(mean1 - mean2).sum() + np.trace(
        cov1 + cov2 - 2 * linalg.sqrtm(cov1 @ cov2).real
    )
    found = features.frechet_distance(mean1, cov1, mean2, cov2)
    assert found == pytest.approx(expected, rel=1e-9)
    assert features.frechet_distance(mean2, cov2, mean1, cov1) == pytest.approx(found)


def test_frechet_distance_of_commuting_covariances_is_closed():
    """|m1 - m2|^2 + sum (s1 - s2)^2 for standard deviations s on the same axes."""
    axes = linalg.qr(RNG.normal(0, 1, [6, 6]))[0]
    deviations = RNG.uniform(0, 3, [2, 6])
    deviations[0, :3] = 0  # Singular, as with fewer images than features.
    cov1, cov2 = (axes @ np.diag(s**2) @ axes.T for s in deviations)
    mean1, mean2 = RNG.normal(0, 1, [2, 6])
    expected = np.sum((mean1 - mean2) ** 2) + np.sum(np.diff(deviations, axis=0) ** 2)
    found = features.frechet_distance(mean1, cov1, mean2, cov2)
    assert found == pytest.approx(expected, abs=1e-6)
    assert features.frechet_distance(mean1, cov1, mean1, cov1) < 1e-6


def test_frechet_distance_of_two_sets_in_few_dimensions():
    """Fewer images than features, from statistics seen in batches."""
    first, second = FeatureStatistics(), FeatureStatistics()
    values = correlated(5, 12)
    first.update(values)
    second.update(values + 2)
    found = features.frechet_distance(
        first.mean(), first.covariance(), second.mean(), second.covariance()
    )
    assert found == pytest.approx(4 * 12, rel=1e-6)


def test_kernel_distance_of_whole_sets_is_the_double_sum():
    first, second = correlated(8, 5), correlated(8, 5, shift=0.3)

    def mean(a, b, without_diagonal):
        values = [
            (np.dot(x, y) / 5 + 1) ** 3
            for i, x in enumerate(a)
            for j, y in enumerate(b)
            if not (without_diagonal and i == j)
        ]
        return np.mean(values)

    expected = (
        mean(first, first, True)
        + mean(second, second, True)
        - 2 * mean(first, second, False)
    )
    found, deviation = features.kernel_distance(first, second, 8, subsets=3)
    assert found == pytest.approx(expected)
    assert deviation == pytest.approx(0, abs=1e-9 * abs(expected))


def test_kernel_distance_is_unbiased_and_sees_a_difference():
    same = [RNG.normal(0, 1, [400, 6]) for _ in range(2)]
    mean, deviation = features.kernel_distance(*same, subset_size=100, subsets=50)
    assert abs(mean) < deviation
    other = RNG.normal(0.5, 1, [300, 6])
    assert features.kernel_distance(same[0], other, 100, 50)[0] > 5 * deviation
    again = features.kernel_distance(*same, subset_size=100, subsets=50)
    assert again == (mean, deviation)
    assert features.kernel_distance(*same, 100, 50, seed=1)[0] != mean


def test_sample_is_even_bounded_and_the_same_in_any_batches():
    rows = np.arange(1000, dtype=np.float32)[:, None]
    whole, pieces = FeatureSample(100, seed=2), FeatureSample(100, seed=2)
    whole.update(rows)
    for start in range(0, 1000, 130):
        pieces.update(rows[start : start + 130])
    kept = whole.features()
    np.testing.assert_array_equal(kept, pieces.features())
    assert kept.shape == (100, 1) and len(np.unique(kept)) == 100
    # Even draws without replacement: mean 499.5 with a deviation of 27.
    assert abs(kept.mean() - 499.5) < 100
    small = FeatureSample(100)
    small.update(rows[:40])
    np.testing.assert_array_equal(small.features(), rows[:40])


class MeanColor(tf.Module):
    """Mean and largest value per channel, times 2."""

    def __init__(self, dtype, size):
        super().__init__()
        self.scale = tf.Variable(2.0)
        spec = tf.TensorSpec([None, *size, 3], dtype, name="pictures")
        self.serve = tf.function(self._serve, input_signature=[spec])

    def _serve(self, pictures):
        values = tf.cast(pictures, tf.float32) * self.scale
        parts = [f(values, axis=[1, 2]) for f in (tf.reduce_mean, tf.reduce_max)]
        return {"features": tf.concat(parts, axis=1)}


@pytest.mark.parametrize("dtype", [tf.uint8, tf.float32])
def test_features_of_a_saved_model(tmp_path, dtype):
    model = MeanColor(dtype, [None, None])
    tf.saved_model.save(model, tmp_path, {"serving_default": model.serve})
    extract = features.saved_model_features(str(tmp_path))
    image = RNG.uniform(-1, 1, [3, 6, 9, 3]).astype(np.float32)
    levels = images.to_uint8(image).numpy().astype(np.float64)
    values = 2 * (levels if dtype == tf.uint8 else levels / 127.5 - 1)
    expected = np.concatenate([values.mean(axis=(1, 2)), values.max(axis=(1, 2))], 1)
    np.testing.assert_allclose(extract(image), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(extract(image[1:2]), extract(image)[1:2])


def test_a_saved_model_of_fixed_size_gets_that_size(tmp_path):
    model = MeanColor(tf.float32, [4, 6])
    tf.saved_model.save(model, tmp_path, {"serving_default": model.serve})
    flat = np.full([2, 8, 9, 3], 0.2, np.float32)
    expected = np.full([2, 6], 2 * (153 / 127.5 - 1))
    found = features.saved_model_features(str(tmp_path))(flat)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_unfit_saved_models_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not a SavedModel"):
        features.saved_model_features(str(tmp_path))
    model = MeanColor(tf.int32, [4, 6])
    tf.saved_model.save(model, tmp_path / "a", {"serving_default": model.serve})
    with pytest.raises(ValueError, match="it has int32") as error:
        features.saved_model_features(str(tmp_path / "a"))
    assert "\n" not in str(error.value)
    tf.saved_model.save(model, tmp_path / "b", {"other": model.serve})
    with pytest.raises(ValueError, match="no signature serving_default, only other"):
        features.saved_model_features(str(tmp_path / "b"))


def test_inception_of_a_weights_file(tmp_path):
    """Random weights, since no test downloads; small pictures are enlarged to 299."""
    network = keras.applications.InceptionV3(
        include_top=False, weights=None, pooling="avg", input_shape=(299, 299, 3)
    )
    path = str(tmp_path / "random.weights.h5")
    network.save_weights(path)
    image = images.to_float(RNG.integers(0, 256, [2, 20, 30, 3])).numpy()
    found = features.inception_features(path)(image)
    resized = tf.image.resize(image, [299, 299])
    expected = network(resized, training=False)
    assert found.shape == (2, 2048)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)
    assert np.std(expected) > 1e-4  # Not all alike.


def test_weights_that_cannot_be_had_are_named(tmp_path):
    missing = str(tmp_path / "missing.h5")
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(b"nothing")
    for weights, message in (
        (missing, "no such file; give inception_v3_weights"),
        (str(damaged), "needs weights of InceptionV3 without top"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            features.inception_features(weights)
        assert str(error.value).startswith(f"--inception_weights={weights}: ")
        assert "\n" not in str(error.value)


def test_failed_download_names_the_file_and_the_flag(monkeypatch):
    def refuse(*arguments, **names):
        raise OSError("no route to host")

    monkeypatch.setattr(keras.applications, "InceptionV3", refuse)
    with pytest.raises(ValueError, match="no route to host.*--inception_weights=FILE"):
        features.inception_features()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FeatureStatistics().mean(), "0 images"),
        (lambda: FeatureStatistics().update(np.ones([3])), "must be"),
        (lambda: FeatureStatistics().update([[1, np.inf]]), "not finite"),
        (lambda: FeatureSample().features(), "0 images"),
        (
            lambda: features.kernel_distance(np.ones([9, 2]), np.ones([5, 2]), 6),
            "subsets of 6 of 5 images",
        ),
        (
            lambda: features.kernel_distance(np.ones([9, 2]), np.ones([5, 3]), 2),
            "must be",
        ),
    ],
)
def test_bad_features_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_statistics_refuse_another_depth_and_a_single_image():
    statistics = FeatureStatistics()
    statistics.update(np.ones([1, 4]))
    with pytest.raises(ValueError, match="at least 2"):
        statistics.covariance()
    with pytest.raises(ValueError, match=r"\[B, 4\]"):
        statistics.update(np.ones([2, 5]))
