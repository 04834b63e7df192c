"""Every metric against scikit-image, SciPy, TensorFlow's own or a closed formula."""

import dataclasses
import math
import re

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from inpainting_tf import evaluation, images, metric_table, metrics
from inpainting_tf.metric_table import METRICS

RNG = np.random.default_rng(7)


def picture(height, width, batch=3):
    """Smooth images, completions with noise that grows along the batch, masks of
    different places; float32."""
    image = ndimage.gaussian_filter(
        RNG.uniform(-1, 1, [batch, height, width, 3]), [0, 2, 2, 0]
    )
    noise = RNG.normal(0, 0.15, image.shape) * np.arange(1, batch + 1).reshape(
        -1, 1, 1, 1
    )
    mask = np.zeros([batch, height, width, 1])
    for i in range(batch):
        mask[i, 2 * i : 2 * i + height // 2, -(width // 3) - i :] = 1
    completed = np.clip(4 * image + noise, -1, 1)
    return [x.astype(np.float32) for x in (np.clip(4 * image, -1, 1), completed, mask)]


IMAGE, COMPLETED, MASK = picture(27, 38)


def levels(image):
    return np.rint((image.astype(np.float64) + 1) * 127.5)


X, Y = levels(IMAGE), levels(COMPLETED)
M = np.broadcast_to(MASK, X.shape).astype(bool)


def per_example(function):
    return np.array([function(x, y, m) for x, y, m in zip(X, Y, M, strict=True)])


def pair_sum(y, m=None):
    """Absolute differences of neighbours, pairs with a missing pixel where m given."""
    down, right = np.abs(np.diff(y, axis=0)), np.abs(np.diff(y, axis=1))
    if m is not None:
        down, right = down[m[1:] | m[:-1]], right[m[:, 1:] | m[:, :-1]]
    return down.sum() + right.sum()


def isotropic(x, y, m):
    total = 0
    for i in range(27):
        for j in range(38):
            for c in range(3):
                total += math.hypot(
                    y[i, j, c] - y[(i + 1) % 27, j, c],
                    y[i, j, c] - y[i, (j + 1) % 38, c],
                )
    return total / y.size


def decibel(error):
    return 10 * np.log10(255**2 / error)


def ssim_map(x, y):
    return structural_similarity(
        x,
        y,
        data_range=255,
        channel_axis=-1,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )


REFERENCES = {
    "l1": lambda x, y, m: np.abs(x - y).mean() / 255,
    "l2": lambda x, y, m: np.square((x - y) / 255).mean(),
    "psnr": lambda x, y, m: peak_signal_noise_ratio(x, y, data_range=255),
    "ssim": lambda x, y, m: ssim_map(x, y)[0],
    "tv": lambda x, y, m: pair_sum(y) / 255 / y.size,
    "hole_l1": lambda x, y, m: np.abs(x - y)[m].mean() / 255,
    "hole_l2": lambda x, y, m: np.square((x - y)[m] / 255).mean(),
    "hole_psnr": lambda x, y, m: peak_signal_noise_ratio(x[m], y[m], data_range=255),
    "hole_ssim": lambda x, y, m: ssim_map(x, y)[1][m].mean(),
    "hole_tv": lambda x, y, m: pair_sum(y, m) / 255 / m.sum(),
    "giica_l1": lambda x, y, m: 100 * np.abs(x - y).sum() / x.sum(),
    "giica_l2": lambda x, y, m: 100 * (np.linalg.norm(x - y) / np.linalg.norm(x)) ** 2,
    "context_encoder_l1": lambda x, y, m: 100 * np.abs((x - y)[m]).mean() / 255,
    "context_encoder_l2": lambda x, y, m: 100 * np.square((x - y)[m] / 255).mean(),
    "mmagic_masked_l1": lambda x, y, m: (
        100 * (np.abs(x / 255 - y / 255) * m).sum() / m.sum()
    ),
    "siidgm_psnr": lambda x, y, m: (
        -10 * np.log10(np.square(x / x.max() - y / y.max()).mean())
    ),
    "edgeconnect_mae": lambda x, y, m: np.abs(x - y).sum() / (x + y).sum(),
    "picnet_l1": lambda x, y, m: np.abs(x - y).mean(),
    "picnet_tv": isotropic,
    "lama_ssim": lambda x, y, m: scipy_ssim(x, y, "constant").mean(),
}


def scipy_similarity(x, y, mode):
    """The two factors of SSIM with SciPy's Gaussian filter."""

    def mean(z):
        return ndimage.gaussian_filter(z, [1.5, 1.5, 0], mode=mode, radius=[5, 5, 0])

    mean_x, mean_y = mean(x), mean(y)
    c1, c2 = 2.55**2, 7.65**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    variances = mean(x * x) - mean_x**2 + mean(y * y) - mean_y**2
    return luminance, (2 * (mean(x * y) - mean_x * mean_y) + c2) / (variances + c2)


def scipy_ssim(x, y, mode):
    return np.prod(scipy_similarity(x, y, mode), axis=0)


def scipy_ms_ssim(x, y, m, scales, hole):
    """Wang et al. 2003 per channel; m is a mask [H, W]."""
    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333][:scales])
    product = np.ones(3)
    for j, weight in enumerate(weights / weights.sum()):
        if j:
            x, y, m = halve(x, np.mean), halve(y, np.mean), halve(m, np.max)
        luminance, term = scipy_similarity(x, y, "reflect")
        if j == scales - 1:
            term = luminance * term
        means = term[m].mean(axis=0) if hole else term[5:-5, 5:-5].mean(axis=(0, 1))
        product *= np.maximum(means, 0) ** weight
    return product.mean()


