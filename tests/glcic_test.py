"""GLCIC against recorded numbers of the TF1 program; its phases; its contract.

The recordings in golden/glcic come from the original program with random weights;
INPAINTING_GOLDEN_DIR names a folder with more of them. Tolerances are theirs.
"""

import json
import os
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from baselines.glcic import GLCIC
from baselines.glcic_networks import CompletionNetwork
from baselines.released_glcic import load_released_weights, released_variables
from inpainting_tf import losses, masks
from inpainting_tf.checkpoints import Checkpoints
from inpainting_tf.optimization import adam, apply_gradients

# TensorFloat-32 products would be three digits short of the recordings.
tf.config.experimental.enable_tensor_float_32_execution(False)

GOLDEN = pathlib.Path(__file__).parent / "golden" / "glcic"
PROGRAM = {
    "mask_channel": False,
    "mean_color": (127.5, 127.5, 127.5),
    "reconstruction": "half_sum",
    "adversarial_weight": 0.0,
    "discriminator_weight": 4e-4,
    "discriminator_steps": 0,
    "discriminator_batch_statistics": True,
    "random_scales": True,
}
COMPLETION, DISCRIMINATOR, JOINT = 0, 1, 2


def recordings():
    files = {path.name: path for path in GOLDEN.glob("glcic_*.npz")}
    if more := os.environ.get("INPAINTING_GOLDEN_DIR"):
        files.update((p.name, p) for p in pathlib.Path(more).rglob("glcic_*.npz"))
    return [pytest.param(files[name], id=name[:-4]) for name in sorted(files)]


def released_arrays():
    arrays = {}
    for player in ("generator", "discriminator"):
        with np.load(GOLDEN / f"weights_{player}.npz") as file:
            arrays.update({name: file[name] for name in file.files if name != "meta"})
    return arrays


@pytest.fixture(scope="module")
def released():
    """The program's model and weights; tests put them back by `reset`."""
    return GLCIC(**PROGRAM), released_arrays()


def reset(released):
    model, arrays = released
    load_released_weights(model, arrays)
    return model


@pytest.fixture(autouse=True)
def same_weights_on_every_run():
    keras.utils.set_random_seed(5)


def small_method(**parameters):
    """Phases: completion at steps 0 and 1, discriminator at 2 and 3, then joint."""
    return GLCIC(
        **{
            "image_size": 32,
            "width": 0.0625,
            "completion_steps": 2,
            "discriminator_steps": 2,
            **parameters,
        }
    )


@pytest.fixture(scope="module")
def compiled():
    """One traced update for many tests; they put the model back by `restart`."""
    keras.utils.set_random_seed(5)
    model = small_method()
    return model, tf.function(model.update), values(state(model))


def restart(compiled):
    model, update, start = compiled
    for variable, value in zip(state(model), start, strict=True):
        variable.assign(value)
    return model, update


def state(model):
    return [
        *model.variables,
        *model.completion_optimizer.variables,
        *model.discriminator_optimizer.variables,
    ]


def example_batch(size=32, batch=2, seed=2):
    drawn, box = masks.draw_batch(
        "box_in_patch", [[i, seed] for i in range(batch)], size, size
    )
    rng = np.random.default_rng(seed)
    image = rng.uniform(-1, 1, [batch, size, size, 3]).astype(np.float32)
    return {"image": tf.constant(image), "mask": drawn, "box": box}


def values(variables):
    return [np.array(variable) for variable in variables]


def assert_within(actual, expected, tolerance):
    """Differences relative to the largest expected magnitude."""
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=tolerance * np.abs(expected).max()
    )


# ------------------------------------------------------------ recordings


def recorded_box(golden):
    left, top, right, bottom = golden["points"].T
    return np.stack([top, left, bottom - top, right - left], axis=1).astype(np.int32)


def assert_statistics(model, golden, prefix):
    names = [name for name in golden.files if name.startswith(prefix + "/")]
    assert names
    for name in names:
        variable, _ = released_variables(model)[name.removeprefix(prefix + "/")]
        assert_within(variable.numpy(), golden[name], 1e-5)


def assert_gradients(golden, norms_key, gradients):
    """Recorded norms of all gradients, and some gradients in full.

    ReLU kinks blow up rounding in the early layers of the generator and everywhere in
    the discriminators.
    """
    for name, norm in zip(
        json.loads(str(golden["meta"]))[f"{norms_key}_names"],
        golden[norms_key],
        strict=True,
    ):
        tolerance = 5e-3 if name.startswith("discriminator/") else 2e-2
        if name.startswith(("generator/conv10/", "generator/conv11/")):
            tolerance = 1e-4
        gradient = gradients[name].numpy()
        assert np.linalg.norm(gradient) == pytest.approx(norm, rel=tolerance), name
        if f"grad/{name}" in golden:
            assert_within(gradient, golden[f"grad/{name}"], tolerance)


