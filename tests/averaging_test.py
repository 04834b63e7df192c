"""The moving average of each method's weights: what it holds and where it is used."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from baselines.methods import METHODS
from inpainting_tf import masks

SMALL = {
    "parallel_attention": {"image_size": 32, "width": 0.0625, "attention_rate": 1},
    "context_encoder": {"image_size": 32, "width": 0.0625},
    "glcic": {
        "image_size": 32,
        "width": 0.0625,
        "completion_steps": 1,
        "discriminator_steps": 1,
    },
    "giica": {
        "image_size": 32,
        "width": 0.0625,
        "critic_updates": 1,
        "coarse_pretraining_steps": 1,
    },
}
TRAINED = {
    method: ["coarse_network", "refinement_network"]
    if method == "giica"
    else ["completion"]
    for method in SMALL
}
# Updates of each network after each step, 0 for a step in which it rests: glcic's second
# is one of the discriminators, giica's first of the coarse network alone.
UPDATES = {
    "parallel_attention": [[1], [2], [3]],
    "context_encoder": [[1], [2], [3]],
    "glcic": [[1], [0], [2]],
    "giica": [[1, 0], [2, 1], [3, 2]],
}


def averaging_method(method, decay=0.2):
    keras.utils.set_random_seed(5)
    return METHODS[method](
        **SMALL[method], averaging_decay=decay, learning_rate=1e-2, clip_norm=1.0
    )


def example_batch(examples):
    mask, box = masks.draw_batch("center", [[i, 1] for i in range(examples)], 32, 32)
    rng = np.random.default_rng(2)
    image = rng.uniform(-1, 1, [examples, 32, 32, 3]).astype(np.float32)
    return {"image": tf.constant(image), "mask": mask, "box": box}


@pytest.mark.parametrize(
    ("method", "graph"), [("glcic", False), *((method, True) for method in SMALL)]
)
def test_averaged_weights_follow_by_the_formula(method, graph):
    model = averaging_method(method)
    batch = example_batch(2 * model.batches_per_step)
    update = tf.function(model.update) if graph else model.update
    networks = [getattr(model, name) for name in TRAINED[method]]
    expected = [network.get_weights() for network in networks]
    for updates_of_each in UPDATES[method]:
        update(batch)
        for index, updates in enumerate(updates_of_each):
            if updates:
                kept = min(0.2, updates / (9 + updates))  # 0.1, 0.18, then the flag's
                expected[index] = [
                    kept * old + (1 - kept) * new
                    for old, new in zip(
                        expected[index], networks[index].get_weights(), strict=True
                    )
                ]
    for name, values in zip(TRAINED[method], expected, strict=True):
        average = getattr(model, f"averaged_{name}").get_weights()
        for value, other in zip(average, values, strict=True):
            np.testing.assert_allclose(value, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", SMALL)
def test_averaged_weights_complete_outside_training_alone(method):
    model = averaging_method(method, decay=0.9)
    batch = example_batch(2 * model.batches_per_step)
    for _ in range(2):
        model.update(batch)
    image, mask = batch["image"], batch["mask"]
    outside = model(image, mask)["predicted"]
    within = model(image, mask, training=True)["predicted"]
    for name in TRAINED[method]:
        getattr(model, name).set_weights(
            getattr(model, f"averaged_{name}").get_weights()
        )
    assert np.abs(outside - within).max() > 1e-4
    # So does a method without averages whose weights are those.
    plain = METHODS[method](**SMALL[method])
    for name in TRAINED[method]:
        getattr(plain, name).set_weights(getattr(model, name).get_weights())
    np.testing.assert_allclose(plain(image, mask)["predicted"], outside, atol=1e-6)
    for name in TRAINED[method]:
        network = getattr(model, name)
        network.set_weights([0 * weight for weight in network.get_weights()])
    np.testing.assert_array_equal(model(image, mask)["predicted"], outside)


@pytest.mark.parametrize("method", SMALL)
def test_averages_are_not_trained_and_change_no_training(method):
    batch = example_batch(2 * METHODS[method](**SMALL[method]).batches_per_step)
    models = [averaging_method(method, decay) for decay in (0.0, 0.9)]
    for model in models:
        for _ in range(3):
            model.update(batch)
    plain, averaged = models
    assert len(plain.trainable_variables) == len(averaged.trainable_variables)
    for name in TRAINED[method]:
        for one, other in zip(
            getattr(plain, name).get_weights(),
            getattr(averaged, name).get_weights(),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)


def test_discriminator_phase_learns_from_the_weights_that_will_face_it():
    """glcic: the discriminators meet the network itself next, not its average."""
    losses = []
    for decay in (0.0, 0.9):
        model = averaging_method("glcic", decay)
        batch = example_batch(2)
        model.update(batch)
        losses.append(float(model.update(batch)["discriminator_loss"]))
    assert losses[0] == losses[1]


@pytest.mark.parametrize("decay", [-0.1, 1.0])
@pytest.mark.parametrize("method", SMALL)
def test_impossible_decays_are_refused(method, decay):
    with pytest.raises(ValueError, match=f"--averaging_decay={decay}: must be"):
        METHODS[method](**SMALL[method], averaging_decay=decay)