def halve(x, reduce):
    grow = [[0, x.shape[0] % 2], [0, x.shape[1] % 2]] + [[0, 0]] * (x.ndim - 2)
    x = np.pad(x, grow, "edge")
    height, width = x.shape[0] // 2, x.shape[1] // 2
    blocks = x.reshape([height, 2, width, 2, *x.shape[2:]])
    return reduce(blocks, axis=(1, 3))


@pytest.mark.parametrize("name", REFERENCES)
def test_metric_matches_an_independent_computation(name):
    np.testing.assert_allclose(
        METRICS[name].function(IMAGE, COMPLETED, MASK),
        per_example(REFERENCES[name]),
        rtol=2e-6,
    )


def test_every_metric_has_a_reference():
    assert set(METRICS) == {*REFERENCES, "ms_ssim", "hole_ms_ssim"}


def test_total_variation_is_that_of_tensorflow():
    expected = tf.image.total_variation(tf.constant(levels(COMPLETED))) / (
        255 * X[0].size
    )
    np.testing.assert_allclose(metrics.tv(IMAGE, COMPLETED), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("size", "scales"), [((11, 30), 1), ((37, 21), 2), ((41, 64), 3), ((81, 99), 4)]
)
def test_ms_ssim_of_small_images_has_fewer_scales_and_weights_of_sum_1(size, scales):
    image, completed, mask = picture(*size, batch=2)
    assert metrics.ms_ssim_scales(*size) == scales
    for hole, metric in ((False, metrics.ms_ssim), (True, metrics.hole_ms_ssim)):
        expected = [
            scipy_ms_ssim(levels(x), levels(y), m[..., 0] > 0, scales, hole)
            for x, y, m in zip(image, completed, mask, strict=True)
        ]
        np.testing.assert_allclose(metric(image, completed, mask), expected, rtol=1e-5)


def test_ms_ssim_of_five_scales_is_that_of_tensorflow():
    image, completed, _ = picture(161, 178, batch=2)
    assert metrics.ms_ssim_scales(160, 500) == 4
    assert metrics.ms_ssim_scales(161, 161) == metrics.ms_ssim_scales(512, 640) == 5
    expected = tf.image.ssim_multiscale(
        images.to_uint8(image), images.to_uint8(completed), max_val=255
    )
    np.testing.assert_allclose(metrics.ms_ssim(image, completed), expected, atol=1e-4)


def test_a_number_does_not_depend_on_batch_mates_or_graph():
    """Bit for bit, with 8 examples of different images and holes."""
    batch = picture(43, 52, batch=8)
    chosen = (0, 3, 7)

    def all_of(image, completed, mask):
        return {
            name: metric.function(image, completed, mask)
            for name, metric in METRICS.items()
        }

    graph = tf.function(all_of)
    together, again = graph(*batch), graph(*batch)
    alone = [all_of(*(x[i : i + 1] for x in batch)) for i in chosen]
    for name in METRICS:
        np.testing.assert_array_equal(together[name], again[name])
        np.testing.assert_array_equal(
            together[name].numpy()[list(chosen)],
            np.concatenate([x[name] for x in alone]),
            err_msg=name,
        )
        assert together[name].dtype == tf.float32


def test_one_graph_serves_all_sizes_where_the_metric_allows():
    @tf.function(
        input_signature=[tf.TensorSpec([None, None, None, c]) for c in (3, 3, 1)]
    )
    def measure(image, completed, mask):
        return {
            name: metric.function(image, completed, mask)
            for name, metric in METRICS.items()
            if "ms_ssim" not in name
        }

    for size in ((27, 38), (14, 12)):
        batch = picture(*size, batch=2)
        for name, value in measure(*batch).items():
            np.testing.assert_array_equal(value, METRICS[name].function(*batch))


