"""The latent search against recordings, NumPy references and its own promises.

The recordings come from the original SIIDGM program on a small random GAN;
INPAINTING_GOLDEN_DIR names a folder with more of them.
"""

import json
import os
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from baselines.dcgan import DCGAN
from baselines.siidgm import SIIDGM
from command_line import method_flags
from inpainting_tf import latent_search, masks
from inpainting_tf.latent_search import importance_weights, initial_z, search
from inpainting_tf.symmetric_search import SymmetricSearch, mirror, symmetric_terms

tf.config.experimental.enable_tensor_float_32_execution(False)

GOLDEN = pathlib.Path(__file__).parent / "golden"
WEIGHT_TOLERANCE = 1e-6
LOSS_TOLERANCE = 1e-5  # relative
GRADIENT_TOLERANCE = 1e-5  # times the largest gradient
STEP_TOLERANCE = 1e-5
TRAJECTORY_TOLERANCE = 1e-3


def recordings(pattern):
    files = {path.name: path for path in GOLDEN.glob(f"siidgm/{pattern}")}
    if more := os.environ.get("INPAINTING_GOLDEN_DIR"):
        files.update((path.name, path) for path in pathlib.Path(more).rglob(pattern))
    return [pytest.param(files[name], id=name[:-4]) for name in sorted(files)]


class RecordedGAN:
    """The random GAN of the recordings, from its weights."""

    image_size, latent_size = 64, 100

    def __init__(self, path):
        beside = path.parent / "random_gan_weights.npz"
        ours = GOLDEN / "siidgm" / "random_gan_weights.npz"
        self.weights = dict(np.load(beside if beside.exists() else ours))

    def generate(self, z):
        w = self.weights
        features = z @ w["g_dense_kernel"] + w["g_dense_bias"]
        features = tf.nn.relu(tf.reshape(features, [-1, 4, 4, 32]))
        for i in range(1, 5):
            kernel = w[f"g_deconv{i}_kernel"]
            side = 4 * 2**i
            shape = [tf.shape(z)[0], side, side, kernel.shape[2]]
            features = tf.nn.conv2d_transpose(features, kernel, shape, 2, "SAME")
            features += w[f"g_deconv{i}_bias"]
            features = tf.nn.relu(features) if i < 4 else tf.tanh(features)
        return features

    def score(self, image):
        w = self.weights
        features = image
        for i in range(1, 4):
            features = tf.nn.conv2d(features, w[f"d_conv{i}_kernel"], 2, "SAME")
            features = tf.nn.leaky_relu(features + w[f"d_conv{i}_bias"], 0.2)
        flat = tf.reshape(features, [tf.shape(image)[0], -1])
        return flat @ w["d_dense_kernel"] + w["d_dense_bias"]


def recipe_constants(recipe):
    """What a recipe of search.py says about the search."""
    values = flags.FlagValues()
    method_flags.define({"siidgm": SIIDGM}, values)
    path = pathlib.Path(__file__).parent.parent / "flags" / f"{recipe}.cfg"
    lines = [line for line in path.read_text().splitlines() if line[:1] == "-"]
    names = [line.lstrip("-").partition("=")[0].removeprefix("no") for line in lines]
    known = [line for line, name in zip(lines, names, strict=True) if name in values]
    values(["", *known])
    return method_flags.arguments({"siidgm": SIIDGM}, "siidgm", values)


def recorded_case(path):
    """(golden, gan, image, mask, constants of the search) of one recording."""
    golden = np.load(path)
    meta = json.loads(str(golden["meta"]))
    recipe = {"master": "siidgm_author", "extensions": "siidgm_extensions"}
    program = recipe_constants(recipe[meta["branch"]])
    constants = program | {
        "prior_weight": meta["lambda_p"],
        "learning_rate": meta["lr"],
        "momentum": meta["momentum"],
        "iterations": meta["nIter"],
        "neighbourhood": meta["nsize"],
    }
    if not meta["useWeightedMask"]:
        constants["weighting"] = "uniform"
    image = tf.constant(golden["images_data"])
    mask = 1 - golden["mask"][np.newaxis, ..., np.newaxis]
    mask = tf.repeat(tf.constant(mask), len(image), axis=0)
    return golden, RecordedGAN(path), image, mask, constants, meta


