"""What a user writes to name a method: [label=]source[@checkpoint][+mirrored].

evaluate.py, inpaint.py, demo.py and `inpainting_tf.load` take it. It is taken apart here;
what the source is, `contenders` finds for protocols and `photo_sources` for photos.
"""

import dataclasses
import os
import re

from command_line.parsing import UsageError

MIRRORED = "+mirrored"


@dataclasses.dataclass(frozen=True)
class SourceText:
    """A text, taken apart.

    Attributes:
      said: as it was given, with its flag if it came by one, for messages.
      label: that was given, or "".
      source: a name or a path.
      checkpoint: that was given, or "".
      is_mirrored: whether +mirrored was: see `inpainting_tf.self_ensemble`.
    """

    said: str
    label: str
    source: str
    checkpoint: str
    is_mirrored: bool

    def label_or(self, name):
        """The label that was given, or one that is made of a name.

        Raises:
          UsageError: the name cannot be one.
        """
        if self.label:
            return self.label
        _check_label(self.said, name)
        return f"{name}_mirrored" if self.is_mirrored else name


def parse(text, flag="methods"):
    """Takes a text apart. Names of files that are there may hold =, @ and + too.

    Args:
      text: str, as it was given.
      flag: by which, without the dashes; None where a caller in Python gave it.

    Returns:
      SourceText.

    Raises:
      UsageError: the label cannot be one, or +mirrored stands in another place.
    """
    said = f"--{flag}={text}" if flag else text
    label, equals, source = text.partition("=")
    if not equals or os.sep in label:
        label, source = "", text
    is_mirrored = source.endswith(MIRRORED) and not os.path.exists(source)
    if is_mirrored:
        source = source.removesuffix(MIRRORED)
    checkpoint = ""
    if not os.path.exists(source):
        source, _, checkpoint = source.partition("@")
    if MIRRORED in checkpoint or MIRRORED in source and not os.path.exists(source):
        raise UsageError(f"{said}: {MIRRORED} comes last, and once")
    _check_label(said, label or own_name(source))
    return SourceText(said, label, source, checkpoint, is_mirrored)


def _check_label(said, name):
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(
            f"{said}: the label {name!r} must be a letter or digit and then "
            "letters, digits and ._- only; write label=source"
        )


def check_apart(labels):
    """Makes sure that methods have labels of their own.

    Raises:
      UsageError: two share one.
    """
    for label in labels:
        if labels.count(label) > 1:
            raise UsageError(
                f"{labels.count(label)} methods are called {label}; tell them apart: "
                "--methods=first=...,second=..."
            )


def own_name(path):
    """The label of what a path or name names: its last part, without its ending; of an
    export, <method>/<version>, the method."""
    path = os.path.normpath(path)
    if stem(path).isdecimal() and os.path.exists(os.path.join(path, "saved_model.pb")):
        return os.path.basename(os.path.dirname(os.path.abspath(path)))
    return stem(path)


def stem(path):
    """The last part of a path, without its ending."""
    return os.path.splitext(os.path.basename(path))[0]
