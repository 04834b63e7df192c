"""GIICA against recorded numbers of the original program, closed formulas and itself.

The recordings in golden/deepfill_v1 come from the authors' TensorFlow 1 program with
random weights; INPAINTING_GOLDEN_DIR names a folder with more of them. Tolerances are
theirs: see the constants.
"""

import json
import os
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from baselines.giica import GIICA
from baselines.giica_networks import GLOBAL_CHANNELS, LOCAL_CHANNELS, Critic
from baselines.released_giica import load_released_weights
from inpainting_tf import images, losses, masks
from inpainting_tf.checkpoints import Checkpoints

# TensorFloat-32 products would be three digits short of the recordings.
tf.config.experimental.enable_tensor_float_32_execution(False)

GOLDEN = pathlib.Path(__file__).parent / "golden" / "deepfill_v1"
PICTURE_TOLERANCE = 1e-4
SCORE_TOLERANCE = 2e-5
LOSS_TOLERANCE = 1e-5  # relative
GENERATOR_GRADIENT_TOLERANCE = 2e-4  # times the largest entry, as the next one
CRITIC_GRADIENT_TOLERANCE = 5e-3
CLEAR_MARGIN = 1e-3  # log ratio of the two best weights above which argmax is certain


def recordings(pattern):
    files = {path.name: path for path in GOLDEN.glob(pattern)}
    if more := os.environ.get("INPAINTING_GOLDEN_DIR"):
        files.update((path.name, path) for path in pathlib.Path(more).rglob(pattern))
    return [pytest.param(files[name], id=name[:-4]) for name in sorted(files)]


def arrays(path):
    with np.load(path) as stored:
        values = {name: stored[name] for name in stored.files if name != "meta"}
        return values, json.loads(str(stored["meta"]))


def released_weights(critics=False):
    weights, _ = arrays(GOLDEN / "weights_inpaint_net.npz")
    if critics:
        weights.update(arrays(GOLDEN / "weights_discriminator.npz")[0])
    return weights


def released_model(bgr=False, **parameters):
    model = GIICA(image_size=64, **parameters)
    weights = released_weights(critics=True)
    assert load_released_weights(model, weights, critics=True, bgr=bgr) == []
    return model


@pytest.fixture(scope="module")
def released():
    return released_model()


def released_variables(model, critics=True):
    """The model's variables by the recorded names, told apart by their order alone."""
    networks = [model.coarse_network, model.refinement_network]
    names = list(released_weights())
    if critics:
        networks += [model.local_critic, model.global_critic]
        stored = arrays(GOLDEN / "weights_discriminator.npz")[0]
        names += [name for name in stored if "_local" in name]
        names += [name for name in stored if "_global" in name]
    variables = [v for network in networks for v in network.trainable_variables]
    return dict(zip(names, variables, strict=True))


@pytest.fixture(autouse=True)
def same_weights_on_every_run():
    keras.utils.set_random_seed(5)


def small_method(**parameters):
    defaults = {"image_size": 16, "width": 0.0625, "critic_updates": 2}
    return GIICA(**{**defaults, **parameters})


def example_batch(size=16, batch=6, seed=2):
    drawn, box = masks.draw_batch(
        "random_box", [[i, 1] for i in range(batch)], size, size
    )
    rng = np.random.default_rng(seed)
    image = rng.uniform(-1, 1, [batch, size, size, 3]).astype(np.float32)
    return {"image": tf.constant(image), "mask": drawn, "box": box}


def repeated(mask, count):
    return tf.repeat(tf.constant(mask), count, axis=0)


def largest_difference(actual, expected):
    return float(np.abs(np.asarray(actual) - np.asarray(expected)).max())


# ------------------------------------------------------------ recordings


@pytest.mark.parametrize("path", recordings("net_*.npz"))
def test_networks_reproduce_the_recorded_pictures(path, released):
    stored, meta = arrays(path)
    model = released
    if meta["padding"] == "SYMMETRIC":
        model = released_model(padding="symmetric")
    outputs = model(stored["x"], repeated(stored["mask"], len(stored["x"])))
    errors = [
        largest_difference(outputs["coarse"], stored["x_stage1"]),
        largest_difference(outputs["predicted"], stored["x_stage2"]),
    ]
    print(path.name, [f"{error:.1e}" for error in errors])
    assert max(errors) <= PICTURE_TOLERANCE
    clear = stored["argmax_margin"] > CLEAR_MARGIN
    assert clear.any()
    np.testing.assert_array_equal(
        outputs["attention_offsets"].numpy()[clear], stored["offsets"][clear]
    )


