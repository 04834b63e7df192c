"""All pairs at once, against the form that reads like the paper, where edges lie."""

import numpy as np
import pytest
import tensorflow as tf

from inpainting_tf.contextual_attention import ContextualAttention, contextual_attention

FORMS = ("patches", "diagonal")


def _features(foreground_shape, background_shape):
    generator = np.random.default_rng(3)
    return [
        tf.constant(generator.normal(size=shape), tf.float32)
        for shape in (foreground_shape, background_shape)
    ]


@pytest.mark.parametrize("how", ["eager", "graph"])
def test_second_derivatives_are_those_of_the_patches_form(how):
    foreground, background = _features([2, 3, 4, 2], [2, 4, 3, 2])

    def curvature(form):
        sources = [foreground, background]
        with tf.GradientTape() as outer:
            outer.watch(sources)
            with tf.GradientTape() as inner:
                inner.watch(sources)
                output, _ = contextual_attention(*sources, form=form)
                error = tf.reduce_sum(tf.sin(3.0 * output))
            slopes = inner.gradient(error, sources)
            steepness = sum(tf.reduce_sum(tf.square(slope)) for slope in slopes)
        return outer.gradient(steepness, sources)

    def run(form):
        function = tf.function(curvature) if how == "graph" else curvature
        return function(form)

    for patches, diagonal in zip(*(run(form) for form in FORMS), strict=True):
        largest = np.abs(patches).max()
        np.testing.assert_allclose(diagonal, patches, rtol=0, atol=1e-3 * largest)


@pytest.mark.parametrize("fuse_kernel_size", [3, 17, 33])
@pytest.mark.parametrize("sides", [(1, 1, 1, 1), (1, 5, 1, 2), (2, 3, 3, 1)])
def test_pictures_smaller_than_a_propagation_step_agree(sides, fuse_kernel_size):
    foreground, background = _features([2, *sides[:2], 3], [2, *sides[2:], 3])
    outputs, offsets = zip(
        *(
            contextual_attention(
                foreground, background, fuse_kernel_size=fuse_kernel_size, form=form
            )
            for form in FORMS
        ),
        strict=True,
    )
    np.testing.assert_allclose(*outputs, atol=1e-5)
    np.testing.assert_array_equal(*offsets)


def test_a_background_of_few_rows_does_not_go_by_blocks():
    foreground, background = _features([1, 9, 6, 3], [1, 1, 6, 3])
    limited, _ = contextual_attention(foreground, background, memory_mb=1e-5)
    free, _ = contextual_attention(foreground, background)
    np.testing.assert_allclose(limited, free, atol=1e-6)


def test_an_empty_batch_gives_an_empty_batch():
    nothing = tf.zeros([0, 4, 6, 2])
    output, offsets = ContextualAttention(rate=2)(nothing, nothing, nothing[..., :1])
    assert output.shape == (0, 4, 6, 2)
    assert offsets.shape == (0, 2, 3, 2)


def test_batches_that_differ_are_refused_when_they_are_met():
    unknown = tf.TensorSpec([None, 4, 4, 2])
    attend = tf.function(contextual_attention, input_signature=[unknown, unknown])
    with pytest.raises(tf.errors.InvalidArgumentError, match="differ in batch size"):
        attend(tf.zeros([1, 4, 4, 2]), tf.zeros([2, 4, 4, 2]))
