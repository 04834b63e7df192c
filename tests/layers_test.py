"""Batch normalisation of a batch that replicas share."""

import keras
import numpy as np
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


def test_a_batch_on_one_device_is_normalized_by_keras():
    x = tf.random.stateless_normal([4, 6, 6, 3], [1, 2])
    ours, theirs = BatchNormalization(), keras.layers.BatchNormalization()
    for one, other in zip(_normalized(ours, x), _normalized(theirs, x), strict=True):
        np.testing.assert_array_equal(one, other)