@pytest.mark.parametrize("path", recordings("server_*.npz"))
def test_serving_path_gives_the_recorded_pictures(path, released):
    stored, _ = arrays(path)
    pictures, hole = (
        np.float32(stored[name].reshape(-1, *stored[name].shape[-3:]))
        for name in ("image_u8", "mask_u8")
    )
    # The original uses the first mask of a batch for all of its pictures.
    hole = repeated(np.float32(hole[:1, ..., :1] > 127.5), len(pictures))
    completed = released(pictures / 127.5 - 1, hole)["completed"]
    assert largest_difference(completed, stored["batch_complete"]) <= PICTURE_TOLERANCE


@pytest.mark.parametrize("path", recordings("disc_*.npz"))
def test_critics_reproduce_the_recorded_scores(path):
    stored, _ = arrays(path)
    weights = {**arrays(GOLDEN / "weights_discriminator.npz")[0], **stored}
    for view, channels in (("local", LOCAL_CHANNELS), ("global", GLOBAL_CHANNELS)):
        critic = Critic(channels)
        critic(stored[f"x_{view}"])
        scope = f"discriminator/discriminator_{view}"
        names = [f"{scope}/conv{i}" for i in range(1, 5)]
        names.append(f"discriminator/dout_{view}_fc")
        critic.set_weights(
            [weights[f"{name}/{part}"] for name in names for part in ("kernel", "bias")]
        )
        error = largest_difference(critic(stored[f"x_{view}"]), stored[f"dout_{view}"])
        print(path.name, view, f"{error:.1e}")
        assert error <= SCORE_TOLERANCE


@pytest.mark.parametrize("path", recordings("losses_*.npz"))
def test_losses_and_gradients_reproduce_the_recorded_ones(path):
    stored, meta = arrays(path)
    config = meta["config"]
    model = released_model(
        local_patch_size=config["HEIGHT"],
        spatial_discount_gamma=(
            config["SPATIAL_DISCOUNTING_GAMMA"] if config["DISCOUNTED_MASK"] else 1
        ),
        coarse_weight=config["COARSE_L1_ALPHA"],
        hole_weight=config["L1_LOSS_ALPHA"],
        known_weight=config["AE_LOSS_ALPHA"],
        adversarial_weight=config["GAN_LOSS_ALPHA"],
        global_adversarial_weight=config["GLOBAL_WGAN_LOSS_ALPHA"],
        gradient_penalty_weight=config["WGAN_GP_LAMBDA"],
    )
    pretraining = config["PRETRAIN_COARSE_NETWORK"]
    count = len(stored["batch_data"])
    image = tf.constant(stored["batch_data"] / np.float32(127.5) - 1)
    mask = repeated(stored["mask"], count)
    box = repeated(stored["bbox"][np.newaxis], count)
    mixing = np.stack([stored["alpha_local"], stored["alpha_global"]])
    mixing = mixing[..., np.newaxis, np.newaxis]

    variables = released_variables(model)
    with tf.GradientTape(persistent=True) as tape:
        outputs = model(image, mask, training=True)
        completed = outputs["completed"]
        if pretraining:
            outputs = {"coarse": outputs["coarse"]}
            completed = images.compose(image, outputs["coarse"], mask)
        generator = model.generator_losses(image, outputs, mask, box)
        critic = model.critic_losses(
            image, tf.stop_gradient(completed), mask, box, mixing
        )
    assert largest_difference(completed, stored["complete_global"]) <= 1e-4
    errors = {}
    for value, name in (
        (generator["reconstruction_loss"], "loss/l1_loss"),
        (generator["known_pixels_loss"], "loss/ae_loss"),
        (generator["generator_loss"], "loss/g_loss"),
        (critic["gradient_penalty"], "loss/gp_loss"),
        (critic["critic_loss"], "loss/d_loss"),
    ):
        errors[name] = abs(float(value) / float(stored[name]) - 1)
        assert errors[name] <= LOSS_TOLERANCE, name
    if not pretraining:
        adversarial = stored["g_loss_local"] + (
            config["GLOBAL_WGAN_LOSS_ALPHA"] * stored["g_loss_global"]
        )
        assert float(generator["adversarial_loss"]) == pytest.approx(
            float(adversarial), rel=LOSS_TOLERANCE
        )

    for player, loss, tolerance in (
        ("g", generator["generator_loss"], GENERATOR_GRADIENT_TOLERANCE),
        ("d", critic["critic_loss"], CRITIC_GRADIENT_TOLERANCE),
    ):
        names = meta[f"grad_norm_{player}_names"]
        gradients = tape.gradient(loss, [variables[name] for name in names])
        for name, gradient, norm in zip(
            names, gradients, stored[f"grad_norm_{player}"], strict=True
        ):
            if name in meta["no_gradient_to"]:
                assert gradient is None
                continue
            gradient = gradient.numpy()
            if player == "d" and name.endswith("_fc/bias"):
                assert largest_difference(gradient, 0) <= 1e-6  # 0 but for rounding
                continue
            error = abs(np.linalg.norm(gradient) / norm - 1)
            key = f"norm {player}"
            errors[key] = max(errors.get(key, 0), float(error))
            assert error <= tolerance, name
            if f"grad/{name}" in stored:
                expected = stored[f"grad/{name}"]
                error = largest_difference(gradient, expected) / np.abs(expected).max()
                key = f"gradient {player}"
                errors[key] = max(errors.get(key, 0), float(error))
                assert error <= tolerance, name
    print(path.name, {name: f"{error:.1e}" for name, error in errors.items()})


