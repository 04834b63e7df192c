"""Convolutions, dilated or of doubled pixels: Keras's results, by another way."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from inpainting_tf import convolutions
from inpainting_tf.convolutions import Conv2D, DoublingConv2D


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


def _called(call, how):
    """A function of a picture eagerly, as a graph, by XLA, or for any size."""
    if how == "any size":
        return tf.function(call, input_signature=[tf.TensorSpec([None, None, None, 3])])
    return call if how == "eager" else tf.function(call, jit_compile=how == "xla")


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

    call = _called(call, how)
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


@pytest.mark.parametrize("how", ["eager", "graph", "xla", "any size"])
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
@pytest.mark.parametrize("pixels", [1, 20, 2**15])
def test_a_doubling_convolution_is_one_of_repeated_pixels(
    pixels, kernel_size, how, monkeypatch
):
    monkeypatch.setattr(convolutions, "PIXELS_PER_STRIP", pixels)
    ours = DoublingConv2D(5, kernel_size, padding="same", activation="elu")
    theirs = keras.layers.Conv2D(5, kernel_size, padding="same", activation="elu")
    x = np.random.default_rng(3).normal(size=[2, 7, 10, 3])
    x = tf.constant(x, tf.float32)
    ours(x), theirs(x)
    generator = np.random.default_rng(4)
    weights = [generator.normal(size=w.shape) for w in ours.get_weights()]
    ours.set_weights(weights), theirs.set_weights(weights)

    def call(x):
        return _results(ours, x)

    call = _called(call, how)

    def repeated(x):
        return theirs(tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2))

    repeated.trainable_variables = theirs.trainable_variables
    for own, other in zip(call(x), _results(repeated, x), strict=True):
        # Sums of many products: what is near 0 is rounded as the largest is.
        scale = np.abs(other).max()
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-5 * scale)


def test_a_saved_model_with_a_doubling_convolution_loads(tmp_path):
    inputs = keras.Input([None, 11, 3])
    model = keras.Model(inputs, DoublingConv2D(2, 3, padding="same")(inputs))
    assert model.output_shape == (None, None, 22, 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(1).normal(size=[2, 9, 11, 3]).astype(np.float32)
    assert model(x).shape == (2, 18, 22, 2)
    np.testing.assert_array_equal(loaded(x), model(x))


@pytest.mark.parametrize("how", ["eager", "graph", "xla", "any size"])
@pytest.mark.parametrize("pixels", [1, 25, 2**15])
def test_transposed_convolutions_strip_by_strip_are_those_of_keras(
    pixels, how, monkeypatch
):
    monkeypatch.setattr(convolutions, "PIXELS_PER_STRIP", pixels)
    arguments = {"strides": 2, "padding": "same", "activation": "elu"}
    ours = convolutions.Conv2DTranspose(5, 4, **arguments)
    theirs = keras.layers.Conv2DTranspose(5, 4, **arguments)
    generator = np.random.default_rng(6)
    x = tf.constant(generator.normal(size=[2, 7, 10, 3]), tf.float32)
    ours(x), theirs(x)
    weights = [generator.normal(size=w.shape) for w in ours.get_weights()]
    ours.set_weights(weights), theirs.set_weights(weights)

    def call(x):
        return _results(ours, x)

    call = _called(call, how)
    for own, other in zip(call(x), _results(theirs, x), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("options", [{"kernel_size": 3}, {"padding": "valid"}])
def test_other_transposed_convolutions_are_those_of_keras(options):
    arguments = {"kernel_size": 4, "strides": 2, "padding": "same", **options}
    ours = convolutions.Conv2DTranspose(2, **arguments)
    theirs = keras.layers.Conv2DTranspose(2, **arguments)
    x = tf.random.stateless_normal([2, 5, 6, 3], [1, 2])
    ours(x), theirs(x)
    theirs.set_weights(ours.get_weights())
    np.testing.assert_array_equal(ours(x), theirs(x))


@pytest.mark.parametrize(
    "options",
    [
        {"padding": "valid"},
        {"kernel_size": 2},
        {"strides": 2},
        {"dilation_rate": 2},
        {"groups": 2},
        {"data_format": "channels_first"},
    ],
)
def test_a_doubling_convolution_refuses_what_it_cannot_do(options):
    with pytest.raises(ValueError, match="DoublingConv2D: takes odd kernels"):
        DoublingConv2D(4, **{"kernel_size": 3, **options})
