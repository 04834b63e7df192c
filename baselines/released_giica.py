"""GIICA from the weights of its authors' TensorFlow 1 program.

Source: checkpoints of JiahuiYu/generative_inpainting v1.0.0, "DeepFill v1", whose
variables are `inpaint_net/<layer>/kernel|bias` and `discriminator/...`.

The program reads its pictures as blue, green, red, also in training. A model of ours
takes and gives red, green, blue: kernels that a picture enters, and layers that it
leaves, have their channels in the opposite order.
"""

import numpy as np

from baselines import tf1_checkpoint
from baselines.giica import GIICA

_PROGRAM = "the GIICA program"
_FIRST_CHANNELS = 32  # of inpaint_net/conv1, as published
_CRITIC_REDUCTION = 16  # four convolutions of stride 2


def convert(variables, *, image_size=None, bgr=True):
    """Builds the model that a checkpoint's variables belong to, and fills it.

    Args:
      variables: dict from TF1 name to array.
      image_size: side of the training images; None: 256, or what the critics' dense
        layers were trained with, where the checkpoint has critics.
      bgr: see `load_released_weights`.

    Returns:
      (model, arguments, unused, notes): GIICA; dict of its keyword arguments that
      decide its networks; names of unused variables; lines to tell the user.

    Raises:
      ValueError: a variable is missing or of another shape.
    """
    channels = tf1_checkpoint.shape(variables, "inpaint_net/conv1/bias", _PROGRAM)[0]
    critics = any(name.startswith("discriminator/") for name in variables)
    local_patch_size, notes = None, []
    if critics:
        global_side, local_side = (
            _dense_side(variables, view) for view in ("global", "local")
        )
        image_size = image_size or global_side * _CRITIC_REDUCTION
        if -(-(image_size // 2) // _CRITIC_REDUCTION) != local_side:
            local_patch_size = local_side * _CRITIC_REDUCTION
    else:
        notes.append(
            "no critics in the checkpoint: those of the model are untrained, the "
            "networks that complete images are whole"
        )
    if not bgr:
        notes.append("channels kept in the order in which the weights were trained")
    arguments = {
        "image_size": image_size or 256,
        "width": channels / _FIRST_CHANNELS,
        "padding": "same",
    }
    arguments["local_patch_size"] = local_patch_size or arguments["image_size"] // 2
    model = GIICA(**arguments)
    unused = load_released_weights(model, variables, critics=critics, bgr=bgr)
    return model, arguments, unused, notes


def _dense_side(variables, view):
    """Side of the features that a critic's dense unit scores."""
    last = f"discriminator/discriminator_{view}/conv4/bias"
    dense = f"discriminator/dout_{view}_fc/kernel"
    channels = tf1_checkpoint.shape(variables, last, _PROGRAM)[0]
    rows = tf1_checkpoint.shape(variables, dense, _PROGRAM)[0]
    return tf1_checkpoint.square_side(rows / channels, dense)


def load_released_weights(model, variables, *, critics=False, bgr=False):
    """Sets a model's weights to those of the program; all of them or none.

    Args:
      model: GIICA of the same width, and with `critics` of the same sizes.
      variables: dict from variable names as in a TF1 checkpoint
        ("inpaint_net/conv1/kernel") to arrays.
      critics: load the critics as well; their dense layers belong to one image size.
      bgr: the weights were trained on pictures with channels in the order blue,
        green, red, as the released ones; the model will take and give RGB.

    Returns:
      sorted list of the names in `variables` that were not used (optimizer slots,
      counters and, without `critics`, the critics).

    Raises:
      ValueError: a variable is missing or of another shape.
    """
    named = {
        name: (variable, _swap_for(name) if bgr else None)
        for name, variable in released_variables(model, critics=critics).items()
    }
    return tf1_checkpoint.assign(named, variables, _PROGRAM)


def released_variables(model, *, critics=False):
    """The program's name for each weight of a GIICA: dict from name to variable."""
    convolutions = [
        *model.coarse_network.convolutions,
        *model.refinement_network.hallucination_branch,
        *model.refinement_network.attention_encoder,
        *model.refinement_network.attention_decoder,
        *model.refinement_network.decoder,
    ]
    scoped = [
        (f"inpaint_net/{_released_name(layer.name)}", layer.convolution)
        for layer in convolutions
    ]
    if critics:
        for view, critic in (
            ("local", model.local_critic),
            ("global", model.global_critic),
        ):
            scope = f"discriminator/discriminator_{view}"
            scoped += [(f"{scope}/{c.name}", c) for c in critic.convolutions]
            scoped.append((f"discriminator/dout_{view}_fc", critic.score))
    return {
        f"{scope}/{part}": weight
        for scope, layer in scoped
        for part, weight in (("kernel", layer.kernel), ("bias", layer.bias))
    }


def _released_name(layer_name):
    if layer_name.endswith("_upsample"):
        return f"{layer_name}/{layer_name}_conv"
    return layer_name


# Layers that a picture enters, in its kernel's first input channels, or leaves.
_PICTURE_ENTERS = (
    "inpaint_net/conv1/kernel",
    "inpaint_net/xconv1/kernel",
    "inpaint_net/pmconv1/kernel",
    "discriminator/discriminator_local/conv1/kernel",
    "discriminator/discriminator_global/conv1/kernel",
)
_PICTURE_LEAVES = ("inpaint_net/conv17/", "inpaint_net/allconv17/")


def _swap_for(name):
    """Function from the weight for BGR pictures to the one for RGB, or None."""
    if name in _PICTURE_ENTERS:
        return lambda kernel: np.concatenate(
            [kernel[:, :, 2::-1], kernel[:, :, 3:]], axis=2
        )
    if name.startswith(_PICTURE_LEAVES):
        return lambda weight: weight[..., ::-1]
    return None
