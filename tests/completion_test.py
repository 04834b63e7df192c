"""Photos of any size completed through windows of one size."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from inpainting_tf import completion, images
from inpainting_tf.completion import PhotoMethod


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, [height, width, 3], np.uint8)


def ramp(height, width):
    """Smooth colours, which survive being reduced and enlarged."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    return np.uint8(np.stack([40 + 160 * x, 200 - 120 * y, 60 + 90 * (x + y)], -1))


def hole(height, width, *boxes):
    missing = np.zeros([height, width], bool)
    for top, left, box_height, box_width in boxes:
        missing[top : top + box_height, left : left + box_width] = True
    return missing


def recorder(size=32, central=False, fill=0.5):
    """A method that fills by one level and keeps what it was given."""
    seen = []

    def inpaint(image, mask):
        seen.append((image.numpy(), mask.numpy()))
        return images.compose(image, tf.fill(image.shape, fill), mask)

    return PhotoMethod("test", "", "", inpaint, size, central), seen


def test_at_the_methods_own_size_it_gets_the_photo_as_it_is():
    rgb, missing = noise(32, 32), hole(32, 32, (3, 10, 20, 9))
    method, seen = recorder()
    completed = completion.complete(rgb, missing, method)
    ((image, mask),) = seen
    np.testing.assert_array_equal(mask[0, ..., 0], missing)
    np.testing.assert_array_equal(
        image[0][~missing], images.to_float(rgb).numpy()[~missing]
    )
    np.testing.assert_array_equal(completed[~missing], rgb[~missing])
    # No feathering: what the method gave is what comes back.
    assert (completed[missing] == images.to_uint8(0.5).numpy()).all()


