"""Frozen protocols: the same examples for everyone, and whatever has changed refused."""

import csv
import dataclasses
import hashlib
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from inpainting_tf import (
    freeze_protocol,
    masks,
    metric_table,
    protocol_examples,
    protocol_masks,
    protocols,
    synthetic_faces,
)
from inpainting_tf.protocol_definition import ProtocolError

SIZE, CROP, COUNT = 16, 18, 7
FILES = """# Seven pictures.

[images]
list = "pictures.csv"
crop = {crop}
size = 16

[masks]
{masks}
seed = 3

[metrics]
names = ["psnr", "hole_l1"]
"""
FACES = """# Frontal against turned.

[images]
splits = ["test_frontal", "test_turned"]
groups = ["frontal", "turned"]
count = 5
seed = 2
size = 64

[masks]
rule = "half"
seed = 1

[metrics]
names = ["l1"]
"""
# Whoever changes one of these makes results incomparable: a new name, not a new hash.
SHIPPED = {
    "celeba128_center": (525, "23a7c498753a2826"),
    "celeba128_center_validation": (561, "1827330405ffbed5"),
    "celeba128_free_form": (525, "f89399a8f99ceb6b"),
    "celeba128_random_box": (525, "c7035d4b0beaa2ff"),
    "celeba64_center": (525, "9c3c8f8bdeb54198"),
    "celeba64_center_validation": (561, "4cc45884b4632c1a"),
    "celeba64_half": (525, "5c92c09944d8cab6"),
    "celeba64_half_frontal": (175, "6614588944676bac"),
    "celeba64_half_turned": (175, "d000d9eb2de3e806"),
    "celeba64_pattern": (525, "196cec9902ae5099"),
    "celeba64_random_pixels": (525, "c22d1f1fd6d07e6a"),
    "synthetic128_center": (256, "a14275d6d0c8ec0d"),
    "synthetic64_frontal_turned": (256, "6b95df45ed538dd5"),
}


def picture(number):
    """Smooth colours, so that cropping by one pixel more matters but little."""
    rows, columns = np.mgrid[:24, :20]
    levels = [5 * rows + 20 * number, 9 * columns, 3 * (rows + columns) + 10 * number]
    return np.clip(np.stack(levels, axis=-1), 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """A folder with a protocol file that is not frozen, and pictures/00.png ..."""
    os.makedirs(tmp_path / "data" / "pictures")
    for number in range(COUNT):
        path = tmp_path / "data" / "pictures" / f"{number:02d}.png"
        Image.fromarray(picture(number)).save(path)
    write_definition(tmp_path)
    return tmp_path


def write_definition(folder, name="pictures16", crop=CROP, rule='rule = "random_box"'):
    if "box" in rule:
        rule += "\nhole_size = 8"
    path = folder / f"{name}.toml"
    path.write_text(FILES.format(crop=crop, masks=rule))
    return str(path)


def freeze(folder, **options):
    path = write_definition(folder, **options)
    return freeze_protocol.freeze(path, str(folder / "data"))


def collect(protocol, data_dir=None, **options):
    """All examples of a protocol as one dict of arrays and lists."""
    examples = protocol_examples.open_examples(
        protocol, data_dir and str(data_dir), **options
    )
    batches = list(examples)
    assert sum(len(batch["name"]) for batch in batches) == len(examples)
    return {
        "image": np.concatenate([batch["image"].numpy() for batch in batches]),
        "mask": np.concatenate([batch["mask"].numpy() for batch in batches]),
        **{
            key: [value for batch in batches for value in batch[key]]
            for key in ("name", "group", "index")
        },
    }


def assert_same(first, second):
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])


