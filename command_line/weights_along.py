"""Weights that come along with the package, found by their name.

Each is a folder that `pack_weights` wrote, or a SavedModel, with its model card.
"""

import os

import inpainting_tf

# A folder for each name.
WEIGHTS_DIR = os.path.join(os.path.dirname(inpainting_tf.__file__), "weights")


def names():
    """Names of the weights that come along, sorted."""
    if not os.path.isdir(WEIGHTS_DIR):
        return []
    return sorted(
        name
        for name in os.listdir(WEIGHTS_DIR)
        if ".partial-" not in name
        and any(
            os.path.exists(os.path.join(WEIGHTS_DIR, name, file))
            for file in ("flags.cfg", "saved_model.pb")
        )
    )


def find(source):
    """The path of what a user names: a file or folder that is there goes first."""
    if not os.path.exists(source) and source in names():
        return os.path.join(WEIGHTS_DIR, source)
    return source
