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
FILL = "--methods=mean_color"


def write_photo(path, seed=0, size=SIZE):
    """A photo of noise; RGB and alpha where the file can hold it."""
    width, height = size
    pixels = np.random.default_rng(seed).integers(0, 256, [height, width, 4], np.uint8)
    pixels = pixels[..., : 4 if str(path).endswith(".png") else 3]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def hole(size=SIZE, box=(9, 5, 12, 10)):
    left, top, width, height = box
    missing = np.zeros(size[::-1], bool)
    missing[top : top + height, left : left + width] = True
    return missing


def write_mask(path, missing):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Image.fromarray(missing).convert("L").save(path)


def read(path):
    return np.array(Image.open(path))


# What goes into one run of all command lines, and which each test looks at.


def prepare_one_photo(at):
    write_photo(f"{at}/photo.jpg")
    write_mask(f"{at}/mask.jpg", hole())
    net = small_exports.write_run(f"{at}/runs", "glcic")[0]
    return [
        f"--image={at}/photo.jpg",
        f"--mask={at}/mask.jpg",
        f"--output={at}/new/out.png",
        FILL,
        f"--weights=net={net}",
    ]


NAMES = ("a.png", "c.jpg", "d.png", "deep/b.png", "e.png")


def prepare_folder(at):
    for seed, name in enumerate(NAMES):
        write_photo(f"{at}/in/{name}", seed)
        missing = hole() if name != "e.png" else hole((37, 28))
        if name != "c.jpg":
            write_mask(f"{at}/masks/{os.path.splitext(name)[0]}.png", missing)
    os.truncate(f"{at}/in/d.png", 200)
    return [f"--image={at}/in", f"--mask={at}/masks", f"--output={at}/out", FILL]


RULED = {"a.png": (36, 28), "deep/b.png": (20, 41)}


def prepare_rule(at):
    for seed, (name, size) in enumerate(RULED.items()):
        write_photo(f"{at}/in/{name}", seed, size)
    return [
        f"--image={at}/in",
        f"--output={at}/out",
        "--mask_rule=center",
        "--hole_size=8",
        "--methods=mean_color,other=mean_color",
    ]


def prepare_unwritable(at):
    for name in ("a.png", "b.png"):
        write_photo(f"{at}/in/{name}")
    os.makedirs(f"{at}/out/a.png")  # Where the file should go.
    return [f"--image={at}/in", f"--output={at}/out", "--box=3,3,5,5", FILL]


def prepare_box(at):
    write_photo(f"{at}/photo.png")
    return [f"--image={at}/photo.png", "--box=9,5,12,6", "--box=9,11,12,4", FILL]


def prepare_color(at):
    pixels = write_photo(f"{at}/photo.png")
    pixels[hole()] = (255, 0, 255, 255)
    Image.fromarray(pixels).save(f"{at}/photo.png")
    return [
        f"--image={at}/photo.png",
        "--color_key=magenta",
        "--color_tolerance=0",
        FILL,
    ]


def prepare_transparent(at):
    pixels = write_photo(f"{at}/photo.png")
    pixels[..., 3] = np.where(hole(), 0, 255)
    Image.fromarray(pixels).save(f"{at}/photo.png")
    return [f"--image={at}/photo.png", "--transparent", FILL]


