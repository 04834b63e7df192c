"""Layers of a network read out of a frozen TensorFlow 1 graph.

Input: a serialised GraphDef (.pb) whose weights are Const nodes. Output: for an output
node, the chain of layers that leads to it, as a list of Block: a dense layer,
convolution or transposed convolution, with bias, batch normalisation and activation.
The graph itself stays there to be run.

Stages: read; walk from the output to the input, one operation or known group of
operations at a time; gather them into blocks from input to output.

Recognised: MatMul, Conv2D and Conv2DBackpropInput (NHWC); bias and other sums and
products with constants; FusedBatchNorm and tf.nn.batch_normalization; ReLU; leaky ReLU
as an operation, as max(x, a x) and as b x + c |x|. Whatever else stands between output
and input is refused by its name.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from inpainting_tf import untrusted
from inpainting_tf.tensorflow_errors import in_one_line

# They hand on their first input; reshaping goes by the order of values alone.
_TRANSPARENT = ("Identity", "StopGradient", "CheckNumerics", "Reshape", "Squeeze")
_LINEAR = {"MatMul": "dense", "Conv2D": "conv", "Conv2DBackpropInput": "deconv"}


@dataclasses.dataclass
class Norm:
    """Batch normalisation. mean and variance are None where it takes the batch's."""

    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray | None
    variance: np.ndarray | None
    epsilon: float


@dataclasses.dataclass
class Block:
    """One layer; `activation` is None, "relu" or the slope of a leaky ReLU."""

    kind: str
    weights: str  # the kernel's name
    kernel: np.ndarray
    bias: np.ndarray
    norm: Norm | None = None
    activation: str | float | None = None

    def scale_and_shift(self, scale, shift):
        """Appends x -> scale x + shift per output channel, inside the weights."""
        if self.norm is not None:
            self.norm.gamma = self.norm.gamma * scale
            self.norm.beta = self.norm.beta * scale + shift
            return
        # A kernel of a transposed convolution has its output channels before the last.
        by_channel = scale[:, np.newaxis] if self.kind == "deconv" else scale
        self.kernel = self.kernel * by_channel
        self.bias = self.bias * scale + shift

    def fold_norm(self):
        """Puts the normalisation by constant statistics into kernel and bias."""
        norm, self.norm = self.norm, None
        if norm.mean is None:
            raise ValueError(
                f"{self.weights}: batch normalisation by the batch's statistics where "
                "this model has none"
            )
        scale = norm.gamma / np.sqrt(norm.variance + norm.epsilon)
        shift = norm.beta - norm.mean * scale
        repeats = self.bias.size // scale.size
        self.scale_and_shift(np.tile(scale, repeats), np.tile(shift, repeats))


