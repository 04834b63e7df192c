"""complete_collection.py on Apache Beam's local runner: every picture right or refused
for its reason, no half files, restarts that finish what is left."""

import csv
import os
import signal
import subprocess
import sys
import time

import hostile_files
import mean_color_model
import numpy as np
import programs
import pytest
import tensorflow as tf
from damaged_files import saved
from PIL import Image

beam = pytest.importorskip("apache_beam", reason="needs the extra `beam`")

from collection import pipeline, storage, work  # noqa: E402 - needs Beam
from inpainting_tf import image_files, metrics  # noqa: E402


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return mean_color_model.save(str(tmp_path_factory.mktemp("model")), 1)


def picture_and_mask(generator, size):
    pixels = generator.integers(0, 256, [*size, 3], np.uint8)
    mask = np.zeros(size, np.uint8)
    top, left = generator.integers(0, 8, 2)
    mask[top : top + 9, left : left + 5] = 255
    return pixels, mask


def write_collection(folder, count, sizes=((20, 24), (24, 20), (30, 30))):
    """Pictures and masks in folders of the same tree; {name: (pixels, mask)}."""
    generator = np.random.default_rng(count)
    written = {}
    for index in range(count):
        name = f"part {index % 3}/фото {index:04d}"
        pixels, mask = picture_and_mask(generator, sizes[index % len(sizes)])
        for kind, levels in (("images", pixels), ("masks", mask)):
            path = os.path.join(folder, kind, f"{name}.png")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            Image.fromarray(levels).save(path)
        written[name] = pixels, mask
    return written


def write_one_mask(path):
    Image.fromarray(np.full([16, 16], 255, np.uint8)).save(path)


def filled(pixels, mask):
    """What mean_color_model makes of it, by NumPy."""
    missing = mask > 0
    mean = np.round(pixels[~missing].astype(np.float64).mean(axis=0))
    return np.where(missing[..., None], mean.astype(np.uint8), pixels)


def complete(model, folder, *, images="images", masks="masks", out="out", **options):
    """Runs the pipeline in this process; returns the table, {name: row}."""
    output_dir = os.path.join(folder, out)
    options = {"images": os.path.join(folder, images), **options}
    if masks is not None:
        options["masks"] = os.path.join(folder, masks)
    with beam.Pipeline(runner="FnApiRunner") as whole:
        pipeline.build(whole, model, output_dir, **options)
    return table(output_dir)


def table(output_dir):
    with open(
        os.path.join(output_dir, "table.csv"), newline="", errors="surrogateescape"
    ) as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def output(folder, name, out="out"):
    return os.path.join(folder, out, "pictures", f"{name}.png")


def files_below(folder):
    return {
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, _, names in os.walk(folder)
        for name in names
    }


def test_a_folder_is_completed_picture_by_picture(model, tmp_path):
    written = write_collection(tmp_path, 14)
    rows = complete(model, tmp_path, batch_size=3, measure=True)
    assert set(rows) == set(written)
    for name, (pixels, mask) in written.items():
        with open(output(tmp_path, name), "rb") as file:
            completed = image_files.decode(file.read())
        np.testing.assert_array_equal(completed, filled(pixels, mask))
        row = rows[name]
        assert row["outcome"] == "completed" and row["reason"] == ""
        assert (int(row["height"]), int(row["width"])) == mask.shape
        assert float(row["missing"]) == pytest.approx((mask > 0).mean(), abs=1e-6)
        error = (completed.astype(float) - pixels) / 255
        assert float(row["l1"]) == pytest.approx(np.abs(error).mean(), abs=2e-6)
        psnr = -10 * np.log10((error**2).mean())
        assert float(row["psnr"]) == pytest.approx(psnr, abs=1e-4)
        pair = (x[None] / 127.5 - 1 for x in (pixels, completed))
        ssim = metrics.ssim(*(tf.constant(x, tf.float32) for x in pair))[0]
        assert float(row["ssim"]) == pytest.approx(float(ssim), abs=1e-5)
    with open(tmp_path / "out" / "outcomes.csv") as file:
        assert file.read().splitlines() == ["outcome,pictures", "completed,14"]


def test_a_restart_completes_what_is_left_and_keeps_the_rest(model, tmp_path):
    written = write_collection(tmp_path, 9)
    rows = complete(model, tmp_path)
    names = sorted(written)
    kept, lost, cut = names[0], names[1], names[2]
    before = os.stat(output(tmp_path, kept))
    os.unlink(output(tmp_path, lost))
    with open(output(tmp_path, cut), "r+b") as file:
        file.truncate(40)  # No program of ours leaves such a file.
    again = complete(model, tmp_path)
    after = os.stat(output(tmp_path, kept))
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert os.path.exists(output(tmp_path, lost))
    assert again[cut]["outcome"] == "output in the way"
    del rows[cut], again[cut]
    assert rows == again


