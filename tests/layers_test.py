"""Batch normalisation of a batch that replicas share."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from inpainting_tf.layers import BatchNormalization


def _normalized(layer, x):
    """Result and gradients of an error that mixes all positions and channels."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
        error = tf.reduce_sum(
            tf.sin(3.0 * y) * tf.reduce_sum(y, axis=-1, keepdims=True)
        )
    return y, *tape.gradient(error, [x, *layer.trainable_variables])


def test_a_batch_shared_by_replicas_is_normalized_as_a_whole(mirrored):
    """Outputs, moving statistics, and the gradients through the batch's moments."""
    generator = np.random.default_rng(3)
    x = generator.normal(size=[6, 5, 4, 3]).astype(np.float32)
    x[:3] = 2.0 * x[:3] + 5.0  # Halves whose own statistics differ.
    start = [np.float32([1.0, 0.5, -2.0]), np.float32([0.0, 1.0, 0.3])]
    start += [np.float32([1.0, 2.0, 3.0]), np.float32([2.0, 1.0, 1.5])]
    whole = keras.layers.BatchNormalization()
    whole.build(x.shape)
    whole.set_weights(start)
    expected, of_x, *of_weights = _normalized(whole, tf.constant(x))

    with mirrored.scope():
        shared = BatchNormalization()
        shared.build(x.shape)
    shared.set_weights(start)
    halves = mirrored.experimental_distribute_values_from_function(
        lambda context: tf.split(x, 2)[context.replica_id_in_sync_group]
    )
    run = tf.function(lambda x: mirrored.run(_normalized, args=(shared, x)))
    results = [mirrored.experimental_local_results(r) for r in run(halves)]
    np.testing.assert_allclose(np.concatenate(results[0]), expected, atol=1e-5)
    np.testing.assert_allclose(np.concatenate(results[1]), of_x, atol=1e-4)
    for parts, gradient in zip(results[2:], of_weights, strict=True):
        np.testing.assert_allclose(np.sum(parts, axis=0), gradient, rtol=1e-4)
    for own, other in zip(shared.variables, whole.variables, strict=True):
        for copy in mirrored.experimental_local_results(own.value):
            np.testing.assert_allclose(copy, other, rtol=1e-6)


@pytest.mark.parametrize("how", ["eager", "graph", "xla"])
@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (2, 1, 2, 3), (6, 3)])
def test_a_batch_on_one_device_is_normalized_as_by_keras(shape, how):
    """Outputs, gradients, moving statistics, and what they give outside training."""
    generator = np.random.default_rng(3)
    x = tf.constant(generator.normal(2.0, 3.0, shape), tf.float32)
    ours, theirs = (
        layer(momentum=0.8, epsilon=1e-5)
        for layer in (BatchNormalization, keras.layers.BatchNormalization)
    )
    weights = [generator.uniform(0.5, 2.0, 3) for _ in range(4)]
    for layer in (ours, theirs):
        layer.build(shape)
        layer.set_weights(weights)

    def call(x):
        return _normalized(ours, x)

    if how != "eager":
        call = tf.function(call, jit_compile=how == "xla")
    for one, other in zip(call(x), _normalized(theirs, x), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    for one, other in zip(ours.variables, theirs.variables, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_second_derivatives_go_through_normalization():
    x = tf.random.stateless_normal([3, 4, 4, 2], [1, 2])

    def second(layer):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                error = tf.reduce_sum(tf.sin(layer(x, training=True)))
            slope = tf.reduce_sum(tf.square(inner.gradient(error, x)))
        return outer.gradient(slope, x)

    ours, theirs = BatchNormalization(), keras.layers.BatchNormalization()
    np.testing.assert_allclose(second(ours), second(theirs), rtol=1e-3, atol=1e-3)
