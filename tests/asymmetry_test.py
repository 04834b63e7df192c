"""Asymmetry tells turned faces from frontal ones, and ranks a protocol's images."""

import os

import numpy as np
import programs
import pytest
from PIL import Image

from inpainting_tf import asymmetry, synthetic_faces
from inpainting_tf.freeze_protocol import freeze


def faces(split, count=60):
    return synthetic_faces.render(np.arange(count), 64, split=split)[0].numpy()


def test_every_turned_face_is_less_symmetric_than_every_frontal_one():
    frontal = asymmetry.asymmetry(faces("test_frontal"))
    turned = asymmetry.asymmetry(faces("test_turned"))
    assert frontal.max() < turned.min()


def test_it_is_that_of_the_mirror_image_and_0_for_symmetric_pictures():
    turned = faces("test_turned", 5)
    value = asymmetry.asymmetry(turned)
    np.testing.assert_allclose(asymmetry.asymmetry(turned[:, :, ::-1]), value)
    symmetric = np.concatenate([turned[:, :, :32], turned[:, :, 31::-1]], axis=2)
    np.testing.assert_allclose(asymmetry.asymmetry(symmetric), 0, atol=1e-12)
    flat = np.full([1, 64, 64, 3], 77, np.uint8)
    assert asymmetry.asymmetry(flat) == [0]


def test_light_that_grows_from_one_side_to_the_other_matters_little():
    frontal = faces("test_frontal", 20)
    light = np.linspace(0.75, 1.0, 64)[:, None]
    lit = np.uint8(np.round(frontal * light))
    turned = asymmetry.asymmetry(faces("test_turned", 20))
    assert asymmetry.asymmetry(lit).mean() < 0.5 * turned.mean()


def test_a_side_with_edges_against_one_without_is_1():
    picture = np.zeros([1, 64, 64, 3], np.uint8)
    picture[:, ::8, 20:24] = 255  # Smoothing carries them six columns on.
    np.testing.assert_allclose(asymmetry.asymmetry(picture), 1, atol=1e-12)


def test_pictures_of_another_size_are_refused():
    with pytest.raises(ValueError, match="must be 64x64x3"):
        asymmetry.asymmetry(np.zeros([1, 64, 32, 3], np.uint8))


def frozen(folder, shown):
    """Freezes a protocol of pictures, named by their places; returns its path."""
    for place, pixels in enumerate(shown):
        Image.fromarray(pixels).save(folder / f"{place}.png")
    protocol = folder / "faces.toml"
    protocol.write_text(
        '[images]\nlist = "images.csv"\ncrop = "square"\nsize = 64\n'
        '[masks]\nrule = "half"\nseed = 0\n[metrics]\nnames = ["psnr"]\n'
    )
    freeze(str(protocol), str(folder))
    return protocol


def test_the_program_splits_a_protocols_images_into_thirds(tmp_path):
    shown = [*faces("test_frontal", 3), *faces("test_turned", 3)]
    order = [4, 0, 1, 3, 5, 2]
    protocol = frozen(tmp_path, [shown[index] for index in order])
    flags = [f"--protocol={protocol}", f"--data_dir={tmp_path}"]
    status, errors = programs.run(
        "-m", "inpainting_tf.asymmetry", *flags, f"--output={tmp_path}/out"
    )
    assert status == 0, errors
    for part, turned in (("frontal", False), ("turned", True)):
        lines = (tmp_path / f"out_{part}.csv").read_text().splitlines()
        assert lines[0] == "file,asymmetry" and len(lines) == 3
        places = [int(line.partition(".")[0]) for line in lines[1:]]
        assert places == sorted(places)
        assert all((order[place] >= 3) == turned for place in places)
    status, errors = programs.run(
        "-m", "inpainting_tf.asymmetry", f"--output={tmp_path}/o", "--protocol=absent"
    )
    assert status == 2 and errors.splitlines()[-1].startswith("asymmetry: ")
    assert not os.path.exists(tmp_path / "o_turned.csv")


@pytest.mark.parametrize(
    ("count", "word", "output", "refusal"),
    [
        (2, None, "out", "protocol faces: 2 images have no thirds"),
        (3, "stray", "out", "'stray' is not a flag"),
        (3, None, "absent/out", "No such file or directory"),
    ],
)
def test_what_the_program_cannot_do_it_says_in_one_line(
    tmp_path, count, word, output, refusal
):
    protocol = frozen(tmp_path, faces("test_frontal", count))
    flags = [f"--protocol={protocol}", f"--data_dir={tmp_path}"]
    flags += [f"--output={tmp_path}/{output}", *([word] if word else [])]
    status, errors = programs.run("-m", "inpainting_tf.asymmetry", *flags)
    assert status == 2 and "Traceback" not in errors, errors
    line = errors.splitlines()[-1]
    assert line.startswith("asymmetry: ") and refusal in line
    assert not [name for name in os.listdir(tmp_path) if name.startswith("out")]
