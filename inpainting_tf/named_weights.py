"""The weights of a method by names that stay, and which of them completing takes.

Input: a built method. Names are places in it, such as "generator/norms/0/gamma"; a
checkpoint holds every weight under its name, weights that come along only those that
completions depend on.
"""

import keras
import tensorflow as tf


def named_weights(model):
    """Every weight of a model by where it is: attribute names and places in lists.

    The names stay when the order changes in which layers are made, unlike the order of
    `model.variables` and the numbers in Keras's own names.

    Args:
      model: keras.Model, built, whose layers are attributes or lists in attributes.

    Returns:
      dict from a name such as "generator/norms/0/gamma" to the Keras variable.

    Raises:
      ValueError: a weight cannot be told apart or reached.
    """
    named = {}

    def visit(layer, path):
        inner = set()
        for name, value in vars(layer).items():
            if name.startswith("_"):
                continue  # Keras's own lists of what is found by its name as well.
            several = isinstance(value, list | tuple)
            for index, child in enumerate(value if several else [value]):
                if isinstance(child, keras.Layer):
                    place = (path, name, str(index)) if several else (path, name)
                    visit(child, "/".join(place).lstrip("/"))
                    inner.update(map(id, child.variables))
        for variable in layer.variables:
            if id(variable) not in inner:
                named[f"{path}/{variable.name}".lstrip("/")] = variable

    visit(model, "")
    if len(named) != len(model.variables):
        raise ValueError(
            f"{len(model.variables)} weights of {model.name} have {len(named)} names: "
            "keep layers in attributes or lists, and give weights of one layer names"
        )
    return named


def completing_weights(model):
    """Names of the weights that completions depend on, found by tracing the method.

    Discriminators, their critics and weights whose moving average is used in their
    place are not among them. A network that completes nothing, such as the prior of a
    search, needs all.

    Args:
      model: keras.Model, built; see the README's contract.

    Returns:
      set of names, see `named_weights`.
    """
    size = model.image_size
    graph = tf.function(
        lambda image, hole: model(image, hole, training=False)
    ).get_concrete_function(
        *(tf.TensorSpec([1, size, size, channels]) for channels in (3, 1))
    )
    names = named_weights(model)
    if "completed" not in graph.structured_outputs:
        return set(names)
    used = {variable.ref() for variable in graph.variables}
    # Of a weight that replicas share the graph has the copies.
    return {
        name
        for name, variable in names.items()
        if any(
            copy.ref() in used
            for copy in getattr(variable.value, "values", [variable.value])
        )
    }
