"""Synthetic faces: pure, disjoint between splits, symmetric exactly when frontal."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from inpainting_tf.face_painting import head_geometry
from inpainting_tf.face_parameters import SKIN_LEVELS, SPLITS, draw_parameters
from inpainting_tf.synthetic_faces import render


def test_a_face_is_the_same_alone_in_a_batch_in_a_graph_and_in_tf_data():
    indices = np.array([7, 0, 123_456_789_012, 3, 2**31, 11, 4, 2**62])
    batch, yaw = (t.numpy() for t in render(indices, 32, seed=5))
    for i, index in enumerate(indices):
        image, angle = render([index], 32, seed=5)
        np.testing.assert_array_equal(image[0], batch[i])
        assert angle[0] == yaw[i]

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
    def graph(indices):
        return render(indices, 32, seed=5)

    np.testing.assert_array_equal(graph(indices)[0], batch)
    numbers = tf.data.Dataset.from_tensor_slices(indices).batch(3)
    faces = numbers.map(lambda i: render(i, 32, seed=5), num_parallel_calls=2)
    pieces = list(faces.as_numpy_iterator())
    np.testing.assert_array_equal(np.concatenate([p[0] for p in pieces]), batch)
    np.testing.assert_array_equal(np.concatenate([p[1] for p in pieces]), yaw)


def test_seed_split_and_both_halves_of_the_index_matter():
    first, _ = render([1], 16)
    others = [
        render([2], 16),
        render([1 + 2**32], 16),
        render([1], 16, seed=1),
        render([1], 16, seed=2**32),
        render([1], 16, split="test"),
    ]
    for other, _ in others:
        assert np.abs(first.numpy().astype(int) - other.numpy()).mean() > 5


def test_train_skin_levels_are_even_and_all_test_levels_odd():
    indices = tf.range(3000, dtype=tf.int64)
    for split in SPLITS:
        level = draw_parameters(indices, split)["skin_level"].numpy()
        assert np.all(level % 2 == (0 if split == "train" else 1))
        assert level.min() >= 0 and level.max() < SKIN_LEVELS


def test_train_and_test_parameters_are_distributed_alike():
    indices = tf.range(4000, dtype=tf.int64)
    train, test = (draw_parameters(indices, split) for split in ("train", "test"))
    for name, values in train.items():
        a, b = (tf.cast(v, tf.float64).numpy() for v in (values, test[name]))
        error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / len(a))
        assert np.all(np.abs(a.mean(axis=0) - b.mean(axis=0)) <= 5 * error + 1e-9), name


def test_five_hundred_faces_are_all_different():
    images = render(np.arange(500), 16)[0].numpy().reshape(500, -1).astype(np.float32)
    squares = (images**2).sum(axis=1)
    distance = squares[:, None] + squares - 2 * images @ images.T
    np.fill_diagonal(distance, np.inf)
    assert np.sqrt(distance.min() / images.shape[1]) > 4  # grey levels, RMS


def head_asymmetry(split, size=64, count=32):
    """Mean absolute mirror difference inside the head, in grey levels, per face."""
    images, _, region = render(np.arange(count), size, split=split, return_head=True)
    images, head = images.numpy().astype(np.float64), region.numpy() > 0.99
    head &= head[:, :, ::-1]
    assert np.all(head.mean(axis=(1, 2)) > 0.15)
    difference = np.abs(images - images[:, :, ::-1]).mean(axis=-1)
    return (difference * head).sum(axis=(1, 2)) / head.sum(axis=(1, 2))


def test_frontal_heads_are_mirror_symmetric_and_turned_heads_are_not():
    frontal, turned = head_asymmetry("test_frontal"), head_asymmetry("test_turned")
    assert frontal.mean() < 1.5
    assert turned.mean() > 8 * frontal.mean()
    assert turned.min() > 2 * frontal.max()


def test_frontal_heads_differ_from_their_mirror_image_only_at_the_irises():
    images, _, head = render(range(16), 64, split="test_frontal", return_head=True)
    images, head = images.numpy().astype(int), head.numpy() == 1
    difference = np.abs(images - images[:, :, ::-1]).max(axis=-1)
    difference[~(head & head[:, :, ::-1])] = 0
    rows = np.nonzero((difference > 2).any(axis=(0, 2)))[0]
    assert rows.size and rows.min() > 0.36 * 64 and rows.max() < 0.60 * 64


def test_head_region_is_a_share_and_leaves_the_corners_to_the_background():
    _, _, head = render(range(16), 64, return_head=True)
    assert head.dtype == tf.float32 and head.shape == (16, 64, 64)
    assert head.numpy().min() >= 0 and head.numpy().max() <= 1 + 1e-5
    np.testing.assert_allclose(head[:, 22:42, 28:36], 1, atol=1e-3)
    np.testing.assert_allclose(head[:, -1, 0], 0, atol=1e-3)


def test_yaw_ranges_of_the_splits():
    indices = tf.range(600, dtype=tf.int64)
    yaw = {split: draw_parameters(indices, split)["yaw"].numpy() for split in SPLITS}
    assert np.all(yaw["test_frontal"] == 0)
    turned = yaw["test_turned"]
    assert np.all((np.abs(turned) >= 25) & (np.abs(turned) <= 45))
    assert 0.4 < (turned > 0).mean() < 0.6
    for split in ("train", "test"):
        size = np.abs(yaw[split])
        assert size.max() <= 45 and (size > 40).any()
        assert 0.3 < (size <= 3).mean() < 0.5  # a third, and some of the others
    np.testing.assert_array_equal(render([5], 16)[1], yaw["train"][5:6])


def test_the_face_turns_like_an_ellipsoid_to_the_side_that_yaw_names():
    p = draw_parameters(tf.range(8, dtype=tf.int64), "test_turned")
    columns = {k: v[:, None, None] if v.shape.rank == 1 else v for k, v in p.items()}
    g = head_geometry(SimpleNamespace(**columns), 256)
    x, y = g.x.numpy()[0, 0], g.y.numpy()[0, :, 0]
    for i in range(8):
        yaw = np.radians(p["yaw"].numpy()[i])
        width, height = p["head_width"].numpy()[i], p["head_y"].numpy()[i]
        row = np.argmin(np.abs(y - height))
        inside = g.head.numpy()[i, row] > 0.02
        found = x[inside][np.argmin(np.abs(g.fx.numpy()[i, row][inside]))]
        # The point facing forward: depth 0.75 a, turned, less the shift of the crop.
        turn = np.arctan(0.75 * np.tan(yaw))
        forward = width * (0.75 * np.sin(yaw) - 0.3 * np.sin(turn))
        assert abs(found - forward) < 2 / 256
        assert np.sign(found) == np.sign(yaw)
        near, far = x[inside].min(), x[inside].max()  # the far cheek narrows
        assert ((far - found) < (found - near)) == (yaw > 0)


def test_images_have_sane_range_and_contrast():
    images = render(np.arange(128), 32)[0]
    assert images.dtype == tf.uint8 and images.shape == (128, 32, 32, 3)
    values = images.numpy().astype(np.float64)
    assert np.all(values.std(axis=(1, 2, 3)) > 10)
    assert 80 < values.mean() < 160
    assert values.min() < 30 and values.max() > 225


@pytest.mark.parametrize("split", ["train", "test_frontal"])
def test_a_face_at_128_reduced_by_two_is_the_face_at_64(split):
    large = render(np.arange(24), 128, split=split)[0].numpy().astype(np.float64)
    small = render(np.arange(24), 64, split=split)[0].numpy().astype(np.float64)
    reduced = large.reshape(24, 64, 2, 64, 2, 3).mean(axis=(2, 4))
    assert np.abs(reduced - small).mean() < 3
    other = np.roll(small, 1, axis=0)
    assert np.abs(reduced - other).mean() > 30


def test_odd_sizes_and_an_empty_batch_work():
    assert render([0, 1], 17)[0].shape == (2, 17, 17, 3)
    assert render(tf.zeros([0], tf.int64), 16)[0].shape == (0, 16, 16, 3)


def test_user_errors_are_named():
    with pytest.raises(ValueError, match="Unknown split 'validation'.*test_frontal"):
        render([0], 32, split="validation")
    with pytest.raises(ValueError, match="size is 8.*16"):
        render([0], 8)
    with pytest.raises(ValueError, match="Negative face index -3"):
        render([1, -3], 32)
    with pytest.raises(ValueError, match=r"indices must have shape \[B\]"):
        render(3, 32)
