"""Weights that come along with the package, found by their name.

Each is a folder that `pack_weights` wrote, or a SavedModel, with its model card. Those
in `study` belong to docs/reproduction.md: trained to be compared, on holes in the centre
alone, they are found as study/<name> and offered to nobody who names none.
"""

import os

import inpainting_tf

# A folder for each name.
WEIGHTS_DIR = os.path.join(os.path.dirname(inpainting_tf.__file__), "weights")
STUDY = "study"

# Begins the line of a card that gives the terms.
TERMS = "- Terms: "


def names(group=""):
    """Names of the weights that come along, sorted.

    Args:
      group: "" for those of general use, `STUDY` for the study's.

    Returns:
      list of str, as `find` takes them.
    """
    folder = os.path.join(WEIGHTS_DIR, group)
    if not os.path.isdir(folder):
        return []
    return sorted(
        f"{group}/{name}" if group else name
        for name in os.listdir(folder)
        if not name.startswith(".")  # Unfinished.
        and any(
            os.path.exists(os.path.join(folder, name, file))
            for file in ("flags.cfg", "saved_model.pb")
        )
    )


def find(source):
    """The path of what a user names: a file or folder that is there goes first."""
    if not os.path.exists(source) and source in names() + names(STUDY):
        return os.path.join(WEIGHTS_DIR, source)
    return source


def terms(folder):
    """The terms of use that a card in the folder gives, or ""."""
    try:
        with open(os.path.join(folder, "README.md"), encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    given = (line for line in lines if line.startswith(TERMS))
    return next(given, TERMS).removeprefix(TERMS).rstrip(".")