def test_records_are_completed_by_their_names_and_masks(model, tmp_path):
    generator = np.random.default_rng(0)
    written = {}
    for shard in range(2):
        with tf.io.TFRecordWriter(f"{tmp_path}/shard-{shard}.tfrecord") as writer:
            for number in range(4):
                pixels, mask = picture_and_mask(generator, (20, 24))
                values = {
                    "image": saved(Image.fromarray(pixels), "PNG"),
                    "mask": saved(Image.fromarray(mask), "PNG"),
                }
                name = f"shard-{shard}.tfrecord-{number:08d}"
                if number % 2:
                    name = f"named/{shard} {number}"
                    values["name"] = name.encode()
                if number == 2:
                    del values["mask"]
                written[name] = pixels, mask if number != 2 else None
                features = {
                    key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                    for key, value in values.items()
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
    pattern = f"{tmp_path}/shard-*.tfrecord"
    output_dir = str(tmp_path / "out")
    with beam.Pipeline(runner="FnApiRunner") as whole:
        pipeline.build(whole, model, output_dir, records=pattern)
    rows = table(output_dir)
    assert set(rows) == set(written)
    for name, (pixels, mask) in written.items():
        if mask is None:
            assert rows[name]["outcome"] == "no encoded `mask` feature"
            continue
        with open(output(tmp_path, name), "rb") as file:
            completed = image_files.decode(file.read())
        np.testing.assert_array_equal(completed, filled(pixels, mask))


def test_record_files_are_read_as_tensorflow_writes_them_and_damage_is_named(tmp_path):
    contents = [os.urandom(size) for size in (0, 1, 100, 70_000)]
    path = str(tmp_path / "a.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for content in contents:
            writer.write(content)
    found = list(storage.records_of(path))
    assert [data for _, _, data in found] == contents
    for start, length, content in found:
        assert storage.read(path, start, length) == content
    with open(path, "rb") as file:
        whole = bytearray(file.read())
    for damaged, reason in (
        (whole[:-1], "ends in a record"),
        (whole[:-3000], "ends in a record"),
        (whole + b"abc", "ends in a record"),
        (whole + bytes([255] * 7) + bytes(30), "no record there"),
    ):
        with open(path, "wb") as file:
            file.write(damaged)
        read = []
        with pytest.raises(image_files.ImageError, match=f"damaged file: .*{reason}"):
            read.extend(data for _, _, data in storage.records_of(path))


def test_hostile_pictures_are_counted_and_spoil_no_other(model, tmp_path):
    written = write_collection(tmp_path, 6)
    hostile = hostile_files.write(
        str(tmp_path / "images" / "hostile"), 2 * len(hostile_files.KINDS)
    )
    rows = complete(model, tmp_path)
    for name in written:
        assert rows[name]["outcome"] == "completed"
    for file in hostile:
        name = image_files.in_one_line(f"hostile/{os.path.splitext(file.name)[0]}")
        if file.kind == "link_to_parent":
            continue
        assert rows[name]["outcome"] not in ("completed", "")
        if file.fate in ("empty file", "unreadable", "not a file", "too large"):
            assert rows[name]["outcome"] == file.fate
    counts = pipeline.image_files.count_by_kind(row["outcome"] for row in rows.values())
    with open(tmp_path / "out" / "outcomes.csv", newline="") as file:
        said = {outcome: int(count) for outcome, count in list(csv.reader(file))[1:]}
    assert sum(said.values()) == len(rows)
    assert all(f"{count} {outcome}" in counts for outcome, count in said.items())
    assert files_below(tmp_path / "out" / "pictures") == {f"{n}.png" for n in written}


def test_names_that_fit_nowhere_are_refused(model, tmp_path):
    pixels = Image.fromarray(np.zeros([16, 16, 3], np.uint8))
    images = tmp_path / "images"
    (images / "a.png").mkdir(parents=True)
    for name in ("twice.png", "twice.bmp", "a.bmp", "a.png/b.png"):
        pixels.save(images / name)
    write_one_mask(tmp_path / "mask.png")
    rows = complete(model, tmp_path, masks="mask.png", mask_for_each=False)
    assert rows["twice"]["outcome"] == "name of several pictures"
    # One is a file where the other needs a folder.
    outcomes = {rows["a"]["outcome"], rows["a.png/b"]["outcome"]}
    assert outcomes in ({"completed", "no place"}, {"completed", "output in the way"})


@pytest.mark.parametrize("name", [b"../out", b"/etc/x", b"a/../../b"])
def test_names_in_records_cannot_leave_the_output_folder(model, tmp_path, name):
    place = pipeline.Place(b"anywhere", 0, 1)
    step = pipeline.ReadPair(None, True, str(tmp_path))
    (tagged,) = step.process((name, [place]))
    assert tagged.tag == "rows"
    assert tagged.value["outcome"] == "name that leaves its folder"


def test_other_file_systems_go_through_beam(monkeypatch, tmp_path, model):
    """Beam's own file system of local files stands for a remote one."""
    written = write_collection(tmp_path, 4)
    local = complete(model, tmp_path, out="local")
    monkeypatch.setattr(storage, "is_remote", lambda path: True)
    assert complete(model, tmp_path, out="remote") == local
    for name in written:
        with (
            open(output(tmp_path, name, "local"), "rb") as first,
            open(output(tmp_path, name, "remote"), "rb") as second,
        ):
            assert first.read() == second.read()


def test_the_program_runs_says_and_refuses(model, tmp_path):
    write_collection(tmp_path, 5)
    flags = [
        f"--images={tmp_path}/images",
        f"--masks={tmp_path}/masks",
        f"--output_dir={tmp_path}/out",
    ]
    refused = {
        "--model is missing": flags,
        "--model=/absent: no such": [*flags, "--model=/absent"],
        "is no SavedModel": [*flags, f"--model={tmp_path}"],
        "--masks=/absent: no such": [*flags, f"--model={model}", "--masks=/absent"],
        "either --images or --records": [*flags, f"--model={model}", "--records=x"],
        "lies in --images": [
            *(*flags, f"--model={model}", f"--output_dir={tmp_path}/images/out"),
        ],
    }
    command = [*flags, f"--model={model}"]
    status, errors = programs.run(
        "complete_collection.py", *command, "--", "--direct_num_workers=1"
    )
    assert status == 0, errors
    assert errors.splitlines()[-1] == f"{tmp_path}/out: 5 completed"
    assert files_below(tmp_path / "out") == {
        *("collection.json", "outcomes.csv", "table.csv"),
        *(f"pictures/part {i % 3}/фото {i:04d}.png" for i in range(5)),
    }
    os.makedirs(tmp_path / "other" / "images")
    os.makedirs(tmp_path / "other" / "masks")
    write_one_mask(tmp_path / "mask.png")
    from_records = [word for word in command if not word.startswith("--images")]
    refused |= {
        "made with another --measure": [*command, "--measure"],
        "made with another --images": [*command, f"--images={tmp_path}/other/images"],
        "with another --images": [*from_records, f"--records={tmp_path}/*.tfrecord"],
        "made with another --masks": [*command, f"--masks={tmp_path}/other/masks"],
        "with another --masks": [*command, f"--masks={tmp_path}/mask.png"],
    }
    lines = programs.refusals("complete_collection", list(refused.values()))
    for line, reason in zip(lines, refused, strict=True):
        assert reason in line


@pytest.mark.slow
def test_two_thousand_pictures_survive_kills_whole(model, tmp_path):
    written = write_collection(tmp_path, 2000, [(64, 48), (48, 64), (56, 56)])
    command = [
        *(sys.executable, "complete_collection.py", f"--model={model}"),
        *(f"--images={tmp_path}/images", f"--masks={tmp_path}/masks"),
        *(f"--output_dir={tmp_path}/out", "--measure"),
    ]
    done = []
    generator = np.random.default_rng(0)
    while len(done) < 5:
        process = subprocess.Popen(
            command, cwd=programs.ROOT, stderr=subprocess.DEVNULL
        )
        pictures = tmp_path / "out" / "pictures"
        before = len(files_below(pictures))
        while process.poll() is None and len(files_below(pictures)) == before:
            time.sleep(0.05)
        time.sleep(generator.uniform(0, 1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        found = files_below(pictures)
        done.append(len(found))
        for name in found:
            with open(pictures / name, "rb") as file:
                data = file.read()
            assert work.recorded(data[: work.HEAD_BYTES]) is not None
            pixels, mask = written[name.removesuffix(".png")]
            np.testing.assert_array_equal(
                image_files.decode(data), filled(pixels, mask)
            )
        if len(found) == len(written):
            break
    assert done == sorted(done) and done[0] < len(written)
    times = {name: os.stat(pictures / name).st_mtime_ns for name in found}
    subprocess.run(command, cwd=programs.ROOT, check=True)
    assert files_below(pictures) == {f"{name}.png" for name in written}
    for name, written_at in times.items():
        assert os.stat(pictures / name).st_mtime_ns == written_at
    rows = table(tmp_path / "out")
    assert len(rows) == 2000
    assert {row["outcome"] for row in rows.values()} == {"completed"}
    assert not (tmp_path / "out" / "unfinished").exists()
    print("pictures after each kill:", done)