class FrozenGraph:
    """A frozen graph: its layers, its constants, and what its nodes compute."""

    def __init__(self, path):
        """
        Raises:
          ValueError: no frozen graph there, or a damaged one.
        """
        definition = tf.compat.v1.GraphDef()
        try:
            with open(path, "rb") as file:
                definition.ParseFromString(file.read())
            with tf.Graph().as_default() as graph:
                tf.import_graph_def(definition, name="")
        except OSError as error:
            raise ValueError(f"--source={path}: {error.strerror}") from None
        except Exception as error:  # noqa: BLE001 - damage shows in many types
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(
                f"--source={path} is no frozen graph (GraphDef): {reason}"
            ) from None
        self._nodes = {node.name: node for node in definition.node}
        if not self._nodes:
            raise ValueError(f"--source={path} holds an empty graph")
        variables = [n.name for n in definition.node if n.op.startswith("Variable")]
        if variables:
            raise ValueError(
                f"--source={path} is not frozen: {variables[0]} is a variable without "
                "a value; freeze the graph with its checkpoint"
            )
        untrusted.check_graph(f"--source={path}", definition)
        self._session = tf.compat.v1.Session(graph=graph)
        self._constant = {}
        self._read = set()

    def named(self, operation):
        """Names of all nodes of an operation, in the graph's order."""
        return [node.name for node in self._nodes.values() if node.op == operation]

    def operation(self, name):
        """The operation of a node."""
        return self._nodes[name].op

    def input_of(self, name):
        """Name of the node that a node takes its first input from."""
        return self._inputs(self._nodes[name])[0].name

    def shape(self, name):
        """Static shape of a node's first output, a list with None; [] if unknown."""
        shape = self._session.graph.get_tensor_by_name(f"{name}:0").shape
        return [] if shape.rank is None else shape.as_list()

    def weights(self):
        """Names of the constants that look like weights: float, at least a vector."""
        return {
            name
            for name in self.named("Const")
            if self._nodes[name].attr["dtype"].type == tf.float32.as_datatype_enum
            and self.shape(name)
        }

    def run(self, name, feed):
        """Value of a node's first output; feed is a dict from node name to array.

        Raises:
          ValueError: it depends on more than what is fed.
        """
        feed = {f"{placeholder}:0": value for placeholder, value in feed.items()}
        try:
            return self._session.run(f"{name}:0", feed)
        except tf.errors.OpError as error:
            raise ValueError(
                f"{name} cannot be computed from {', '.join(feed) or 'constants'}: "
                f"{in_one_line(error.message)}"
            ) from None

    def read_blocks(self, output, inputs):
        """The layers from an input to the node `output`.

        Args:
          output: name of a node, which itself belongs to no layer.
          inputs: operations whose nodes are inputs.

        Returns:
          (name of the input node, list of Block from input to output, set of the
          names of the constants in them).

        Raises:
          ValueError: something stands there that is not recognised, by its name.
        """
        self._read = set()
        node, steps = self._nodes[self.input_of(output)], []
        while node.op not in inputs:
            node, step = self._step_back(node)
            if step is not None:
                steps.append(step)
        blocks = []
        for step in reversed(steps):
            _append(blocks, *step)
        return node.name, blocks, self._read

    # One step from a node towards the input: (node before, (what, its arguments)).

    def _step_back(self, node):
        if node.op in _TRANSPARENT:
            return self._inputs(node)[0], None
        if node.op == "Relu":
            return self._inputs(node)[0], ("activation", node.name, "relu")
        for recognise in (
            self._linear_step,
            self._fused_norm_step,
            self._norm_step,
            self._leaky_relu_step,
            self._constant_step,
        ):
            found = recognise(node)
            if found is not None:
                return found
        raise ValueError(
            f"operation {node.op} ({node.name}) is no part of a DCGAN that can be "
            "brought in"
        )

    def _linear_step(self, node):
        if node.op not in _LINEAR:
            return None
        kind, operands = _LINEAR[node.op], self._inputs(node)
        data = operands[2 if kind == "deconv" else 0]
        kernel = self._value(operands[1])
        if kernel is None:
            raise ValueError(f"{node.name}: its kernel {operands[1].name} is no weight")
        if kind == "dense":
            if node.attr["transpose_a"].b:
                raise ValueError(f"{node.name}: its input is transposed")
            kernel = kernel.T if node.attr["transpose_b"].b else kernel
        else:
            strides = list(node.attr["strides"].list.i)
            padding = node.attr["padding"].s.decode()
            layout = node.attr["data_format"].s.decode() or "NHWC"
            if (kernel.shape[:2], strides, padding, layout) != (
                (5, 5),
                [1, 2, 2, 1],
                "SAME",
                "NHWC",
            ):
                raise ValueError(
                    f"{node.name}: a convolution with kernel "
                    f"{kernel.shape[0]}x{kernel.shape[1]}, strides {strides}, padding "
                    f"{padding}, {layout}; a DCGAN has 5x5, [1, 2, 2, 1], SAME, NHWC"
                )
        return data, (kind, operands[1].name, kernel)

    def _fused_norm_step(self, node):
        if not node.op.startswith("FusedBatchNorm"):
            return None
        data, *parameters = self._inputs(node)
        if node.attr["is_training"].b:
            parameters = parameters[:2]
        values = [self._value(parameter) for parameter in parameters]
        if any(value is None for value in values):
            raise ValueError(f"{node.name}: its parameters are no constants")
        gamma, beta, mean, variance = (*values, None, None)[:4]
        epsilon = node.attr["epsilon"].f
        return data, ("norm", node.name, Norm(gamma, beta, mean, variance, epsilon))

    def _norm_step(self, node):
        """tf.nn.batch_normalization: x m + (beta - mean m), m = gamma / deviation."""
        if node.op not in ("Add", "AddV2"):
            return None
        for product, offset in self._both_ways(node):
            if product.op != "Mul" or offset.op != "Sub":
                continue
            beta, shift = self._inputs(offset)
            if shift.op != "Mul":
                continue
            for data, factor in self._both_ways(product):
                for mean, same_factor in self._both_ways(shift):
                    spread = self._gamma_and_variance(factor)
                    if factor.name != same_factor.name or spread is None:
                        continue
                    gamma, variance, epsilon = spread
                    mean, beta = self._value(mean), self._value(beta)
                    if beta is None:
                        continue
                    if mean is None or variance is None:
                        mean = variance = None
                    gamma = np.broadcast_to(gamma, beta.shape)
                    norm = Norm(gamma, beta, mean, variance, epsilon)
                    return data, ("norm", node.name, norm)
        return None

    def _gamma_and_variance(self, factor):
        """(gamma, variance, epsilon) of gamma * rsqrt(variance + epsilon), or None."""
        gamma, root = np.float32(1), factor
        if factor.op == "Mul":
            for root, scale in self._both_ways(factor):
                gamma = self._value(scale) if root.op == "Rsqrt" else None
                if gamma is not None:
                    break
        if root.op != "Rsqrt" or gamma is None:
            return None
        total = self._inputs(root)[0]
        for variance, epsilon in self._both_ways(total):
            epsilon = self._value(epsilon)
            if epsilon is not None and epsilon.size == 1:
                return gamma, self._value(variance), float(epsilon)
        total = self._value(total)  # Added up before the graph was written.
        return None if total is None else (gamma, total, 0.0)

    def _leaky_relu_step(self, node):
        data, slope = None, None
        if node.op == "LeakyRelu":
            data, slope = self._inputs(node)[0], node.attr["alpha"].f
        elif node.op == "Maximum":
            for data, scaled in self._both_ways(node):
                slope = self._factor(scaled, data)
                if slope is not None:
                    break
        elif node.op in ("Add", "AddV2"):
            for even, odd in self._both_ways(node):
                data, even_factor = self._scaled_magnitude(even)
                odd_factor = None if data is None else self._factor(odd, data)
                if odd_factor is not None and abs(odd_factor + even_factor - 1) < 1e-6:
                    slope = odd_factor - even_factor
                    break
        if slope is None:
            return None
        return data, ("activation", node.name, round(float(slope), 6))

    def _scaled_magnitude(self, node):
        """(x, c) of c |x|, or (None, None)."""
        if node.op == "Mul":
            for magnitude, _ in self._both_ways(node):
                if magnitude.op == "Abs":
                    factor = self._factor(node, magnitude)
                    if factor is not None:
                        return self._inputs(magnitude)[0], factor
        return None, None

    def _factor(self, product, data):
        """The scalar c of a node that is c * data, or None."""
        if product.op == "Mul":
            for one, other in self._both_ways(product):
                value = self._value(other) if one.name == data.name else None
                if value is not None and value.size == 1:
                    return float(value.reshape(()))
        return None

    def _constant_step(self, node):
        """A sum or product with a constant per channel."""
        if node.op not in ("Add", "AddV2", "BiasAdd", "Mul", "Sub"):
            return None
        pairs = self._both_ways(node)
        if node.op == "Sub":
            pairs = pairs[:1]
        for data, constant in pairs:
            value = self._value(constant)
            if value is None:
                continue
            if value.size != 1 and value.shape[-1] != value.size:
                raise ValueError(f"{node.name}: a constant that is not per channel")
            value = value.reshape(-1)
            if node.op == "Mul":
                return data, ("affine", node.name, value, np.zeros_like(value))
            shift = -value if node.op == "Sub" else value
            return data, ("affine", node.name, np.ones_like(value), shift)
        return None

    # The graph underneath.

    def _inputs(self, node):
        """Nodes that a node takes data from, without those that only hand it on."""
        found = []
        for name in node.input:
            if name.startswith("^"):
                continue
            source = self._nodes[name.partition(":")[0]]
            while source.op in ("Identity", "StopGradient", "CheckNumerics"):
                source = self._nodes[source.input[0].partition(":")[0]]
            found.append(source)
        return found

    def _both_ways(self, node):
        """A node's two inputs in both orders; [] for a node with fewer."""
        operands = self._inputs(node)[:2]
        return [operands, operands[::-1]] if len(operands) == 2 else []

    def _value(self, node):
        """Value of a node that depends on constants alone, float32; else None."""
        constants = self._constants_before(node.name)
        if constants is None:
            return None
        self._read |= constants
        return np.asarray(self.run(node.name, {}), np.float32)

    def _constants_before(self, name):
        """The Const nodes that make up a constant node; None for one that is none."""
        if name not in self._constant:
            self._constant[name] = None  # So that a loop ends.
            node = self._nodes[name]
            if node.op == "Const":
                self._constant[name] = frozenset({name})
            elif node.input:
                parts = [
                    self._constants_before(source.lstrip("^").partition(":")[0])
                    for source in node.input
                ]
                if None not in parts:
                    self._constant[name] = frozenset().union(*parts)
        return self._constant[name]


def _append(blocks, what, name, *arguments):
    """Adds one step to a list of blocks, or to the last of them."""
    if what in _LINEAR.values():
        (kernel,) = arguments
        channels = kernel.shape[2 if what == "deconv" else -1]
        blocks.append(Block(what, name, kernel, np.zeros(channels, np.float32)))
        return
    if not blocks or blocks[-1].activation is not None:
        raise ValueError(f"{name}: {what} that follows no layer of weights")
    block = blocks[-1]
    if what == "activation":
        (block.activation,) = arguments
    elif what == "affine":
        channels = (block.bias if block.norm is None else block.norm.beta).size
        block.scale_and_shift(*(_per_channel(v, channels, name) for v in arguments))
    else:
        (norm,) = arguments
        if block.norm is not None:
            raise ValueError(f"{name}: a second normalisation of {block.weights}")
        _per_channel(norm.beta, block.bias.size, name)
        block.norm = norm


def _per_channel(value, channels, name):
    """A vector for each of `channels`; after a dense layer it may repeat."""
    if channels % value.size:
        raise ValueError(f"{name}: {value.size} values for {channels} channels")
    return np.tile(value, channels // value.size)
