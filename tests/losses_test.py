"""Losses and metrics against hand-computed numbers and other implementations."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from inpainting_tf import evaluation, images, losses, metrics

RNG = np.random.default_rng(1)


def test_context_loss_sums_the_hole_and_averages_the_examples():
    image = np.zeros([2, 2, 3, 3], np.float32)
    predicted = np.zeros_like(image)
    mask = np.zeros([2, 2, 3, 1], np.float32)
    mask[0, 0, 0] = mask[1, :, 1] = 1
    predicted[0, 0, 0] = [1, -2, 0.5]  # 1 + 4 + 0.25, missing
    predicted[0, 1, 2] = 9  # known, must not count
    predicted[1, :, 1] = 0.5  # 2 pixels x 3 channels x 0.25
    assert float(losses.context_loss(image, predicted, mask)) == (5.25 + 1.5) / 2


def test_adversarial_losses_match_the_logarithms_of_eq_2():
    real = np.array([[2.0], [-1.0], [0.3]], np.float32)
    fake = np.array([[-0.5], [1.5], [0.0]], np.float32)

    def sigmoid(x):
        return 1 / (1 + np.exp(-x.astype(np.float64)))

    expected = -np.log(sigmoid(real)).mean() - np.log(1 - sigmoid(fake)).mean()
    np.testing.assert_allclose(
        losses.minimax_discriminator_loss(real, fake), expected, rtol=1e-6
    )
    np.testing.assert_allclose(
        losses.minimax_generator_loss(fake), -np.log(sigmoid(fake)).mean(), rtol=1e-6
    )


def test_an_undecided_discriminator_costs_log_2_per_term():
    zero = tf.zeros([4, 1])
    assert float(losses.minimax_generator_loss(zero)) == pytest.approx(math.log(2))
    assert float(losses.minimax_discriminator_loss(zero, zero)) == pytest.approx(
        2 * math.log(2)
    )


def test_adversarial_losses_stay_finite_for_a_certain_discriminator():
    sure = tf.constant([[500.0], [-500.0]])
    for loss in (
        losses.minimax_discriminator_loss(sure, sure),
        losses.minimax_generator_loss(sure),
    ):
        assert float(loss) == pytest.approx(250.0 * (2 if loss > 300 else 1))


def noisy_pair(height=24, width=31, batch=3):
    image = RNG.uniform(-1, 1, [batch, height, width, 3])
    image = ndimage.gaussian_filter(image, [0, 2, 2, 0]) * 4
    noise = RNG.normal(0, 0.1, image.shape) * np.arange(1, batch + 1).reshape(
        -1, 1, 1, 1
    )
    return tuple(np.clip(x, -1, 1).astype(np.float32) for x in (image, image + noise))


def levels(image):
    return np.rint((image.astype(np.float64) + 1) * 127.5)


def test_l1_and_psnr_match_their_formulas_on_whole_levels():
    image, completed = noisy_pair()
    difference = levels(image) - levels(completed)
    np.testing.assert_allclose(
        metrics.l1(image, completed),
        np.abs(difference).mean(axis=(1, 2, 3)) / 255,
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        metrics.psnr(image, completed),
        10 * np.log10(255**2 / np.square(difference).mean(axis=(1, 2, 3))),
        rtol=1e-5,
    )


def test_psnr_of_equal_images_is_that_of_one_level_in_one_value():
    image, _ = noisy_pair(batch=1)
    image = np.rint((image + 1) * 127.5).clip(0, 254) / 127.5 - 1
    other = image.copy()
    other[0, 3, 4, 1] += 1 / 127.5
    expected = 10 * np.log10(255**2 * image.size)
    np.testing.assert_allclose(metrics.psnr(image, image), expected, rtol=1e-5)
    np.testing.assert_allclose(metrics.psnr(image, other), expected, rtol=1e-5)


def test_ssim_matches_an_independent_implementation():
    """Wang et al. 2004 with SciPy's filters, windows inside the image only."""
    image, completed = noisy_pair()
    offsets = np.arange(-5, 6)
    window = np.exp(-(offsets**2) / (2 * 1.5**2))
    window /= window.sum()

    def local_mean(x):
        for axis in (0, 1):
            x = ndimage.correlate1d(x, window, axis=axis)
        return x[5:-5, 5:-5]

    def ssim(x, y):
        mean_x, mean_y = local_mean(x), local_mean(y)
        variance_x = local_mean(x * x) - mean_x**2
        variance_y = local_mean(y * y) - mean_y**2
        covariance = local_mean(x * y) - mean_x * mean_y
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        return (
            (2 * mean_x * mean_y + c1)
            * (2 * covariance + c2)
            / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))
        ).mean()

    expected = [
        np.mean([ssim(levels(x)[..., c], levels(y)[..., c]) for c in range(3)])
        for x, y in zip(image, completed, strict=True)
    ]
    np.testing.assert_allclose(metrics.ssim(image, completed), expected, atol=1e-4)
    np.testing.assert_allclose(metrics.ssim(image, image), 1, atol=1e-6)


def test_metrics_are_those_of_the_written_files(tmp_path):
    image, completed = noisy_pair(batch=1)
    read_back = []
    for name, x in (("image", image), ("completed", completed)):
        images.write_png(tmp_path / name, images.to_uint8(x[0]).numpy())
        pixels = images.decode((tmp_path / name).read_bytes())
        read_back.append(images.to_float(pixels)[None])
    for metric in (metrics.l1, metrics.psnr, metrics.ssim):
        assert float(metric(image, completed)[0]) == float(metric(*read_back)[0])


def test_mean_color_fill_takes_each_examples_own_known_pixels():
    image = RNG.uniform(-1, 1, [2, 4, 6, 3]).astype(np.float32)
    mask = np.zeros([2, 4, 6, 1], np.float32)
    mask[0, :2] = mask[1, :, 5] = 1
    filled = evaluation.mean_color_fill(image, mask).numpy()
    np.testing.assert_allclose(
        filled[0, 0, 0], image[0, 2:].mean(axis=(0, 1)), atol=1e-6
    )
    np.testing.assert_allclose(
        filled[1, 3, 5], image[1, :, :5].mean(axis=(0, 1)), atol=1e-6
    )
    np.testing.assert_array_equal(filled[0, 2:], image[0, 2:])


def test_measure_weighs_examples_not_batches():
    image, completed = noisy_pair(batch=3)
    answers = {float(x[0, 0, 0]): y for x, y in zip(image, completed, strict=True)}

    def inpaint(batch, mask):
        return np.stack([answers[float(x[0, 0, 0])] for x in batch.numpy()])

    batches = [
        {"image": tf.constant(part), "mask": tf.ones([len(part), 24, 31, 1])}
        for part in (image[:2], image[2:])
    ]
    measured = evaluation.measure(inpaint, batches)
    assert measured["psnr"] == pytest.approx(
        float(np.mean(metrics.psnr(image, completed))), rel=1e-6
    )