def test_spatial_discount_reproduces_the_recorded_tables():
    stored, meta = arrays(GOLDEN / "small_functions.npz")
    tables = meta["spatial_discounting"]
    assert len(tables) == 5
    for table in tables:
        weights = losses.spatial_discount(
            table["HEIGHT"], table["WIDTH"], table["gamma"]
        )
        assert largest_difference(weights, stored[table["key"]]) <= 1e-6
    np.testing.assert_array_equal(
        losses.spatial_discount(3, 4, 1), np.ones([1, 3, 4, 1])
    )


# ------------------------------------------------------------ released weights


def test_bgr_weights_make_an_rgb_model_with_the_same_picture():
    batch = example_batch(size=64, batch=2)
    image, mask = batch["image"], batch["mask"]
    in_bgr, in_rgb = released_model(), released_model(bgr=True)
    swapped = tf.reverse(image, [-1])
    expected, actual = in_bgr(swapped, mask), in_rgb(image, mask)
    for name in ("coarse", "predicted", "completed"):
        error = largest_difference(actual[name], tf.reverse(expected[name], [-1]))
        assert error <= 2e-5, name
    assert largest_difference(in_rgb(swapped, mask)["coarse"], expected["coarse"]) > 0.1
    for critic in ("local_critic", "global_critic"):
        pictures = image if critic == "global_critic" else image[:, :32, :32]
        np.testing.assert_allclose(
            getattr(in_rgb, critic)(pictures),
            getattr(in_bgr, critic)(tf.reverse(pictures, [-1])),
            atol=1e-5,
        )


def test_weights_that_do_not_fit_are_refused_and_the_unused_ones_named():
    model = GIICA(image_size=16)
    before = [weight.numpy() for weight in model.coarse_network.weights]
    weights = released_weights()
    name = "inpaint_net/allconv13_upsample/allconv13_upsample_conv/bias"
    with pytest.raises(ValueError, match=f"variable {name} is missing"):
        load_released_weights(model, {k: v for k, v in weights.items() if k != name})
    with pytest.raises(ValueError, match=rf"{name} has shape \(32,\).*has \(64,\)"):
        load_released_weights(model, {**weights, name: np.zeros(32)})
    with pytest.raises(ValueError, match="discriminator_local/conv1/kernel is missing"):
        load_released_weights(model, weights, critics=True)
    with pytest.raises(ValueError, match="dout_local_fc/kernel has shape"):
        load_released_weights(model, released_weights(critics=True), critics=True)
    for weight, value in zip(model.coarse_network.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)
    extra = {"global_step": np.int64(3), "inpaint_net/conv1/bias/Adam": np.zeros(32)}
    assert load_released_weights(model, {**weights, **extra}) == sorted(extra)
    for name, variable in released_variables(model, critics=False).items():
        np.testing.assert_array_equal(variable, weights[name])


