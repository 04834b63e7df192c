"""Optimizers of one pass over the weights take the steps of Keras's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from inpainting_tf import optimization

SHAPES = [(7, 5), (3,)]
PAIRS = {
    "adam": (
        lambda: optimization.adam(0.01, 0.5, 0.9, epsilon=1e-8),
        lambda: keras.optimizers.Adam(0.01, 0.5, 0.9, epsilon=1e-8),
    ),
    "adadelta": (
        lambda: optimization.adadelta(0.7),
        lambda: keras.optimizers.Adadelta(0.7, rho=0.95, epsilon=1e-6),
    ),
}


def _weights():
    generator = np.random.default_rng(5)
    return [keras.Variable(np.float32(generator.normal(size=s))) for s in SHAPES]


def _gradients(step):
    generator = np.random.default_rng(step)
    return [tf.constant(generator.normal(size=s), tf.float32) for s in SHAPES]


def _after_steps(make, how="eager", steps=6):
    """Weights and the optimizer's variables after some steps."""
    weights = _weights()
    optimizer = make()
    optimizer.build(weights)

    def apply(*gradients):
        optimizer.apply(list(gradients), weights)

    if how != "eager":
        apply = tf.function(apply, jit_compile=how == "xla")
    for step in range(steps):
        apply(*_gradients(step))
    assert int(optimizer.iterations) == steps
    return [np.array(v) for v in (*weights, *optimizer.variables)]


@pytest.mark.parametrize("how", ["eager", "graph", "xla"])
@pytest.mark.parametrize("name", PAIRS)
def test_steps_and_state_are_those_of_keras(name, how):
    ours, theirs = PAIRS[name]
    for own, other in zip(_after_steps(ours, how), _after_steps(theirs), strict=True):
        np.testing.assert_allclose(own, other, rtol=2e-6, atol=1e-8)


@pytest.mark.parametrize("name", PAIRS)
def test_checkpoints_of_keras_optimizers_are_restored(name, tmp_path):
    ours, theirs = PAIRS[name]
    weights = _weights()
    saved, restored = theirs(), ours()
    for optimizer in (saved, restored):
        optimizer.build(weights)
    saved.apply(_gradients(0), weights)
    path = tf.train.Checkpoint(optimizer=saved).save(tmp_path / "checkpoint")
    status = tf.train.Checkpoint(optimizer=restored).restore(path)
    status.assert_existing_objects_matched().assert_consumed()
    for own, other in zip(restored.variables, saved.variables, strict=True):
        np.testing.assert_array_equal(own, other)


@pytest.mark.parametrize("name", PAIRS)
def test_two_replicas_take_the_step_of_their_gradients_sum(name, mirrored):
    make, _ = PAIRS[name]
    with mirrored.scope():
        shared = _weights()
        optimizer = make()
        optimizer.build(shared)

    @tf.function
    def step():
        mirrored.run(lambda: optimizer.apply([g / 2 for g in _gradients(0)], shared))

    step()
    expected = _after_steps(make, steps=1)
    for own, other in zip(shared, expected[:2], strict=True):
        np.testing.assert_allclose(own, other, rtol=2e-6, atol=1e-8)
