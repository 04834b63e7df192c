"""Sums of more than two terms: their values, and that no compiled program has others."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from baselines.context_encoder import ContextEncoder
from baselines.dcgan import DCGAN
from baselines.giica import GIICA
from baselines.glcic import GLCIC
from inpainting_tf import latent_search
from inpainting_tf.contextual_attention import contextual_attention
from inpainting_tf.ordered_sums import add_in_order, fork
from inpainting_tf.parallel_attention import ParallelAttention
from inpainting_tf.symmetric_search import symmetric_terms


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("compiled", [False, True])
def test_terms_are_added_from_the_first_to_the_last(compiled):
    one, large = np.ones([2, 3], np.float32), np.full([2, 3], 2.0**24, np.float32)
    total = tf.function(add_in_order) if compiled else add_in_order
    # In float32 a one beside the large number is lost, two of them together are not.
    for terms, expected in (
        ([one, one, large, -large], 2.0),
        ([large, one, one, -large], 0.0),
        ([one], 1.0),
    ):
        summed = total([tf.constant(term) for term in terms])
        np.testing.assert_array_equal(summed, expected * one)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_forked_tensor_has_the_gradients_of_a_plain_one(compiled):
    x, weights = noise(3, 2), noise(3, 3, 2, seed=1)

    def gradients(x, copies):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                loss = sum(
                    tf.reduce_sum(weight * copy**3)
                    for weight, copy in zip(weights, copies(x), strict=True)
                )
            first = inner.gradient(loss, x)
        return first, outer.gradient(first, x)

    function = tf.function(gradients) if compiled else gradients
    first, second = function(tf.constant(x), lambda x: fork(x, 3))
    weight = weights.sum(axis=0)
    np.testing.assert_allclose(first, weight * 3 * x**2, rtol=1e-5)
    np.testing.assert_allclose(second, weight * 6 * x, rtol=1e-5)


def sums_of_many(function, *arguments):
    """Names of the operations that add three tensors or more, as compiled and run."""
    context.enable_run_metadata()
    try:
        tf.function(function)(*arguments)
        metadata = context.export_run_metadata()
    finally:
        context.disable_run_metadata()
    graphs = [part.post_optimization_graph for part in metadata.function_graphs]
    nodes = [
        node
        for graph in graphs
        for part in (graph.node, *(one.node_def for one in graph.library.function))
        for node in part
    ]
    # Were nothing recorded, nothing would be found either.
    assert len(nodes) > 2
    return [node.name for node in nodes if node.op == "AddN" and node.attr["N"].i > 2]


def test_sums_that_are_not_in_order_are_found():
    x = tf.constant(noise(4, 4))
    assert sums_of_many(lambda x: tf.add_n([x, x * 2, x * 3]), x)
    assert sums_of_many(lambda x: tf.sin(x) + tf.cos(x) + tf.exp(x), x)
    assert not sums_of_many(lambda x: add_in_order([x, x * 2, x * 3]), x)


def batch(count, size):
    mask = np.zeros([count, size, size, 1], np.float32)
    box = [size // 4, size // 4, size // 2, size // 2]
    mask[:, box[0] : box[0] + box[2], box[1] : box[1] + box[3]] = 1
    return {
        "image": tf.constant(np.tanh(noise(count, size, size, 3))),
        "mask": tf.constant(mask),
        "box": tf.constant([box] * count, tf.int32),
    }


METHODS = {
    "context_encoder": lambda: (ContextEncoder(image_size=32, width=0.125), 2),
    "dcgan": lambda: (DCGAN(image_size=64, width=0.0625), 2),
    "giica": lambda: (
        GIICA(image_size=64, local_patch_size=32, width=0.125, critic_updates=1),
        4,
    ),
    "glcic": lambda: (GLCIC(image_size=32, width=0.125, clip_norm=1.0), 2),
    "parallel_attention": lambda: (
        ParallelAttention(image_size=32, width=0.125, averaging_decay=0.9),
        2,
    ),
}


@pytest.mark.parametrize("name", METHODS)
def test_no_step_of_training_adds_three_tensors_at_once(name):
    model, examples = METHODS[name]()
    assert sums_of_many(model.update, batch(examples, model.image_size)) == []


@pytest.mark.parametrize("memory_mb", [None, 0.001], ids=["at once", "by rows"])
def test_neither_does_attention_to_itself_nor_its_gradient(memory_mb):
    def rebuilt_and_gradient(features, mask):
        with tf.GradientTape() as tape:
            tape.watch(features)
            output, _ = contextual_attention(
                features, features, mask, memory_mb=memory_mb
            )
        return output, tape.gradient(output, features)

    features, mask = tf.constant(noise(2, 12, 8, 3)), np.zeros([2, 12, 8, 1], "f4")
    mask[:, 3:6, 2:5] = 1
    assert sums_of_many(rebuilt_and_gradient, features, tf.constant(mask)) == []


def test_neither_does_a_search_for_symmetric_faces():
    gan = DCGAN(image_size=64, width=0.0625)
    picture = batch(2, 64)

    def found(image, mask):
        terms = symmetric_terms(image, mask)
        return latent_search.search(gan.generate, gan.score, terms, iterations=3)

    assert sums_of_many(found, picture["image"], picture["mask"]) == []
