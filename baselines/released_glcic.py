"""GLCIC from the weights of its widely used TensorFlow 1 program.

Source: checkpoints of tadax/glcic, whose variables are `generator/<layer>/...` and
`discriminator/<side>/<layer>/...` with weight, beta, scale, pop_mean and pop_var.

The program feeds three channels with the hole at mid grey, flattens features channel by
channel before its dense layers (ours: pixel by pixel), and normalises by the batch's
statistics in its discriminators always.
"""

from baselines import tf1_checkpoint
from baselines.glcic import GLCIC

_PROGRAM = "the GLCIC program"
_FIRST_CHANNELS = 64  # of generator/conv1, as published
# What the program fixes and the networks depend on.
_ARGUMENTS = {
    "mask_channel": False,
    "mean_color": (127.5, 127.5, 127.5),
    "discriminator_batch_statistics": True,
}


def convert(variables, *, image_size=None):
    """Builds the model that a checkpoint's variables belong to, and fills it.

    Args:
      variables: dict from TF1 name to array.
      image_size: side of the training images; None: what the discriminators' dense
        layers were trained with, or 128 where the checkpoint has no discriminators.

    Returns:
      (model, arguments, unused, notes): GLCIC; dict of its keyword arguments that
      decide its networks; names of unused variables; lines to tell the user.

    Raises:
      ValueError: a variable is missing or of another shape.
    """
    name = "generator/conv1/weight"
    channels = tf1_checkpoint.shape(variables, name, _PROGRAM)[-1]
    discriminators = any(name.startswith("discriminator/") for name in variables)
    patch_size, notes = None, []
    if discriminators:
        global_size, patch_size = (
            _input_size(variables, side) for side in ("global", "local")
        )
        image_size = image_size or global_size
    else:
        notes.append(
            "no discriminators in the checkpoint: those of the model are untrained, "
            "the completion network is whole"
        )
    image_size = image_size or 128
    arguments = {
        "image_size": image_size,
        "width": channels / _FIRST_CHANNELS,
        "local_patch_size": patch_size or image_size // 2,
        **_ARGUMENTS,
    }
    model = GLCIC(**arguments)
    unused = load_released_weights(model, variables, discriminators=discriminators)
    return model, arguments, unused, notes


def _input_size(variables, side):
    """Side of the pictures that a discriminator was trained with."""
    convolutions = 0
    while f"discriminator/{side}/conv{convolutions + 1}/weight" in variables:
        convolutions += 1
    last = f"discriminator/{side}/conv{max(convolutions, 1)}/weight"
    channels = tf1_checkpoint.shape(variables, last, _PROGRAM)[-1]
    dense = f"discriminator/{side}/fc/weight"
    rows = tf1_checkpoint.shape(variables, dense, _PROGRAM)[0]
    return tf1_checkpoint.square_side(rows / channels, dense) * 2**convolutions


def load_released_weights(model, variables, *, discriminators=True):
    """Sets a model's weights to those of the program, batch-norm statistics included.

    Args:
      model: GLCIC with `mask_channel=False` and `mean_color=(127.5, 127.5, 127.5)`, of
        the size and width that the variables were trained with (the program's: 128, 1).
      variables: dict from TF1 variable name, without ":0", to NumPy array.
      discriminators: load them as well.

    Returns:
      sorted names of the variables that the model has no use for (step counters, slots
      of the optimizer).

    Raises:
      ValueError: a variable is missing or has another shape; nothing is loaded then.
    """

    def by_pixels(height, width, channels):
        def reorder(kernel):
            by_channels = kernel.reshape(channels, height, width, -1)
            return by_channels.transpose(1, 2, 0, 3).reshape(kernel.shape)

        return reorder

    named = {
        name: (variable, flattened and by_pixels(*flattened))
        for name, (variable, flattened) in released_variables(model).items()
        if discriminators or name.startswith("generator/")
    }
    return tf1_checkpoint.assign(named, variables, _PROGRAM)


def released_variables(model):
    """The program's name for each weight of a GLCIC.

    Args:
      model: GLCIC.

    Returns:
      dict from TF1 variable name to (Keras variable, flattened), where flattened is
      None or the [height, width, channels] whose flattening feeds a dense kernel: the
      program flattens channel by channel.
    """
    named = {}

    def add_block(prefix, block):
        norm = block.normalization
        named[f"{prefix}/{block.name}/weight"] = (block.convolution.kernel, None)
        named[f"{prefix}/{block.name}/beta"] = (norm.beta, None)
        named[f"{prefix}/{block.name}/scale"] = (norm.gamma, None)
        named[f"{prefix}/{block.name}/pop_mean"] = (norm.moving_mean, None)
        named[f"{prefix}/{block.name}/pop_var"] = (norm.moving_variance, None)

    for block in model.completion.blocks:
        add_block("generator", block)
    last = model.completion.last
    named[f"generator/{last.name}/weight"] = (last.kernel, None)

    networks = model.discriminator
    for side, blocks, vector, size in (
        ("global", networks.global_blocks, networks.global_vector, model.image_size),
        (
            "local",
            networks.local_blocks,
            networks.local_vector,
            model.local_patch_size,
        ),
    ):
        for block in blocks:
            add_block(f"discriminator/{side}", block)
            size = -(-size // 2)
        channels = blocks[-1].convolution.filters
        flattened = [size, size, channels]
        named[f"discriminator/{side}/fc/weight"] = (vector.kernel, flattened)
        named[f"discriminator/{side}/fc/bias"] = (vector.bias, None)
    named["discriminator/concatenation/weight"] = (networks.score.kernel, None)
    named["discriminator/concatenation/bias"] = (networks.score.bias, None)
    return named