def test_published_network_has_the_recorded_number_of_weights():
    model = GIICA(image_size=64)
    networks = (model.coarse_network, model.refinement_network)
    assert sum(network.count_params() for network in networks) == 3_601_542
    critics = (model.local_critic, model.global_critic)
    assert sum(critic.count_params() for critic in critics) == 6_980_610


# ------------------------------------------------------------ contract


@pytest.mark.parametrize(
    "padding, sizes", [("same", [(16, 24), (32, 16)]), ("symmetric", [(64, 72)])]
)
def test_dynamic_graph_equals_eager_at_every_size(padding, sizes):
    model = small_method(padding=padding, image_size=64 if padding != "same" else 16)
    dynamic = tf.function(
        model.__call__,
        input_signature=[
            tf.TensorSpec([None, None, None, 3]),
            tf.TensorSpec([None, None, None, 1]),
        ],
    )
    for height, width in sizes:
        rng = np.random.default_rng(4)
        image = rng.uniform(-1, 1, [2, height, width, 3]).astype(np.float32)
        hole, _ = masks.draw_batch("free_form", [[0, 1], [2, 3]], height, width)
        eager = model(image, hole)
        assert eager["attention_offsets"].shape == (2, height // 8, width // 8, 2)
        assert float(tf.reduce_max(tf.abs(eager["predicted"]))) <= 1
        graph = dynamic(image, hole)
        assert set(graph) == set(eager)
        for name, value in graph.items():
            assert value.shape == eager[name].shape
            np.testing.assert_allclose(value, eager[name], atol=1e-5)


def test_an_example_does_not_depend_on_its_batch_mates_and_their_masks(released):
    batch = example_batch(size=64, batch=3)
    together = released(batch["image"], batch["mask"])
    assert largest_difference(batch["mask"][0], batch["mask"][1]) == 1
    for i in range(3):
        alone = released(batch["image"][i : i + 1], batch["mask"][i : i + 1])
        for name in ("coarse", "predicted", "completed"):
            assert largest_difference(together[name][i], alone[name][0]) <= 2e-5


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


def test_sizes_and_settings_that_the_method_cannot_take_are_refused_by_name():
    model = small_method()
    with pytest.raises(ValueError, match="20x16: height and width must be multiples"):
        model(tf.zeros([1, 20, 16, 3]), tf.zeros([1, 20, 16, 1]))
    for parameters, message in (
        ({"image_size": 36}, "--image_size=36"),
        ({"image_size": 8}, "--image_size=8"),
        ({"width": 0}, "--width=0"),
        ({"local_patch_size": 40}, "--local_patch_size=40"),
        ({"padding": "REFELECT"}, "--padding=REFELECT"),
        ({"padding": "symmetric", "image_size": 32}, "at least 64"),
        ({"critic_updates": 0}, "--critic_updates=0"),
        ({"coarse_pretraining_steps": -1}, "--coarse_pretraining_steps=-1"),
        ({"spatial_discount_gamma": 0.0}, "--spatial_discount_gamma"),
    ):
        with pytest.raises(ValueError, match=message):
            small_method(**parameters)
    with pytest.raises(ValueError, match="batch of 4: giica takes a multiple of 3"):
        model.update(example_batch(batch=4))


# ------------------------------------------------------------ losses


def test_wasserstein_losses_are_differences_of_mean_scores():
    real, fake = np.float32([[2], [4]]), np.float32([[-1], [6], [1]])
    assert float(losses.wasserstein_critic_loss(real, fake)) == -1
    assert float(losses.wasserstein_generator_loss(fake)) == -2


def test_gradient_penalty_counts_the_slope_on_missing_pixels():
    """For scores sum(w x^2) the gradient is 2 w x, at x between real and fake."""
    rng = np.random.default_rng(3)
    real, fake, w = rng.normal(size=[3, 3, 2, 4, 3]).astype(np.float32)
    mask = rng.integers(0, 2, [3, 2, 4, 1]).astype(np.float32)
    mask[2] = 0  # slope 0, and still a finite derivative
    mixing = np.float32([0.0, 0.25, 0.5]).reshape(3, 1, 1, 1)
    weight = tf.Variable(w)
    with tf.GradientTape() as tape:
        penalty = losses.masked_gradient_penalty(
            lambda x: tf.reduce_sum(weight * tf.square(x), [1, 2, 3])[:, tf.newaxis],
            real,
            fake,
            mask,
            mixing,
        )
    between = real + mixing * (fake - real)
    slope = np.sqrt(np.sum((2 * w * between) ** 2 * mask, axis=(1, 2, 3)))
    assert float(penalty) == pytest.approx(np.mean((slope - 1) ** 2), rel=1e-5)
    assert slope[2] == 0
    # d/dw of (slope - 1)^2 / 3 = 2 (slope - 1) / 3 * 4 w x^2 mask / slope
    factor = np.array([(s - 1) / s if s else 0 for s in slope]).reshape(3, 1, 1, 1)
    expected = 8 / 3 * factor * w * between**2 * mask
    np.testing.assert_allclose(
        tape.gradient(penalty, weight), expected, rtol=1e-4, atol=1e-5
    )


def test_l1_losses_weigh_and_normalise_each_example():
    image = np.zeros([2, 2, 2, 3], np.float32)
    predicted = np.ones_like(image)
    predicted[0, 0, 0] = -3
    weight = np.float32([[1, 0.5], [0.25, 0]]).reshape(1, 2, 2, 1)
    total = (3 + 0.5 + 0.25) + (1 + 0.5 + 0.25)  # per channel, over 8 pixels
    assert float(losses.weighted_l1_loss(image, predicted, weight)) == total / 8
    mask = np.zeros([2, 2, 2, 1], np.float32)
    mask[0, 1] = 1  # the first example's mean is over (3, 1), the second's over ones
    assert float(losses.known_pixels_l1_loss(image, predicted, mask)) == (2 + 1) / 2
    everything = np.ones_like(mask)
    assert float(losses.known_pixels_l1_loss(image, predicted, everything)) == 0


# ------------------------------------------------------------ training


def players(model):
    return {
        "coarse": model.coarse_network,
        "refinement": model.refinement_network,
        "local_critic": model.local_critic,
        "global_critic": model.global_critic,
    }


def moved(model, act):
    """Which networks had any weight changed by act()."""
    before = {name: network.get_weights() for name, network in players(model).items()}
    act()
    return {
        name
        for name, network in players(model).items()
        if any(
            np.any(old != new)
            for old, new in zip(before[name], network.get_weights(), strict=True)
        )
    }


def test_update_moves_both_players_as_often_as_said():
    model = small_method()
    assert model.batches_per_step == 3
    assert moved(model, lambda: model.update(example_batch())) == set(players(model))
    assert int(model.critic_optimizer.iterations) == 2
    assert int(model.generator_optimizer.iterations) == 1


def test_each_update_sees_its_own_part_of_the_batch():
    """Adam's first step goes against the sign of the gradient, by the rate."""
    parameters = {"critic_updates": 1, "learning_rate": 1e-3, "adversarial_weight": 5}
    model = small_method(**parameters)
    batch = example_batch(batch=4)
    first, second = ({k: v[i : i + 2] for k, v in batch.items()} for i in (0, 2))
    completed = model(first["image"], first["mask"])["completed"]
    critic_weights = [*model.local_critic.weights, *model.global_critic.weights]
    critic_before = [weight.numpy() for weight in critic_weights]
    with tf.GradientTape() as tape:
        critic_loss = model.critic_losses(
            first["image"], completed, first["mask"], first["box"], model._mixing(2)
        )["critic_loss"]
    critic_gradients = tape.gradient(critic_loss, critic_weights)

    # The same networks beside the critics as these are after their update.
    keras.utils.set_random_seed(5)
    twin = small_method(**parameters)
    results = model.update(batch)
    twin.local_critic.set_weights(model.local_critic.get_weights())
    twin.global_critic.set_weights(model.global_critic.get_weights())
    with tf.GradientTape() as tape:
        generator_loss = twin.generator_losses(
            second["image"],
            twin(second["image"], second["mask"]),
            second["mask"],
            second["box"],
        )["generator_loss"]
    coarse_gradients = tape.gradient(generator_loss, twin.coarse_network.weights)
    assert float(results["critic_loss"]) == pytest.approx(float(critic_loss), rel=1e-5)
    assert float(results["generator_loss"]) == pytest.approx(
        float(generator_loss), rel=1e-5
    )
    coarse_before = twin.coarse_network.get_weights()
    coarse_after = model.coarse_network.get_weights()
    critic_after = [weight.numpy() for weight in critic_weights]
    for before, after, gradients in (
        (critic_before, critic_after, critic_gradients),
        (coarse_before, coarse_after, coarse_gradients),
    ):
        for old, new, gradient in zip(before, after, gradients, strict=True):
            gradient = gradient.numpy()
            # Where a gradient is rounding noise, so is its sign.
            clear = np.abs(gradient) > 1e-3 * np.abs(gradient).max() + 1e-6
            step = -1e-3 * gradient / (np.abs(gradient) + 1e-8 / np.sqrt(1 - 0.9))
            np.testing.assert_allclose((new - old)[clear], step[clear], rtol=5e-3)


def test_update_is_the_same_in_eager_and_graph_and_learns_a_batch():
    batch = example_batch(batch=4)
    smooth = tf.image.resize(tf.image.resize(batch["image"], [2, 2]), [16, 16])
    batch = {**batch, "image": smooth}
    results = []
    for compile_update in (lambda f: f, tf.function):
        keras.utils.set_random_seed(3)  # The same initial weights for both.
        model = small_method(width=0.125, critic_updates=1, learning_rate=2e-3)
        update = compile_update(model.update)
        results.append([float(v) for _ in range(2) for v in update(batch).values()])
    np.testing.assert_allclose(results[1], results[0], rtol=2e-4, atol=1e-5)
    for _ in range(40):
        last = float(update(batch)["reconstruction_loss"])
    assert last < 0.5 * results[1][0]


def test_a_restored_checkpoint_goes_on_exactly_also_in_pretraining(tmp_path):
    """One step, a restore and two more equal three steps, two of them pretraining."""
    batches = [example_batch(batch=4, seed=seed) for seed in range(3)]
    parameters = {"critic_updates": 1, "coarse_pretraining_steps": 2}
    straight = small_method(**parameters)
    straight.update(batches[0])
    Checkpoints(straight, tmp_path).save(1)
    expected = [straight.update(batch) for batch in batches[1:]]
    assert float(expected[0]["critic_loss"]) == 0 != float(expected[1]["critic_loss"])

    keras.utils.set_random_seed(99)
    resumed = small_method(**parameters)
    assert Checkpoints(resumed, tmp_path).restore() == 1
    for batch, results in zip(batches[1:], expected, strict=True):
        for name, value in resumed.update(batch).items():
            assert float(value) == float(results[name]), name
    for one, other in zip(straight.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_pretraining_moves_the_coarse_network_alone():
    batch = example_batch()
    model = small_method(critic_updates=1, coarse_pretraining_steps=1)
    results = {}
    assert moved(model, lambda: results.update(model.update(batch))) == {"coarse"}
    assert float(results["critic_loss"]) == float(results["adversarial_loss"]) == 0
    assert moved(model, lambda: model.update(batch)) == set(players(model))


def test_mixing_depends_on_seed_and_update_alone():
    model, other_seed = small_method(critic_updates=1), small_method(seed=1)
    first = model._mixing(64).numpy()
    assert first.shape == (2, 64, 1, 1, 1)
    assert 0 <= first.min() < 0.1 and 0.9 < first.max() < 1
    np.testing.assert_array_equal(first, tf.function(model._mixing)(64))
    assert np.all(first[0] != first[1])
    assert not np.array_equal(first, other_seed._mixing(64))
    model.update(example_batch())
    second = model._mixing(64).numpy()
    assert not np.array_equal(first, second)
    model.critic_optimizer.iterations.assign(0)
    np.testing.assert_array_equal(first, model._mixing(64))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains_with_float32_outputs(policy):
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        model = small_method(critic_updates=1)
        results = model.update(example_batch())
        # Gradients may overflow under float16, whose step is skipped then.
        values = [v for name, v in results.items() if not name.endswith("_norm")]
        assert all(np.isfinite(float(v)) for v in values)
        batch = example_batch()
        assert model(batch["image"], batch["mask"])["completed"].dtype == tf.float32
    finally:
        keras.mixed_precision.set_dtype_policy(before)
