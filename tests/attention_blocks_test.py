"""Attention row by row, its gradients by blocks, is attention at once and recorded."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from inpainting_tf.attention_blocks import fits_at_once, halo_rows, rows_per_block
from inpainting_tf.contextual_attention import contextual_attention

# TensorFloat-32 products would be three digits short of the recordings.
tf.config.experimental.enable_tensor_float_32_execution(False)

GOLDEN = pathlib.Path(__file__).parent / "golden" / "contextual_attention"
SMALLEST = 1e-5  # MB: one row at a time

# Blocks of one row, of some with a rest, wrapped columns and rows, both at once.
CASES = [
    ((2, 12, 16, 4), {}, SMALLEST),
    ((1, 16, 12, 4), {}, 0.6),
    ((2, 14, 18, 3), {"rate": 2}, 0.06),
    ((1, 13, 11, 4), {"fuse": False}, SMALLEST),
    ((1, 15, 9, 4), {"fuse_kernel_size": 5}, SMALLEST),
    ((1, 9, 3, 4), {"fuse_kernel_size": 7}, SMALLEST),
    ((2, 18, 12, 3), {"rate": 2, "kernel_size": 5, "softmax_scale": 3.0}, SMALLEST),
    ((1, 8, 10, 4), {"kernel_size": 1, "fuse_kernel_size": 1}, SMALLEST),
]


def inputs(shape):
    generator = np.random.default_rng(0)
    foreground, background, cotangent = (
        tf.constant(generator.normal(0, 0.5, shape), tf.float32) for _ in range(3)
    )
    mask = np.zeros([*shape[:3], 1], np.float32)
    for i in range(shape[0]):
        mask[i, 2 : 5 + i, : 2 + i] = 1
    return foreground, background, tf.constant(mask), cotangent


def attend(foreground, background, mask, cotangent, **options):
    with tf.GradientTape() as tape:
        tape.watch([foreground, background])
        output, offsets = contextual_attention(foreground, background, mask, **options)
    gradients = tape.gradient(
        output, [foreground, background], output_gradients=cotangent
    )
    return output, offsets, *gradients


def assert_same(actual, expected):
    output, offsets, *gradients = (x.numpy() for x in actual)
    expected_output, expected_offsets, *expected_gradients = (
        x.numpy() for x in expected
    )
    largest = np.abs(expected_output).max()
    np.testing.assert_allclose(output, expected_output, rtol=0, atol=2e-5 * largest)
    np.testing.assert_array_equal(offsets, expected_offsets)
    for got, wanted in zip(gradients, expected_gradients, strict=True):
        largest = np.abs(wanted).max()
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * largest)


@pytest.mark.parametrize(("shape", "options", "memory"), CASES)
def test_blocks_give_output_offsets_and_gradients_of_all_at_once(
    shape, options, memory
):
    tensors = inputs(shape)
    rate, fuse = options.get("rate", 1), options.get("fuse_kernel_size", 3)
    reduced = tensors[0][:, ::rate, ::rate]
    assert not fits_at_once(reduced, reduced, fuse, memory)
    expected = attend(*tensors, **options)
    assert_same(attend(*tensors, **options, memory_mb=memory), expected)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_background_of_another_size_and_one_column_is_met_row_by_row(jit_compile):
    foreground, _, _, cotangent = inputs((2, 7, 5, 3))
    background = inputs((2, 4, 1, 3))[1]

    def by(memory):
        def call(foreground, background):
            return attend(foreground, background, None, cotangent, memory_mb=memory)

        return tf.function(call, jit_compile=jit_compile)(foreground, background)

    assert_same(by(SMALLEST), by(None))


def test_second_derivatives_through_rows_are_those_of_all_at_once():
    foreground, background, mask, cotangent = inputs((1, 6, 5, 3))

    def second(memory):
        with tf.GradientTape() as outer:
            outer.watch([foreground, background])
            *_, slope, _ = attend(
                foreground, background, mask, cotangent, memory_mb=memory
            )
            error = tf.reduce_sum(tf.square(slope))
        return outer.gradient(error, [foreground, background])

    for own, other in zip(second(SMALLEST), second(None), strict=True):
        largest = np.abs(other).max()
        np.testing.assert_allclose(own, other, rtol=0, atol=1e-4 * largest)


def test_an_empty_batch_gives_an_empty_batch():
    nothing = tf.zeros([0, 8, 6, 2])
    output, offsets = contextual_attention(nothing, nothing, memory_mb=SMALLEST)
    assert output.shape == (0, 8, 6, 2)
    assert offsets.shape == (0, 8, 6, 2)


def test_more_pairs_than_a_tensor_holds_go_row_by_row_or_are_refused():
    wide = tf.zeros([1, 216, 216, 1])
    assert not fits_at_once(wide, wide, 3, 1e6)
    huge = tf.TensorSpec([1, 1300, 1300, 1])
    attend_all = tf.function(lambda x: contextual_attention(x, x, memory_mb=1.0)[0])
    with pytest.raises(ValueError, match="too many pairs"):
        attend_all.get_concrete_function(huge)


def test_without_a_limit_of_memory_more_pairs_than_a_tensor_holds_are_refused():
    """2**30 pairs are 181.02 x 181.02 positions on both sides."""
    attend_all = tf.function(lambda x: contextual_attention(x, x, form="diagonal")[0])
    attend_all.get_concrete_function(tf.TensorSpec([1, 181, 181, 1]))
    with pytest.raises(ValueError, match="182x182.*too many pairs; give a memory_mb"):
        attend_all.get_concrete_function(tf.TensorSpec([1, 182, 182, 1]))


@pytest.mark.parametrize("memory", [SMALLEST, 0.2, 100.0])
def test_in_a_graph_for_any_size_memory_decides_when_it_runs(memory):
    channels = 4

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, None, c]) for c in (4, 4, 1, 4)]
    )
    def any_size(*tensors):
        return attend(*tensors, rate=2, memory_mb=memory)

    for shape in ((2, 16, 20, channels), (1, 26, 12, channels)):
        tensors = inputs(shape)
        assert_same(any_size(*tensors), attend(*tensors, rate=2))


@pytest.mark.parametrize(
    "path", sorted(GOLDEN.glob("*.npz")), ids=lambda path: path.stem
)
def test_blocks_of_single_rows_equal_the_recordings(path):
    golden = np.load(path)
    arguments = json.loads(str(golden["meta"]))["args"]
    output, _ = contextual_attention(
        golden["f"],
        golden["b"],
        golden["mask"] if "mask" in golden else None,
        kernel_size=arguments["ksize"],
        rate=arguments["rate"],
        fuse_kernel_size=arguments["fuse_k"],
        softmax_scale=arguments["softmax_scale"],
        fuse=arguments["fuse"],
        memory_mb=SMALLEST,
    )
    largest = np.abs(golden["y"]).max()
    np.testing.assert_allclose(output, golden["y"], rtol=0, atol=5e-5 * largest)


def test_a_block_has_as_many_rows_as_memory_holds_at_least_one():
    features = tf.zeros([1, 64, 64, 3]), tf.zeros([1, 32, 32, 3])
    halo = halo_rows(3, 3)
    assert halo == 2 * (1 + 1 + 1)
    row_mb = rows_per_block(*features, 1000.0, 0) / 1000.0
    assert rows_per_block(*features, 20 / row_mb, halo) == 20 - halo
    assert rows_per_block(*features, 1e-6, halo) == 1


def test_memory_must_be_positive():
    with pytest.raises(ValueError, match="memory_mb must be above 0"):
        contextual_attention(*inputs((1, 8, 8, 2))[:3], memory_mb=0)