def recorded_search(gan, terms, start_z, constants, **changes):
    """The program's descent from given z, with the constants that `search` knows."""
    outside = ("neighbourhood", "weighting", "border", "blending", "clip_blended")
    arguments = {k: v for k, v in constants.items() if k not in outside}

    @tf.function
    def graph(start_z):
        return search(
            gan.generate, gan.score, terms, start_z=start_z, **(arguments | changes)
        )

    return graph(start_z)


# ------------------------------------------------------------ recordings


@pytest.mark.parametrize("path", recordings("weighted_mask_*.npz"))
def test_equals_recorded_importance_weights(path):
    golden = np.load(path)
    meta = json.loads(str(golden["meta"]))
    mode = {"master": "known", "extensions": "missing"}[meta["branch"]]
    assert meta["entries"]
    for entry in meta["entries"]:
        mask = 1 - golden[entry["mask"]][np.newaxis, ..., np.newaxis]
        weights = importance_weights(mask, entry["nsize"], mode)
        np.testing.assert_allclose(
            weights[0, ..., 0],
            golden[entry["key"]],
            rtol=0,
            atol=WEIGHT_TOLERANCE,
            err_msg=str(entry),
        )


@pytest.mark.parametrize("path", recordings("siidgm_*.npz"))
def test_equals_recorded_losses_and_gradients_at_every_recorded_z(path):
    golden, gan, image, mask, constants, _ = recorded_case(path)
    weights = importance_weights(
        mask, constants["neighbourhood"], constants["weighting"]
    )
    np.testing.assert_allclose(
        weights[0], golden["masks_data"][..., :1], rtol=0, atol=WEIGHT_TOLERANCE
    )

    def evaluate(z, terms):
        z = tf.constant(z)
        with tf.GradientTape() as tape:
            tape.watch(z)
            generated = gan.generate(z)
            context = latent_search.context_loss(generated, terms)
            prior = latent_search.prior_loss(gan.score(generated), "non_saturating")
            total = context + constants["prior_weight"] * prior
        return context, prior, total, tape.gradient(total, z), generated

    def assert_close(actual, expected):
        np.testing.assert_allclose(actual, expected, rtol=LOSS_TOLERANCE)

    context, prior, total, gradient, generated = evaluate(
        golden["z0"], [(image, weights)]
    )
    np.testing.assert_allclose(generated, golden["G_of_z0"], rtol=0, atol=1e-5)
    assert_close(context, golden["context_loss"])
    assert_close(tf.reduce_mean(prior), golden["prior_loss"])
    # The program adds the batch mean of the prior to every example; the gradients are
    # the same.
    own = constants["prior_weight"] * (prior - golden["prior_loss"])
    assert_close(total - own, golden["total_loss"])
    largest = np.abs(golden["grad_z"]).max()
    np.testing.assert_allclose(
        gradient, golden["grad_z"], rtol=0, atol=GRADIENT_TOLERANCE * largest
    )
    # In float64: somewhere on the way a ReLU sits so close to its kink that rounding
    # in float32 decides its side.
    gan.weights = {
        name: weight.astype(np.float64)
        for name, weight in gan.weights.items()
        if weight.dtype == np.float32
    }
    terms = [(tf.cast(image, tf.float64), tf.cast(weights, tf.float64))]
    for k, z in enumerate(golden["z_fed"].astype(np.float64)):
        _, prior, total, gradient, _ = evaluate(z, terms)
        own = constants["prior_weight"] * (prior - tf.reduce_mean(prior))
        assert_close(total - own, golden["loss_trajectory"][k])
        expected = golden["grad_trajectory"][k]
        np.testing.assert_allclose(
            gradient, expected, rtol=0, atol=GRADIENT_TOLERANCE * np.abs(expected).max()
        )


@pytest.mark.parametrize("path", recordings("siidgm_*.npz"))
def test_update_rule_reproduces_every_recorded_step(path):
    golden, _, _, _, constants, _ = recorded_case(path)
    velocity = np.zeros_like(golden["z0"])
    following = [*golden["z_fed"][1:], golden["z_final"]]
    for z, gradient, expected in zip(
        golden["z_fed"], golden["grad_trajectory"], following, strict=True
    ):
        z, velocity = latent_search.nesterov_step(
            z, velocity, gradient, constants["learning_rate"], constants["momentum"]
        )
        np.testing.assert_allclose(
            np.clip(z, -1, 1), expected, rtol=0, atol=STEP_TOLERANCE
        )


