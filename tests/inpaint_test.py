"""inpaint.py as a user runs it: photos, folders, side by side, reruns, refusals."""

import os
import time

import numpy as np
import programs
import pytest
import small_exports
from PIL import Image

from inpainting_tf import images, masks

SIZE = (36, 28)  # Width, height.


def write_photo(path, seed=0, size=SIZE, **options):
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, [height, width, 4], np.uint8)
    pixels[0, 0] = 128
    channels = 4 if str(path).endswith(".png") else 3
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.fromarray(pixels[..., :channels]).save(path, **options)
    return pixels[..., :channels]


def hole(size=SIZE, box=(9, 5, 12, 10)):
    left, top, width, height = box
    missing = np.zeros(size[::-1], bool)
    missing[top : top + height, left : left + width] = True
    return missing


def read(path):
    return np.array(Image.open(path))


def run(*words):
    return programs.run("inpaint.py", *words)


@pytest.fixture(scope="module")
def glcic(tmp_path_factory):
    return small_exports.write_run(str(tmp_path_factory.mktemp("runs")), "glcic")[0]


def test_one_photo_and_its_mask_by_several_methods(glcic, tmp_path):
    write_photo(f"{tmp_path}/photo.jpg")
    # The same pixels that training would see.
    own = images.decode((tmp_path / "photo.jpg").read_bytes())
    Image.fromarray(hole()).convert("L").save(tmp_path / "mask.jpg", quality=70)
    status, errors = run(
        f"--image={tmp_path}/photo.jpg",
        f"--mask={tmp_path}/mask.jpg",
        f"--output={tmp_path}/new/out.png",
        "--methods=mean_color",
        f"--weights=net={glcic}",
    )
    assert status == 0, errors
    assert "mask.jpg: greys; missing from level 128 on" in errors
    assert "net: glcic at step 7, width 0.0625, windows of 32x32" in errors
    assert f"completed: {tmp_path}/new/out.png (mean_color " in errors
    made = sorted(os.listdir(tmp_path / "new"))
    assert made == ["out.png", "out_mean_color.png", "out_net.png"]
    for name in made[1:]:
        found = read(tmp_path / "new" / name)
        np.testing.assert_array_equal(found[~hole()], own[~hole()])
        assert (found[hole()] != own[hole()]).any()
    # The photo and both, side by side.
    assert read(tmp_path / "new" / "out.png").shape[1] > 3 * 36


def test_a_folder_goes_on_and_names_what_it_could_not_complete(tmp_path):
    photos_, masks_, out = (tmp_path / name for name in ("in", "masks", "out"))
    own = {}
    for seed, name in enumerate(("a.png", "deep/b.png", "c.jpg", "d.png", "e.png")):
        own[name] = write_photo(f"{photos_}/{name}", seed)
        missing = Image.fromarray(hole())
        os.makedirs(masks_ / "deep", exist_ok=True)
        missing.save(f"{masks_}/{os.path.splitext(name)[0]}.png")
    (photos_ / "d.png").write_bytes((photos_ / "d.png").read_bytes()[:200])
    Image.fromarray(hole((37, 28))).save(masks_ / "e.png")
    os.remove(masks_ / "c.png")
    command = (
        f"--image={photos_}",
        f"--mask={masks_}",
        f"--output={out}",
        "--methods=mean_color",
    )
    status, errors = run(*command)
    assert status == 1
    lines = errors.strip().splitlines()
    assert lines[-1] == f"2 completed, 3 failed: {out}"
    listed = [line for line in lines if line.startswith("inpaint.py: ")]
    assert [os.path.basename(line.split(": ")[1]) for line in listed] == [
        "c.jpg",
        "d.png",
        "e.png",
    ]
    for line, expected in zip(
        listed,
        ("no mask is named c in", "damaged: ", "the mask is 37x28 and the photo 36x28"),
        strict=True,
    ):
        assert expected in line
    for name in ("a.png", "deep/b.png"):
        found = read(out / name)
        np.testing.assert_array_equal(found[~hole()], own[name][~hole()])
    assert sorted(os.listdir(out)) == ["a.png", "deep"]

    # Mended, the same command completes the rest alone.
    made = os.stat(out / "a.png").st_mtime_ns
    write_photo(f"{photos_}/d.png", 3)
    Image.fromarray(hole()).save(masks_ / "e.png")
    Image.fromarray(hole()).save(masks_ / "c.png")
    status, errors = run(*command)
    assert status == 0, errors
    assert f"3 completed, 2 skipped (finished; --overwrite): {out}" in errors
    assert os.stat(out / "a.png").st_mtime_ns == made
    # A newer mask, or other flags: completed again.
    later = time.time() + 5
    os.utime(masks_ / "a.png", (later, later))
    once, again = programs.run_all("inpaint", [command, [*command, "--grow=1"]])
    assert "1 completed, 4 skipped" in once[1]
    assert again == [0, f"mean_color: classical fill mean_color\n5 completed: {out}\n"]