def replace_in(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def refused(*parts):
    """Expects one line that names each of `parts`, in their order."""
    return pytest.raises(
        ProtocolError, match="^[^\n]*" + "[^\n]*".join(map(re.escape, parts))
    )


# --------------------------------------------------------------------- examples


def test_examples_are_the_cropped_pictures_with_the_masks_of_seed_and_number(folder):
    protocol = freeze(folder, crop=SIZE)
    examples = collect(protocol, folder / "data", batch_size=3)
    assert examples["name"] == [f"pictures/{i:02d}.png" for i in range(COUNT)]
    assert examples["index"] == list(range(COUNT))
    assert examples["group"] == [""] * COUNT
    pixels = np.stack([picture(i)[4:20, 2:18] for i in range(COUNT)])
    np.testing.assert_allclose(examples["image"], pixels / 127.5 - 1, atol=1e-6)
    seeds = [[3, i] for i in range(COUNT)]
    expected, _ = masks.draw_batch("random_box", seeds, SIZE, SIZE, hole_size=8)
    np.testing.assert_array_equal(examples["mask"], expected)
    assert len({mask.tobytes() for mask in examples["mask"]}) > 3
    assert examples["image"].dtype == examples["mask"].dtype == np.float32


def test_neither_batch_size_nor_start_nor_a_second_pass_changes_an_example(folder):
    protocol = freeze(folder)
    whole = collect(protocol, folder / "data", batch_size=COUNT)
    for batch_size, start in ((1, 0), (5, 0), (2, 3), (4, 6)):
        part = collect(protocol, folder / "data", batch_size=batch_size, start=start)
        assert_same(part, {key: values[start:] for key, values in whole.items()})
    examples = protocol_examples.open_examples(protocol, str(folder / "data"), start=5)
    first, second = ([b["image"].numpy() for b in examples] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert examples.differing == []
    at_end = protocol_examples.open_examples(
        protocol, str(folder / "data"), start=COUNT
    )
    assert list(at_end) == []


def test_files_may_lie_directly_in_the_folder(folder):
    protocol = freeze(folder)
    assert_same(
        collect(protocol, folder / "data" / "pictures"),
        collect(protocol, folder / "data"),
    )


def test_faces_take_turns_between_populations_and_name_their_group(tmp_path):
    path = tmp_path / "faces64.toml"
    path.write_text(FACES)
    protocol = freeze_protocol.freeze(str(path))
    assert protocol == protocols.read(str(path))
    examples = collect(protocol, batch_size=2)
    assert examples["group"] == ["frontal", "turned", "frontal", "turned", "frontal"]
    assert examples["name"][1:3] == ["test_turned 0", "test_frontal 1"]
    for split, chosen in (("test_frontal", [0, 2, 4]), ("test_turned", [1, 3])):
        numbers = np.arange(len(chosen))
        faces, _ = synthetic_faces.render(numbers, 64, split=split, seed=2)
        np.testing.assert_allclose(
            examples["image"][chosen], faces.numpy() / 127.5 - 1, atol=1e-6
        )
    rest = collect(protocol, start=3)
    assert_same(rest, {key: values[3:] for key, values in examples.items()})


def test_brush_strokes_are_united_until_they_fill_the_bin_of_their_turn(folder):
    rule = 'rule = "free_form"\narea_bins = [10, 20, 40, 50]'
    protocol = freeze(folder, rule=rule)
    assert protocol.group_names == ("10-20%", "20-40%", "40-50%")
    examples = collect(protocol, folder / "data")
    draw = tf.function(
        lambda seed: masks.draw("free_form", seed, SIZE, SIZE)[0],
        input_signature=[tf.TensorSpec([2], tf.int64)],
    )
    draws = []
    for i in range(COUNT):
        low, high = [(0.1, 0.2), (0.2, 0.4), (0.4, 0.5)][i % 3]
        assert examples["group"][i] == f"{low:.0%}-{high:.0%}".replace("%", "", 1)
        assert low <= examples["mask"][i].mean() < high
        mask, attempt = np.zeros([SIZE, SIZE, 1], np.float32), 0
        while mask.mean() < low:
            mask = np.maximum(mask, draw(np.array([3, i + attempt * 2**32])))
            mask, attempt = mask * (mask.mean() < high), attempt + 1
        np.testing.assert_array_equal(examples["mask"][i], mask)
        draws.append(attempt)
    assert max(draws) > 1


# ------------------------------------------------------------------- the hash


def test_a_protocol_reads_back_as_it_was_frozen_and_freezes_to_the_same_files(folder):
    protocol = freeze(folder)
    assert protocols.read(str(folder / "pictures16.toml")) == protocol
    assert (protocol.name, protocol.title) == ("pictures16", "Seven pictures.")
    assert re.fullmatch("[0-9a-f]{16}", protocol.hash) and len(protocol) == COUNT
    names = sorted(name for name in os.listdir(folder) if name != "data")
    assert names == ["pictures.csv", "pictures16.csv", "pictures16.toml"]
    before = {name: (folder / name).read_bytes() for name in names}
    again = freeze_protocol.freeze(
        str(folder / "pictures16.toml"), str(folder / "data")
    )
    assert again == protocol
    assert before == {name: (folder / name).read_bytes() for name in names}
    with open(folder / "pictures.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        data = (folder / "data" / row["file"]).read_bytes()
        assert row["sha256"] == hashlib.sha256(data).hexdigest()


def test_the_hash_follows_what_can_change_a_number_and_nothing_else(folder):
    protocol = freeze(folder)
    renamed = freeze(folder, name="other_name")
    with open(folder / "other_name.toml", "r+") as file:
        text = file.read().replace("# Seven pictures.", "# Another comment.")
        file.seek(0)
        file.write(text)
    assert protocols.read(str(folder / "other_name.toml")).title == "Another comment."
    assert renamed.hash == protocol.hash
    moved = dataclasses.replace(protocol, names=tuple(f"x/{i}" for i in range(COUNT)))
    assert moved.hash == protocol.hash
    hashes = [protocol.hash]
    for change in (
        {"size": 17},
        {"crop": "square"},
        {"contents": protocol.contents[::-1]},
        {"image_path": "00"},
        {"rule": "box_in_patch"},
        {"hole_size": 9},
        {"seed": 4},
        {"masks": protocol.masks[::-1]},
        {"metrics": ("psnr",)},
        {"metric_definitions": "0"},
        {"groups": ("a",) * COUNT},
    ):
        hashes.append(dataclasses.replace(protocol, **change).hash)
    assert len({*hashes}) == len(hashes)


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_a_shipped_protocol_is_what_it_was(name):
    protocol = protocols.read(name)
    assert (len(protocol), protocol.hash) == SHIPPED[name]


def test_every_shipped_protocol_is_recorded_here_and_images_keep_to_their_partition():
    names = {n[:-5] for n in os.listdir(protocols.FOLDER) if n.endswith(".toml")}
    assert names == {*SHIPPED}
    with open(os.path.join(protocols.FOLDER, "celeba_partition.csv")) as file:
        rows = csv.DictReader(file)
        partition = {row["file"]: row["partition"] for row in rows}
    for part, stem in (("test", "test"), ("val", "validation")):
        path = os.path.join(protocols.FOLDER, f"celeba_{stem}_images.csv")
        rows, _ = protocols.read_list(path, ("file", "sha256"))
        assert [row["file"] for row in rows] == [
            file for file, own in partition.items() if own == part
        ]


def test_a_shipped_protocol_without_files_gives_what_it_froze():
    protocol = protocols.read("synthetic64_frontal_turned")
    start = len(protocol) - 4
    examples = protocol_examples.open_examples(protocol, start=start)
    (batch,) = examples
    assert batch["group"] == ["frontal", "turned", "frontal", "turned"]
    assert batch["image"].shape == [4, 64, 64, 3]
    assert np.all(np.mean(batch["mask"], axis=(1, 2, 3)) == 0.5)
    free_form = protocols.read("celeba128_free_form")
    for index in range(5):
        mask = protocol_masks.draw_mask(free_form, index).numpy()
        assert protocol_examples.digest(mask) == free_form.masks[index]
        assert index + 1 <= 10 * mask.mean() < index + 2


# ---------------------------------------------------------------- what is refused


def test_a_changed_byte_is_refused_by_name_and_what_comes_before_is_not(folder):
    protocol = freeze(folder)
    path = folder / "data" / "pictures" / "03.png"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    examples = protocol_examples.open_examples(
        protocol, str(folder / "data"), batch_size=1
    )
    seen = []
    with refused("pictures16", "pictures/03.png", protocol.contents[3], "found"):
        for batch in examples:
            seen += batch["name"]
    assert seen == [f"pictures/{i:02d}.png" for i in range(3)]
    with refused("pictures16", "pictures/03.png", "pictures.csv lists"):
        freeze(folder)


def test_a_missing_file_is_refused_before_anything_is_read(folder):
    protocol = freeze(folder)
    os.remove(folder / "data" / "pictures" / "05.png")
    with refused("pictures16", "pictures/05.png", "--data_dir=", "1 of 7"):
        protocol_examples.open_examples(protocol, str(folder / "data"))
    with refused("pictures16", "--data_dir"):
        protocol_examples.open_examples(protocol)
    for start in (-1, COUNT + 1):
        with refused("pictures16", f"start at {start}"):
            protocol_examples.open_examples(protocol, str(folder / "data"), start=start)


def test_a_changed_mask_is_refused_and_a_changed_last_bit_of_a_pixel_is_named(folder):
    protocol = freeze(folder)
    digests = protocol.masks[:2] + ("0" * 16,) + protocol.masks[3:]
    with refused("pictures16", "mask of pictures/02.png", "0" * 16, protocol.masks[2]):
        collect(dataclasses.replace(protocol, masks=digests), folder / "data")
    with refused("pictures16", "mask of pictures/00.png"):
        collect(dataclasses.replace(protocol, rule="box_in_patch"), folder / "data")
    digests = protocol.pixels[:4] + ("0" * 16,) + protocol.pixels[5:]
    examples = protocol_examples.open_examples(
        dataclasses.replace(protocol, pixels=digests), str(folder / "data")
    )
    assert sum(len(batch["name"]) for batch in examples) == COUNT
    assert examples.differing == ["pictures/04.png"]


def test_a_face_that_is_drawn_otherwise_is_refused_unless_by_a_last_bit(tmp_path):
    path = tmp_path / "faces64.toml"
    path.write_text(FACES)
    protocol = freeze_protocol.freeze(str(path))
    rounded = dataclasses.replace(protocol, pixels=("0" * 16,) * 5)
    examples = protocol_examples.open_examples(rounded)
    assert sum(len(batch["name"]) for batch in examples) == 5
    assert examples.differing == list(protocol.names)
    levels = bytearray.fromhex(protocol.thumbnails[1])
    for change, allowed in ((1, True), (3, False)):
        levels[7] = levels[7] + change if levels[7] < 128 else levels[7] - change
        changed = (protocol.thumbnails[0], levels.hex()) + protocol.thumbnails[2:]
        other = dataclasses.replace(rounded, thumbnails=changed)
        if allowed:
            collect(other)
        else:
            with refused("faces64", "thumbnail of test_turned 0", levels.hex()):
                collect(other)


def test_an_edited_file_is_refused_and_other_line_ends_are_not(folder):
    freeze(folder)
    toml = folder / "pictures16.toml"
    whole = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    def edited(name, old, new, *parts):
        replace_in(folder / name, old, new)
        with refused(*parts):
            protocols.read(str(toml))
        for path, data in whole.items():
            path.write_bytes(data)

    edited("pictures16.toml", "hole_size = 8", "hole_size = 7", "pictures16", "hash")
    edited("pictures16.toml", "crop = 18", "crop = 16", "pictures16", "cropping")
    edited("pictures16.toml", "seed = 3", "seed = 4", "pictures16", "hash")
    edited("pictures16.toml", ', "hole_l1"', "", "pictures16", "definitions of psnr")
    edited("pictures16.toml", "[frozen]", "[rest]", "pictures16", "unknown", "rest")
    edited("pictures16.toml", "hash = ", "hush = ", "[frozen] hash", "freeze")
    edited("pictures.csv", "pictures/01.png", "pictures/1.png", "pictures.csv")
    edited("pictures16.csv", "\n", "\n\n0,0,\n", "pictures16.csv", "expected")
    for path, data in whole.items():
        path.write_bytes(data.replace(b"\n", b"\r\n"))
    protocols.read(str(toml))


def test_a_changed_metric_is_refused(folder, monkeypatch):
    freeze(folder)
    newer = dataclasses.replace(metric_table.METRICS["psnr"], version=99)
    monkeypatch.setitem(metric_table.METRICS, "psnr", newer)
    with refused("pictures16", "definitions of psnr, hole_l1", "metrics have changed"):
        protocols.read(str(folder / "pictures16.toml"))


def test_another_resizing_filter_shows_in_the_probe(folder, monkeypatch):
    freeze(folder)

    def bilinear(pixels, height, width):
        resized = tf.image.resize(pixels, [height, width], "bilinear", antialias=True)
        return tf.cast(tf.round(resized), tf.uint8)

    monkeypatch.setattr(protocol_examples.images, "resize", bilinear)
    with refused("pictures16", "decoding, cropping, resizing"):
        protocols.read(str(folder / "pictures16.toml"))


@pytest.mark.parametrize(
    "old, new, part",
    [
        ('rule = "random_box"', 'rule = "folder"', "[masks] rule"),
        ("hole_size = 8", "", "[masks] hole_size is missing"),
        ("hole_size = 8", "hole_size = 17", "does not fit"),
        ("hole_size = 8", "hole_size = 8\nshare = 0.5", "[masks] share"),
        ("seed = 3", 'seed = "3"', "[masks] seed"),
        ("crop = 18", "crop = 15", "smaller than size"),
        ("size = 16", "size = 8", "at least 16"),
        ('"hole_l1"', '"hole_l9"', "hole_l9"),
        ("[metrics]", "[metric]", "metric"),
        ("[images]", "[images", "cannot be read"),
        ("# Seven pictures.", "masks = 5", "cannot be read"),
        ("# Seven pictures.", "extra = 5", "[extra] is a table"),
        ('"hole_l1"', '["hole_l1"]', "must be a plain list"),
    ],
)
def test_an_impossible_entry_is_refused_before_it_is_frozen(folder, old, new, part):
    replace_in(folder / "pictures16.toml", old, new)
    with refused("pictures16", part):
        freeze_protocol.freeze(str(folder / "pictures16.toml"), str(folder / "data"))
    assert sorted(os.listdir(folder)) == ["data", "pictures16.toml"]


def test_what_cannot_be_frozen_leaves_nothing_behind(folder, monkeypatch):
    monkeypatch.setattr(protocol_masks, "_MOST_DRAWS", 1)
    with refused("pictures16", "free_form masks do not reach 80-90%"):
        freeze(folder, rule='rule = "free_form"\narea_bins = [80, 90]')
    (folder / "data" / "pictures" / "04.png").write_bytes(b"no picture")
    with refused("pictures16", "pictures/04.png", "usable picture"):
        freeze(folder)
    with refused("pictures16", "no picture below"):
        freeze_protocol.freeze(str(folder / "pictures16.toml"), str(folder / "none"))
    assert sorted(os.listdir(folder)) == ["data", "pictures16.toml"]
    with refused("pictures16.toml", "[frozen]", "freeze it: python -m"):
        protocols.read(str(folder / "pictures16.toml"))
    with refused("celeba129", "celeba128_center"):
        protocols.read("celeba129")


def test_the_program_prints_the_hash_and_refuses_in_one_line(folder):
    def run(*words):
        command = [sys.executable, "-m", "inpainting_tf.freeze_protocol", *words]
        root = os.path.dirname(protocols.FOLDER)
        return subprocess.run(
            command, cwd=root, capture_output=True, text=True, check=False
        )

    path = str(folder / "pictures16.toml")
    done = run(f"--protocol={path}", f"--data_dir={folder / 'data'}")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{path}: 7 examples, hash {protocols.read(path).hash}\n"
    done = run(f"--protocol={path}.txt")
    assert done.returncode == 2 and done.stdout == ""
    assert "no such file" in done.stderr.splitlines()[-1]
    (folder / "pictures16.toml.tmp").mkdir()  # In the way of what is to be written.
    done = run(f"--protocol={path}", f"--data_dir={folder / 'data'}")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.splitlines()[-1].startswith("freeze_protocol: ")
    assert "Is a directory" in done.stderr.splitlines()[-1]