@pytest.mark.parametrize("path", recordings("siidgm_*.npz"))
def test_search_follows_the_recorded_trajectory_while_it_is_well_conditioned(path):
    golden, gan, image, mask, constants, meta = recorded_case(path)
    steps = meta["well_conditioned_steps"]
    weights = importance_weights(
        mask, constants["neighbourhood"], constants["weighting"]
    )
    found = recorded_search(
        gan, [(image, weights)], golden["z0"], constants, iterations=steps
    )
    following = [*golden["z_fed"][1:], golden["z_final"]]
    np.testing.assert_allclose(
        found["z"], following[steps - 1], rtol=0, atol=TRAJECTORY_TOLERANCE
    )
    weighted = constants["prior_weight"] * found["prior_losses"]
    mean_prior = tf.reduce_mean(weighted, axis=0)
    recorded = tf.transpose(found["context_losses"] + mean_prior)[:steps]
    np.testing.assert_allclose(
        recorded, golden["loss_trajectory"][:steps], rtol=TRAJECTORY_TOLERANCE
    )
    np.testing.assert_allclose(
        found["losses"], found["context_losses"] + weighted, rtol=1e-6
    )


@pytest.mark.parametrize("path", recordings("siidgm_*.npz"))
def test_method_given_the_recorded_picture_makes_the_recorded_result(path):
    golden, gan, image, mask, constants, _ = recorded_case(path)

    class Found:
        """A GAN that generates the recorded picture whatever z is."""

        image_size, latent_size, score = 64, 100, gan.score

        def generate(self, z):
            return golden["G_last"] + 0 * tf.reduce_sum(z)

    constants |= {"iterations": 1, "group_size": 0}
    # Its blended pictures are in [0, 1], and what the blending makes brighter stays.
    expected = 2 * golden["post_blend"] - 1
    completed = SIIDGM(Found(), **constants)(image, mask)
    np.testing.assert_allclose(completed, expected, rtol=0, atol=4e-6)
    clipped = SIIDGM(Found(), **constants | {"clip_blended": True})(image, mask)
    np.testing.assert_allclose(clipped, np.minimum(expected, 1), rtol=0, atol=4e-6)
    mixed = SIIDGM(Found(), **constants | {"blending": "weights"})(image, mask)
    np.testing.assert_allclose(mixed, 2 * golden["post_noblend"] - 1, atol=4e-6)


# ------------------------------------------------------------ importance weights


@pytest.mark.parametrize("mode", ["missing", "known"])
def test_importance_weights_equal_a_count_by_hand(mode):
    mask, _ = masks.draw_batch("free_form", [[0, 1], [5, 2]], 14, 11)
    mask = mask.numpy()
    counted = mask if mode == "missing" else 1 - mask
    expected = np.zeros_like(mask)
    for i, y, x in np.ndindex(mask.shape[:3]):
        mirrored = np.pad(counted[i, ..., 0], 2, "symmetric")
        share = mirrored[y : y + 5, x : x + 5].mean()
        expected[i, y, x] = share * (1 - mask[i, y, x])
    np.testing.assert_allclose(
        importance_weights(mask, 5, mode), expected, atol=WEIGHT_TOLERANCE
    )


def test_wrong_weightings_are_named():
    mask = tf.zeros([1, 8, 8, 1])
    with pytest.raises(ValueError, match="mode='both' is unknown"):
        importance_weights(mask, mode="both")
    with pytest.raises(ValueError, match="neighbourhood=4: must be odd"):
        importance_weights(mask, 4)
    with pytest.raises(ValueError, match="neighbourhood=19: too large"):
        importance_weights(mask, 19)


# ------------------------------------------------------------ a small search


