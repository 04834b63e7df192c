"""The network's shapes and counts, its contract, and what one update does."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from inpainting_tf import losses, masks
from inpainting_tf.parallel_attention import (
    CompletionNetwork,
    Discriminator,
    ParallelAttention,
)


@pytest.fixture(autouse=True)
def same_weights_on_every_run():
    keras.utils.set_random_seed(5)


def example_batch(size=32, batch=2, seed=2):
    drawn, box = masks.draw_batch(
        "random_box", [[i, 1] for i in range(batch)], size, size
    )
    rng = np.random.default_rng(seed)
    image = rng.uniform(-1, 1, [batch, size, size, 3]).astype(np.float32)
    return {"image": tf.constant(image), "mask": drawn, "box": box}


def small_method(**parameters):
    return ParallelAttention(**{"image_size": 32, "width": 0.0625, **parameters})


def convolution_weights(kernel, channels_in, channels_out):
    return kernel * kernel * channels_in * channels_out + channels_out


def test_published_network_has_the_published_number_of_weights():
    """Counted layer by layer from the paper's section 3.1, by closed formula."""
    c = convolution_weights
    encoder = c(5, 4, 64) + c(3, 64, 128) + c(3, 128, 128) + c(3, 128, 256)
    encoder += 2 * c(3, 256, 256)
    convolution_branch = encoder + 4 * c(3, 256, 256)
    attention_branch = encoder + 2 * c(3, 256, 256)
    fusion = c(3, 512, 256) + c(3, 256, 256)
    decoder = c(4, 256, 128) + c(3, 128, 128) + c(4, 128, 64) + c(3, 64, 32)
    decoder += c(3, 32, 3)
    network = CompletionNetwork()
    network(tf.zeros([1, 32, 32, 3]), tf.zeros([1, 32, 32, 1]))
    assert network.count_params() == (
        convolution_branch + attention_branch + fusion + decoder
    )


def test_published_discriminator_has_the_published_number_of_weights():
    c = convolution_weights
    whole = c(5, 3, 64) + c(5, 64, 128) + c(5, 128, 256) + c(5, 256, 512)
    local_vector = 4 * 4 * 512 * 1024 + 1024  # 56 -> 28 -> 14 -> 7 -> 4
    global_vector = 4 * 4 * 512 * 1024 + 1024  # 128 -> 64 -> 32 -> 16 -> 8 -> 4
    expected = whole + c(5, 512, 512) + global_vector + whole + local_vector + 2049
    network = Discriminator()
    logit = network(tf.zeros([2, 128, 128, 3]), tf.zeros([2, 56, 56, 3]))
    assert logit.shape == (2, 1)
    assert network.count_params() == expected


