"""What a method is made of, as text: parameters and multiply-adds of its networks.

Input: a built method and the batch it is to be trained on; nothing is run. Output: a
table for `train.py --summary`.
"""

import keras
import tensorflow as tf
from absl import flags

from inpainting_tf.arithmetic import multiply_adds, plain_name

flags.DEFINE_bool(
    "summary",
    False,
    "Only print the networks' parameters and multiply-adds; needs no run and no data.",
)


def describe(model, image_size, batch_size):
    """The networks of a method, with parameters and multiply-adds.

    Args:
      model: the method, built.
      image_size: side of the training images.
      batch_size: images of a batch.

    Returns:
      lines of text: a table of the networks, and how a training step was counted.
    """
    networks = _networks(model)
    shapes = [[1, image_size, image_size, channels] for channels in (3, 1)]
    forward = multiply_adds(model.call, *shapes, networks=networks)
    pictures = batch_size * model.batches_per_step
    shapes = [[pictures, *shape[1:]] for shape in shapes] + [[pictures, 4]]

    def update(image, mask, box):
        return model.update(
            {"image": image, "mask": mask, "box": tf.cast(box, "int32")}
        )

    step = multiply_adds(update, *shapes, networks=networks)
    rows = [("network", "parameters", "one picture", "training step")]
    for name, network in networks.items():
        rows.append(
            (
                name,
                f"{network.count_params():,}",
                _in_millions(forward[name]),
                _in_millions(step[name]),
            )
        )
    rows.append(
        (
            "together",
            f"{model.count_params():,}",
            _in_millions(forward.total()),
            _in_millions(step.total()),
        )
    )
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join(
            text.rjust(width) if column else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return [
        f"millions of multiply-adds at {image_size}x{image_size}:",
        *lines,
        f"a training step takes {pictures} pictures; where phases differ, the dearest "
        "counts",
    ]


def _networks(model):
    """The Keras models that a method holds, by their names without numbers."""
    models = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return {plain_name(network.name): network for network in models}


def _in_millions(count):
    return f"{count / 1e6:,.1f}" if count else "-"