class SmallGAN:
    """A smooth random map from 6 numbers to 8x8 images, and a linear score."""

    image_size, latent_size = 8, 6

    def __init__(self, seed=0, symmetric=False):
        rng = np.random.default_rng(seed)
        basis = rng.normal(0, 1, [6, 8, 8, 3])
        if symmetric:
            basis = basis + basis[:, :, ::-1]
        self.basis = tf.constant(basis.reshape(6, -1), tf.float32)
        self.direction = tf.constant(rng.normal(0, 0.1, [192, 1]), tf.float32)

    def generate(self, z):
        return tf.reshape(tf.tanh(tf.matmul(z, self.basis)), [-1, 8, 8, 3])

    def score(self, image):
        return tf.matmul(tf.reshape(image, [-1, 192]), self.direction)


def examples(count, gan=None, seed=3):
    """Images that the GAN can make, and a hole in each."""
    gan = gan or SmallGAN()
    z = np.random.default_rng(seed).uniform(-1, 1, [count, 6]).astype(np.float32)
    mask, _ = masks.draw_batch("random_box", [[i, 7] for i in range(count)], 8, 8)
    return gan.generate(z), mask


def run(image, mask, gan=None, compiled=True, **constants):
    gan = gan or SmallGAN()
    terms = [(image, importance_weights(mask, 3))]

    def graph():
        return search(
            gan.generate,
            gan.score,
            terms,
            **{"latent_size": 6, "iterations": 40, "learning_rate": 0.05} | constants,
        )

    return tf.function(graph)() if compiled else graph()


def numpy_search(image, mask, z, steps, optimizer, prior, prior_weight, context):
    """The descent in float64 with derivatives by hand, for SmallGAN."""
    gan = SmallGAN()
    basis, direction = (np.float64(x) for x in (gan.basis, gan.direction))
    weights = np.repeat(np.float64(importance_weights(mask, 3)), 3, axis=-1)
    weights = weights.reshape(len(image), -1)
    target = np.float64(image).reshape(len(image), -1)
    z, velocity, second = np.float64(z), 0.0, 0.0
    curve = []
    for step in range(steps + 1):
        generated = np.tanh(z @ basis)
        difference = weights * (generated - target)
        logit = generated @ direction
        if context == "l1":
            total = np.abs(difference).sum(axis=1)
            slope = weights * np.sign(difference)
        else:
            total = (difference**2).sum(axis=1)
            slope = 2 * weights * difference
        probability = 1 / (1 + np.exp(-logit))
        if prior == "saturating":
            total += prior_weight * np.log(1 - probability)[:, 0]
            slope += prior_weight * -probability * direction[:, 0]
        else:
            total += prior_weight * -np.log(probability)[:, 0]
            slope += prior_weight * (probability - 1) * direction[:, 0]
        gradient = (slope * (1 - generated**2)) @ basis.T
        curve.append(total)
        if step == steps:
            break
        if optimizer == "nesterov":
            before = velocity
            velocity = 0.9 * velocity - 1e-3 * gradient
            z = z - 0.9 * before + 1.9 * velocity
        else:
            velocity = 0.9 * velocity + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            mean = velocity / (1 - 0.9 ** (step + 1))
            z = z - 1e-3 * mean / (np.sqrt(second / (1 - 0.999 ** (step + 1))) + 1e-8)
        z = np.clip(z, -1, 1)
    return z, np.stack(curve, axis=1)


@pytest.mark.parametrize("optimizer", ["adam", "nesterov"])
@pytest.mark.parametrize("context", ["l1", "squared"])
@pytest.mark.parametrize("prior", ["saturating", "non_saturating"])
def test_search_equals_the_same_descent_in_numpy(optimizer, context, prior):
    image, mask = examples(3)
    start_z = np.random.default_rng(9).uniform(-0.5, 0.5, [3, 6]).astype(np.float32)
    shared = {
        "optimizer": optimizer,
        "context": context,
        "prior": prior,
        "prior_weight": 2.0,
    }
    found = run(
        image,
        mask,
        start_z=start_z,
        iterations=8,
        learning_rate=1e-3,
        keep="last",
        **shared,
    )
    z, curve = numpy_search(image, mask, start_z, 8, **shared)
    np.testing.assert_allclose(found["z"], z, atol=1e-5)
    np.testing.assert_allclose(found["losses"], curve, rtol=1e-4)
    np.testing.assert_allclose(found["loss"], curve[:, -1], rtol=1e-4)
    # One by one, as in the search: batches round differently on some processors.
    images = [SmallGAN().generate(z[np.newaxis])[0] for z in found["z"]]
    np.testing.assert_array_equal(found["image"], images)