PREPARE = {
    "one_photo": prepare_one_photo,
    "folder": prepare_folder,
    "rule": prepare_rule,
    "unwritable": prepare_unwritable,
    "box": prepare_box,
    "color": prepare_color,
    "transparent": prepare_transparent,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """name -> (its folder, its command line, exit status, standard error)."""
    at = {name: str(tmp_path_factory.mktemp(name)) for name in PREPARE}
    lines = {name: prepare(at[name]) for name, prepare in PREPARE.items()}
    said = programs.run_all("inpaint", list(lines.values()))
    return {
        name: (at[name], line, *ended)
        for (name, line), ended in zip(lines.items(), said, strict=True)
    }


def test_one_photo_and_its_mask_by_several_methods(runs):
    at, _, status, errors = runs["one_photo"]
    assert status == 0, errors
    assert "mask.jpg: greys; missing from level 128 on" in errors
    assert "net: glcic at step 7, width 0.0625, windows of 32x32" in errors
    assert f"completed: {at}/new/out.png (mean_color " in errors
    made = sorted(os.listdir(f"{at}/new"))
    assert made == ["out.png", "out_mean_color.png", "out_net.png"]
    with open(f"{at}/photo.jpg", "rb") as file:
        own = images.decode(file.read())  # The same pixels that training would see.
    for name in made[1:]:
        found = read(f"{at}/new/{name}")
        np.testing.assert_array_equal(found[~hole()], own[~hole()])
        assert (found[hole()] != own[hole()]).any()
    # The photo and both, side by side.
    assert read(f"{at}/new/out.png").shape[1] > 3 * 36


def test_a_folder_names_what_it_could_not_complete_and_goes_on_there(runs):
    at, command, status, errors = runs["folder"]
    assert status == 1
    lines = errors.strip().splitlines()
    assert lines[-1] == f"2 completed, 3 failed: {at}/out"
    listed = [line for line in lines if line.startswith("inpaint.py: ")]
    expected = {
        "c.jpg": "no mask is named c in",
        "d.png": "damaged: ",
        "e.png": "the mask is 37x28 and the photo 36x28",
    }
    for line, (name, reason) in zip(listed, expected.items(), strict=True):
        assert line.startswith(f"inpaint.py: {at}/in/{name}: ")
        assert reason in line
    for name in ("a.png", "deep/b.png"):
        known, own = ~hole(), read(f"{at}/in/{name}")
        np.testing.assert_array_equal(read(f"{at}/out/{name}")[known], own[known])
    assert sorted(os.listdir(f"{at}/out")) == ["a.png", "deep"]

    # Mended, the same command completes the rest alone, and what has a newer mask.
    made = os.stat(f"{at}/out/a.png").st_mtime_ns
    write_photo(f"{at}/in/d.png", 3)
    for name in ("c", "e"):
        write_mask(f"{at}/masks/{name}.png", hole())
    just_now = time.time() + 1
    os.utime(f"{at}/masks/deep/b.png", (just_now, just_now))
    said = programs.run_all("inpaint", [command, [*command, "--grow=1"]])
    assert said[0][0] == 0
    assert f"4 completed, 1 skipped (finished; --overwrite): {at}/out" in said[0][1]
    # Other flags: all again.
    assert said[1] == [
        0,
        f"mean_color: the mean colour of what is known, to compare with\n5 completed: {at}/out\n",
    ]
    assert os.stat(f"{at}/out/a.png").st_mtime_ns > made


def test_another_mask_or_other_methods_complete_a_folder_anew(tmp_path):
    at = str(tmp_path)
    write_photo(f"{at}/in/a.png")
    write_mask(f"{at}/first/a.png", hole())
    write_mask(f"{at}/second/a.png", hole(box=(2, 3, 6, 6)))
    for name in ("in", "first", "second"):  # Older than what is made of them.
        os.utime(f"{at}/{name}/a.png", (1, 1))

    def line(masks, methods):
        files = [f"--image={at}/in", f"--mask={at}/{masks}", f"--output={at}/out"]
        return [*files, f"--methods={methods}"]

    two, others = "mean_color,b=mean_color", "mean_color,c=mean_color"
    lines = [line("first", two), line("second", two), line("second", two)]
    # The second leaves b's completion and draws another picture side by side.
    lines += [line("second", others), line("second", two), line("second", two)]
    said = [errors for _, errors in programs.run_all("inpaint", lines)]
    made = ["1 completed" in errors for errors in said]
    assert made == [True, True, False, True, True, False]
    known = ~hole(box=(2, 3, 6, 6))
    found, own = read(f"{at}/out/b/a.png"), read(f"{at}/in/a.png")
    np.testing.assert_array_equal(found[known], own[known])


def test_a_folder_and_a_rule_by_two_methods(runs):
    at, _, status, errors = runs["rule"]
    assert status == 0, errors
    labels = ["mean_color", "other", "side_by_side"]
    assert sorted(os.listdir(f"{at}/out")) == labels
    for name, (width, height) in RULED.items():
        own = read(f"{at}/in/{name}")
        drawn, _ = masks.draw("center", [0, 0], height, width, hole_size=8)
        missing = drawn.numpy()[..., 0] > 0
        for label in labels[:2]:
            found = read(f"{at}/out/{label}/{name}")
            np.testing.assert_array_equal(found[~missing], own[~missing])
            assert len(np.unique(found[missing][:, :3], axis=0)) == 1
        assert os.path.exists(f"{at}/out/side_by_side/{name}")


@pytest.mark.parametrize("how", ["box", "color", "transparent"])
def test_boxes_a_colour_or_transparency_say_what_is_missing(how, runs):
    at, _, status, errors = runs[how]
    assert status == 0, errors
    own, found = read(f"{at}/photo.png"), read(f"{at}/photo_mean_color.png")
    np.testing.assert_array_equal(found[~hole()], own[~hole()])
    assert len(np.unique(found[hole()][:, :3], axis=0)) == 1
    if how == "transparent":
        assert (found[hole()][:, 3] == 255).all()


def test_an_output_that_cannot_be_written_stops_the_folder(runs):
    at, _, status, errors = runs["unwritable"]
    assert status == 1
    assert "a.png cannot be written: Is a directory" in errors
    assert f"0 completed, 2 not tried: {at}/out" in errors
    assert os.listdir(f"{at}/out") == ["a.png"]


def test_commands_that_cannot_be_meant_are_refused_in_one_line(tmp_path):
    write_photo(f"{tmp_path}/in/photo.png")
    for name in ("mask", "side_mask", "masks/photo"):
        write_mask(f"{tmp_path}/{name}.png", hole())
    image = f"--image={tmp_path}/in/photo.png"
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
        "must end in .png": [image, mask, FILL, f"--output={tmp_path}/out.jpg"],
        "would overwrite an input": [
            image,
            mask,
            FILL,
            f"--output={tmp_path}/mask.png",
        ],
        "side_mask.png would overwrite an input": [
            image,
            f"--mask={tmp_path}/side_mask.png",
            f"--output={tmp_path}/side.png",
            "--methods=mean_color,mask=mean_color",
        ],
        "masks/photo.png would overwrite an input": [
            f"--image={tmp_path}/in",
            f"--mask={tmp_path}/masks",
            f"--output={tmp_path}/masks",
            FILL,
        ],
        "--weights=faces: there is no file or folder faces, and no weights of this": [
            image,
            mask,
            "--weights=faces",
        ],
        "'photo.png' is not a flag": [image, mask, "photo.png"],
    }
    lines = programs.refusals("inpaint", list(asked.values()))
    for expected, line in zip(asked, lines, strict=True):
        assert expected in line
    assert os.listdir(tmp_path / "in") == ["photo.png"]
