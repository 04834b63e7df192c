"""Frozen evaluation protocols: the same images, holes and metrics for everyone.

A protocol is a small TOML file, such as protocols/celeba128_center.toml. It says where
the images come from, how they are cropped and resized, how the holes are drawn and what
is measured; `freeze_protocol` then records what that gives. `read` here and
`protocol_examples` refuse whatever has changed since, so that two results with one
`Protocol.hash` are results of the same measurement.

Input: a name or path. Output: `protocol_definition.Protocol`, for
`protocol_examples.open_examples`. `read` refuses, where they differ from what was
frozen: lists, metric definitions, and what decoding, cropping and resizing make of a
fixed noise picture (within one level).

In order: `read`, `find`, `read_list`.
"""

import csv
import dataclasses
import hashlib
import io
import os

from inpainting_tf import metric_table, protocol_examples, untrusted
from inpainting_tf.protocol_definition import (
    ProtocolError,
    list_name,
    read_definition,
)

FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "protocols")


def read(path_or_name):
    """Reads a frozen protocol.

    Args:
      path_or_name: path of a TOML file, or the name of one that ships in protocols/.

    Returns:
      Protocol.

    Raises:
      ProtocolError: no such protocol, an impossible or unknown entry, one that is not
        frozen yet, or a list, an entry or a metric that has changed since.
    """
    path = find(path_or_name)
    protocol, frozen = read_definition(path)

    def refuse(file, expected, found, advice):
        raise ProtocolError(
            f"protocol {protocol.name}: {file}: expected {expected}, found {found}; "
            f"{advice}"
        )

    if frozen is None:
        refuse(path, "a [frozen] table", "none", "freeze it: " + freezing(path))
    keys = ("examples", "examples_sha256", "metric_definitions", "hash")
    keys += ("list_sha256", "image_path") if protocol.needs_files else ()
    for key in keys:
        if not isinstance(frozen.get(key), str):
            refuse(path, f"[frozen] {key}", "none", "freeze it: " + freezing(path))
    again = "restore the file, or freeze a protocol of another name"
    older = "use the package that froze it, or freeze a protocol of another name"
    folder = os.path.dirname(path)
    if protocol.needs_files:
        list_path = os.path.join(folder, list_name(path))
        rows, found = read_list(list_path, ("file", "sha256"))
        if found != frozen["list_sha256"]:
            refuse(list_path, frozen["list_sha256"], found, again)
        protocol = dataclasses.replace(
            protocol,
            names=tuple(row["file"] for row in rows),
            contents=tuple(row["sha256"] for row in rows),
            image_path=frozen["image_path"],
        )
        found = protocol_examples.probe(protocol)
        if not protocol_examples.nearly_equal(found, protocol.image_path):
            refuse("decoding, cropping, resizing", protocol.image_path, found, older)
    if not untrusted.stays_inside(frozen["examples"]):
        refuse(path, "examples beside it", frozen["examples"], again)
    examples_path = os.path.join(folder, frozen["examples"])
    rows, found = read_list(examples_path, protocol.example_columns)
    if found != frozen["examples_sha256"]:
        refuse(examples_path, frozen["examples_sha256"], found, again)
    if len(rows) != len(protocol):
        refuse(examples_path, f"{len(protocol)} examples", len(rows), again)
    protocol = dataclasses.replace(
        protocol,
        metric_definitions=metric_table.definition_hash(protocol.metrics),
        **protocol_examples.recorded(protocol, rows),
    )
    if protocol.metric_definitions != frozen["metric_definitions"]:
        refuse(
            f"definitions of {', '.join(protocol.metrics)}",
            frozen["metric_definitions"],
            protocol.metric_definitions,
            f"the metrics have changed: {older}",
        )
    if protocol.hash != frozen["hash"]:
        refuse(path, f"hash {frozen['hash']}", protocol.hash, again)
    return protocol


def find(path_or_name):
    """Path of a protocol's file. Raises ProtocolError where there is none."""
    shipped = os.path.join(FOLDER, f"{path_or_name}.toml")
    for path in (path_or_name, shipped):
        if os.path.isfile(path):
            return path
    names = []
    if os.path.isdir(FOLDER):
        names = [name[:-5] for name in os.listdir(FOLDER) if name.endswith(".toml")]
    raise ProtocolError(
        f"protocol {path_or_name}: no such file; give the path of one, or a name out "
        f"of {', '.join(sorted(names))}"
    )


def freezing(path):
    """The command that freezes a protocol."""
    return f"python -m inpainting_tf.freeze_protocol --protocol={path} --data_dir=..."


def read_list(path, columns):
    """Reads a CSV list.

    Args:
      path: of a file whose first line names its columns.
      columns: those that it must have.

    Returns:
      (list of dicts, SHA-256 hex of the text with its line ends as newlines).

    Raises:
      ProtocolError: unreadable, empty, or a column is missing.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ProtocolError(f"{path}: cannot be read ({error})") from None
    reader = csv.DictReader(io.StringIO(text), restval="")
    rows = list(reader)
    absent = [column for column in columns if column not in (reader.fieldnames or ())]
    if absent or not rows:
        raise ProtocolError(
            f"{path}: expected lines below the columns {','.join(columns)}, found "
            f"{len(rows)} below {','.join(reader.fieldnames or ()) or 'nothing'}"
        )
    return rows, hashlib.sha256(text.encode()).hexdigest()