def test_search_finds_the_z_that_made_the_image():
    image, mask = examples(4)
    found = run(image, mask, context="squared", iterations=300, restarts=3)
    hole = np.broadcast_to(mask > 0, image.shape)
    np.testing.assert_allclose(found["image"][hole], image[hole], atol=0.05)


def test_example_alone_in_a_batch_and_in_another_place_gives_the_same():
    image, mask = examples(8)
    together = run(image, mask, restarts=2, patience=5)
    for i in (0, 5):
        alone = run(image[i : i + 1], mask[i : i + 1], restarts=2, patience=5)
        for name in ("z", "losses", "image", "last_z"):
            np.testing.assert_allclose(
                together[name][i : i + 1], alone[name], atol=1e-4, err_msg=name
            )
        assert together["steps"][i] == alone["steps"][0]
        assert together["restart"][i] == alone["restart"][0]


@pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")), reason="promised on CPUs only"
)
def test_a_dcgan_is_searched_to_the_same_bits_alone_and_in_a_batch_of_64():
    keras.utils.set_random_seed(3)
    gan = DCGAN(image_size=64, width=0.05)
    rng = np.random.default_rng(3)
    image = rng.uniform(-1, 1, [64, 64, 64, 3]).astype(np.float32)
    seeds = tf.stack([tf.range(64), tf.zeros([64], tf.int32)], axis=1)
    mask, _ = masks.draw_batch("random_box", seeds, 64, 64)
    complete = tf.function(SIIDGM(gan, iterations=30).complete, reduce_retracing=True)
    together = complete(image, mask)
    for i in (0, 1, 62, 63):
        alone = complete(image[i : i + 1], mask[i : i + 1])
        for name in ("z", "completed", "losses"):
            np.testing.assert_array_equal(together[name][i], alone[name][0], name)


@pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")), reason="promised on CPUs only"
)
def test_rounding_does_not_tell_alone_from_a_batch_of_64():
    """Hundreds of steps on the kinks of ReLU and l1 make anything of a last bit."""

    class DeepGAN(SmallGAN):
        """Two dense layers, wide enough that batch sizes round differently."""

        def __init__(self):
            rng = np.random.default_rng(0)
            self.first = tf.constant(rng.normal(0, 0.3, [6, 512]), tf.float32)
            self.second = tf.constant(rng.normal(0, 0.1, [512, 192]), tf.float32)
            self.direction = tf.constant(rng.normal(0, 0.1, [192, 1]), tf.float32)

        def generate(self, z):
            features = tf.nn.relu(tf.matmul(z, self.first))
            return tf.reshape(tf.tanh(tf.matmul(features, self.second)), [-1, 8, 8, 3])

    gan = DeepGAN()
    _, mask = examples(64)
    image = np.random.default_rng(3).uniform(-1, 1, [64, 8, 8, 3]).astype(np.float32)

    @tf.function(
        input_signature=[tf.TensorSpec([None, 8, 8, 3]), tf.TensorSpec([None, 8, 8, 1])]
    )
    def found(image, mask):
        terms = [(image, importance_weights(mask, 3))]
        options = {"latent_size": 6, "iterations": 300, "learning_rate": 0.05}
        return search(gan.generate, gan.score, terms, keep="last", **options)

    together = found(image, mask)
    for i in (0, 31, 63):
        alone = found(image[i : i + 1], mask[i : i + 1])
        for name in alone:
            np.testing.assert_array_equal(
                together[name][i : i + 1], alone[name], err_msg=name
            )
    # In other company, in another place, in a group that is not full.
    some = np.random.default_rng(5).permutation(64)[:7]
    np.testing.assert_array_equal(
        found(image[some], tf.gather(mask, some))["z"], tf.gather(together["z"], some)
    )


@pytest.mark.parametrize("group_size", [0, 1, 3, 100])
def test_group_size_changes_nothing_but_rounding(group_size):
    image, mask = examples(5)
    options = {"restarts": 3, "patience": 4, "min_improvement": 0.02}
    expected = run(image, mask, **options)
    found = run(image, mask, group_size=group_size, **options)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=1e-4, err_msg=name)