@pytest.mark.parametrize("size", [(32, 32), (90, 70), (21, 50), (9, 7), (300, 40)])
@pytest.mark.parametrize("central", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_known_pixels_are_unchanged_and_missing_ones_unseen(size, central, seed):
    height, width = size
    generator = np.random.default_rng(seed)
    rgb, boxes = noise(height, width), []
    for _ in range(seed + 1):
        top, left = generator.integers(0, height), generator.integers(0, width)
        boxes.append(
            (top, left, generator.integers(1, height), generator.integers(1, width))
        )
    missing = hole(height, width, *boxes)
    missing[0, 0] = False
    method, seen = recorder(32, central, fill=1.0)
    completed = completion.complete(rgb, missing, method)
    np.testing.assert_array_equal(completed[~missing], rgb[~missing])
    for image, mask in seen:
        assert image.shape == (1, 32, 32, 3) and mask.shape == (1, 32, 32, 1)
        assert np.isfinite(image).all() and np.abs(image).max() <= 1.0001
        assert {*np.unique(mask)} <= {0.0, 1.0}
        if central:
            mask[:, 8:24, 8:24] = 0
            assert not mask.any()
    # Nothing of what was in the holes is seen: other content there, same completion.
    other = np.where(missing[..., None], noise(height, width, 9), rgb)
    np.testing.assert_array_equal(
        completed, completion.complete(other, missing, method)
    )
    assert (completed[missing] != rgb[missing]).any()


def test_small_holes_are_completed_at_the_photos_own_pixels():
    rgb = noise(200, 300)
    missing = hole(200, 300, (20, 30, 10, 16), (150, 280, 16, 9))
    method, seen = recorder()
    completion.complete(rgb, missing, method)
    assert len(seen) == 2
    for (image, mask), (top, left) in zip(seen, [(9, 22), (142, 268)], strict=True):
        part = (slice(top, top + 32), slice(left, left + 32))
        np.testing.assert_array_equal(mask[0, ..., 0], missing[part])
        known = ~missing[part]
        np.testing.assert_array_equal(
            image[0][known], images.to_float(rgb[part]).numpy()[known]
        )


def test_large_holes_take_half_of_a_reduced_window():
    method, seen = recorder()
    missing = hole(400, 500, (150, 200, 80, 60))
    completion.complete(ramp(400, 500), missing, method)
    ((_, mask),) = seen
    assert mask.sum() == pytest.approx(16 * 12, abs=16)


def test_a_true_filling_of_a_reduced_window_meets_the_photo_softly():
    rgb, missing = ramp(240, 320), hole(240, 320, (80, 100, 90, 120))
    small = images.to_float(ramp(32, 32))

    def truth(image, mask):
        # The window, 240x240 from column 40 on, as the ramp has it.
        part = images.to_float(rgb[np.newaxis, :, 40:280])
        reduced = tf.image.resize(part, [32, 32], "bilinear", antialias=True)
        assert reduced.shape[1:] == small.shape
        return images.compose(image, reduced, mask)

    completed = completion.complete(rgb, missing, PhotoMethod("t", "", "", truth, 32))
    difference = np.abs(completed.astype(int) - rgb)
    assert difference[~missing].max() == 0
    assert difference[missing].max() <= 6
    # A filling of another colour begins with the photo's at the border.
    method, _ = recorder(fill=1.0)
    white = completion.complete(rgb, missing, method)
    steps = np.abs(white[125, 100].astype(int) - rgb[125, 99]).max()
    assert steps < 30
    assert (white[125, 160] > 250).all()


def test_boxes_hold_every_missing_pixel_once():
    generator = np.random.default_rng(3)
    for share in (0.001, 0.01, 0.3):
        missing = generator.random([90, 140]) < share
        count = np.zeros(missing.shape, int)
        for top, left, height, width in completion.hole_boxes(missing, 16):
            part = (slice(top, top + height), slice(left, left + width))
            count[part] += 1
            assert missing[part].any()
        assert count.max() <= 1
        assert (count[missing] == 1).all()


def test_near_holes_share_a_box_and_far_ones_do_not():
    near = hole(100, 100, (10, 10, 3, 3), (10, 20, 3, 3))
    assert completion.hole_boxes(near, 16) == [(10, 10, 3, 13)]
    far = hole(100, 100, (10, 10, 3, 3), (80, 20, 4, 40))
    assert completion.hole_boxes(far, 16) == [(10, 10, 3, 3), (80, 20, 4, 40)]
    solid = hole(100, 100, (5, 5, 90, 80))
    assert completion.hole_boxes(solid, 16) == [(5, 5, 90, 80)]


def test_windows_stay_inside_the_photo_where_a_hole_leaves_room():
    method, _ = recorder(32)
    around = completion.window_around
    assert around((0, 0, 4, 4), (100, 200), method) == (0, 0, 32)
    assert around((90, 190, 10, 10), (100, 200), method) == (68, 168, 32)
    assert around((10, 50, 60, 60), (100, 200), method) == (0, 30, 100)
    # A hole as high as the photo: its sides are enough to go by.
    assert around((0, 50, 100, 30), (100, 200), method) == (0, 15, 100)
    # Nothing else is known within the photo's height.
    assert around((0, 50, 100, 100), (100, 200), method) == (0, 38, 125)


def test_methods_without_a_size_get_the_whole_photo():
    method, seen = recorder(None)
    rgb, missing = noise(50, 70), hole(50, 70, (0, 0, 9, 9), (40, 60, 5, 5))
    completed = completion.complete(rgb, missing, method)
    assert seen[0][0].shape == (1, 50, 70, 3)
    np.testing.assert_array_equal(completed[~missing], rgb[~missing])
    assert (completed[missing] == 191).all()


def test_arrays_of_every_usual_mask_are_taken_and_others_refused_in_words():
    method, _ = recorder()
    rgb, missing = noise(20, 30), hole(20, 30, (5, 5, 9, 9))
    wanted = method(rgb, missing)
    for mask in (
        missing.astype(np.float32),
        np.uint8(missing) * 255,
        missing[..., None],
    ):
        np.testing.assert_array_equal(method(rgb, mask), wanted)
    for photo, mask, expected in (
        (rgb / 255, missing, r"photo: float64 of .*np.uint8\(np.round\(255 \* photo"),
        (rgb / 127.5 - 1, missing, r"-1\.\.1 give .*127.5 \* \(photo \+ 1"),
        (rgb.astype(int) + 300, missing, r"its levels are 3\d\d..5\d\d"),
        (rgb[..., 0], missing, r"must be uint8.*of a grey photo give np.stack"),
        (rgb[np.newaxis], missing, r"of shape \(1, 20, 30, 3\).*give photo\[0\]"),
        (np.tile(rgb, 2)[..., :4], missing, r"\(20, 30, 4\).*photo\[\.\.\., :3\]"),
        ("photo.png", missing, "photo: <U9 of shape"),
        (rgb, missing.T, r"mask: of shape \(30, 20\); must be \(20, 30\)"),
        (rgb, missing[:-1], r"mask: of shape \(19, 30\)"),
        (rgb, missing * 7, "0 and 255.*; holds 7 too"),
        (rgb, missing * 0.5, "holds 0.5 too"),
        (rgb, np.where(missing, np.nan, 0), "holds nan too"),
        (rgb, missing * 0, "must have a missing pixel"),
        (rgb, missing * 0 + 1, "must have a missing pixel"),
    ):
        with pytest.raises(ValueError, match=expected) as refusal:
            method(photo, mask)
        assert "\n" not in str(refusal.value)


def test_what_the_refusal_of_a_photo_proposes_is_taken():
    method, _ = recorder()
    rgb, missing = noise(20, 30), hole(20, 30, (5, 5, 9, 9))
    wanted = method(rgb, missing)
    for photo in (rgb / 255, rgb / 127.5 - 1, np.float32(rgb) / 255, rgb[np.newaxis]):
        with pytest.raises(ValueError, match=" give ") as refusal:
            method(photo, missing)
        proposed = str(refusal.value).rpartition(" give ")[2]
        converted = eval(proposed, {"np": np, "photo": photo})
        np.testing.assert_array_equal(method(converted, missing), wanted)


def test_a_blended_filling_loses_its_tint_and_keeps_its_pattern():
    size = 32
    rows, columns = np.mgrid[:size, :size]
    truth = np.stack([100 + rows, 90 + columns, 120 + 0 * rows], -1).astype(np.uint8)
    missing = hole(size, size, (8, 10, 14, 9), (2, 26, 5, 6))
    pattern = np.where((rows == 14) & (columns == 14), 0.4, 0.0)[..., np.newaxis]

    def inpaint(image, mask):
        tinted = images.to_float(truth[np.newaxis]) + [0.3, -0.2, 0.25] + pattern
        return images.compose(image, tf.cast(tinted, tf.float32), mask)

    plain = completion.PhotoMethod("net", "net", "n", inpaint, size)
    blended = completion.blending(plain)
    seen = np.where(missing[..., np.newaxis], np.uint8(0), truth)
    found = blended(seen, missing).astype(int)
    np.testing.assert_array_equal(found[~missing], truth[~missing])
    rest = missing & (pattern[..., 0] == 0)
    assert np.abs(found - truth)[rest].max() <= 4
    assert np.abs(plain(seen, missing).astype(int) - truth)[rest].min() >= 24
    assert np.all(found[14, 14] - truth[14, 14] >= 45)
    assert blended.fingerprint != plain.fingerprint
    classical = completion.PhotoMethod("fill", "fill", "f", inpaint, None)
    assert completion.blending(classical) is classical
    search = dataclasses.replace(plain, is_search=True)
    assert completion.blending(search) is search
