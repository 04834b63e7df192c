"""Contextual attention against recorded numbers, a NumPy reference and itself.

The recordings in golden/contextual_attention come from the original GIICA program on
random inputs; INPAINTING_GOLDEN_DIR names a folder with more of them. Tolerances are
theirs: see the constants.
"""

import json
import os
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from inpainting_tf.contextual_attention import (
    ContextualAttention,
    contextual_attention,
    offsets_to_color,
)
from inpainting_tf.layers import resize_nearest_aligned

# TensorFloat-32 products would be three digits short of the recordings.
tf.config.experimental.enable_tensor_float_32_execution(False)

GOLDEN = pathlib.Path(__file__).parent / "golden"
OUTPUT_TOLERANCE = 5e-5  # times the largest output
GRADIENT_TOLERANCE = 1e-4  # times the largest gradient
CLEAR_MARGIN = 1e-3  # log ratio of the two best weights above which argmax is certain
COLOR_TOLERANCE = 1e-5

FORMS = ("diagonal", "patches")
OPTIONS = [
    {},
    {"fuse": False},
    {"rate": 2},
    {"rate": 3, "fuse_kernel_size": 5},
    {"rate": 2, "kernel_size": 5, "softmax_scale": 3.0},
    {"kernel_size": 1, "fuse_kernel_size": 1},
]


def recordings():
    files = {path.name: path for path in GOLDEN.glob("contextual_attention/*.npz")}
    if more := os.environ.get("INPAINTING_GOLDEN_DIR"):
        files.update((path.name, path) for path in pathlib.Path(more).rglob("ca_*.npz"))
    return [pytest.param(files[name], id=name[:-4]) for name in sorted(files)]


def features(*shape, seed=0, scale=0.3):
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float32)


def holes(batch, height, width):
    """One rectangular hole per example, each elsewhere and of another size."""
    mask = np.zeros([batch, height, width, 1], np.float32)
    for i in range(batch):
        mask[i, 1 + i : 4 + i, 2 : 4 + 2 * i] = 1
    return mask


def attention_and_gradients(foreground, background, mask, cotangent, **options):
    foreground, background = tf.constant(foreground), tf.constant(background)
    with tf.GradientTape() as tape:
        tape.watch([foreground, background])
        output, offsets = contextual_attention(foreground, background, mask, **options)
        loss = tf.reduce_sum(output * cotangent)
    gradients = tape.gradient(loss, [foreground, background])
    return [x.numpy() for x in (output, offsets, *gradients)]


def assert_close(actual, expected, tolerance):
    """Differences relative to the largest expected magnitude."""
    np.testing.assert_allclose(
        actual, expected, rtol=0, atol=tolerance * np.abs(expected).max()
    )


# ------------------------------------------------------------ recordings


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("path", recordings())
def test_equals_recorded_output_offsets_and_gradients(path, form):
    golden = np.load(path)
    arguments = json.loads(str(golden["meta"]))["args"]
    batch, height, width, _ = golden["f"].shape
    mask = np.zeros([1, height, width, 1], np.float32)
    if "mask" in golden:
        mask = golden["mask"]
    options = {
        "kernel_size": arguments["ksize"],
        "stride": arguments["stride"],
        "rate": arguments["rate"],
        "fuse_kernel_size": arguments["fuse_k"],
        "softmax_scale": arguments["softmax_scale"],
        "fuse": arguments["fuse"],
        "form": form,
    }
    inputs = (golden["f"], golden["b"], np.repeat(mask, batch, axis=0))
    output, offsets = contextual_attention(*inputs, **options)

    assert_close(output, golden["y"], OUTPUT_TOLERANCE)
    # Where every weight is zero the margin is too, but position 0 is certain.
    clear = (golden["argmax_margin"] > CLEAR_MARGIN) | (golden["attn_sum"] == 0)
    np.testing.assert_array_equal(offsets[clear], golden["offsets"][clear])
    if "cotangent" in golden:
        _, _, *gradients = attention_and_gradients(
            *inputs, golden["cotangent"], **options
        )
        for gradient, key in zip(gradients, ("grad_f", "grad_b"), strict=True):
            assert_close(gradient, golden[key], GRADIENT_TOLERANCE)


@pytest.mark.parametrize("path", recordings())
def test_running_maximum_colors_equal_recorded_picture(path):
    golden = np.load(path)
    rate = json.loads(str(golden["meta"]))["args"]["rate"]
    picture = offsets_to_color(golden["offsets"], rate, normalize_by="running_maximum")
    assert picture.dtype == np.float32
    np.testing.assert_allclose(picture, golden["flow"], rtol=0, atol=COLOR_TOLERANCE)


