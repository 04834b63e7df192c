"""Context encoder: its networks' counts, its contract, and what one update does."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from baselines.context_encoder import ContextEncoder
from inpainting_tf import masks
from inpainting_tf.checkpoints import Checkpoints


@pytest.fixture(autouse=True)
def same_weights_on_every_run():
    keras.utils.set_random_seed(5)


def example_batch(rule="center", size=32, batch=2, seed=2):
    mask, box = masks.draw_batch(rule, [[i, seed] for i in range(batch)], size, size)
    rng = np.random.default_rng(seed)
    image = rng.uniform(-1, 1, [batch, size, size, 3]).astype(np.float32)
    return {"image": tf.constant(image), "mask": mask, "box": box}


def small_method(**parameters):
    return ContextEncoder(**{"image_size": 32, "width": 0.0625, **parameters})


def block(channels_in, channels_out):
    """4x4 kernel without bias; scale, offset and two running statistics."""
    return 16 * channels_in * channels_out + 4 * channels_out


def plain(channels_in, channels_out):
    return 16 * channels_in * channels_out + channels_out


@pytest.mark.parametrize("region", ["center", "random"])
def test_published_networks_have_the_published_number_of_weights(region):
    encoder = plain(3, 64) + block(64, 64) + block(64, 128) + block(128, 256)
    encoder += block(256, 512) + block(512, 4000)
    decoder = block(4000, 512) + block(512, 256) + block(256, 128) + block(128, 64)
    decoder += plain(64, 3)
    discriminator = plain(3, 64) + block(64, 128) + block(128, 256) + block(256, 512)
    discriminator += plain(512, 1)
    if region == "random":
        decoder += block(64, 64)
        discriminator += block(64, 64)
    model = ContextEncoder(region=region)
    assert model.completion.count_params() == encoder + decoder
    assert model.discriminator.count_params() == discriminator


@pytest.mark.parametrize(
    ("region", "size", "side"),
    [("center", 32, 16), ("center", 128, 64), ("random", 64, 64), ("random", 256, 256)],
)
def test_the_network_predicts_the_region_in_eager_and_graph(region, size, side):
    model = small_method(region=region, image_size=size)
    batch = example_batch(size=size)
    outputs = model(batch["image"], batch["mask"])
    assert outputs["predicted"].shape == (2, size, size, 3)
    assert model.completion(batch["image"]).shape == (2, side, side, 3)
    assert float(tf.reduce_max(tf.abs(outputs["predicted"]))) <= 1
    dynamic = tf.function(
        model.call,
        input_signature=[
            tf.TensorSpec([None, None, None, 3]),
            tf.TensorSpec([None, None, None, 1]),
        ],
    )
    graph = dynamic(batch["image"], batch["mask"])
    np.testing.assert_allclose(graph["completed"], outputs["completed"], atol=1e-5)


@pytest.mark.parametrize(
    ("region", "rule"), [("center", "center"), ("random", "free_form")]
)
def test_known_pixels_come_back_bit_for_bit_and_the_hole_does_not_matter(region, rule):
    model = small_method(region=region)
    batch = example_batch(rule)
    image, mask = batch["image"], batch["mask"]
    outputs = model(image, mask)
    known = np.broadcast_to(mask.numpy() == 0, image.shape)
    np.testing.assert_array_equal(outputs["completed"][known], image[known])
    np.testing.assert_array_equal(
        outputs["completed"][~known], outputs["predicted"][~known]
    )
    other = model(tf.where(mask > 0, np.nan, image), mask)
    np.testing.assert_array_equal(other["completed"], outputs["completed"])
    filled = tf.where(mask > 0, np.float32([117, 104, 123]) / 127.5 - 1, image)
    same = model(filled, tf.zeros_like(mask))
    np.testing.assert_allclose(same["predicted"], outputs["predicted"], atol=1e-6)


def test_what_the_method_cannot_take_is_refused_by_name():
    for parameters, message in (
        ({"image_size": 48}, "--image_size=48"),
        ({"image_size": 16}, "--image_size=16"),
        ({"width": 0}, "--width=0"),
        ({"region": "left"}, "--region=left"),
        ({"overlap": -1}, "--overlap=-1"),
    ):
        with pytest.raises(ValueError, match=message):
            small_method(**parameters)
    with pytest.raises(ValueError, match="image of 64x32: .* takes 32x32"):
        small_method()(tf.zeros([1, 64, 32, 3]), tf.zeros([1, 64, 32, 1]))


def test_a_hole_outside_the_centre_is_refused_unless_the_region_is_random():
    batch = example_batch("left_half")
    message = "outside the central box"
    model = small_method()
    with pytest.raises(ValueError, match=message):
        model(batch["image"], batch["mask"])
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        tf.function(model.call)(batch["image"], batch["mask"])
    small_method(region="random")(batch["image"], batch["mask"])


@pytest.mark.parametrize("region", ["center", "random"])
def test_an_example_does_not_depend_on_its_batch_mates(region):
    model = small_method(region=region)
    batch = example_batch(batch=3)
    model.update(batch)
    together = model(batch["image"], batch["mask"])["predicted"]
    alone = model(batch["image"][1:2], batch["mask"][1:2])["predicted"]
    np.testing.assert_allclose(together[1:2], alone, atol=1e-6)


@pytest.mark.parametrize("region", ["center", "random"])
def test_losses_are_the_hand_computed_ones(region):
    """A completion network of zeros predicts 0, a discriminator of zeros says 0.

    The image is 0.5 in the band of two pixels inside the 16x16 hole and 0.1 in the
    12x12 pixels that are left, so the weighted mean is
    (10 * (256 - 144) * 0.25 + 144 * 0.01) / 256.
    """
    model = small_method(region=region, overlap=2)
    for network in (model.completion, model.discriminator):
        for weight in network.trainable_variables:
            weight.assign(tf.zeros_like(weight))
    image = np.full([2, 32, 32, 3], 0.7, np.float32)
    image[:, 8:24, 8:24] = 0.5
    image[:, 10:22, 10:22] = 0.1
    results = model.update({**example_batch(), "image": tf.constant(image)})
    reconstruction = (10 * (256 - 144) * 0.25 + 144 * 0.01) / 256
    expected = {
        "reconstruction_loss": reconstruction,
        "adversarial_loss": math.log(2),
        "discriminator_loss": 2 * math.log(2),
        "completion_loss": 0.999 * reconstruction + 0.001 * math.log(2),
    }
    values = {k: float(v) for k, v in results.items() if not k.startswith("health/")}
    assert values == pytest.approx(expected)


def test_the_players_rates_differ_by_the_factor_ten():
    """Adam's first step moves a weight with a clear gradient by the rate."""
    model = small_method()
    players = model.completion, model.discriminator
    before = [[np.array(v) for v in p.trainable_variables] for p in players]
    model.update(example_batch())
    for player, old, rate in zip(players, before, (2e-3, 2e-4), strict=True):
        steps = [
            np.abs(v.numpy() - o).max()
            for v, o in zip(player.trainable_variables, old, strict=True)
        ]
        np.testing.assert_allclose(steps, rate, rtol=0.05)


