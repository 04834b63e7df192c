"""Freezes an evaluation protocol: records what its images, masks and metrics are now.

    python -m inpainting_tf.freeze_protocol --protocol=my_protocol.toml --data_dir=faces

The TOML file, whose tables `protocol_definition` describes, is written by hand; its
[frozen] table, the list of examples beside it and the hashes of the list of images are
written here. Frozen again, a protocol that has not changed keeps its hash.

Input: a protocol's file, and a list of images beside it with the column `file`. Where
there is no list, every picture below --data_dir is taken, sorted by path. A list that
has hashes already (several protocols may share one) is checked, not overwritten.

Stages: read; list and hash the images; run through all examples; write everything
beside its place, then rename.
"""

import csv
import dataclasses
import hashlib
import io
import os
import re
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Before TensorFlow is imported.

from absl import app, flags, logging

from inpainting_tf import images, metric_table, protocol_examples, protocols
from inpainting_tf.protocol_definition import (
    ProtocolError,
    list_name,
    read_definition,
)

# What is below this line of a protocol's file is written by machine.
_FROZEN_LINE = re.compile(r"(?m)^# Written by inpainting_tf\.freeze_protocol.*$")
_HEAD = (
    "# Written by inpainting_tf.freeze_protocol: to change the protocol, change what "
    "stands\n# above under another file name and freeze that.\n"
)


def freeze(path, data_dir=None):
    """Freezes a protocol; the files are written whole or not at all.

    Args:
      path: of its TOML file.
      data_dir: folder of the images, see `protocol_examples.open_examples`.

    Returns:
      Protocol, as `protocols.read` reads it afterwards.

    Raises:
      ProtocolError: an impossible entry, images that are missing, unusable or other
        than an existing list says, or an area bin that masks do not reach.
      OSError: an image cannot be read, or a file cannot be written.
    """
    protocol, _ = read_definition(path)
    folder = os.path.dirname(path)
    stem = os.path.splitext(os.path.basename(path))[0]
    frozen, files = {}, {}
    if protocol.needs_files:
        name = list_name(path)
        rows, list_sha256 = _list_images(os.path.join(folder, name), protocol, data_dir)
        protocol = dataclasses.replace(
            protocol,
            names=tuple(row["file"] for row in rows),
            contents=tuple(row["sha256"] for row in rows),
            image_path=protocol_examples.probe(protocol),
        )
        if list_sha256 is None:
            files[name] = _csv_text(("file", "sha256"), rows)
            list_sha256 = _sha256(files[name])
        frozen |= {"list_sha256": list_sha256}
        frozen |= {"image_path": protocol.image_path}

    rows = _fingerprints(protocol, data_dir)
    protocol = dataclasses.replace(
        protocol,
        metric_definitions=metric_table.definition_hash(protocol.metrics),
        **protocol_examples.recorded(protocol, rows),
    )
    name = f"{stem}.csv"
    if protocol.needs_files and name == list_name(path):
        raise ProtocolError(
            f"protocol {stem}: [images] list = {name!r} is where its examples are "
            "written; give the list another name"
        )
    files[name] = _csv_text(protocol.example_columns, rows)
    frozen |= {"examples": name, "examples_sha256": _sha256(files[name])}
    frozen |= {"metric_definitions": protocol.metric_definitions}
    frozen |= {"hash": protocol.hash}
    with open(path, encoding="utf-8") as file:
        written = _FROZEN_LINE.split(file.read())[0].rstrip()
    lines = "".join(f'{key} = "{value}"\n' for key, value in frozen.items())
    files[os.path.basename(path)] = f"{written}\n\n{_HEAD}[frozen]\n{lines}"

    for name, text in files.items():
        with open(os.path.join(folder, f"{name}.tmp"), "w", encoding="utf-8") as file:
            file.write(text)
    for name in files:  # The TOML file comes last: it vouches for the others.
        place = os.path.join(folder, name)
        os.replace(f"{place}.tmp", place)
    return protocols.read(path)


def _list_images(list_path, protocol, data_dir):
    """Hashes the images that a list names, or all there are.

    Returns:
      (rows file, sha256; SHA-256 of the list if it holds all these already, or None).
    """
    listed_sha256 = None
    if os.path.exists(list_path):
        rows, listed_sha256 = protocols.read_list(list_path, ("file",))
        if not all(row.get("sha256") for row in rows):
            listed_sha256 = None
    else:
        paths = images.find_files(data_dir or "")
        rows = [{"file": os.path.relpath(p, data_dir)} for p in paths]
        if not rows:
            raise ProtocolError(
                f"protocol {protocol.name}: {list_path}: there is no such list, and no "
                f"picture below --data_dir={data_dir} to make one of"
            )
    names = tuple(row["file"].replace(os.sep, "/") for row in rows)
    listed = dataclasses.replace(protocol, names=names)
    hashed = []
    paths = protocol_examples.find_images(listed, data_dir)
    for row, name, path in zip(rows, names, paths, strict=True):
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        if row.get("sha256") and row["sha256"] != digest:
            raise ProtocolError(
                f"protocol {protocol.name}: {name}: expected SHA-256 {row['sha256']}, "
                f"found {digest}; {path} is another file than {list_path} lists: get "
                "the original one, or make a list of another name"
            )
        hashed.append({"file": name, "sha256": digest})
    return hashed, listed_sha256


def _fingerprints(protocol, data_dir):
    """What is recorded of every example, as dicts of `Protocol.example_columns`."""
    rows = []
    for batch in protocol_examples.open_examples(protocol, data_dir).unchecked():
        for name, group, pixels, mask in zip(
            batch["name"],
            batch["group"],
            batch["pixels"],
            batch["mask"].numpy(),
            strict=True,
        ):
            if protocol.area_bins:
                lowest = int(group.partition("-")[0]) * mask.size
                if 100 * mask.sum(dtype=int) < lowest:
                    raise ProtocolError(
                        f"protocol {protocol.name}: [masks] area_bins: free_form "
                        f"masks do not reach {group} at size {protocol.size}; take "
                        "other bins"
                    )
            rows.append(
                {
                    "group": group,
                    **protocol_examples.fingerprint(protocol, pixels, mask),
                }
            )
    return rows


def _csv_text(columns, rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


def main(argv):
    logging.set_verbosity(logging.WARNING)
    path, data_dir = flags.FLAGS.protocol, flags.FLAGS.data_dir
    try:
        if argv[1:]:
            raise ProtocolError(f"{argv[1]!r} is not a flag")
        if not path:
            raise ProtocolError("--protocol is missing")
        if not os.path.isfile(path):
            raise ProtocolError(f"--protocol={path}: no such file")
        _, before = read_definition(path)
        protocol = freeze(path, data_dir)
    except (ValueError, OSError) as error:
        print(f"freeze_protocol: {str(error).splitlines()[0]}", file=sys.stderr)
        sys.exit(2)
    was = (before or {}).get("hash", protocol.hash)
    changed = f" (was {was})" if was != protocol.hash else ""
    print(f"{path}: {len(protocol)} examples, hash {protocol.hash}{changed}")


if __name__ == "__main__":
    flags.DEFINE_string("protocol", None, "TOML file of the protocol to freeze.")
    flags.DEFINE_string("data_dir", None, "Folder of its images, where it has any.")
    app.run(main)
