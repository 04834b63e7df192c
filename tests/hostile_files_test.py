"""Hostile files are refused for their reason or used, and never reach a network as more
than pictures; see hostile_files.py for what they are."""

import collections
import os
import subprocess
import sys

import hostile_files
import numpy as np
import programs
import pytest
from hostile_files import EITHER, REFUSED, USABLE
from PIL import Image

from inpainting_tf import data, image_files, images, masks, sources

SIZE = 32
FEW = 3 * len(hostile_files.KINDS)

# Decodes files as an image path without much memory left.
_LITTLE_MEMORY = """
import json, resource, sys
from inpainting_tf import image_files
image_files.decode(open(sys.argv[1], "rb").read())  # Decoders are loaded now.
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 32 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[2:]:
    try:
        image_files.decode(image_files.read(path))
    except image_files.ImageError as error:
        print(error)
"""


def fate_of(path):
    """What becomes of a file by itself: USABLE or a kind of reason."""
    try:
        images.crop_square(images.decode(images.read(path)), "square", SIZE)
    except images.ImageError as error:
        return images.kind_of(str(error))
    return USABLE


def write_all(folder, count, whole, seed=0):
    """Hostile files and `whole` good ones: (list of Hostile, list of Hostile)."""
    hostile = hostile_files.write(folder, count, seed)
    generator = np.random.default_rng(seed)
    good = []
    for index in range(whole):
        name = f"whole {index:03d}.png"
        hostile_files.picture(generator).save(os.path.join(folder, name))
        good.append(hostile_files.Hostile(name, "whole", USABLE))
    return hostile, good


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """(folder, all files in it): a few of each kind, and twenty good ones."""
    folder = str(tmp_path_factory.mktemp("few") / "pictures")
    hostile, good = write_all(folder, FEW, 20)
    return folder, hostile + good


def source_of(kind, folder, files):
    if kind == "folder":
        return sources.folder_source(folder)
    path = os.path.join(os.path.dirname(folder), "list.csv")
    with open(path, "wb") as file:
        file.write(hostile_files.list_text(files))
    return sources.list_source(path, folder, "train")


@pytest.mark.parametrize("kind", ["folder", "list"])
def test_hostile_files_are_refused_for_their_reason_or_used(few, kind):
    folder, files = few
    source = source_of(kind, folder, files)
    names = {os.path.relpath(source.name(i), folder) for i in range(len(source))}
    # A link to a folder is a folder to whoever walks a tree.
    left_out = {file.name for file in files} - names
    assert all("link_to_parent" in name for name in left_out)
    assert bool(left_out) == (kind == "folder")

    loader = data.Loader(source, SIZE, "square", 1.0)
    for index in range(len(source)):
        pixels = loader.load(index)
        assert pixels.dtype == np.uint8 and pixels.shape[2] == 3
        assert min(pixels.shape[:2]) >= SIZE
    for file in files:
        if file.name in left_out or file.fate == EITHER:
            continue
        reason = loader.broken.get(os.path.join(folder, file.name), USABLE)
        if file.fate == REFUSED:
            assert reason != USABLE, file
        else:
            assert images.kind_of(reason) == file.fate, (file, reason)


@pytest.mark.parametrize("kind", ["folder", "list"])
def test_batches_from_hostile_files_are_pictures(few, kind):
    source = source_of(kind, *few)
    batches = data.batches(
        source,
        data.Loader(source, SIZE, "square", 1.0),
        lambda seed: masks.draw("random_box", seed, SIZE, SIZE),
        size=SIZE,
        batch_size=len(source),
        seed=3,
        flip=True,
    )
    (batch,) = batches.take(1)
    image = batch["image"].numpy()
    assert image.shape == (len(source), SIZE, SIZE, 3)
    assert np.isfinite(image).all() and np.abs(image).max() <= 1
    assert (image.std(axis=(1, 2, 3)) > 0).mean() > 0.9  # Pictures, not emptiness.


