"""evaluate.py as a user runs it: what it measures, going on, and refusing."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import programs
import pytest
import tensorflow as tf
from PIL import Image

from baselines.methods import SEARCHES
from command_line import contenders, trained
from command_line.parsing import UsageError
from inpainting_tf import (
    evaluation,
    features,
    freeze_protocol,
    metric_table,
    protocol_examples,
    protocol_pictures,
    protocols,
)

PROTOCOL = """# Six drawn faces with a random box.
[images]
splits = ["test"]
count = 6
seed = 0
size = 32
[masks]
rule = "random_box"
hole_size = 16
seed = 3
[metrics]
names = ["psnr", "l1", "hole_l1"]
"""
GROUPED = """# Four drawn faces, two of them turned, one half missing.
[images]
splits = ["test_frontal", "test_turned"]
groups = ["frontal", "turned"]
count = 4
seed = 0
size = 64
[masks]
rule = "half"
seed = 3
[metrics]
names = ["psnr", "l1"]
"""
RECIPE = """# A search too short to find anything.
--method=siidgm
--gan={gan}
--dataset=synthetic_faces
--iterations=2
--seed=5
"""
RESULTS = ("results.csv", "results.json", "results.md", "results.tex", "per_image.csv")


class Blend(tf.Module):
    """A served method: white in the hole. It takes its time, as a network does."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.uint8, name="image"),
            tf.TensorSpec([None, None, None, 1], tf.uint8, name="mask"),
        ]
    )
    def serve(self, image, mask):
        white = tf.cast(255, tf.int32)
        for _ in tf.range(4000):
            white = tf.clip_by_value(white + 1, 0, 255)
        return {"completed": tf.where(mask > 0, tf.cast(white, tf.uint8), image)}


class Both(tf.Module):
    """A served method with a signature of bytes, and one of floats that is better."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.float32, name="image"),
            tf.TensorSpec([None, None, None, 1], tf.float32, name="mask"),
        ]
    )
    def serve(self, image, mask):
        return {"completed": image * (1 - mask) + 0.25 * mask}

    def save(self, path):
        signatures = {"serving_default": Blend().serve, "float": self.serve}
        tf.saved_model.save(self, path, signatures=signatures)


class Fixed(tf.Module):
    """A served method of one size of images."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 64, 64, 3], tf.float32, name="image"),
            tf.TensorSpec([None, 64, 64, 1], tf.float32, name="mask"),
        ]
    )
    def serve(self, image, mask):
        return {"completed": image * (1 - mask)}


class Means(tf.Module):
    """Features: the mean of each channel, and of its square."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32)])
    def features(self, image):
        parts = [tf.reduce_mean(image**power, axis=[1, 2]) for power in (1, 2)]
        return {"features": tf.concat(parts, axis=1)}


class Broken(tf.Module):
    """A served method that gives no numbers."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.float32, name="image"),
            tf.TensorSpec([None, None, None, 1], tf.float32, name="mask"),
        ]
    )
    def serve(self, image, mask):
        return {"completed": image / tf.zeros_like(mask)}