def test_seed_and_key_decide_the_starts():
    once = initial_z(3, [0, 0, 1], 2, 6)
    np.testing.assert_array_equal(once, initial_z(3, [0, 0, 1], 2, 6))
    np.testing.assert_array_equal(once[:2], once[2:4])
    assert len(np.unique(once, axis=0)) == 4
    assert not np.isin(initial_z(4, [0, 0, 1], 2, 6), once).any()
    # One more restart, or another place in the batch, changes no start.
    np.testing.assert_array_equal(initial_z(3, [1], 3, 6)[:2], once[4:])
    image, mask = examples(2)
    first, second, other = (
        run(image, mask, seed=seed)["z"].numpy() for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 1e-3


@pytest.mark.parametrize("jit_compile", [False, True])
def test_starts_are_spread_as_named_and_the_same_in_every_execution(jit_compile):
    keys = tf.range(40)
    for start, variance in (("uniform", 1 / 3), ("normal", 1.0)):
        z = initial_z(0, keys, 2, 100, start).numpy()
        assert z.shape == (80, 100)
        assert abs(z.mean()) < 0.05 and z.var() == pytest.approx(variance, rel=0.05)
        graph = tf.function(
            lambda start=start: initial_z(0, keys, 2, 100, start),
            jit_compile=jit_compile,
        )
        # XLA has its own inverse error function, so normal starts agree less.
        np.testing.assert_allclose(graph(), z, atol=1e-6, rtol=1e-5)
    assert np.abs(initial_z(0, keys, 2, 100)).max() < 1


def test_more_restarts_are_never_worse_and_sometimes_better():
    image, mask = examples(6)
    options = {"optimizer": "nesterov", "learning_rate": 2e-3, "iterations": 15}
    for keep in ("best", "last"):
        one = run(image, mask, restarts=1, keep=keep, **options)
        five = run(image, mask, restarts=5, keep=keep, **options)
        assert np.all(five["loss"] <= one["loss"] + 1e-5)
        assert np.any(five["loss"] < one["loss"] - 1e-2)
        same = five["restart"].numpy() == 0
        np.testing.assert_allclose(five["z"][same], one["z"][same], atol=1e-5)


def test_best_is_the_lowest_loss_met_and_last_the_end_of_the_path():
    image, mask = examples(5)
    options = {"learning_rate": 0.5, "iterations": 12}  # Far too large: it oscillates.
    best = run(image, mask, keep="best", **options)
    last = run(image, mask, keep="last", **options)
    np.testing.assert_allclose(best["loss"], np.min(best["losses"], axis=1), rtol=1e-5)
    np.testing.assert_allclose(last["loss"], last["losses"][:, -1], rtol=1e-5)
    assert np.any(last["loss"] > best["loss"] + 0.1)
    np.testing.assert_array_equal(last["z"], last["last_z"])
    np.testing.assert_array_equal(best["last_z"], last["last_z"])


@pytest.mark.parametrize("iterations", [6, 12])
def test_best_is_finite_where_the_path_ends_in_no_number(iterations):
    """Of a generator that is none beyond 0.55, which is nearest to its target there:
    steps of 0.1 lead from 0 to 0.5, then beyond."""

    class Overflowing(SmallGAN):
        def generate(self, z):
            level = tf.where(z < 0.55, z, np.nan)[:, :1]
            return tf.tile(level[:, tf.newaxis, tf.newaxis], [1, 8, 8, 3])

    found = run(
        tf.fill([1, 8, 8, 3], 0.9),
        tf.pad(tf.ones([1, 2, 2, 1]), [[0, 0], [3, 3], [3, 3], [0, 0]]),
        Overflowing(),
        start_z=tf.zeros([1, 6]),
        learning_rate=0.1,
        prior_weight=0.0,
        iterations=iterations,
    )
    assert np.isnan(found["losses"][0, -1]) and np.isnan(found["losses"][0, 6])
    np.testing.assert_allclose(found["z"][0, 0], 0.5, atol=0.01)
    np.testing.assert_allclose(found["loss"], found["losses"][:, 5], rtol=1e-5)


def test_early_stop_freezes_z_and_leaves_the_others_going():
    image, mask = examples(6)
    options = {"iterations": 60, "keep": "last", "min_improvement": 0.02}
    found = run(image, mask, patience=4, **options)
    steps, losses = found["steps"].numpy(), found["losses"].numpy()
    assert len(np.unique(steps)) > 1 and steps.min() > 4 and steps.max() <= 60
    for i, taken in list(enumerate(steps))[::2]:
        # Flat from the end on, by its own path before, as a search of that length.
        np.testing.assert_allclose(losses[i, taken:], losses[i, -1], rtol=1e-5)
        shorter = run(image, mask, **options | {"iterations": int(taken)})
        np.testing.assert_allclose(found["z"][i], shorter["z"][i], atol=1e-5)
        # The rule itself: the lowest loss had not fallen for 4 entries.
        if taken < 60:
            goal, waited = np.inf, 0
            for loss in losses[i, : taken + 1]:
                fallen = loss < goal
                goal = loss - 0.02 * abs(loss) if fallen else goal
                waited = 0 if fallen else waited + 1
            assert waited == 4
    endless = run(image, mask, patience=0, **options)
    np.testing.assert_array_equal(endless["steps"], [60] * 6)


@pytest.mark.parametrize("start", ["uniform", "normal"])
def test_z_stays_in_the_cube_after_the_first_step(start):
    image, mask = examples(3)
    found = run(image, mask, start=start, iterations=3, learning_rate=3.0, keep="last")
    assert np.abs(found["z"]).max() == 1


def test_missing_pixels_do_not_matter():
    image, mask = examples(3)
    found = run(image, mask)
    damaged = run(tf.where(mask > 0, np.nan, image), mask)
    np.testing.assert_array_equal(found["z"], damaged["z"])


def test_graph_with_dynamic_batch_and_eager_agree():
    gan = SmallGAN()

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 8, 8, 3]),
            tf.TensorSpec([None, 8, 8, 1]),
            tf.TensorSpec([], tf.int32),
        ]
    )
    def graph(image, mask, iterations):
        terms = [(image, importance_weights(mask, 3))]
        return search(
            gan.generate,
            gan.score,
            terms,
            latent_size=6,
            iterations=iterations,
            restarts=2,
            learning_rate=0.05,
            patience=3,
        )

    for count, iterations in ((1, 5), (3, 12)):
        image, mask = examples(count)
        found = graph(image, mask, iterations)
        eager = run(
            image, mask, compiled=False, iterations=iterations, restarts=2, patience=3
        )
        assert found["losses"].shape == (count, iterations + 1)
        for name in eager:
            np.testing.assert_allclose(
                found[name], eager[name], atol=1e-4, err_msg=name
            )