def test_recordings_are_present():
    assert len(recordings()) >= 20


# ------------------------------------------------------------ NumPy reference


def nearest_indices(size_in, size_out):
    if size_out == 1:
        return np.zeros(1, int)
    scale = np.float32(size_in - 1) / np.float32(size_out - 1)
    return np.array(
        [int(np.floor(float(np.float32(i) * scale) + 0.5)) for i in range(size_out)]
    )


def same_patches(x, size, stride):
    """All patches `[h * w, size, size, C]` and the corner of each, SAME padding."""
    counts = [-(-n // stride) for n in x.shape[:2]]
    totals = [
        max((count - 1) * stride + size - n, 0)
        for count, n in zip(counts, x.shape[:2], strict=True)
    ]
    pads = [(total // 2, total - total // 2) for total in totals]
    padded = np.pad(x, [*pads, (0, 0)])
    corners = [
        (i * stride, j * stride) for i in range(counts[0]) for j in range(counts[1])
    ]
    patches = np.stack([padded[i : i + size, j : j + size] for i, j in corners])
    return patches, corners, pads


def reference(
    foreground,
    background,
    mask,
    kernel_size=3,
    rate=1,
    fuse_kernel_size=3,
    softmax_scale=10.0,
    fuse=True,
):
    """One example in float64, patch by patch."""

    def reduce(x):
        height, width = x.shape[:2]
        rows = nearest_indices(height, -(-height // rate))
        return x[rows][:, nearest_indices(width, -(-width // rate))]

    foreground, background = np.float64(foreground), np.float64(background)
    small_foreground, small_background = reduce(foreground), reduce(background)
    (h, w), (h2, w2) = small_foreground.shape[:2], small_background.shape[:2]
    queries = same_patches(small_foreground, kernel_size, 1)[0].reshape(h * w, -1)
    keys = same_patches(small_background, kernel_size, 1)[0].reshape(h2 * w2, -1)
    keys = keys / np.maximum(np.linalg.norm(keys, axis=1, keepdims=True), 1e-4)
    scores = queries @ keys.T

    def add_diagonals(matrix):
        total = np.zeros_like(matrix)
        for step in range(-(fuse_kernel_size // 2), fuse_kernel_size // 2 + 1):
            for i in range(matrix.shape[0]):
                for j in range(matrix.shape[1]):
                    if 0 <= i + step < len(matrix) and 0 <= j + step < len(matrix.T):
                        total[i, j] += matrix[i + step, j + step]
        return total

    if fuse:
        scores = add_diagonals(scores)
        order = np.arange(h * w).reshape(h, w).T.ravel()
        order2 = np.arange(h2 * w2).reshape(h2, w2).T.ravel()
        by_column = add_diagonals(scores[np.ix_(order, order2)])
        scores[np.ix_(order, order2)] = by_column

    mask_patches = same_patches(reduce(mask), kernel_size, 1)[0].reshape(h2 * w2, -1)
    valid = mask_patches.mean(axis=1) == 0
    weights = np.exp(scores * valid * softmax_scale)
    weights = weights / weights.sum(axis=1, keepdims=True) * valid

    best = weights.argmax(axis=1).reshape(h, w)
    own = np.stack(np.meshgrid(np.arange(h), np.arange(w), indexing="ij"), axis=-1)
    offsets = np.stack([best // w2, best % w2], axis=-1) - own

    patches = same_patches(background, 2 * rate, rate)[0]
    _, corners, pads = same_patches(foreground, 2 * rate, rate)
    canvas = np.zeros(
        [n + sum(pad) for n, pad in zip(foreground.shape[:2], pads, strict=True)]
        + [foreground.shape[2]]
    )
    for weight, (i, j) in zip(weights, corners, strict=True):
        canvas[i : i + 2 * rate, j : j + 2 * rate] += np.tensordot(weight, patches, 1)
    (top, _), (left, _) = pads
    height, width = foreground.shape[:2]
    return canvas[top : top + height, left : left + width] / 4, offsets


def assert_equals_reference(foreground, background, mask, **options):
    expected = [
        reference(*example, **options)
        for example in zip(foreground, background, mask, strict=True)
    ]
    for form in FORMS:
        output, offsets = contextual_attention(
            foreground, background, mask, form=form, **options
        )
        np.testing.assert_allclose(output, [y for y, _ in expected], atol=1e-5)
        np.testing.assert_array_equal(offsets, [o for _, o in expected])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equals_reference(options):
    foreground, background = features(2, 12, 9, 4), features(2, 12, 9, 4, seed=1)
    assert_equals_reference(foreground, background, holes(2, 12, 9), **options)


@pytest.mark.parametrize("height, width, rate", [(7, 10, 2), (11, 8, 3), (9, 5, 4)])
def test_sizes_that_rate_does_not_divide(height, width, rate):
    foreground = features(2, height, width, 3)
    background = features(2, height, width, 3, seed=1)
    mask = np.zeros([2, height, width, 1], np.float32)
    mask[1, 0, 0] = 1
    assert_equals_reference(foreground, background, mask, rate=rate, fuse=False)
    output, offsets = contextual_attention(foreground, background, mask, rate=rate)
    assert output.shape == foreground.shape
    assert offsets.shape == (2, -(-height // rate), -(-width // rate), 2)


@pytest.mark.parametrize("rate", [1, 2, 3])
def test_foreground_and_background_of_different_size(rate):
    foreground, background = features(2, 7, 6, 3), features(2, 10, 13, 3, seed=1)
    assert_equals_reference(foreground, background, holes(2, 10, 13), rate=rate)


def test_background_smaller_than_a_patch():
    foreground, background = features(1, 4, 4, 3), features(1, 1, 2, 3, seed=1)
    mask = np.zeros([1, 1, 2, 1], np.float32)
    assert_equals_reference(foreground, background, mask, rate=2)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_equal_finite_differences_of_reference(form):
    options = {"rate": 2}
    inputs = [np.float64(features(1, 8, 6, 2, seed=seed)) for seed in (0, 1)]
    mask = np.zeros([1, 8, 6, 1])
    mask[0, 0, 0] = 1
    cotangent = np.float64(features(1, 8, 6, 2, seed=2))
    step = 1e-6
    expected = [np.zeros_like(x) for x in inputs]
    for which, x in enumerate(inputs):
        for index in np.ndindex(x.shape):
            losses = []
            for sign in (1, -1):
                shifted = [array.copy() for array in inputs]
                shifted[which][index] += sign * step
                output, _ = reference(shifted[0][0], shifted[1][0], mask[0], **options)
                losses.append(np.sum(output * cotangent[0]))
            expected[which][index] = (losses[0] - losses[1]) / (2 * step)

    _, _, *gradients = attention_and_gradients(
        *map(np.float32, (*inputs, mask, cotangent)), form=form, **options
    )
    for gradient, numeric in zip(gradients, expected, strict=True):
        assert_close(gradient, numeric, 1e-4)


# ------------------------------------------------------------ properties


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_forms_agree_in_output_offsets_and_gradients(options):
    foreground, background = features(3, 10, 13, 5), features(3, 10, 13, 5, seed=1)
    arguments = (foreground, background, holes(3, 10, 13), features(3, 10, 13, 5))
    one, other = (
        attention_and_gradients(*arguments, form=form, **options) for form in FORMS
    )
    assert_close(one[0], other[0], 1e-5)
    np.testing.assert_array_equal(one[1], other[1])
    assert_close(one[2], other[2], 1e-4)
    assert_close(one[3], other[3], 1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_examples_do_not_depend_on_their_batch(form):
    foreground, background = features(3, 8, 10, 4), features(3, 8, 10, 4, seed=1)
    mask = holes(3, 8, 10)
    options = {"rate": 2, "form": form}
    output, offsets = contextual_attention(foreground, background, mask, **options)
    for i in range(3):
        alone, alone_offsets = contextual_attention(
            *(x[i : i + 1] for x in (foreground, background, mask)), **options
        )
        np.testing.assert_allclose(output[i : i + 1], alone, atol=1e-6)
        np.testing.assert_array_equal(offsets[i : i + 1], alone_offsets)
    assert not np.allclose(
        output[1],
        contextual_attention(foreground, background, mask[:1], **options)[0][1],
    )


@pytest.mark.parametrize("form", FORMS)
def test_single_mask_serves_every_example(form):
    foreground, background = features(3, 8, 10, 4), features(3, 8, 10, 4, seed=1)
    mask = holes(1, 8, 10)
    shared = contextual_attention(foreground, background, mask, form=form)
    repeated = contextual_attention(
        foreground, background, np.repeat(mask, 3, axis=0), form=form
    )
    np.testing.assert_array_equal(shared[0], repeated[0])
    np.testing.assert_array_equal(shared[1], repeated[1])


@pytest.mark.parametrize("form", FORMS)
def test_no_mask_means_everything_is_known(form):
    foreground, background = features(2, 8, 6, 4), features(2, 8, 6, 4, seed=1)
    without = contextual_attention(foreground, background, rate=2, form=form)
    known = contextual_attention(
        foreground, background, np.zeros([2, 8, 6, 1], np.float32), rate=2, form=form
    )
    np.testing.assert_array_equal(without[0], known[0])
    np.testing.assert_array_equal(without[1], known[1])


@pytest.mark.parametrize("form", FORMS)
def test_fully_masked_example_gives_zero(form):
    foreground, background = features(2, 8, 6, 4), features(2, 8, 6, 4, seed=1)
    mask = np.stack([np.ones([8, 6, 1]), np.zeros([8, 6, 1])]).astype(np.float32)
    output, _, *gradients = attention_and_gradients(
        foreground, background, mask, 1.0, rate=2, form=form
    )
    assert np.all(output[0] == 0) and np.all(output[1] != 0)
    assert all(np.all(gradient[0] == 0) for gradient in gradients)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_finite_on_zero_features(form):
    zeros = np.zeros([1, 6, 6, 3], np.float32)
    _, _, *gradients = attention_and_gradients(
        zeros, zeros, holes(1, 6, 6), 1.0, form=form
    )
    assert all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("form", FORMS)
def test_large_scale_copies_the_matching_patch(form):
    # With the foreground cut from the background, a sharp softmax finds the copy.
    background = features(1, 16, 16, 8, scale=1.0)
    foreground = np.roll(background, (2, -3), axis=(1, 2))
    background /= np.linalg.norm(background, axis=-1, keepdims=True)
    output, offsets = contextual_attention(
        foreground, background, softmax_scale=1000.0, fuse=False, form=form
    )
    inside = (slice(None), slice(4, 12), slice(4, 12))
    expected = np.roll(background, (2, -3), axis=(1, 2))
    np.testing.assert_array_equal(offsets[inside], np.full([1, 8, 8, 2], (-2, 3)))
    np.testing.assert_allclose(
        output[0, 5:12, 5:12], expected[0, 5:12, 5:12], atol=1e-5
    )


# ------------------------------------------------------------ execution


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("sizes", ["static", "dynamic"])
def test_graph_equals_eager(form, jit_compile, sizes):
    foreground, background = features(2, 8, 7, 3), features(2, 8, 7, 3, seed=1)
    mask = holes(2, 8, 7)
    shapes = [(2, 8, 7, 3)] * 2 + [(2, 8, 7, 1)]
    if sizes == "dynamic":
        shapes = [(None, None, None, shape[-1]) for shape in shapes]

    @tf.function(
        input_signature=[tf.TensorSpec(shape, tf.float32) for shape in shapes],
        jit_compile=jit_compile,
    )
    def graph(foreground, background, mask):
        with tf.GradientTape() as tape:
            tape.watch([foreground, background])
            output, offsets = contextual_attention(
                foreground, background, mask, rate=2, form=form
            )
            loss = tf.reduce_sum(tf.square(output))
        return output, offsets, *tape.gradient(loss, [foreground, background])

    output, offsets, *gradients = graph(foreground, background, mask)
    expected = contextual_attention(foreground, background, mask, rate=2, form=form)
    expected_gradients = attention_and_gradients(
        foreground, background, mask, 2 * expected[0], rate=2, form=form
    )[2:]
    np.testing.assert_allclose(output, expected[0], atol=1e-6)
    np.testing.assert_array_equal(offsets, expected[1])
    for gradient, eager in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, eager, atol=1e-5)


def test_dynamic_graph_serves_every_size_and_batch():
    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])] * 2)
    def graph(foreground, background):
        return contextual_attention(foreground, background, rate=2)

    for shape in [(1, 8, 8, 3), (3, 6, 10, 3), (2, 7, 5, 3)]:
        foreground, background = features(*shape), features(*shape, seed=1)
        output, offsets = graph(foreground, background)
        expected = contextual_attention(foreground, background, rate=2)
        np.testing.assert_allclose(output, expected[0], atol=1e-6)
        np.testing.assert_array_equal(offsets, expected[1])


def test_dynamic_graph_refuses_mask_of_another_size():
    @tf.function(input_signature=[tf.TensorSpec([None, None, None, None])] * 2)
    def graph(background, mask):
        return contextual_attention(background, background, mask)[0]

    with pytest.raises(tf.errors.InvalidArgumentError, match="differ in size"):
        graph(features(1, 6, 6, 3), np.zeros([1, 3, 6, 1], np.float32))


@pytest.mark.parametrize("form", FORMS)
def test_half_precision_inputs_are_computed_in_float32(form):
    foreground, background = features(1, 6, 8, 4), features(1, 6, 8, 4, seed=1)
    halves = [tf.cast(x, tf.float16) for x in (foreground, background)]
    output, offsets = contextual_attention(*halves, form=form)
    assert output.dtype == tf.float32 and offsets.dtype == tf.int32
    expected, _ = contextual_attention(
        *(tf.cast(x, tf.float32) for x in halves), form=form
    )
    np.testing.assert_array_equal(output, expected)


# ------------------------------------------------------------ wrong arguments


@pytest.mark.parametrize(
    "options, message",
    [
        ({"kernel_size": 4}, "kernel_size must be odd"),
        ({"fuse_kernel_size": 0}, "fuse_kernel_size must be odd"),
        ({"stride": 2}, "only stride=1 is supported, got 2"),
        ({"rate": 0}, "rate must be at least 1"),
        ({"form": "fast"}, 'form must be "diagonal" or "patches"'),
    ],
)
def test_wrong_options_are_named(options, message):
    x = features(1, 6, 6, 2)
    with pytest.raises(ValueError, match=message):
        contextual_attention(x, x, **options)
    with pytest.raises(ValueError, match=message):
        ContextualAttention(**options)


@pytest.mark.parametrize(
    "foreground, background, mask, message",
    [
        ((6, 6, 2), (1, 6, 6, 2), None, "foreground must be"),
        ((1, 6, 6, 2), (6, 6, 2), None, "background must be"),
        ((1, 6, 6, 2), (1, 6, 6, 3), None, "same batch size and channels"),
        ((1, 6, 6, 2), (2, 6, 6, 2), None, "same batch size and channels"),
        ((2, 6, 6, 2), (2, 6, 6, 2), (3, 6, 6, 1), "mask must be"),
        ((2, 6, 6, 2), (2, 6, 6, 2), (2, 3, 6, 1), "mask must be"),
        ((2, 6, 6, 2), (2, 6, 6, 2), (2, 6, 6, 3), "mask must be"),
        ((2, 6, 6, 2), (2, 6, 6, 2), (6, 6, 1), "mask must be"),
    ],
)
def test_wrong_shapes_are_named(foreground, background, mask, message):
    mask = None if mask is None else np.zeros(mask, np.float32)
    with pytest.raises(ValueError, match=message):
        contextual_attention(features(*foreground), features(*background), mask)


# ------------------------------------------------------------ offsets_to_color


def test_no_offset_is_white():
    assert np.all(offsets_to_color(np.zeros([2, 3, 4, 2], np.int32), rate=2) == 1)


def test_opposite_offsets_have_distinct_saturated_hues():
    offsets = np.array([[[[1, 0], [-1, 0], [0, 1], [0, -1]]]])
    colors = offsets_to_color(offsets)[0, 0]
    assert len(np.unique(colors, axis=0)) == 4
    # A radius of one is a pure hue: some channel is off.
    np.testing.assert_allclose(colors.min(axis=-1), -1, atol=2 / 127.5)
    # Red is where the wheel starts: straight down.
    np.testing.assert_allclose(colors[0], [1, -1, -1], atol=2 / 127.5)


def test_picture_of_an_example_does_not_depend_on_its_batch():
    offsets = np.random.default_rng(0).integers(-5, 6, [3, 4, 6, 2])
    offsets[0] *= 10
    pictures = offsets_to_color(offsets, rate=2)
    assert pictures.shape == (3, 8, 12, 3)
    assert pictures.min() >= -1 and pictures.max() <= 1
    for i in range(3):
        np.testing.assert_array_equal(
            pictures[i : i + 1], offsets_to_color(offsets[i : i + 1], rate=2)
        )
    running = offsets_to_color(offsets, rate=2, normalize_by="running_maximum")
    np.testing.assert_array_equal(running[0], pictures[0])
    assert running[1].mean() > pictures[1].mean()  # paler beside the larger offsets


@pytest.mark.parametrize(
    "shape, options, message",
    [
        ((4, 6, 2), {}, "offsets must be"),
        ((1, 4, 6, 3), {}, "offsets must be"),
        ((1, 4, 6, 2), {"normalize_by": "batch"}, "normalize_by must be"),
    ],
)
def test_wrong_color_arguments_are_named(shape, options, message):
    with pytest.raises(ValueError, match=message):
        offsets_to_color(np.zeros(shape), **options)


# ------------------------------------------------------------ Keras layer


def test_layer_equals_function():
    foreground, background = features(2, 8, 6, 4), features(2, 8, 6, 4, seed=1)
    mask = holes(2, 8, 6)
    for hole in (mask, None):
        output, offsets = ContextualAttention(rate=2)(foreground, background, hole)
        expected = contextual_attention(foreground, background, hole, rate=2)
        np.testing.assert_array_equal(output, expected[0])
        np.testing.assert_array_equal(offsets, expected[1])


def test_layer_survives_saving_in_a_functional_model(tmp_path):
    x = keras.Input([None, None, 4])
    hole = keras.Input([None, None, 1])
    layer = ContextualAttention(rate=2, softmax_scale=5.0, fuse=False, form="patches")
    model = keras.Model([x, hole], layer(x, x, hole))
    assert [tensor.dtype for tensor in model.outputs] == ["float32", "int32"]
    model.save(tmp_path / "model.keras")
    restored = keras.models.load_model(tmp_path / "model.keras")
    inputs = [features(2, 8, 6, 4), holes(2, 8, 6)]
    for one, other in zip(model(inputs), restored(inputs), strict=True):
        np.testing.assert_array_equal(one, other)
    assert restored.layers[-1].get_config() == layer.get_config()


def test_layer_computes_in_float32_under_mixed_precision():
    foreground, background = features(1, 6, 8, 4), features(1, 6, 8, 4, seed=1)
    layer = ContextualAttention(dtype="mixed_float16")
    output, _ = layer(foreground, background)
    assert output.dtype == tf.float32
    expected, _ = contextual_attention(foreground, background)
    np.testing.assert_array_equal(output, expected)


# ------------------------------------------------------------ aligned resize


def test_resize_reads_the_recorded_pixels():
    tables = np.load(GOLDEN / "nearest_aligned.npz")
    assert len(tables.files) == 16

    for name, table in tables.items():
        size_in, size_out = map(int, name.removeprefix("nearest_").split("_to_"))
        ramp = np.arange(size_in)
        rows = resize_nearest_aligned(ramp.reshape(1, -1, 1, 1), size_out, 1)
        columns = resize_nearest_aligned(ramp.reshape(1, 1, -1, 1), 1, size_out)
        np.testing.assert_array_equal(np.ravel(rows), table, err_msg=name)
        np.testing.assert_array_equal(np.ravel(columns), table, err_msg=name)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    "size_in, size_out", [(64, 32), (22, 11), (18, 9), (7, 1), (1, 5)]
)
def test_resize_in_graph_rounds_like_single_precision(size_in, size_out, jit_compile):
    @tf.function(
        jit_compile=jit_compile,
        input_signature=[tf.TensorSpec([1, None, None, 1], tf.float32)],
    )
    def resize(x):
        return resize_nearest_aligned(x, tf.shape(x)[1], size_out)

    ramp = np.tile(np.arange(size_in, dtype=np.float32), [3, 1])[None, ..., None]
    expected = np.tile(nearest_indices(size_in, size_out), [3, 1])
    np.testing.assert_array_equal(resize(ramp)[0, :, :, 0], expected)


def test_resize_keeps_dtype_and_passes_gradients_to_the_pixels_read():
    x = tf.constant(features(2, 6, 5, 3))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = resize_nearest_aligned(x, 3, 10)
        loss = tf.reduce_sum(y)
    counts = np.outer(
        np.bincount(nearest_indices(6, 3), minlength=6),
        np.bincount(nearest_indices(5, 10), minlength=5),
    )
    expected = np.broadcast_to(counts[None, :, :, None], x.shape)
    np.testing.assert_array_equal(tape.gradient(loss, x), expected)
    assert resize_nearest_aligned(tf.zeros([1, 4, 4, 1], tf.uint8), 2, 2).dtype == (
        tf.uint8
    )


def test_resize_refuses_other_ranks():
    with pytest.raises(ValueError, match=r"x must be \[B, H, W, C\]"):
        resize_nearest_aligned(tf.zeros([4, 4, 3]), 2, 2)
