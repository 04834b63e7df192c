"""Run folders of networks that have learned nothing yet, since time does not depend on
what a network has learned."""

import os

import keras

from baselines.methods import METHODS
from command_line import method_flags
from inpainting_tf import run_folder
from inpainting_tf.checkpoints import Checkpoints


def write(folder, method, size, width, seed):
    """Writes the run folder of a method with random weights.

    Args:
      folder: to be made.
      method: its name on the command line.
      size: side of the images.
      width: channels, as a share of the published ones.
      seed: of the weights.

    Returns:
      the model.
    """
    keras.utils.set_random_seed(seed)
    flag_values = {"image_size": size, "width": width, "seed": seed}
    shared = method_flags.shared_arguments(METHODS[method], flag_values)
    model = METHODS[method](**shared)
    os.makedirs(folder)
    recorded = {"method": method} | flag_values
    run_folder.write_flags(folder, {k: str(v) for k, v in recorded.items()})
    Checkpoints(model, os.path.join(folder, "checkpoints")).save(0)
    return model
