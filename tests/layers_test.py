"""Dilated convolutions: Keras's results and gradients, by another way; and batch
normalisation of a batch that is shared out.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from inpainting_tf.layers import BatchNormalization, Conv2D


def _pair(padding, dilation, kernel_size):
    """Our layer and Keras's with the same weights, and a picture that is not square."""
    generator = np.random.default_rng(7)
    arguments = {"padding": padding, "dilation_rate": dilation}
    ours = Conv2D(5, kernel_size, **arguments)
    theirs = keras.layers.Conv2D(5, kernel_size, **arguments)
    x = tf.constant(generator.normal(size=[2, 19, 23, 3]), tf.float32)
    ours(x), theirs(x)
    theirs.set_weights(ours.get_weights())
    return ours, theirs, x


def _results(layer, x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
        error = tf.reduce_sum(y * tf.sin(y))
    return y, *tape.gradient(error, [x, *layer.trainable_variables])


@pytest.mark.parametrize("how", ["eager", "graph", "xla", "any size"])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("kernel_size", [3, (5, 3)])
def test_a_dilated_convolution_and_its_gradients_are_those_of_keras(
    kernel_size, dilation, padding, how
):
    ours, theirs, x = _pair(padding, dilation, kernel_size)

    def call(x):
        return _results(ours, x)

    if how == "any size":
        call = tf.function(call, input_signature=[tf.TensorSpec([None, None, None, 3])])
    elif how != "eager":
        call = tf.function(call, jit_compile=how == "xla")
    for own, other in zip(call(x), _results(theirs, x), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-4)


def test_second_derivatives_are_those_of_keras():
    ours, theirs, x = _pair("same", 2, 3)

    def second(layer):
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                inner.watch(x)
                error = tf.reduce_sum(tf.tanh(layer(x)))
            slope = tf.reduce_sum(tf.square(inner.gradient(error, x)))
        return outer.gradient(slope, layer.kernel)

    np.testing.assert_allclose(second(ours), second(theirs), rtol=1e-3, atol=1e-3)


def test_a_saved_model_with_a_dilated_convolution_loads(tmp_path):
    inputs = keras.Input([9, 11, 3])
    model = keras.Model(inputs, Conv2D(2, 3, dilation_rate=2)(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(1).normal(size=[2, 9, 11, 3]).astype(np.float32)
    np.testing.assert_array_equal(loaded(x), model(x))


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