@pytest.mark.parametrize("size", [(32, 48), (20, 36)])
def test_outputs_have_the_inputs_size_in_eager_and_graph(size):
    network = CompletionNetwork(width=0.0625)
    image = np.random.default_rng(4).uniform(-1, 1, [2, *size, 3]).astype(np.float32)
    hole, _ = masks.draw_batch("free_form", [[0, 1], [2, 3]], *size)
    dynamic = tf.function(
        network.__call__,
        input_signature=[
            tf.TensorSpec([None, None, None, 3]),
            tf.TensorSpec([None, None, None, 1]),
        ],
    )
    eager = network(image, hole)
    assert eager["predicted"].shape == (2, *size, 3)
    reduced = tuple(-(-s // 8) for s in size)
    assert eager["attention_offsets"].shape == (2, *reduced, 2)
    assert float(tf.reduce_max(tf.abs(eager["predicted"]))) <= 1
    for name, value in dynamic(image, hole).items():
        np.testing.assert_allclose(value, eager[name], atol=1e-5)


def test_sizes_that_the_network_cannot_take_are_refused_by_name():
    network = CompletionNetwork(width=0.0625)
    with pytest.raises(ValueError, match="30x32: height and width must be multiples"):
        network(tf.zeros([1, 30, 32, 3]), tf.zeros([1, 30, 32, 1]))
    for parameters, message in (
        ({"image_size": 50}, "--image_size=50"),
        ({"width": 0}, "--width=0"),
        ({"local_patch_size": 40}, "--local_patch_size=40"),
        ({"averaging_decay": 1.0}, "--averaging_decay"),
    ):
        with pytest.raises(ValueError, match=message):
            small_method(**parameters)


def test_known_pixels_come_back_bit_for_bit_and_the_hole_does_not_matter():
    model = small_method()
    batch = example_batch()
    image, mask = batch["image"], batch["mask"]
    outputs = model(image, mask)
    known = np.broadcast_to(mask.numpy() == 0, image.shape)
    np.testing.assert_array_equal(outputs["completed"][known], image[known])
    np.testing.assert_array_equal(
        outputs["completed"][~known], outputs["predicted"][~known]
    )
    other = model(tf.where(mask > 0, np.nan, image), mask)
    np.testing.assert_array_equal(other["completed"], outputs["completed"])


def test_an_example_does_not_depend_on_its_batch_mates():
    model = small_method()
    batch = example_batch(batch=3)
    together = model(batch["image"], batch["mask"])["predicted"]
    alone = model(batch["image"][1:2], batch["mask"][1:2])["predicted"]
    np.testing.assert_allclose(together[1:2], alone, atol=1e-6)


def test_update_moves_both_players_along_their_own_gradients():
    """Adam's first step is -rate * g / (|g| + epsilon / sqrt(1 - beta_2))."""
    model = small_method(
        adversarial_weight=3.0, learning_rate=1e-3, discriminator_learning_rate=2e-3
    )
    batch = example_batch()
    image, mask = batch["image"], batch["mask"]
    corner = masks.local_patch_corner(batch["box"], 14, 14, 32, 32)

    def logit(x):
        return model.discriminator(x, masks.crop_patches(x, corner, 14, 14))

    def gradients():
        with tf.GradientTape(persistent=True) as tape:
            outputs = model(image, mask, training=True)
            fake = logit(outputs["completed"])
            completion_loss = losses.context_loss(image, outputs["predicted"], mask)
            completion_loss += 3.0 * losses.minimax_generator_loss(fake)
            discriminator_loss = losses.minimax_discriminator_loss(logit(image), fake)
        return (
            tape.gradient(completion_loss, model.completion.trainable_variables),
            tape.gradient(discriminator_loss, model.discriminator.trainable_variables),
            completion_loss,
            discriminator_loss,
        )

    def values(network):
        return [v.numpy() for v in network.trainable_variables]

    before = values(model.completion), values(model.discriminator)
    *expected_gradients, completion_loss, discriminator_loss = gradients()
    results = model.update(batch)
    assert float(results["completion_loss"]) == pytest.approx(
        float(completion_loss), rel=1e-5
    )
    assert float(results["discriminator_loss"]) == pytest.approx(
        float(discriminator_loss), rel=1e-5
    )
    after = values(model.completion), values(model.discriminator)
    for player, rate in ((0, 1e-3), (1, 2e-3)):
        for old, new, gradient in zip(
            before[player], after[player], expected_gradients[player], strict=True
        ):
            gradient = gradient.numpy()
            # Where a gradient is rounding noise, so is its sign.
            clear = np.abs(gradient) > 1e-3 * np.abs(gradient).max() + 1e-6
            step = -rate * gradient / (np.abs(gradient) + 1e-7 / np.sqrt(1 - 0.9))
            np.testing.assert_allclose((new - old)[clear], step[clear], rtol=5e-3)


@pytest.mark.parametrize(
    "jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)]
)
def test_update_is_the_same_in_eager_graph_and_xla(jit_compile):
    batch = example_batch()
    results = []
    for compile_update in (
        lambda f: f,
        functools.partial(tf.function, jit_compile=jit_compile),
    ):
        keras.utils.set_random_seed(3)  # The same initial weights for both.
        model = small_method(adversarial_weight=1.0)
        update = compile_update(model.update)
        results.append([float(v) for v in update(batch).values()])
        results[-1] += [float(v) for v in update(batch).values()]
    np.testing.assert_allclose(results[1], results[0], rtol=2e-4)


def test_training_on_one_batch_lowers_the_context_loss():
    model = small_method(width=0.125, adversarial_weight=0.01, learning_rate=2e-3)
    batch = example_batch()
    smooth = tf.image.resize(tf.image.resize(batch["image"], [4, 4]), [32, 32])
    batch = {**batch, "image": smooth}
    update = tf.function(model.update)
    first = float(update(batch)["context_loss"])
    for _ in range(60):
        last = float(update(batch)["context_loss"])
    assert last < 0.3 * first


def test_ablations_leave_their_part_out():
    batch = example_batch()
    full = small_method()
    without_attention = small_method(attention_branch=False)
    assert "attention_offsets" not in without_attention(batch["image"], batch["mask"])
    assert without_attention.count_params() < full.count_params()
    without_adversary = small_method(adversarial_weight=0.0)
    results = without_adversary.update(batch)
    names = {name for name in results if not name.startswith("health/")}
    assert names == {"context_loss", "completion_loss"}
    without_local = small_method(local_discriminator=False)
    assert (
        without_local.discriminator.count_params() < full.discriminator.count_params()
    )
    assert np.isfinite(float(without_local.update(batch)["discriminator_loss"]))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_with_float32_outputs(policy):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        model = small_method(adversarial_weight=1.0)
        batch = example_batch()
        for _ in range(2):
            results = model.update(batch)
        # Gradients may overflow under float16, whose step is skipped then.
        values = [v for name, v in results.items() if not name.endswith("_norm")]
        assert all(np.isfinite(float(v)) for v in values)
        assert model(batch["image"], batch["mask"])["completed"].dtype == tf.float32
    finally:
        keras.mixed_precision.set_dtype_policy(before)