def test_a_folder_and_a_rule_by_two_methods(tmp_path):
    own = {
        name: write_photo(f"{tmp_path}/in/{name}", seed, size)
        for seed, (name, size) in enumerate(
            {"a.png": (36, 28), "deep/b.png": (20, 41)}.items()
        )
    }
    status, errors = run(
        f"--image={tmp_path}/in",
        f"--output={tmp_path}/out",
        "--mask_rule=center",
        "--hole_size=8",
        "--methods=mean_color,other=mean_color",
    )
    assert status == 0, errors
    assert sorted(os.listdir(tmp_path / "out")) == [
        "mean_color",
        "other",
        "side_by_side",
    ]
    for name, pixels in own.items():
        height, width = pixels.shape[:2]
        drawn, _ = masks.draw("center", [0, 0], height, width, hole_size=8)
        missing = drawn.numpy()[..., 0] > 0
        for label in ("mean_color", "other"):
            found = read(tmp_path / "out" / label / name)
            np.testing.assert_array_equal(found[~missing], pixels[~missing])
            assert len(np.unique(found[missing][:, :3], axis=0)) == 1
        assert os.path.exists(tmp_path / "out" / "side_by_side" / name)


def test_boxes_a_colour_and_transparency_say_what_is_missing(tmp_path):
    own = write_photo(f"{tmp_path}/photo.png")
    marked = own.copy()
    marked[hole()] = (255, 0, 255, 255)
    Image.fromarray(marked).save(tmp_path / "marked.png")
    cut = own.copy()
    cut[..., 3] = np.where(hole(), 0, 255)
    Image.fromarray(cut).save(tmp_path / "cut.png")
    holes = {
        "photo": ["--box=9,5,12,6", "--box=9,11,12,4"],
        "marked": ["--color_key=magenta", "--color_tolerance=0"],
        "cut": ["--transparent"],
    }
    lines = [
        [f"--image={tmp_path}/{name}.png", "--methods=mean_color", *words]
        for name, words in holes.items()
    ]
    for status, errors in programs.run_all("inpaint", lines):
        assert status == 0, errors
    for name, before in (("photo", own), ("marked", marked), ("cut", cut)):
        found = read(tmp_path / f"{name}_mean_color.png")
        np.testing.assert_array_equal(found[~hole()], before[~hole()])
        assert len(np.unique(found[hole()][:, :3], axis=0)) == 1
        if name == "cut":
            assert (found[hole()][:, 3] == 255).all()


def test_commands_that_cannot_be_meant_are_refused_in_one_line(tmp_path):
    write_photo(f"{tmp_path}/in/photo.png")
    Image.fromarray(hole()).save(tmp_path / "mask.png")
    image, fill = f"--image={tmp_path}/in/photo.png", "--methods=mean_color"
    mask = f"--mask={tmp_path}/mask.png"
    asked = {
        "--image is missing": [mask],
        "nothing says what is missing; give one of --mask, --box": [image],
        "--mask and --box says what is missing": [image, mask, "--box=1,1,2,2"],
        "--box=1,1,2: must be LEFT,TOP,WIDTH,HEIGHT": [image, "--box=1,1,2"],
        "'mauvish' is no colour": [image, "--color_key=mauvish"],
        "--missing is of use to --mask alone": [
            image,
            "--transparent",
            "--missing=white",
        ],
        "--hole_size is of use to": [image, mask, "--hole_size=5"],
        "absent.png: no such file": [f"--image={tmp_path}/absent.png", mask],
        "must end in .png": [image, mask, fill, f"--output={tmp_path}/out.jpg"],
        "would overwrite an input": [
            image,
            mask,
            fill,
            f"--output={tmp_path}/mask.png",
        ],
        "no weights come along": [image, mask],
        "no weights of this name come along": [image, mask, "--weights=faces"],
        "'photo.png' is not a flag": [image, mask, "photo.png"],
    }
    lines = programs.refusals("inpaint", list(asked.values()))
    for expected, line in zip(asked, lines, strict=True):
        assert expected in line
    assert os.listdir(tmp_path / "in") == ["photo.png"]


def test_an_output_that_cannot_be_written_stops_the_folder(tmp_path):
    for name in ("a.png", "b.png"):
        write_photo(f"{tmp_path}/in/{name}")
    os.makedirs(tmp_path / "out" / "a.png")  # Where the file should go.
    status, errors = run(
        f"--image={tmp_path}/in",
        f"--output={tmp_path}/out",
        "--box=3,3,5,5",
        "--methods=mean_color",
    )
    assert status == 1
    assert "a.png cannot be written: Is a directory" in errors
    assert f"0 completed, 2 not tried: {tmp_path}/out" in errors
    assert os.listdir(tmp_path / "out") == ["a.png"]
