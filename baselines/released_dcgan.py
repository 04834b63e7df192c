"""DCGAN from a frozen graph, such as the one that the SIIDGM program reads.

Source: a GraphDef (.pb) with the weights as constants: from a placeholder z to a Tanh,
and from a placeholder of images, or from that Tanh, to a Sigmoid. Shapes, leaky ReLU's
slope and the number of blocks are read from the graph, see `frozen_graph`.

Stages: find generator and discriminator; build the DCGAN of these channel counts; give
it the weights; compare both on random inputs with the graph itself.

Where the graph has no batch normalisation, or one that is folded into scales and
offsets, the model has one that changes nothing but rounding as long as it is not
trained further: mean 0, variance 1, gamma sqrt(1 + epsilon). Where the graph
normalises by the batch's statistics even in use, and so has none of its own, they are
estimated: the model's results no longer depend on batch mates.
"""

import contextlib

import numpy as np

from baselines.dcgan import DCGAN
from baselines.frozen_graph import FrozenGraph

_COMPARED_EXAMPLES = 8
_ESTIMATION_EXAMPLES = 512
_TOLERANCE = 1e-3  # A misread graph is off by far more, rounding by far less.


def convert(path):
    """Builds the model that a frozen graph describes, and fills it.

    Args:
      path: of the .pb file.

    Returns:
      (model, arguments, used, unused, notes): DCGAN; dict of its keyword arguments
      that decide its networks; names of the constants that were used and of those
      that look like weights and were not; lines to tell the user.

    Raises:
      ValueError: no such graph, or one whose networks cannot be told apart or are no
        DCGAN's; the line says what was found.
    """
    graph = FrozenGraph(path)
    try:
        picture_node, z_node, generator, used = _choose(graph, "Tanh", _is_generator)
        score_node, image_node, discriminator, also_used = _choose(
            graph, "Sigmoid", _is_discriminator
        )
        used = used | also_used
        arguments = _arguments(generator, discriminator)
        model = DCGAN(**arguments)
        notes = _fill_and_compare(
            graph,
            model,
            (z_node, picture_node, generator),
            (image_node, graph.input_of(score_node), discriminator),
        )
    except ValueError as error:
        raise ValueError(f"--source={path}: {error}") from None
    return model, arguments, sorted(used), sorted(graph.weights() - used), notes


def _choose(graph, output, is_wanted):
    """The one network of a kind that ends in an operation.

    Several outputs may share the weights: a generator's with the batch's and with
    constant statistics, a discriminator's on images and on generated ones. Constant
    statistics are preferred, then a placeholder as input.

    Returns:
      (output node, input node, blocks, names of constants).
    """
    networks, refused = [], []
    for name in graph.named(output):
        try:
            source, blocks, constants = graph.read_blocks(
                name, ("Placeholder", "PlaceholderWithDefault", "Tanh")
            )
        except ValueError as error:
            refused.append(str(error))
            continue
        kinds = [block.kind for block in blocks]
        if is_wanted(kinds):
            networks.append((name, source, blocks, constants))
        else:
            refused.append(f"{name} ends the layers {', '.join(kinds) or 'none'}")
    if not networks:
        reasons = "; ".join(refused) or f"there is no {output}"
        raise ValueError(f"no network of a DCGAN that ends in {output}: {reasons}")
    if len({tuple(b.weights for b in blocks) for _, _, blocks, _ in networks}) > 1:
        names = ", ".join(name for name, *_ in networks)
        raise ValueError(f"{output} ends several networks, {names}: cannot tell which")

    def rank(network):
        _, source, blocks, _ = network
        return _uses_the_batch(blocks), graph.operation(source) == "Tanh"

    return min(networks, key=rank)


def _is_generator(kinds):
    return kinds[:1] == ["dense"] and {*kinds[1:]} == {"deconv"}


def _is_discriminator(kinds):
    return kinds[-1:] == ["dense"] and {*kinds[:-1]} == {"conv"}


def _uses_the_batch(blocks):
    return any(b.norm is not None and b.norm.mean is None for b in blocks)


def _arguments(generator, discriminator):
    """Keyword arguments of the DCGAN with these blocks."""
    slopes = {block.activation for block in discriminator[:-1]}
    relus = {block.activation for block in generator[:-1]}
    last = {generator[-1].activation, discriminator[-1].activation}
    slope = next(iter(slopes))
    if len(slopes) > 1 or not isinstance(slope, float) or relus != {"relu"}:
        raise ValueError(
            "activations must be relu in the generator and leaky ReLU of one slope in "
            f"the discriminator; found {', '.join(map(str, relus))} and "
            f"{', '.join(map(str, slopes))}"
        )
    if last != {None}:
        raise ValueError("an activation stands before the Tanh or the Sigmoid")
    return {
        "image_size": 4 * 2 ** (len(generator) - 1),
        "width": 1.0,
        "latent_size": generator[0].kernel.shape[0],
        "generator_widths": tuple(block.kernel.shape[3] for block in generator[1:]),
        "discriminator_widths": tuple(
            block.kernel.shape[3] for block in discriminator[:-1]
        ),
        "leaky_relu_slope": slope,
    }


