"""What a protocol's author writes: the tables of its TOML file, and their checking.

The tables:

    [images]                    # of files:
    list = "my_images.csv"      # beside the TOML file; columns file,sha256
    crop = 178                  # centred square that is cut out, or "square": largest
    size = 128                  # side in pixels that it is resized to
    [images]                    # of drawn faces:
    splits = ["test_frontal", "test_turned"]    # populations, taking turns
    groups = ["frontal", "turned"]              # what results call them; may be absent
    count = 256
    seed = 0
    size = 64
    [masks]
    rule = "random_box"         # of inpainting_tf.masks, but not "folder"
    hole_size = 64              # of rules that take one
    share = 0.8                 # of rules that take one
    area_bins = [10, 20, 30]    # free_form: edges in % of the image, images take turns
    seed = 0
    [metrics]
    names = ["psnr", "ssim"]    # of inpainting_tf.metric_table
    [frozen]                    # written by inpainting_tf.freeze_protocol

Example i has image i of the list (face i // n of population i mod n of n) and the mask
`masks.draw(rule, [seed, i], size, size)`; see `protocol_masks` for bins.

Input: the path of such a file. Output: `Protocol`, the definition, with room for what
`freeze_protocol` records of the examples; its `hash` is over both.

In order: `Protocol`; `read_definition`, and the checks in the order of the tables.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import os
import tomllib

from inpainting_tf import (
    masks,
    metric_table,
    protocol_masks,
    synthetic_faces,
    untrusted,
)

RULES = tuple(rule for rule in masks.RULES if rule != "folder")


class ProtocolError(ValueError):
    """A protocol that cannot be used, or data that is not what it has frozen."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """What is measured, on which images and masks.

    Attributes:
      name: of the file, without .toml.
      title: first line of the file's head comment.
      crop: side of the centred square or "square"; None for drawn faces.
      size: side of images and masks in pixels.
      splits: populations of drawn faces that take turns; () for files.
      split_groups: their names in results; () for none.
      face_seed: seed of the drawn faces.
      rule, hole_size, share, area_bins, seed: of the masks; None (bins: ()) where the
        rule has no such parameter.
      metrics: names of metrics.
      metric_definitions: `metric_table.definition_hash` of them.
      names: one per example: path of a file, or "test 17" for a face.
      contents: SHA-256 of the files, hex; () for drawn faces.
      image_path: what the image path made of the noise picture, see
        `protocol_examples.probe`; "" for drawn faces.
      pixels, masks, thumbnails: what each example must give, see
        `protocol_examples.fingerprint`; thumbnails of drawn faces only, () for files.
      groups: name of each example's group, "" where there are none.
    """

    name: str
    title: str
    crop: int | str | None
    size: int
    splits: tuple
    split_groups: tuple
    face_seed: int
    rule: str
    hole_size: int | None
    share: float | None
    area_bins: tuple
    seed: int
    metrics: tuple
    metric_definitions: str = ""
    names: tuple = ()
    contents: tuple = ()
    image_path: str = ""
    pixels: tuple = ()
    thumbnails: tuple = ()
    masks: tuple = ()
    groups: tuple = ()

    def __len__(self):
        return len(self.names)

    @property
    def needs_files(self):
        """Whether the images are files, to be found in a folder, or drawn."""
        return not self.splits

    @property
    def example_columns(self):
        """Columns of the list of examples."""
        thumbnail = () if self.needs_files else ("thumbnail",)
        return ("pixels", *thumbnail, "mask", "group")

    @property
    def group_names(self):
        """Names of the groups that results are also given for, in order; () if none."""
        if self.area_bins:
            edges = itertools.pairwise(self.area_bins)
            return tuple(f"{low}-{high}%" for low, high in edges)
        return self.split_groups

    def group_of(self, index):
        """Name of the group that example `index` belongs to, or ""."""
        names = self.group_names
        return names[index % len(names)] if names else ""

    @functools.cached_property
    def hash(self):
        """16 hex digits over everything that can change a number.

        Not over names, titles and paths. Of files their contents count, of drawn faces
        their pixels.
        """
        images_part = {"size": self.size}
        if self.needs_files:
            images_part |= {"crop": self.crop, "contents": self.contents}
            images_part |= {"path": self.image_path}
        else:
            images_part |= {"splits": self.splits, "seed": self.face_seed}
            images_part |= {"pixels": self.pixels}
        masks_part = {"rule": self.rule, "seed": self.seed, "digests": self.masks}
        masks_part |= {"hole_size": self.hole_size, "share": self.share}
        masks_part |= {"area_bins": self.area_bins}
        metrics_part = {"names": sorted(self.metrics)}
        metrics_part |= {"definitions": self.metric_definitions}
        content = {"version": 1, "images": images_part, "masks": masks_part}
        content |= {"metrics": metrics_part, "groups": self.groups}
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


# ----------------------------------------------------------------------- reading


def read_definition(path):
    """Reads what a protocol's author wrote, frozen or not.

    Returns:
      (Protocol without what freezing adds, the [frozen] table as a dict or None). Of
      drawn faces the names are filled in.

    Raises:
      ProtocolError: unreadable, or an entry that is missing, unknown or impossible.
    """
    name = os.path.splitext(os.path.basename(path))[0]
    try:
        text, tables = _read_tables(path)
        _check_entries(tables)
        _check_images(tables["images"])
        _check_area_bins(tables)
        _check_metrics(tables["metrics"])
        title = text.splitlines()[0].lstrip("# ").strip() if text[:1] == "#" else name
        protocol = _definition(name, title, tables)
        _check_mask(protocol)
    except ProtocolError as error:
        raise ProtocolError(f"protocol {name}: {path}: {error}") from None
    return protocol, tables.get("frozen")


# The steps; of what they refuse they say what, `read_definition` where.


def _require(condition, message):
    if not condition:
        raise ProtocolError(message)


def _read_tables(path):
    """The file's text, and its tables as a dict of dicts."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        return text, tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise ProtocolError(f"cannot be read: {reason}") from None