def test_large_claims_are_refused_before_memory_is_taken(tmp_path):
    files = [(f"bomb.{e}", content) for e, content in hostile_files.bombs()]
    whole = tmp_path / "whole.webp"
    hostile_files.picture(np.random.default_rng(0)).save(whole)
    paths = []
    for name, content in files:
        (tmp_path / name).write_bytes(content)
        paths.append(str(tmp_path / name))
    with open(tmp_path / "sparse.png", "wb") as file:
        file.truncate(2**36)
    process = subprocess.run(
        [sys.executable, "-c", _LITTLE_MEMORY]
        + [str(whole), *paths, f"{tmp_path}/sparse.png"],
        cwd=programs.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert len(lines) == len(files) + 1
    assert all(line.startswith("too large: ") for line in lines), lines
    assert all("over 100,000,000 pixels" in line for line in lines[:-1]), lines
    assert lines[-1] == f"too large: {2**36:,} bytes"


def test_a_picture_just_within_the_limit_is_taken(monkeypatch):
    data_of = hostile_files.saved(Image.new("RGB", (40, 30)), "PNG")
    monkeypatch.setattr(image_files, "MAX_PIXELS", 1200)
    assert images.decode(data_of).shape == (30, 40, 3)
    monkeypatch.setattr(image_files, "MAX_PIXELS", 1199)
    with pytest.raises(images.ImageError, match="too large: 40x30 is over 1,199 pix"):
        images.decode(data_of)


def test_reasons_are_counted_by_kind():
    reasons = ["damaged: a", "empty file", "damaged: b", "too small: 1x1"]
    assert images.count_by_kind(reasons) == "2 damaged, 1 empty file, 1 too small"
    assert images.in_one_line("a\nb\x1b[0m é 顔") == "a\\nb\\x1b[0m é 顔"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "list"])
def test_a_run_on_a_thousand_hostile_files_counts_them_by_reason(tmp_path, kind):
    folder = str(tmp_path / "pictures")
    hostile, good = write_all(folder, 1000, 100, seed=1)
    files = hostile + good
    source = source_of(kind, folder, files)
    arguments = ["--dataset=folder"]
    if kind == "list":
        arguments = ["--dataset=list", f"--data_list={tmp_path}/list.csv"]
    run_dir = str(tmp_path / "run")
    status, errors = programs.run(
        "train.py",
        *arguments,
        f"--data_dir={folder}",
        f"--run_dir={run_dir}",
        "--image_size=32",
        "--width=0.05",
        "--batch_size=16",
        "--steps=80",  # More than one epoch, so that each picture has had its turn.
        "--validation_count=40",
        "--validate_every=40",
        "--log_every=1",
        "--max_broken_share=1",
    )
    assert status == 0, errors
    log = programs.entries(run_dir)
    assert [entry["step"] for entry in log] == list(range(81))
    assert all(np.isfinite(v) for entry in log for v in entry.values())

    expected = {}
    for index in range(len(source)):
        fate = fate_of(source.name(index))
        if fate != USABLE:
            expected[source.name(index)] = fate
    for file in files:
        if file.fate not in (EITHER, REFUSED) and file.kind != "link_to_parent":
            found = expected.get(os.path.join(folder, file.name), USABLE)
            assert found == file.fate, file
    with open(os.path.join(run_dir, "unusable_pictures.txt"), "rb") as file:
        lines = file.read().splitlines()
    assert len(lines) == len(set(lines)) == len(expected)
    for name, fate in expected.items():
        start = os.fsencode(f"{images.in_one_line(name)}: {fate}")
        assert any(line.startswith(start) for line in lines), name
    counts = collections.Counter(expected.values())
    (said,) = (x for x in errors.splitlines() if x.startswith("unusable pictures,"))
    assert said.startswith(f"unusable pictures, replaced: {len(expected)}: ")
    for fate, count in counts.items():
        assert f"{count} {fate}" in said, said
    print(said)
