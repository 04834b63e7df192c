"""How much arithmetic a network is: the multiply-adds of its convolutions and products.

Input: a Python function of tensors and the shapes that it is to be called with. It is
traced, not run, so that a network of any size is counted at once, and whatever the
trace holds counts: a training step with the gradients it takes as well as a forward
pass. Output: multiply-adds by the network that they are in.

Counted is what the operation means on the whole input: positions that a SAME border
fills with zeros count, and how a library computes it (Winograd, tiling) does not. The
zeros that the package and TensorFlow pad diagonals of attention and gradients of dilated
kernels with count too: they are in the trace. One multiply-add is two floating-point
operations. Sums, activations, normalisation and optimizers are left out: they move
memory, they do not compute.
"""

import collections
import math
import re

import numpy as np
import tensorflow as tf

_CONVOLUTIONS = ("Conv2D", "Conv2DBackpropInput", "Conv2DBackpropFilter")
_PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
_LOOPS = ("While", "StatelessWhile")


def multiply_adds(function, *shapes, networks=()):
    """Counts the multiply-adds of a function of float32 tensors.

    Args:
      function: of as many tensors as shapes are given. Of a `tf.cond` or
        `tf.switch_case` the branch with most multiply-adds counts, of a loop all the
        rounds that it may take.
      *shapes: of its arguments, fully known.
      networks: plain names of Keras models, each counted by itself.

    Returns:
      collections.Counter: multiply-adds by name of the innermost of `networks` that an
      operation is in, "" for none. Gradients count for the network that they pass
      through.

    Raises:
      ValueError: a size inside is not known, or how often at most a loop runs that
        multiplies.
    """
    specs = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    # Without AutoGraph, which would have to read the source of a lambda.
    traced = tf.function(function, autograph=False).get_concrete_function(*specs)
    return _count(traced.graph, networks, "")


def _count(graph, networks, around):
    """`around`: the network that the graph is called in."""
    counts = collections.Counter()
    for op in _needed(graph):
        network = _innermost(op.name, networks) or around
        called = [_count(branch, networks, network) for branch in _called(op)]
        dearest = max(called, key=lambda counts: counts.total(), default={})
        rounds = _rounds(op) if op.type in _LOOPS and dearest else 1
        counts.update({name: rounds * count for name, count in dearest.items()})
        own = _multiply_adds_of(op)
        if own:
            counts[network] += own
    return counts


def _called(op):
    """Graphs of the functions that an operation may call."""
    names = [
        function.name
        for attribute in op.node_def.attr.values()
        for function in (attribute.func, *attribute.list.func)
        if function.name
    ]
    return [op.graph._get_function(name).graph for name in names]  # Not public in TF.


def _rounds(loop):
    """How often a `tf.while_loop` may run: what its caller gave as the maximum."""
    # TensorFlow's loops carry their counter and their maximum before all else.
    rounds = tf.get_static_value(loop.inputs[1])
    if rounds is None or np.ndim(rounds) or rounds < 0:
        raise ValueError(
            f"multiply_adds: {loop.name} multiplies; how often it runs is not known"
        )
    return int(rounds)


def _needed(graph):
    """Operations that results or effects need; TensorFlow leaves out the others."""
    waiting = [tensor.op for tensor in graph.outputs] + list(graph.control_outputs)
    needed = set(waiting)
    while waiting:
        op = waiting.pop()
        before = {tensor.op for tensor in op.inputs} | set(op.control_inputs)
        waiting.extend(before - needed)
        needed |= before
    return needed


def plain_name(name):
    """A name without what Keras and TensorFlow number second uses of it by."""
    return re.sub(r"(_\d+)+$", "", name)


def _multiply_adds_of(op):
    if op.type in _CONVOLUTIONS:
        # Whichever is computed of output, input and kernel, each position of the
        # convolution's output meets each element of the kernel once.
        if op.type == "Conv2D":
            kernel, positions = op.inputs[1].shape, op.outputs[0].shape
        elif op.type == "Conv2DBackpropInput":
            kernel, positions = op.inputs[1].shape, op.inputs[2].shape
        else:
            kernel, positions = op.outputs[0].shape, op.inputs[2].shape
        return _size(op, positions[:3]) * _size(op, kernel)
    if op.type in _PRODUCTS:
        transposed = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
        depth = op.inputs[0].shape[-2 if transposed else -1 :][:1]
        return _size(op, op.outputs[0].shape) * _size(op, depth)
    return 0


def _size(op, shape):
    if not shape.is_fully_defined():
        raise ValueError(f"multiply_adds: {op.name} has unknown sizes, {shape}")
    return math.prod(shape)


def _innermost(name, networks):
    """The last scope in an operation's name that is one of the networks."""
    scopes = [plain_name(scope) for scope in name.split("/")]
    return next((scope for scope in reversed(scopes) if scope in networks), "")