def _check_entries(tables):
    """Tables and entries: all that are needed, no others, each of its type."""
    for name, table in tables.items():
        _require(isinstance(table, dict), f"{name} = {table!r}: [{name}] is a table")
    rule = tables.get("masks", {}).get("rule")
    _require(
        rule in RULES, f"[masks] rule = {rule!r}: must be one of {', '.join(RULES)}"
    )
    needed, optional = _known_entries(
        is_drawn="splits" in tables.get("images", {}), rule=rule
    )
    unknown = sorted(set(tables) - {*needed, "frozen"})
    _require(not unknown, f"unknown table [{', '.join(unknown)}]")
    for table, required in needed.items():
        given = tables.get(table)
        _require(isinstance(given, dict), f"the table [{table}] is missing")
        for key in required:
            _require(key in given, f"[{table}] {key} is missing")
        known = required | optional[table]
        for key, value in given.items():
            _require(
                key in known,
                f"[{table}] {key} is unknown or of no use here; known are "
                f"{', '.join(known)}",
            )
            _require(
                isinstance(value, known[key]) and not isinstance(value, bool),
                f"[{table}] {key} = {value!r} is of the wrong type",
            )
            _require(
                not isinstance(value, list)
                or not any(isinstance(entry, list | dict) for entry in value),
                f"[{table}] {key} = {value!r}: must be a plain list",
            )


def _known_entries(is_drawn, rule):
    """Entries of images that are drawn or files, and of a mask rule.

    Returns:
      (needed, optional): each table -> entry -> type or types.
    """
    needed = {"images": {"size": int}, "masks": {"rule": str, "seed": int}}
    needed["metrics"] = {"names": list}
    optional = {"images": {}, "masks": {}, "metrics": {}}
    if is_drawn:
        needed["images"] |= {"splits": list, "count": int, "seed": int}
        optional["images"]["groups"] = list
    else:
        needed["images"] |= {"list": str, "crop": (int, str)}
    if rule in masks.BOX_RULES:
        needed["masks"]["hole_size"] = int
    if rule in masks.DEFAULT_SHARE:
        needed["masks"]["share"] = float
    if rule == "free_form":
        optional["masks"]["area_bins"] = list
    return needed, optional


def _check_images(table):
    """The values of [images]."""
    size, crop = table["size"], table.get("crop")
    _require(size >= 16, f"[images] size = {size}: must be at least 16")
    if isinstance(crop, int):
        _require(crop >= size, f"[images] crop = {crop} is smaller than size = {size}")
    else:
        _require(
            crop in (None, "square"), f'[images] crop = {crop!r}: "square" or a side'
        )
    _require(
        untrusted.stays_inside(table.get("list", "none")),
        f"[images] list = {table.get('list')!r}: must stay in the protocol's folder",
    )
    splits, groups = table.get("splits", []), table.get("groups", [])
    if "splits" in table:
        _require(
            splits and set(splits) <= {*synthetic_faces.SPLITS},
            f"[images] splits: choose from {', '.join(synthetic_faces.SPLITS)}",
        )
        count = table["count"]
        _require(count >= 1, f"[images] count = {count}: must be at least 1")
    _require(
        not groups or len({*groups}) == len(splits) == len(groups),
        "[images] groups: give one name for each of splits",
    )


def _check_area_bins(tables):
    """The values of [masks] area_bins, which group examples as [images] groups do."""
    if "area_bins" not in tables["masks"]:
        return
    bins = tables["masks"]["area_bins"]
    _require(
        len(bins) >= 2
        and all(type(edge) is int and 1 <= edge <= 90 for edge in bins)
        and bins == sorted({*bins}),
        "[masks] area_bins: give rising whole percentages, 1 to 90",
    )
    _require(
        not tables["images"].get("groups"),
        "[images] groups and [masks] area_bins exclude each other",
    )


def _check_metrics(table):
    """The values of [metrics]."""
    names = table["names"]
    unknown = [name for name in names if name not in metric_table.METRICS]
    _require(
        names and not unknown and len({*names}) == len(names),
        f"[metrics] names: {', '.join(map(str, unknown)) or 'none, or one twice'}; "
        f"known are {', '.join(metric_table.METRICS)}",
    )


def _definition(name, title, tables):
    """Tables that have been checked as a Protocol."""
    images, holes = tables["images"], tables["masks"]
    splits = tuple(images.get("splits", ()))
    return Protocol(
        name=name,
        title=title,
        crop=images.get("crop"),
        size=images["size"],
        splits=splits,
        split_groups=tuple(images.get("groups", ())),
        face_seed=images.get("seed", 0),
        rule=holes["rule"],
        hole_size=holes.get("hole_size"),
        share=holes.get("share"),
        area_bins=tuple(holes.get("area_bins", ())),
        seed=holes["seed"],
        metrics=tuple(tables["metrics"]["names"]),
        names=tuple(
            f"{splits[i % len(splits)]} {i // len(splits)}"
            for i in range(images.get("count", 0))
        ),
    )


def _check_mask(protocol):
    """Parameters of the mask rule, by drawing the first example's mask."""
    try:
        protocol_masks.draw_mask(protocol, 0)
    except ValueError as error:
        raise ProtocolError(f"[masks]: {str(error).splitlines()[0]}") from None


def list_name(path):
    """What [images] list says in a protocol's file that `read_definition` accepts."""
    with open(path, "rb") as file:
        return tomllib.load(file)["images"]["list"]