def named_gradients(model, player, tape, loss):
    named = {
        name: variable
        for name, (variable, _) in released_variables(model).items()
        if name.startswith(player) and variable.trainable
    }
    gradients = tape.gradient(loss, list(named.values()))
    return dict(zip(named, gradients, strict=True))


@pytest.mark.parametrize("path", recordings())
def test_completion_equals_the_recordings(path, released):
    golden, model = np.load(path), reset(released)
    image, mask = golden["x"], golden["mask"]
    outputs = model(image, mask)
    np.testing.assert_allclose(
        outputs["predicted"], golden["imitation_infer"], rtol=0, atol=5e-5
    )
    np.testing.assert_allclose(
        outputs["completed"], golden["completion_infer"], rtol=0, atol=5e-5
    )
    loss = model.reconstruction_loss(image, outputs["predicted"], mask)
    assert float(loss) == pytest.approx(float(golden["g_loss_infer"]), rel=1e-5)

    with tf.GradientTape() as tape:
        outputs = model(image, mask, training=True)
        loss = model.reconstruction_loss(image, outputs["predicted"], mask)
    np.testing.assert_allclose(
        outputs["predicted"], golden["imitation_train"], rtol=0, atol=3e-4
    )
    np.testing.assert_allclose(
        outputs["completed"], golden["completion_train"], rtol=0, atol=3e-4
    )
    assert float(loss) == pytest.approx(float(golden["g_loss_train"]), rel=1e-5)
    assert_statistics(model, golden, "after_one_forward")
    gradients = named_gradients(model, "generator/", tape, loss)
    assert_gradients(golden, "grad_norm_g", gradients)


@pytest.mark.parametrize("path", recordings())
def test_discriminators_equal_the_recordings(path, released):
    golden, model = np.load(path), reset(released)
    box, completed = recorded_box(golden), golden["completion_train"]
    for whole, patch in (("x", "local_x"), ("completion_train", "local_completion")):
        crop = masks.crop_patches(golden[whole], box[:, :2], 64, 64)
        np.testing.assert_array_equal(crop, golden[patch])
    with tf.GradientTape() as tape:
        # The program's evaluation, too, is by batch statistics.
        real = model.logits(golden["x"], box)
        assert_statistics(model, golden, "after_real")
        fake = model.logits(completed, box)
        loss = model.discriminator_weight * losses.minimax_discriminator_loss(
            real, fake
        )
    assert_statistics(model, golden, "after_real_then_fake")
    np.testing.assert_allclose(real, golden["real"], rtol=0, atol=5e-5)
    np.testing.assert_allclose(fake, golden["fake"], rtol=0, atol=5e-5)
    assert float(loss) == pytest.approx(float(golden["d_loss"]), rel=1e-5)
    gradients = named_gradients(model, "discriminator/", tape, loss)
    assert_gradients(golden, "grad_norm_d", gradients)


def test_update_reports_the_recorded_losses_of_both_players(released):
    golden, model = np.load(recordings()[0].values[0]), reset(released)
    batch = {"image": golden["x"], "mask": golden["mask"], "box": recorded_box(golden)}
    model.steps_taken.assign(model.completion_steps)
    results = model.update(batch)
    assert float(results["phase"]) == JOINT
    completion_loss = float(results["completion_loss"])
    assert completion_loss == pytest.approx(float(golden["g_loss_train"]), rel=1e-5)
    discriminator_loss = 4e-4 * float(results["discriminator_loss"])
    assert discriminator_loss == pytest.approx(float(golden["d_loss"]), rel=1e-5)
    assert float(results["adversarial_loss"]) == 0
    assert_statistics(model, golden, "after_one_forward")
    assert_statistics(model, golden, "after_real_then_fake")


