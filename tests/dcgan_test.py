"""DCGAN's shapes and counts, what one update does, and exact resuming."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from baselines.dcgan import DCGAN, Discriminator, Generator
from baselines.siidgm import SIIDGM
from inpainting_tf import compiled_steps, masks
from inpainting_tf.checkpoints import Checkpoints


@pytest.fixture(autouse=True)
def same_weights_on_every_run():
    keras.utils.set_random_seed(5)


def small_gan(**parameters):
    return DCGAN(**{"width": 0.03125, **parameters})


def example_batch(batch=3, size=64, seed=2):
    rng = np.random.default_rng(seed)
    image = rng.uniform(-1, 1, [batch, size, size, 3]).astype(np.float32)
    mask, box = masks.draw_batch("center", [[i, 1] for i in range(batch)], size, size)
    return {"image": tf.constant(image), "mask": mask, "box": box}


def values(model):
    return [variable.numpy() for variable in model.variables]


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("channels", [1024, 512])
def test_networks_have_the_published_number_of_weights(size, channels):
    """Kernels and biases, and four numbers per batch-normalised channel."""

    def block(channels_in, channels_out):
        return 5 * 5 * channels_in * channels_out + channels_out

    c, blocks = channels, {64: 4, 128: 5}[size]
    expected = 100 * 16 * c + 16 * c + 4 * c
    for i in range(1, blocks):
        expected += block(c // 2 ** (i - 1), c // 2**i) + 4 * (c // 2**i)
    expected += block(c // 2 ** (blocks - 1), 3)
    generator = Generator(image_size=size, channels=channels)
    assert generator(tf.zeros([2, 100])).shape == (2, size, size, 3)
    assert generator.count_params() == expected

    expected = block(3, 64)
    for i in range(1, blocks):
        expected += block(32 * 2**i, 64 * 2**i) + 4 * 64 * 2**i
    expected += 4 * 4 * 32 * 2**blocks + 1
    discriminator = Discriminator(image_size=size)
    assert discriminator(tf.zeros([2, size, size, 3])).shape == (2, 1)
    assert discriminator.count_params() == expected


def test_batch_norm_has_the_published_constants():
    gan = small_gan()
    norms = gan.generator.norms + gan.discriminator.norms
    assert len(gan.generator.norms) == 4 and len(gan.discriminator.norms) == 3
    for norm in norms:
        assert (norm.momentum, norm.epsilon) == (0.9, 1e-5)


@pytest.mark.parametrize("size", [64, 128])
def test_inference_keeps_examples_apart_and_training_mode_does_not(size):
    gan = small_gan(image_size=size)
    z = np.random.default_rng(0).uniform(-1, 1, [4, 100]).astype(np.float32)
    image, alone = gan.generate(z), gan.generate(z[1:2])
    assert image.shape == (4, size, size, 3)
    np.testing.assert_allclose(image[1:2], alone, atol=1e-6)
    np.testing.assert_allclose(gan.score(image)[1:2], gan.score(alone), atol=1e-5)
    in_training = gan.generate(z, training=True)
    assert np.abs(in_training[1:2] - gan.generate(z[1:2], training=True)).max() > 1e-3


def test_update_is_one_step_of_each_player_along_its_own_gradient():
    """Adam's first step is -rate * g / (|g| + epsilon / sqrt(1 - beta_2))."""
    gan = small_gan(learning_rate=1e-3, discriminator_learning_rate=2e-3)
    batch = example_batch()
    z = gan._draw_training_z(3)
    initial = values(gan.generator), values(gan.discriminator)
    before = [
        [v.numpy() for v in player.trainable_variables]
        for player in (gan.generator, gan.discriminator)
    ]
    results = gan.update(batch)
    after = [
        [v.numpy() for v in player.trainable_variables]
        for player in (gan.generator, gan.discriminator)
    ]

    gan.generator.set_weights(initial[0])
    gan.discriminator.set_weights(initial[1])
    with tf.GradientTape(persistent=True) as tape:
        fake = gan.discriminator(gan.generator(z, training=True), training=True)
        real = gan.discriminator(batch["image"], training=True)
        generator_loss = -tf.reduce_mean(tf.math.log_sigmoid(fake))
        discriminator_loss = -tf.reduce_mean(tf.math.log_sigmoid(real))
        discriminator_loss -= tf.reduce_mean(tf.math.log_sigmoid(-fake))
    assert float(results["generator_loss"]) == pytest.approx(
        float(generator_loss), rel=1e-5
    )
    assert float(results["discriminator_loss"]) == pytest.approx(
        float(discriminator_loss), rel=1e-5
    )
    for player, loss, rate, old, new in (
        (gan.generator, generator_loss, 1e-3, before[0], after[0]),
        (gan.discriminator, discriminator_loss, 2e-3, before[1], after[1]),
    ):
        gradients = tape.gradient(loss, player.trainable_variables)
        for was, became, gradient in zip(old, new, gradients, strict=True):
            gradient = gradient.numpy()
            # Where a gradient is rounding noise, so is its sign; a bias before batch
            # norm has no other.
            clear = np.abs(gradient) > 1e-2 * np.abs(gradient).max() + 1e-5
            step = -rate * gradient / (np.abs(gradient) + 1e-8 / np.sqrt(1 - 0.999))
            np.testing.assert_allclose((became - was)[clear], step[clear], rtol=2e-2)


