"""Pictures of any size: padding, fitting and back, against NumPy and Pillow."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from inpainting_tf import any_size


def example(height, width, share=0.3, seed=0):
    generator = np.random.default_rng(seed)
    image = generator.uniform(-1, 1, [2, height, width, 3]).astype(np.float32)
    mask = (generator.random([2, height, width, 1]) < share).astype(np.float32)
    return image, mask


@pytest.mark.parametrize("height,width", [(5, 8), (6, 3), (2, 9), (1, 4), (1, 1)])
def test_padding_is_numpys_reflection(height, width):
    image, mask = example(height, width)
    padded, padded_mask = any_size.pad_to_multiple(image, mask, 4, minimum=8)
    tall, wide = (-(-max(side, 8) // 4) * 4 for side in (height, width))
    # NumPy reflects again and again; a side of one pixel is repeated.
    widths = [(0, 0), (0, tall - height), (0, wide - width), (0, 0)]
    for found, given in ((padded, image), (padded_mask, mask)):
        np.testing.assert_array_equal(found, np.pad(given, widths, "reflect"))
    np.testing.assert_array_equal(any_size.crop(padded, height, width), image)


def test_a_right_size_passes_unchanged_in_both_directions():
    image, mask = example(8, 12)
    padded, padded_mask = any_size.pad_to_multiple(image, mask, 4)
    np.testing.assert_array_equal(padded, image)
    np.testing.assert_array_equal(padded_mask, mask)
    image, mask = example(16, 16)
    fitted, fitted_mask = any_size.fit(image, mask, 16)
    np.testing.assert_array_equal(fitted, np.where(mask > 0, 0, image))
    np.testing.assert_array_equal(fitted_mask, mask)
    np.testing.assert_array_equal(any_size.enlarge(image, 16, 16), image)


def test_fitting_averages_known_pixels_by_a_triangle_filter():
    image, mask = example(24, 40)
    fitted, fitted_mask = any_size.fit(image, mask, 8)
    for i in range(2):
        known = 1 - mask[i, :, :, 0]
        share = resized(known)
        for channel in range(3):
            weighted = resized(known * image[i, :, :, channel])
            np.testing.assert_allclose(
                fitted[i, :, :, channel], weighted / share, atol=1e-5
            )
        decided = np.abs(share - 0.5) > 1e-4
        np.testing.assert_array_equal(
            fitted_mask[i, :, :, 0].numpy()[decided], (share < 0.5)[decided]
        )


def resized(plane):
    picture = Image.fromarray(plane.astype(np.float32), mode="F")
    return np.asarray(picture.resize((8, 8), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("compiled", [False, True])
def test_nothing_of_the_hole_gets_into_a_fitted_picture(compiled):
    image, mask = example(30, 17, share=0.5)
    fit = tf.function(any_size.fit) if compiled else any_size.fit
    expected = fit(image, mask, 8)
    spoilt = np.where(mask > 0, np.nan, image)
    for found, wanted in zip(fit(spoilt, mask, 8), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_where_nothing_is_known_a_fitted_picture_is_grey_and_missing():
    image, _ = example(9, 9)
    fitted, fitted_mask = any_size.fit(image, np.ones([2, 9, 9, 1], np.float32), 4)
    np.testing.assert_array_equal(fitted, np.zeros([2, 4, 4, 3]))
    np.testing.assert_array_equal(fitted_mask, np.ones([2, 4, 4, 1]))


def test_an_enlarged_picture_stays_in_range():
    steps = np.where(np.arange(8) % 4 < 2, -1.0, 1.0).astype(np.float32)
    image = np.broadcast_to(steps[:, None, None], [1, 8, 8, 3])
    enlarged = any_size.enlarge(image, 20, 33)
    assert enlarged.shape == (1, 20, 33, 3)
    assert np.abs(enlarged).max() == 1