def _fill_and_compare(graph, model, generator, discriminator):
    """Gives the model the graph's weights and makes sure that both compute the same.

    Args:
      graph: FrozenGraph.
      model: DCGAN of its channel counts.
      generator: (name of z, name of the pictures, blocks).
      discriminator: (name of the images, name of the logits, blocks).

    Returns:
      lines to tell the user.
    """
    z_node, picture_node, generator_blocks = generator
    image_node, logit_node, discriminator_blocks = discriminator
    project = generator_blocks[0]
    if project.norm is not None and project.norm.beta.size != model.generator.channels:
        project.fold_norm()  # It is per feature, ours per channel.
    network = model.generator
    identities, to_estimate = _fill(
        [network.project, *network.enlargements], network.norms, generator_blocks
    )
    network = model.discriminator
    more_identities, also_to_estimate = _fill(
        [*network.convolutions, network.score],
        [None, *network.norms],
        discriminator_blocks,
    )

    count = (graph.shape(z_node) or [None])[0] or _COMPARED_EXAMPLES
    z = np.random.default_rng(0).uniform(
        -1, 1, [max(count, _ESTIMATION_EXAMPLES), model.latent_size]
    )
    z = z.astype(np.float32)
    feed = {z_node: z[:count]}
    pictures = graph.run(picture_node, feed)
    difference = _compare(
        model.generator, model.generator.norms, to_estimate, z[:count], pictures
    )
    # Its statistics first: those of the discriminator are of its pictures.
    _estimate(model.generator, model.generator.norms, to_estimate, z)
    if graph.operation(image_node) == "Tanh":
        images = graph.run(image_node, feed)
    else:
        images, feed = pictures, {image_node: pictures}
    logit_difference = _compare(
        model.discriminator,
        model.discriminator.norms,
        also_to_estimate,
        images,
        graph.run(logit_node, feed),
    )
    if also_to_estimate:
        _estimate(
            model.discriminator,
            model.discriminator.norms,
            also_to_estimate,
            model.generate(z),
        )

    notes = []
    if identities + more_identities:
        notes.append(
            f"{identities + more_identities} layers of the graph have no batch "
            "normalisation: the model's changes nothing there until it is trained on"
        )
    if to_estimate or also_to_estimate:
        notes.append(
            "the graph normalises by the batch's statistics and has none of its own: "
            f"the model's are estimated from {len(z)} random z"
        )
    notes.append(
        f"on {count} random z, model and graph differ by at most {difference:.1e} in "
        f"pictures, {logit_difference:.1e} in logits"
    )
    return notes


def _fill(own_layers, own_norms, blocks):
    """Sets layers and their batch normalisations to what was read.

    Args:
      own_layers: the model's layers, one for each block.
      own_norms: its normalisations from the first layer on, None for one without;
        layers after the last have none either.
      blocks: list of Block; one's norm is folded into its weights where the model has
        none.

    Returns:
      (number of normalisations that change nothing, list of (normalisation without
      statistics, its epsilon in the graph)).
    """
    own_norms = [*own_norms, *[None] * (len(own_layers) - len(own_norms))]
    identities, to_estimate = 0, []
    for layer, norm, block in zip(own_layers, own_norms, blocks, strict=True):
        if norm is None and block.norm is not None:
            block.fold_norm()
        if layer.kernel.shape != block.kernel.shape:
            raise ValueError(
                f"weight {block.weights} has shape {block.kernel.shape}, which does "
                f"not fit the layers beside it: {tuple(layer.kernel.shape)}"
            )
        layer.kernel.assign(block.kernel)
        layer.bias.assign(block.bias)
        if norm is None:
            continue
        if block.norm is None:
            identities += 1
            norm.gamma.assign(np.full(norm.gamma.shape, np.sqrt(1 + norm.epsilon)))
            continue  # beta, mean and variance start at 0, 0 and 1.
        norm.gamma.assign(block.norm.gamma)
        norm.beta.assign(block.norm.beta)
        if block.norm.mean is None:
            to_estimate.append((norm, block.norm.epsilon))
        else:
            norm.moving_mean.assign(block.norm.mean)
            added = block.norm.epsilon - norm.epsilon
            norm.moving_variance.assign(block.norm.variance + added)
    return identities, to_estimate


@contextlib.contextmanager
def _by_the_batch(norms, to_estimate):
    """Makes these normalise by the batch as the graph does, and keep its statistics.

    Meant for calls in training mode; the other normalisations stay as in use.
    """
    own = [(norm, norm.epsilon, norm.momentum) for norm in norms]
    epsilons = {id(norm): epsilon for norm, epsilon in to_estimate}
    for norm in norms:
        norm.trainable = id(norm) in epsilons
        norm.epsilon, norm.momentum = epsilons.get(id(norm), norm.epsilon), 0.0
    try:
        yield
    finally:
        for norm, epsilon, momentum in own:
            norm.trainable, norm.epsilon, norm.momentum = True, epsilon, momentum


def _compare(network, norms, to_estimate, inputs, expected):
    """Largest difference between a network and what the graph gives.

    Raises:
      ValueError: too large to be rounding.
    """
    with _by_the_batch(norms, to_estimate):
        actual = network(inputs, training=bool(to_estimate)).numpy()
    difference = float(np.abs(actual - expected.reshape(actual.shape)).max())
    if not difference <= _TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise ValueError(
            f"the {network.name} was read, but differs from the graph by "
            f"{difference:.1e}: its structure is not that of a DCGAN"
        )
    return difference


def _estimate(network, norms, to_estimate, inputs):
    """Sets missing statistics to those of the inputs' features."""
    if not to_estimate:
        return
    with _by_the_batch(norms, to_estimate):
        network(inputs, training=True)
    for norm, epsilon in to_estimate:
        norm.moving_variance.assign_add(
            np.full(norm.gamma.shape, epsilon - norm.epsilon)
        )