@pytest.mark.parametrize(
    "options, message",
    [
        ({"context": "l2"}, "context='l2' is unknown"),
        ({"prior": "x"}, "prior='x'"),
        ({"optimizer": "sgd"}, "optimizer='sgd'"),
        ({"start": "zero"}, "start='zero'"),
        ({"keep": "first"}, "keep='first'"),
        ({"restarts": 0}, "restarts=0: must be at least 1"),
        ({"iterations": 0}, "iterations=0"),
        ({"group_size": -1}, "group_size=-1: must be at least 0"),
    ],
)
def test_wrong_constants_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        run(*examples(1), **options)


# ------------------------------------------------------------ symmetry


def test_symmetric_image_costs_nothing_and_a_skewed_one_does():
    gan = SmallGAN(symmetric=True)
    image, mask = examples(2, gan)
    terms = symmetric_terms(image, mask, 3)
    np.testing.assert_allclose(
        latent_search.context_loss(image, terms, "squared"), [0, 0], atol=1e-6
    )
    skewed, _ = examples(2, SmallGAN())
    first, second = symmetric_terms(skewed, mask, 3)
    assert np.all(latent_search.context_loss(skewed, [first], "squared") == 0)
    assert np.all(latent_search.context_loss(skewed, [second], "squared") > 0.1)