def test_ms_ssim_refuses_a_graph_of_unknown_size():
    spec = tf.TensorSpec([None, None, 38, 3])
    with pytest.raises(ValueError, match="fixed image size"):
        tf.function(metrics.ms_ssim, input_signature=[spec, spec])(IMAGE, COMPLETED)


def test_equal_images_and_empty_holes_have_finite_documented_values():
    empty = np.zeros_like(MASK)
    perfect = {"dB": None, "": 1.0}
    for name, metric in METRICS.items():
        same = metric.function(IMAGE, IMAGE, MASK).numpy()
        assert np.isfinite(same).all(), name
        if not name.endswith("tv") and metric.unit != "dB":
            np.testing.assert_allclose(same, perfect.get(metric.unit, 0.0), atol=1e-6)
    for name in ("hole_l1", "hole_l2", "hole_tv", "mmagic_masked_l1"):
        assert (METRICS[name].function(IMAGE, COMPLETED, empty).numpy() == 0).all()
    for name in ("hole_ssim", "hole_ms_ssim"):
        assert (METRICS[name].function(IMAGE, COMPLETED, empty).numpy() == 1).all()
    np.testing.assert_allclose(
        metrics.hole_psnr(IMAGE, COMPLETED, empty), decibel(1 / 3), rtol=1e-6
    )
    np.testing.assert_allclose(
        metrics.hole_psnr(IMAGE, IMAGE, MASK),
        decibel(1 / M.sum(axis=(1, 2, 3))),
        rtol=1e-6,
    )


def test_black_pictures_give_no_nan():
    black = np.full_like(IMAGE, -1)
    for name, metric in METRICS.items():
        for pair in ((black, black), (black, IMAGE), (IMAGE, black)):
            assert np.isfinite(metric.function(*pair, MASK)).all(), name


def test_hole_metrics_see_no_known_pixel_that_is_out_of_reach():
    """Only SSIM's windows and the seam of TV reach out of the hole."""
    other = COMPLETED.copy()
    mask = np.zeros_like(MASK)
    mask[:, :8, :8] = 1
    other[:, 14:, 14:] = RNG.uniform(-1, 1, other[:, 14:, 14:].shape)
    for name in METRICS:
        if name.startswith(("hole", "context", "mmagic")) and "ms_ssim" not in name:
            metric = METRICS[name].function
            np.testing.assert_array_equal(
                metric(IMAGE, other, mask), metric(IMAGE, COMPLETED, mask)
            )


def test_better_points_the_right_way():
    worse = np.clip(IMAGE + 2 * (COMPLETED - IMAGE), -1, 1)
    for name, metric in METRICS.items():
        near = metric.function(IMAGE, COMPLETED, MASK).numpy()
        far = metric.function(IMAGE, worse, MASK).numpy()
        assert ((far < near) if metric.better == "higher" else (far > near)).all(), name


def test_images_below_the_window_are_refused():
    small = np.zeros([1, 10, 20, 3], np.float32)
    for name in METRICS:
        if "ssim" in name:
            with pytest.raises(ValueError, match=f"^{name}: images of 10x20"):
                METRICS[name].function(small, small, small[..., :1])


def test_the_usual_measures_are_called_with_two_images():
    values = evaluation.measure_each(tf.constant(IMAGE), tf.constant(COMPLETED))
    for name, value in values.items():
        np.testing.assert_array_equal(value, METRICS[name].function(IMAGE, COMPLETED))


def test_definition_hash_follows_the_definitions_alone(monkeypatch):
    names = ["psnr", "hole_ssim"]
    digest = metric_table.definition_hash(names)
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert metric_table.definition_hash(names[::-1]) == digest
    assert metric_table.definition_hash(["psnr"]) != digest
    raised = dataclasses.replace(METRICS["psnr"], version=2)
    monkeypatch.setitem(METRICS, "psnr", raised)
    assert metric_table.definition_hash(names) != digest
    with pytest.raises(ValueError, match="unknown metric psnr2; known are l1, "):
        metric_table.definition_hash(["psnr2"])


def test_definitions_are_one_line_of_ascii():
    for metric in METRICS.values():
        assert metric.formula.isascii() and "\n" not in metric.formula
        assert metric.better in ("higher", "lower")
        assert metric.unit in ("share", "%", "dB", "levels", "")