def test_without_an_adversary_the_completion_network_trains_alone():
    model = small_method(adversarial_weight=0.0)
    assert model.discriminator is None
    results = model.update(example_batch())
    assert {name for name in results if not name.startswith("health/")} == {
        "reconstruction_loss",
        "completion_loss",
    }


@pytest.mark.parametrize(
    ("region", "rule"), [("center", "center"), ("random", "random_box")]
)
def test_training_on_one_batch_lowers_the_loss(region, rule):
    model = small_method(region=region, width=0.125)
    batch = example_batch(rule, batch=4)
    smooth = tf.image.resize(tf.image.resize(batch["image"], [4, 4]), [32, 32])
    batch = {**batch, "image": smooth}
    update = tf.function(model.update)
    first = float(update(batch)["reconstruction_loss"])
    for _ in range(60):
        last = float(update(batch)["reconstruction_loss"])
    assert last < 0.3 * first


def test_a_resumed_run_goes_on_exactly(tmp_path):
    model, other = small_method(), small_method()
    batch = example_batch()
    model.update(batch)
    Checkpoints(model, tmp_path).save(1)
    assert Checkpoints(other, tmp_path).restore() == 1
    expected, results = model.update(batch), other.update(batch)
    assert {k: float(v) for k, v in results.items()} == {
        k: float(v) for k, v in expected.items()
    }
    for new, old in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_mixed_precision_trains_with_float32_outputs():
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = small_method()
        batch = example_batch()
        for _ in range(2):
            results = model.update(batch)
        # Gradients may overflow under float16, whose step is skipped then.
        values = [v for name, v in results.items() if not name.endswith("_norm")]
        assert all(np.isfinite(float(v)) for v in values)
        assert model(batch["image"], batch["mask"])["completed"].dtype == tf.float32
    finally:
        keras.mixed_precision.set_dtype_policy(before)