def test_symmetric_terms_by_hand():
    """Eq. 3 on one row of four pixels, of which the first is missing."""
    image = tf.reshape([9.0, 0.1, 0.2, 0.3], [1, 1, 4, 1]) * tf.ones([1, 1, 4, 3])
    mask = tf.reshape([1.0, 0.0, 0.0, 0.0], [1, 1, 4, 1])
    generated = tf.zeros([1, 1, 4, 3])
    weights = np.ravel(importance_weights(mask, 1, "uniform"))
    np.testing.assert_array_equal(weights, [0, 1, 1, 1])
    for literal, expected in (
        # mirror(y) = .3 .2 .1 missing; mirror(W) = 1 1 1 0, W = 0 1 1 1.
        (False, 2 * (0.01 + 0.04 + 0.09)),
        (True, 0.01 + 0.04 + 0.09 + 0.04 + 0.01),
    ):
        terms = symmetric_terms(image, mask, 1, "uniform", literal)
        loss = latent_search.context_loss(generated, terms, "squared")
        np.testing.assert_allclose(loss, [3 * expected], rtol=1e-5)


def test_symmetry_tells_what_a_one_sided_hole_holds():
    """Where known pixels alone leave the hole open, the mirror image decides."""

    class TwoHalves(SmallGAN):
        """Three numbers make the left half, three the right one."""

        def __init__(self):
            super().__init__()
            rng = np.random.default_rng(0)
            half = rng.normal(0, 1, [3, 8, 4, 3])
            empty = np.zeros_like(half)
            left = np.concatenate([half, empty], axis=2)
            right = np.concatenate([empty, half[:, :, ::-1]], axis=2)
            basis = np.concatenate([left, right]).reshape(6, -1)
            self.basis = tf.constant(basis, tf.float32)

    gan = TwoHalves()
    half_z = np.random.default_rng(1).uniform(-0.8, 0.8, [2, 3]).astype(np.float32)
    image = gan.generate(np.concatenate([half_z, half_z], axis=1))
    np.testing.assert_allclose(image, mirror(image), atol=1e-6)
    mask, _ = masks.draw_batch("left_half", [[0, 0]] * 2, 8, 8)
    options = {"weighting": "uniform", "iterations": 150, "learning_rate": 0.05}
    options |= {"prior_weight": 0.0, "blending": "none"}
    symmetric = SymmetricSearch(gan, **options)(image, mask)
    np.testing.assert_allclose(symmetric, image, atol=0.05)
    plain = SIIDGM(gan, **options)(image, mask)
    assert np.abs(plain - image).max() > 0.3


# ------------------------------------------------------------ whole methods


@pytest.mark.parametrize("method", [SIIDGM, SymmetricSearch])
def test_methods_complete_within_range_and_leave_known_pixels_alone(method):
    gan = SmallGAN()
    image, mask = examples(3)
    inpaint = method(gan, neighbourhood=3, iterations=20, restarts=2)
    completed = inpaint(image, mask).numpy()
    known = np.broadcast_to(mask.numpy() == 0, image.shape)
    np.testing.assert_array_equal(completed[known], image.numpy()[known])
    assert np.abs(completed).max() <= 1
    outputs = tf.function(inpaint.complete)(image, mask)
    np.testing.assert_allclose(outputs["completed"], completed, atol=1e-6)
    np.testing.assert_allclose(
        outputs["predicted"], gan.generate(outputs["z"]), atol=1e-6
    )
    assert outputs["losses"].shape == (3, 21)
    assert np.all(outputs["losses"][:, -1] < outputs["losses"][:, 0])
    unblended = method(gan, neighbourhood=3, iterations=20, restarts=2, blending="none")
    np.testing.assert_allclose(
        unblended(image, mask).numpy()[~known],
        outputs["predicted"].numpy()[~known],
        atol=1e-5,
    )


@pytest.mark.parametrize(
    "method, name", [(SIIDGM, "siidgm"), (SymmetricSearch, "symmetric_search")]
)
def test_images_of_another_size_are_refused_by_name(method, name):
    inpaint = method(SmallGAN(), neighbourhood=3, iterations=1)
    with pytest.raises(ValueError, match=f"{name} searches a GAN of 8x8"):
        inpaint(tf.zeros([1, 16, 16, 3]), tf.zeros([1, 16, 16, 1]))
    with pytest.raises(ValueError, match="blending='x'"):
        method(SmallGAN(), neighbourhood=3, blending="x")(*examples(1))