def levels(image):
    return np.rint((np.asarray(image, np.float64) + 1) * 127.5)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def evaluate(folder, protocol, methods, *flags):
    return programs.run(
        "evaluate.py",
        f"--protocol={protocol}",
        f"--methods={','.join(methods)}",
        f"--output_dir={folder}",
        *flags,
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A frozen protocol, a folder of perfect pictures, a SavedModel; and results."""
    root = tmp_path_factory.mktemp("evaluate")
    path = root / "six_faces.toml"
    path.write_text(PROTOCOL)
    protocol = freeze_protocol.freeze(str(path))
    (root / "perfect").mkdir()
    (batch,) = protocol_examples.open_examples(protocol, batch_size=6)
    pixels = np.round((batch["image"].numpy() + 1) * 127.5).astype(np.uint8)
    for name, picture in zip(batch["name"], pixels, strict=True):
        Image.fromarray(picture).save(root / "perfect" / f"{name}.png")
    module = Blend()
    served = str(root / "white")
    tf.saved_model.save(module, served, signatures=module.serve)
    methods = ("mean_color", f"true={root}/perfect", served, "telea")
    status, errors = evaluate(
        root / "out", path, methods, "--batch_size=4", "--shown=2"
    )
    assert status == 0, errors
    return root, path, methods, batch, errors


def test_values_are_those_of_the_metrics_on_the_protocols_examples(world):
    root, _, _, batch, errors = world
    image, mask = batch["image"], batch["mask"]
    expected = {
        "mean_color": evaluation.mean_color_fill(image, mask),
        "true": image,
        "white": tf.where(mask > 0, 1.0, image),
    }
    with open(root / "out" / "per_image.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 6
    for label, completed in expected.items():
        own = [row for row in rows if row["method"] == label]
        assert [row["image"] for row in own] == batch["name"]
        for name in ("psnr", "l1", "hole_l1"):
            values = metric_table.METRICS[name].function(image, completed, mask)
            found = [float(row[name]) for row in own]
            np.testing.assert_allclose(found, values, rtol=1e-6, err_msg=name)
    results = json.loads(read(root / "out" / "results.json"))
    assert "6 images of 32x32, 4 methods" in errors
    assert protocols.read(str(world[1])).hash in read(root / "out" / "results.md")
    assert set(expected) <= set(json.dumps(results).replace('"', " ").split())


def test_a_mirrored_contender_takes_the_mean_of_a_picture_and_its_mirror_image(world):
    _, path, _, batch, _ = world
    batch = {"image": batch["image"], "mask": batch["mask"], "names": batch["name"]}
    ramp = np.linspace(-1, 1, 32, dtype=np.float32)[:, np.newaxis]

    def left_to_right(given):
        return np.where(given["mask"] > 0, ramp, given["image"])

    plain = contenders.Contender("ramp", "a ramp", "ramp", left_to_right, "run", len)
    both = contenders.mirrored(plain, "both")
    image, mask = (batch[name].numpy() for name in ("image", "mask"))
    # The mean of a ramp from -1 to 1 and of its mirror image is 0.
    expected = np.where(mask > 0, 0, image)
    np.testing.assert_allclose(both.complete(batch), expected, atol=1e-7)
    known = np.broadcast_to(mask == 0, image.shape)
    np.testing.assert_array_equal(np.array(both.complete(batch))[known], image[known])
    assert (both.label, both.run_dir, both.forward) == ("both", "", None)
    assert both.fingerprint != plain.fingerprint
    opened = contenders.open_all(
        ["telea", "telea+mirrored", "own=telea+mirrored"], 32, []
    )
    assert [c.label for c in opened] == ["telea", "telea_mirrored", "own"]
    one, two, same = (c.complete(batch) for c in opened)
    turned = {**batch, "image": image[:, :, ::-1], "mask": mask[:, :, ::-1]}
    other = np.array(opened[0].complete(turned))[:, :, ::-1]
    np.testing.assert_allclose(two, (np.array(one) + other) / 2, atol=1e-6)
    np.testing.assert_array_equal(two, same)


@pytest.mark.parametrize("text", ["a+mirrored@best", "telea+mirrored+mirrored"])
def test_mirrored_in_another_place_is_refused(text):
    with pytest.raises(UsageError, match="comes last"):
        contenders.open_all([text], 32, [])


def test_finished_pictures_have_no_mirrored_completions(world, tmp_path):
    root, path, _, _, _ = world
    status, errors = evaluate(
        tmp_path / "out", path, (f"true={root}/perfect+mirrored",)
    )
    assert status == 2 and "finished pictures" in errors.splitlines()[-1]


def test_another_program_gets_the_protocols_images_and_masks(world, tmp_path):
    root, path, _, batch, _ = world
    protocol_pictures.write(protocols.read(str(path)), None, str(tmp_path))
    for kind, expected in (("images", (batch["image"] + 1) * 127.5), ("masks", None)):
        names = sorted(os.listdir(tmp_path / kind))
        assert names == sorted(f"{name}.png" for name in batch["name"])
        for place, name in enumerate(batch["name"]):
            pixels = np.array(Image.open(tmp_path / kind / f"{name}.png"))
            if expected is None:
                np.testing.assert_array_equal(
                    pixels, batch["mask"][place, ..., 0] * 255
                )
            else:
                np.testing.assert_allclose(pixels, expected[place], atol=1e-3)
    # Given back as they are, they are a contender: the truth itself.
    assert sorted(os.listdir(tmp_path / "images")) == sorted(
        os.listdir(root / "perfect")
    )


def test_the_table_names_the_best_and_the_page_holds_the_pictures(world):
    root = world[0]
    table = read(root / "out" / "results.txt")
    best = next(line for line in table.splitlines() if line.startswith("true"))
    assert "*" in best and "mean_color" in table and "white" in table
    page = read(root / "out" / "report.html")
    assert page.count("data:image/png;base64") >= 2 * 6
    for name in ("comparison.png", "comparison.pdf", "hole_area.png"):
        assert os.path.getsize(root / "out" / "figures" / name) > 1000


def test_an_interrupted_evaluation_goes_on_to_the_same_bytes(world, tmp_path):
    root, path, methods, _, _ = world
    folder = tmp_path / "out"
    shutil.copytree(root / "out", folder)
    for name in (*RESULTS, "report.html", "results.txt"):
        os.remove(folder / name)
    values = folder / "values"
    for label, text in ((f.stem, read(f)) for f in values.iterdir()):
        lines = text.splitlines(keepends=True)
        # Cut within a line, at another place for each method.
        keep = {"mean_color": 2, "true": 5, "white": 0, "telea": 6}[label]
        torn = lines[keep][:20] if keep < 6 else ""
        (values / f"{label}.jsonl").write_text("".join(lines[:keep]) + torn)
    status, errors = evaluate(folder, path, methods, "--batch_size=4", "--shown=2")
    assert status == 0, errors
    for name in RESULTS:
        assert read(folder / name) == read(root / "out" / name), name


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_to_the_same_bytes(world, tmp_path):
    """SIGKILL between two images: nothing can be put in order before the end."""
    root, path, methods, _, _ = world
    folder = tmp_path / "out"
    command = [
        sys.executable,
        "evaluate.py",
        f"--protocol={path}",
        f"--methods={','.join(methods)}",
        f"--output_dir={folder}",
        "--shown=2",
    ]
    with subprocess.Popen(
        [*command, "--batch_size=1"],
        cwd=programs.ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        stderr=subprocess.DEVNULL,
    ) as process:
        last = folder / "values" / "telea.jsonl"  # Written when an image is done.
        while process.poll() is None and not (last.exists() and last.stat().st_size):
            time.sleep(0.005)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert 1 <= len(read(last).splitlines()) < 6
    assert not (folder / "results.csv").exists()
    status, errors = evaluate(folder, path, methods, "--batch_size=4", "--shown=2")
    assert status == 0, errors
    assert "going on at image" in errors
    for name in (*RESULTS, "results.txt", "report.html"):
        assert read(folder / name) == read(root / "out" / name), name


@pytest.mark.slow
def test_searches_and_served_methods_are_compared_in_groups(tmp_path):
    status, errors = programs.run(
        "train.py",
        "--method=dcgan",
        "--dataset=synthetic_faces",
        "--synthetic_count=4",
        "--image_size=64",
        "--width=0.05",
        "--batch_size=2",
        "--steps=1",
        f"--run_dir={tmp_path}/gan",
    )
    assert status == 0, errors
    (tmp_path / "short.cfg").write_text(RECIPE.format(gan=tmp_path / "gan"))
    Both().save(str(tmp_path / "both"))
    (tmp_path / "halves.toml").write_text(GROUPED)
    protocol = freeze_protocol.freeze(str(tmp_path / "halves.toml"))
    methods = (f"{tmp_path}/short.cfg", f"{tmp_path}/both", "mean_color")
    status, errors = evaluate(
        tmp_path / "out", tmp_path / "halves.toml", methods, "--batch_size=3"
    )
    assert status == 0, errors

    (batch,) = protocol_examples.open_examples(protocol, batch_size=4)
    image, mask = batch["image"], batch["mask"]
    gan, _, _ = trained.load(str(tmp_path / "gan"))
    search = SEARCHES["siidgm"](gan, iterations=2, seed=5)
    expected = {
        "short": search(image, mask),
        "both": tf.where(mask > 0, 0.25, image),
        "mean_color": evaluation.mean_color_fill(image, mask),
    }
    results = json.loads(read(tmp_path / "out" / "results.json"))
    groups = {group["name"]: group for group in results["groups"]}
    assert list(groups) == ["frontal", "turned"]
    for label, completed in expected.items():
        l1 = np.mean(np.abs(levels(image) - levels(completed)), axis=(1, 2, 3)) / 255
        for name, group in groups.items():
            own = [of == name for of in batch["group"]]
            assert group["count"] == sum(own) == 2
            found = group["table"][label]["l1"]["mean"]
            assert found == pytest.approx(l1[own].mean(), rel=1e-5), (label, name)
    assert "turned (n=2)" in read(tmp_path / "out" / "results.txt")
    assert os.path.exists(tmp_path / "out" / "figures" / "groups.png")


@pytest.mark.slow
def test_a_trained_run_and_feature_distances_survive_torn_files(world, tmp_path):
    _, path, _, batch, _ = world
    status, errors = programs.run(
        "train.py",
        "--dataset=synthetic_faces",
        "--synthetic_count=8",
        "--image_size=32",
        "--width=0.05",
        "--batch_size=2",
        "--steps=2",
        "--validation_count=2",
        f"--run_dir={tmp_path}/run",
    )
    assert status == 0, errors
    means = str(tmp_path / "means")
    module = Means()
    tf.saved_model.save(module, means, signatures=module.features)
    methods = (f"net={tmp_path}/run@2", "mean_color")
    flags = (f"--features={means}", "--shown=1")
    status, errors = evaluate(tmp_path / "out", path, methods, *flags)
    assert status == 0, errors
    results = {name: read(tmp_path / "out" / name) for name in RESULTS}
    rows = list(csv.DictReader(results["results.csv"].splitlines()))
    fid = {row["method"]: float(row["mean"]) for row in rows if row["metric"] == "fid"}

    def feature_statistics(image):
        values = module.features(image)["features"].numpy().astype(np.float64)
        return values.mean(axis=0), np.cov(values.T)

    filled = evaluation.mean_color_fill(batch["image"], batch["mask"])
    expected = features.frechet_distance(
        *feature_statistics(batch["image"]), *feature_statistics(filled)
    )
    assert fid["mean_color"] == pytest.approx(expected, rel=1e-3)
    assert fid["net"] > 0
    assert os.path.exists(tmp_path / "out" / "figures" / "attention_net.png")

    for name in ("_truth", "net"):
        with open(tmp_path / "out" / "features" / f"{name}.f32", "r+b") as file:
            file.truncate(4 * 6 * 3 + 5)
    status, errors = evaluate(tmp_path / "out", path, methods, *flags)
    assert status == 0, errors
    assert "going on at image 3 of 6" in errors
    for name in RESULTS:
        assert read(tmp_path / "out" / name) == results[name], name


def test_values_that_are_no_numbers_are_refused(world, tmp_path):
    module = Broken()
    tf.saved_model.save(module, str(tmp_path / "nan"), signatures=module.serve)
    status, errors = evaluate(tmp_path / "out", world[1], [str(tmp_path / "nan")])
    assert status == 2
    assert "evaluate.py: --methods: nan gives values that are not finite" in errors


def test_exports_are_called_by_their_methods(tmp_path):
    paths = [str(tmp_path / method / "1") for method in ("glcic", "giica")]
    for path in paths:
        Both().save(path)
    opened = contenders.open_all(paths, 32, ["a.png"])
    assert [contender.label for contender in opened] == ["glcic", "giica"]


class Failing(tf.Module):
    """A served method that refuses every picture."""

    @tf.function(input_signature=Both.serve.input_signature)
    def serve(self, image, mask):
        tf.debugging.assert_less(image, -1.0, message="too bright")
        return {"completed": image * (1 - mask)}


def test_a_method_that_fails_is_named_with_its_reason(world, tmp_path):
    module = Failing()
    tf.saved_model.save(module, str(tmp_path / "net"), signatures=module.serve)
    methods = ["mean_color", str(tmp_path / "net")]
    status, errors = evaluate(tmp_path / "out", world[1], methods)
    assert status == 2
    assert errors.splitlines()[-1] == "evaluate.py: --methods: net failed: too bright"


def test_what_cannot_be_compared_is_refused_in_one_line(world, tmp_path):
    root, path, *_ = world
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    fewer = shutil.copytree(root / "perfect", tmp_path / "fewer")
    os.remove(next(fewer.iterdir()))
    more = shutil.copytree(root / "perfect", tmp_path / "more")
    shutil.copy(next(root.joinpath("perfect").iterdir()), more / "zebra.png")
    larger = shutil.copytree(root / "perfect", tmp_path / "larger")
    for file in larger.iterdir():
        Image.new("RGB", (40, 32)).save(file)
    fixed = Fixed()
    tf.saved_model.save(fixed, str(tmp_path / "fixed"), signatures=fixed.serve)
    out = f"--output_dir={tmp_path}/out"
    base = [f"--protocol={path}", out]
    asked = {
        "--methods is missing": base,
        "no such file; give the path": ["--protocol=x", "--methods=telea", out],
        "is neither one of mean_color": [*base, "--methods=absent"],
        "2 methods are called telea": [*base, "--methods=telea,telea"],
        "pictures for 5 of the protocol's 6": [*base, f"--methods={fewer}"],
        "has 7 pictures for the protocol's 6 images": [*base, f"--methods={more}"],
        "is 40x32; the protocol's images are 32x32": [*base, f"--methods={larger}"],
        "takes images of shape (None, 64, 64, 3)": [
            *base,
            f"--methods={tmp_path}/fixed",
        ],
        "--more_metrics=pnsr is unknown": [
            *base,
            "--methods=telea",
            "--more_metrics=pnsr",
        ],
        "is not empty and holds no evaluation": [
            base[0],
            "--methods=telea",
            f"--output_dir={tmp_path}/full",
        ],
        "holds an evaluation with metrics": [
            base[0],
            "--methods=telea",
            "--more_metrics=ssim",
            f"--output_dir={root}/out",
        ],
        "holds values of another telea": [
            base[0],
            "--methods=telea=navier_stokes",
            "--shown=2",
            f"--output_dir={root}/out",
        ],
    }
    lines = programs.refusals("evaluate", list(asked.values()))
    for expected, line in zip(asked, lines, strict=True):
        assert expected in line
    assert os.listdir(tmp_path / "full") == ["mine.txt"]