def test_z_is_uniform_in_the_cube_and_new_at_every_step():
    gan = small_gan()
    drawn = []
    for step in range(3):
        drawn.append(gan._draw_training_z(32))
        gan.update(example_batch(batch=2))
        assert gan.generator_optimizer.iterations == step + 1
    z = np.stack(drawn)
    assert z.shape == (3, 32, 100)
    assert np.abs(z).max() <= 1 and z.var() == pytest.approx(1 / 3, rel=0.05)
    assert len(np.unique(z[..., 0])) == 3 * 32


def test_z_of_a_step_stays_what_it_was():
    """Recorded when runs first began with it: a run goes on with the same numbers."""
    gan = small_gan(seed=7)
    gan.generator_optimizer.iterations.assign(3)
    drawn = gan._draw_training_z(5)[4, -3:] * 2.0**23
    np.testing.assert_array_equal(drawn, [-6206812, -8136595, -33566])


@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_and_xla_draw_the_same_z_as_eager(jit_compile):
    gan = small_gan(seed=11)
    gan.generator_optimizer.iterations.assign(12345)
    graph = tf.function(lambda: gan._draw_training_z(5), jit_compile=jit_compile)
    np.testing.assert_array_equal(graph(), gan._draw_training_z(5))


def test_update_is_the_same_in_eager_and_graph():
    results = []
    for compile_update in (lambda f: f, tf.function):
        keras.utils.set_random_seed(3)
        update = compile_update(small_gan().update)
        values = [update(example_batch()) for _ in range(2)]
        results.append([float(v) for losses in values for v in losses.values()])
    np.testing.assert_allclose(results[1], results[0], rtol=1e-3)


def test_resumed_run_repeats_the_uninterrupted_one_bit_for_bit(tmp_path):
    batches = [example_batch(seed=i) for i in range(4)]

    def train(gan, batches):
        return [
            {name: float(loss) for name, loss in gan.update(batch).items()}
            for batch in batches
        ]

    whole = small_gan(seed=7)
    checkpoints = Checkpoints(whole, str(tmp_path))
    train(whole, batches[:2])
    checkpoints.save(2)
    expected = train(whole, batches[2:])

    keras.utils.set_random_seed(99)
    resumed = small_gan(seed=7)
    assert Checkpoints(resumed, str(tmp_path)).restore() == 2
    assert train(resumed, batches[2:]) == expected
    for one, other in zip(values(whole), values(resumed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_training_on_a_fixed_batch_teaches_both_players():
    gan = small_gan(width=0.0625, learning_rate=1e-3)
    initial = values(gan.generator), values(gan.discriminator)
    flat = np.array([[[[0.8, -0.4, 0.1]]]], np.float32)
    batch = {"image": tf.constant(np.broadcast_to(flat, [8, 64, 64, 3]))}
    update = tf.function(gan.update)
    for _ in range(90):
        results = update(batch)
    assert all(np.isfinite(float(value)) for value in results.values())
    for player, old in zip((gan.generator, gan.discriminator), initial, strict=True):
        assert all(
            np.abs(new - was).max() > 0
            for new, was in zip(values(player), old, strict=True)
        )
    z = np.random.default_rng(0).uniform(-1, 1, [8, 100]).astype(np.float32)
    mean = np.mean(gan.generate(z, training=True), axis=(0, 1, 2))
    before = small_gan(width=0.0625).generate(z, training=True)
    distance = np.abs(mean - flat[0, 0, 0]).mean()
    assert distance < 0.8 * np.abs(np.mean(before, axis=(0, 1, 2)) - flat).mean()


def test_call_shows_the_same_samples_every_time_and_completes_nothing():
    gan = small_gan()
    batch = example_batch()
    outputs = gan(batch["image"], batch["mask"])
    again = compiled_steps.compile_forward(gan)(batch["image"], batch["mask"])
    np.testing.assert_allclose(outputs["predicted"], again["predicted"], atol=1e-5)
    assert len(np.unique(outputs["predicted"][:, 0, 0, 0])) == 3
    assert outputs.keys() == {"predicted"}
    with pytest.raises(ValueError, match="makes 64x64 images"):
        gan(tf.zeros([1, 32, 32, 3]), tf.zeros([1, 32, 32, 1]))


def test_siidgm_searches_it():
    gan = small_gan()
    gan.update(example_batch())
    image = gan.generate(np.full([2, 100], 0.3, np.float32))
    mask = example_batch(2)["mask"]
    inpaint = SIIDGM(gan, iterations=10, learning_rate=0.1)
    outputs = tf.function(inpaint.complete)(image, mask)
    assert np.all(outputs["losses"][:, -1] < outputs["losses"][:, 0])
    assert outputs["completed"].shape == (2, 64, 64, 3)
    np.testing.assert_allclose(inpaint(image, mask), outputs["completed"], atol=1e-5)


def test_parameters_that_it_cannot_take_are_refused_by_name():
    for parameters, message in (
        ({"image_size": 96}, "--image_size=96: dcgan takes 64 or 128"),
        ({"width": 0}, "--width=0"),
        ({"latent_size": 0}, "--latent_size=0"),
    ):
        with pytest.raises(ValueError, match=message):
            small_gan(**parameters)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_with_float32_outputs(policy):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        gan = small_gan()
        batch = example_batch()
        for _ in range(2):
            results = gan.update(batch)
        # Gradients may overflow under float16, whose step is skipped then.
        values = [v for name, v in results.items() if not name.endswith("_norm")]
        assert all(np.isfinite(float(v)) for v in values)
        outputs = gan(batch["image"], batch["mask"])
        assert outputs["predicted"].dtype == tf.float32
        assert gan.score(outputs["predicted"]).dtype == tf.float32
    finally:
        keras.mixed_precision.set_dtype_policy(before)
