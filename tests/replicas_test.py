"""Every trainable method on two replicas takes the steps that it takes on one device.

The replicas get different halves of each batch, through the loop's own distribution of
batches; batch statistics and random numbers are those of the whole batch.

Compared are losses and, variable by variable, the norm of the difference over the norm of
the variable; what is still near 0, where it began, is measured as if it were 0.01.
Optimizers are gradient descent: Adam divides gradients by their own size, which turns the
rounding of a gradient that is 0 into a whole step.
"""

import keras
import numpy as np
import pytest

from baselines.methods import METHODS
from inpainting_tf import compiled_steps, data, masks, sources

SMALL = {
    "parallel_attention": {
        "image_size": 32,
        "width": 0.05,
        "attention_rate": 1,
        "averaging_decay": 0.9,
        "clip_norm": 50.0,
    },
    "context_encoder": {"image_size": 32, "width": 0.05, "averaging_decay": 0.9},
    "glcic": {
        "image_size": 32,
        "width": 0.05,
        "completion_steps": 1,
        "discriminator_steps": 1,
        "reconstruction": "half_sum",
        "averaging_decay": 0.9,
        "clip_norm": 1.0,
    },
    "giica": {
        "image_size": 64,
        "width": 0.05,
        "critic_updates": 1,
        "coarse_pretraining_steps": 1,
        "averaging_decay": 0.9,
    },
    "dcgan": {"width": 0.02},
}
BATCH, STEPS = 4, 3


def descend(model):
    """Replaces Adam by gradient descent with momentum."""
    networks = {
        "generator_optimizer": ("generator", "coarse_network", "refinement_network"),
        "critic_optimizer": ("local_critic", "global_critic"),
        "completion_optimizer": ("completion",),
        "discriminator_optimizer": ("discriminator",),
    }
    for name, owners in networks.items():
        if hasattr(model, name):
            players = [getattr(model, o) for o in owners if hasattr(model, o)]
            optimizer = keras.optimizers.SGD(1e-3, momentum=0.5)
            optimizer.build([w for p in players for w in p.trainable_variables])
            setattr(model, name, optimizer)


def train(method, strategy):
    """Returns the model after STEPS, its start, and the losses of each step."""
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = METHODS[method](**SMALL[method])
        descend(model)
    start = [np.array(variable) for variable in model.variables]
    size, parts = model.image_size, model.batches_per_step
    source = sources.SyntheticFacesSource("train", 20)
    rule = "center" if method == "context_encoder" else "random_box"

    def batches(step, rolled_back, share):
        return data.batches(
            source,
            data.Loader(source, size, "square", 0),
            lambda seed: masks.draw(rule, seed, size, size),
            size=size,
            batch_size=BATCH * parts,
            seed=0,
            flip=True,
            first_step=step,
            share=share,
        )

    step = compiled_steps.compile_step(model, strategy)
    iterator = compiled_steps.distribute(batches, strategy, model, 0, 0)
    losses = []
    for _ in range(STEPS):
        values = {name: float(v) for name, v in step(next(iterator)).items()}
        # Each replica's own, of its half.
        losses.append({k: v for k, v in values.items() if not k.endswith("_norm")})
    return model, start, losses


def apart(value, other):
    value, other = np.float64(value), np.float64(other)
    least = 0.01 * np.sqrt(other.size)
    return np.linalg.norm(value - other) / max(np.linalg.norm(other), least)


@pytest.mark.parametrize(
    "method",
    [
        "dcgan",
        *(pytest.param(m, marks=pytest.mark.slow) for m in METHODS if m != "dcgan"),
    ],
)
def test_two_replicas_train_as_one_device(method, mirrored):
    one, start, expected = train(method, compiled_steps.choose_strategy("one"))
    two, _, losses = train(method, mirrored)
    for own, other in zip(losses, expected, strict=True):
        assert own == pytest.approx(other, rel=1e-4, abs=1e-6)
    moved = 0
    for variable, other, initial in zip(
        two.variables, one.variables, start, strict=True
    ):
        copies = mirrored.experimental_local_results(variable.value)
        np.testing.assert_array_equal(*copies, err_msg=variable.path)
        assert apart(copies[0], other) < 1e-5, variable.path
        moved += apart(other, initial) > 1e-4
    assert moved > len(start) / 3