def test_released_weights_are_all_used_or_named(released):
    model, arrays = released
    before = model.completion.get_weights()
    extra = {"global_step": np.zeros([]), "beta1_power": np.zeros([])}
    assert load_released_weights(model, {**arrays, **extra}) == [
        "beta1_power",
        "global_step",
    ]
    lacking = {k: v for k, v in arrays.items() if k != "generator/conv3/pop_var"}
    with pytest.raises(ValueError, match="generator/conv3/pop_var is missing"):
        load_released_weights(model, lacking)
    small = GLCIC(**{**PROGRAM, "width": 0.0625, "image_size": 32})
    before = small.get_weights()
    with pytest.raises(ValueError, match=r"generator/conv1/weight has shape \(5, 5, 3"):
        load_released_weights(small, arrays)
    for old, new in zip(before, small.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


# ------------------------------------------------------------ networks


def block_weights(kernel, channels_in, channels_out):
    """Kernel without bias; scale, offset and two running statistics."""
    return kernel * kernel * channels_in * channels_out + 4 * channels_out


def discriminator_weights(channels, side):
    count, channels_in = 0, 3
    for channels_out in channels:
        count += block_weights(5, channels_in, channels_out)
        channels_in, side = channels_out, side // 2
    return count + side * side * channels_in * 1024 + 1024


@pytest.mark.parametrize("inputs", [3, 4])
def test_completion_network_has_the_published_number_of_weights(inputs, released):
    b = block_weights
    expected = b(5, inputs, 64) + b(3, 64, 128) + b(3, 128, 128) + b(3, 128, 256)
    expected += 8 * b(3, 256, 256)
    expected += b(4, 256, 128) + b(3, 128, 128) + b(4, 128, 64) + b(3, 64, 32)
    expected += 3 * 3 * 32 * 3
    network = released[0].completion
    if inputs == 4:
        network = CompletionNetwork()
        network(tf.zeros([1, 32, 32, 3]), tf.zeros([1, 32, 32, 1]))
    assert network.count_params() == expected
    if inputs == 3:
        sizes = [a.size for n, a in released[1].items() if n.startswith("generator/")]
        assert expected == sum(sizes)


def test_discriminators_have_the_published_number_of_weights(released):
    channels = [64, 128, 256, 512, 512]
    expected = discriminator_weights(channels, 128)
    expected += discriminator_weights(channels[:-1], 64) + 2048 + 1
    assert released[0].discriminator.count_params() == expected


def test_at_256_each_discriminator_has_a_layer_more():
    model = GLCIC(image_size=256, width=0.0625)
    blocks = model.discriminator.global_blocks, model.discriminator.local_blocks
    assert [len(side) for side in blocks] == [6, 5]
    assert model.local_patch_size == 128
    assert model.discriminator.global_vector.kernel.shape == (4 * 4 * 32, 64)
    assert model.discriminator.local_vector.kernel.shape == (4 * 4 * 32, 64)


@pytest.mark.parametrize("mask_channel", [True, False])
def test_known_pixels_come_back_bit_for_bit_and_the_hole_does_not_matter(mask_channel):
    model = small_method(mask_channel=mask_channel)
    hole, _ = masks.draw_batch("free_form", [[0, 1], [2, 3]], 32, 48)
    image = np.random.default_rng(4).uniform(-1, 1, [2, 32, 48, 3]).astype(np.float32)
    outputs = model(image, hole)
    known = np.broadcast_to(hole.numpy() == 0, image.shape)
    np.testing.assert_array_equal(outputs["completed"][known], image[known])
    np.testing.assert_array_equal(
        outputs["completed"][~known], outputs["predicted"][~known]
    )
    other = model(tf.where(hole > 0, np.nan, image), hole)
    np.testing.assert_array_equal(other["completed"], outputs["completed"])
    dynamic = tf.function(
        model.call,
        input_signature=[
            tf.TensorSpec([None, None, None, 3]),
            tf.TensorSpec([None, None, None, 1]),
        ],
    )
    graph = dynamic(image, hole)
    np.testing.assert_allclose(graph["predicted"], outputs["predicted"], atol=1e-5)


def test_the_hole_is_filled_with_the_mean_color():
    """Grey levels 0 and 255 stand for -1 and 1."""
    batch = example_batch()
    filled = tf.where(batch["mask"] > 0, [-1.0, 0.0, 1.0], batch["image"])
    model = small_method(mask_channel=False, mean_color=(0, 127.5, 255))
    np.testing.assert_array_equal(
        model(batch["image"], batch["mask"])["predicted"],
        model(filled, tf.zeros_like(batch["mask"]))["predicted"],
    )


def test_an_example_does_not_depend_on_its_batch_mates():
    model = small_method()
    batch = example_batch(batch=3)
    model.update(batch)
    together = model(batch["image"], batch["mask"])["predicted"]
    alone = model(batch["image"][1:2], batch["mask"][1:2])["predicted"]
    np.testing.assert_allclose(together[1:2], alone, atol=1e-6)
    logits = model.logits(batch["image"], batch["box"])
    logit = model.logits(batch["image"][1:2], batch["box"][1:2])
    np.testing.assert_allclose(logits[1:2], logit, atol=1e-5)


def test_what_the_method_cannot_take_is_refused_by_name():
    for parameters, message in (
        ({"image_size": 50}, "--image_size=50"),
        ({"width": 0}, "--width=0"),
        ({"local_patch_size": 40}, "--local_patch_size=40"),
        ({"reconstruction": "sum"}, "--reconstruction=sum"),
        ({"optimizer": "sgd"}, "--optimizer=sgd"),
        ({"completion_steps": -1}, "--completion_steps=-1"),
    ):
        with pytest.raises(ValueError, match=message):
            small_method(**parameters)
    with pytest.raises(ValueError, match="30x32: height and width must be multiples"):
        small_method()(tf.zeros([1, 30, 32, 3]), tf.zeros([1, 30, 32, 1]))


# ------------------------------------------------------------ losses and phases


def test_missing_squared_error_averages_each_hole_and_weighs_its_border():
    image = np.zeros([2, 6, 7, 3], np.float32)
    predicted = np.zeros_like(image)
    mask = np.zeros([2, 6, 7, 1], np.float32)
    mask[0, :4, 1:5] = 1  # 16 pixels; touches the edge, which is no border
    mask[1, 3, 3] = 1
    predicted[0, 0, 2] = 2  # interior: rows 0..2, columns 2..3
    predicted[0, 3, 2] = 1  # border
    predicted[0, 5, 6] = 9  # known
    predicted[1, 3, 3] = [1, 0, 2]
    plain = ((3 * 4 + 3) / 48 + 5 / 3) / 2
    assert float(losses.missing_squared_error(image, predicted, mask)) == (
        pytest.approx(plain)
    )
    weighted = ((3 * 4 + 10 * 3) / 48 + 10 * 5 / 3) / 2
    actual = losses.missing_squared_error(image, predicted, mask, 1, 10.0)
    assert float(actual) == pytest.approx(weighted)
    none = losses.missing_squared_error(image, predicted, 0 * mask)
    assert float(none) == 0
    half = losses.half_missing_squared_sum(image, predicted, mask)
    assert float(half) == (3 * 4 + 3 + 5) / 2


def test_each_phase_moves_its_players_alone(compiled):
    model, update = restart(compiled)
    batch = example_batch()
    keys = set()
    for expected in (
        COMPLETION,
        COMPLETION,
        DISCRIMINATOR,
        DISCRIMINATOR,
        JOINT,
        JOINT,
    ):
        players = {
            "completion": (
                model.completion.trainable_variables,
                model.completion.non_trainable_variables,
                model.completion_optimizer.variables,
            ),
            "discriminator": (
                model.discriminator.trainable_variables,
                model.discriminator.non_trainable_variables,
                model.discriminator_optimizer.variables,
            ),
        }
        before = {k: [values(v) for v in parts] for k, parts in players.items()}
        results = {name: float(v) for name, v in update(batch).items()}
        assert results["phase"] == expected
        keys.add(tuple(sorted(results)))
        for player, resting in (
            ("completion", DISCRIMINATOR),
            ("discriminator", COMPLETION),
        ):
            for old, part in zip(before[player], players[player], strict=True):
                moved = [
                    not np.array_equal(o, n)
                    for o, n in zip(old, values(part), strict=True)
                ]
                if expected == resting:
                    assert not any(moved)
                else:
                    assert np.mean(moved) > 0.8
        completion_rests = expected == DISCRIMINATOR
        assert (results["completion_loss"] == 0) == completion_rests
        assert (results["reconstruction_loss"] == 0) == completion_rests
        assert (results["discriminator_loss"] == 0) == (expected == COMPLETION)
        assert (results["adversarial_loss"] == 0) == (expected != JOINT)
    assert len(keys) == 1
    assert int(model.completion_optimizer.iterations) == 4
    assert int(model.discriminator_optimizer.iterations) == 4


def test_a_resting_player_is_not_computed(compiled):
    """Convolutions stand only in the branches of the phases."""
    graph = compiled[1].get_concrete_function(example_batch()).graph
    kinds = [operation.type for operation in graph.get_operations()]
    assert "Conv2D" not in kinds
    assert "Case" in kinds or "StatelessCase" in kinds


def test_the_joint_phase_reaches_the_completion_network_by_alpha():
    batch = example_batch()

    def gradient(alpha):
        keras.utils.set_random_seed(7)
        model = small_method(adversarial_weight=alpha)
        _, completion, discriminator = model._gradients(batch)
        return np.array(completion[0]), np.array(discriminator[0])

    without, with_alpha, doubled = gradient(0.0), gradient(2.0), gradient(4.0)
    difference = with_alpha[0] - without[0]
    assert np.abs(difference).max() > 1e-3 * np.abs(without[0]).max()
    assert_within(doubled[0] - without[0], 2 * difference, 1e-3)
    np.testing.assert_allclose(with_alpha[1], without[1], atol=1e-7)


def test_a_run_resumed_in_mid_phase_goes_on_exactly(tmp_path):
    batches = [example_batch(seed=i) for i in range(6)]
    model, other = small_method(), small_method()
    for step, batch in enumerate(batches):
        if step in (1, 3, 5):
            Checkpoints(model, tmp_path / str(step)).save(step)
        expected = [float(v) for v in model.update(batch).values()]
        if step in (1, 3, 5):
            checkpoints = Checkpoints(other, tmp_path / str(step))
            assert checkpoints.restore() == step
            assert int(other.steps_taken) == step
            results = [float(v) for v in other.update(batch).values()]
            assert results == expected
            for new, old in zip(state(other), state(model), strict=True):
                np.testing.assert_array_equal(new, old)


def test_update_is_the_same_in_eager_and_graph(compiled):
    model, update = restart(compiled)
    batch = example_batch()
    results = [[float(v) for v in update(batch).values()] for _ in range(5)]
    restart(compiled)
    eager = [[float(v) for v in model.update(batch).values()] for _ in range(5)]
    np.testing.assert_allclose(eager, results, rtol=1e-3, atol=1e-6)


def test_adadelta_takes_zeilers_first_step():
    """delta = -sqrt(epsilon) / sqrt(0.05 g^2 + epsilon) g, at rate 1."""
    model = small_method(optimizer="adadelta")
    batch = example_batch()
    weights = model.completion.trainable_variables
    before = values(weights)
    _, gradients, _ = model._gradients(batch, discriminator_learns=False)
    model.update(batch)
    for old, new, gradient in zip(before, values(weights), gradients, strict=True):
        gradient = np.array(gradient)
        step = -1e-3 / np.sqrt(0.05 * gradient**2 + 1e-6) * gradient
        assert_within(new - old, step, 1e-2)


def test_training_on_one_batch_lowers_the_reconstruction_loss(compiled):
    _, update = restart(compiled)
    batch = example_batch()
    smooth = tf.image.resize(tf.image.resize(batch["image"], [4, 4]), [32, 32])
    batch = {**batch, "image": smooth}
    first = float(update(batch)["reconstruction_loss"])
    for _ in range(80):
        last = float(update(batch)["reconstruction_loss"])
    assert 0 < last < 0.5 * first


# ------------------------------------------------------------ replicas


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("replicas", [1, 2])
def test_a_predicate_decides_a_step_of_the_optimizer(policy, replicas, mirrored):
    strategy = mirrored if replicas == 2 else tf.distribute.get_strategy()
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        with strategy.scope():
            weight = keras.Variable([1.0, 2.0])
            optimizer = adam(0.25)
            optimizer.build([weight])
    finally:
        keras.mixed_precision.set_dtype_policy(before)

    def run(when):
        gradient = optimizer.scale_loss(tf.constant([3.0, -4.0]))
        apply_gradients(optimizer, [gradient], [weight], clip_norm=1.0, when=when)

    step = tf.function(lambda when: strategy.run(run, args=(when,)))
    for when, taken in ((False, 0), (True, 1), (False, 1), (True, 2)):
        step(tf.constant(when))
        expected = [1 - 0.25 * taken, 2 + 0.25 * taken]
        np.testing.assert_allclose(weight, expected, atol=1e-5)
        assert np.array(optimizer.iterations) == taken


def test_mixed_precision_trains_with_float32_outputs():
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        model = small_method(completion_steps=1, discriminator_steps=1)
        batch = example_batch()
        for _ in range(3):
            results = model.update(batch)
        # Gradients may overflow under float16, whose step is skipped then.
        values = [v for name, v in results.items() if not name.endswith("_norm")]
        assert all(np.isfinite(float(v)) for v in values)
        assert model(batch["image"], batch["mask"])["completed"].dtype == tf.float32
    finally:
        keras.mixed_precision.set_dtype_policy(before)
