"""Pictures come out upright, RGB and in range; known pixels keep their bits."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from inpainting_tf import image_files, images, run_folder

RNG = np.random.default_rng(0)


def encode(picture, **options):
    stream = io.BytesIO()
    picture.save(stream, **options)
    return stream.getvalue()


def smooth_pixels(height=24, width=32):
    """A colour gradient: survives lossy compression nearly unchanged."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack(
        [rows * 8, columns * 6, 255 - rows * 4 - columns * 2], axis=-1
    ).astype(np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_lossless_files_decode_to_their_exact_pixels(kind):
    pixels = smooth_pixels()
    np.testing.assert_array_equal(
        images.decode(encode(Image.fromarray(pixels), format=kind)), pixels
    )


def test_lossy_files_decode_close_to_their_pixels():
    pixels = smooth_pixels()
    for options in (
        {"format": "JPEG", "quality": 95, "subsampling": 0},
        {"format": "WEBP", "quality": 95},
        {"format": "WEBP", "lossless": True},
    ):
        decoded = images.decode(encode(Image.fromarray(pixels), **options))
        difference = np.abs(decoded.astype(int) - pixels)
        assert difference.mean() < 2.5, options


def test_grey_palette_and_one_bit_pictures_become_rgb():
    grey = smooth_pixels()[..., 0]
    decoded = images.decode(encode(Image.fromarray(grey), format="PNG"))
    np.testing.assert_array_equal(decoded, np.repeat(grey[..., None], 3, axis=-1))

    palette = Image.fromarray(grey).convert("P")
    decoded = images.decode(encode(palette, format="PNG"))
    np.testing.assert_array_equal(decoded, np.array(palette.convert("RGB")))

    one_bit = Image.fromarray(grey > 90)
    decoded = images.decode(encode(one_bit, format="PNG"))
    np.testing.assert_array_equal(decoded[..., 1], np.where(grey > 90, 255, 0))


def test_16_bit_png_keeps_its_high_byte():
    values = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 85
    decoded = images.decode(encode(Image.fromarray(values), format="PNG"))
    np.testing.assert_array_equal(decoded[..., 0], values >> 8)


def test_transparency_is_laid_on_white():
    rgba = np.zeros([2, 2, 4], np.uint8)
    rgba[0, 0] = [200, 10, 30, 255]
    rgba[0, 1] = [200, 10, 30, 0]
    rgba[1, 0] = [0, 0, 0, 51]
    decoded = images.decode(encode(Image.fromarray(rgba), format="PNG"))
    np.testing.assert_array_equal(decoded[0, 0], [200, 10, 30])
    np.testing.assert_array_equal(decoded[0, 1], [255, 255, 255])
    np.testing.assert_allclose(decoded[1, 0], [204, 204, 204], atol=1)


def test_cmyk_jpeg_has_its_colors():
    cmyk = Image.fromarray(smooth_pixels()).convert("CMYK")
    decoded = images.decode(encode(cmyk, format="JPEG", quality=95))
    difference = np.abs(decoded.astype(int) - np.array(cmyk.convert("RGB")))
    assert difference.mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation):
    upright = smooth_pixels()
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(np.ascontiguousarray(stored))
    decoded = images.decode(encode(picture, format="PNG", exif=exif))
    np.testing.assert_array_equal(decoded, upright)


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 6), color) for color in ("red", "blue")]
    data = encode(frames[0], format="GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(
        images.decode(data), np.broadcast_to([255, 0, 0], [6, 8, 3])
    )


def test_unusable_files_are_refused_with_a_reason(monkeypatch):
    whole = encode(Image.fromarray(smooth_pixels(200, 200)), format="JPEG")
    with pytest.raises(images.ImageError, match="empty file"):
        images.decode(b"")
    with pytest.raises(images.ImageError, match="not a JPEG, PNG"):
        images.decode(b"This is a text that was renamed to .jpg")
    with pytest.raises(images.ImageError, match="truncated"):
        images.decode(whole[: len(whole) // 2])
    for length in range(1, len(whole) - 2, 97):
        with pytest.raises(images.ImageError):
            images.decode(whole[:length])
    monkeypatch.setattr(image_files, "MAX_PIXELS", 100)
    with pytest.raises(images.ImageError, match="over 100 pixels"):
        images.decode(whole)


def test_the_crop_is_the_centred_square():
    assert images.crop_region(218, 178, 178) == (20, 0, 178)
    assert images.crop_region(30, 41, "square") == (0, 5, 30)
    pixels = RNG.integers(0, 256, [9, 13, 3], np.uint8)
    np.testing.assert_array_equal(images.crop_square(pixels, 5, 5), pixels[2:7, 4:9])
    with pytest.raises(images.ImageError, match="13x9 is smaller than the 10x10 crop"):
        images.crop_square(pixels, 10, 4)
    with pytest.raises(images.ImageError, match="9x9 crop is smaller than 16x16"):
        images.crop_square(pixels, "square", 16)


def test_resizing_to_the_same_size_changes_nothing():
    pixels = RNG.integers(0, 256, [2, 17, 23, 3], np.uint8)
    np.testing.assert_array_equal(images.resize(pixels, 17, 23), pixels)


def test_resizing_averages_what_it_leaves_out():
    checkers = np.indices([64, 64]).sum(0) % 2 * 255
    pixels = np.repeat(checkers[..., None], 3, -1).astype(np.uint8)
    resized = images.resize(pixels, 16, 16).numpy()
    np.testing.assert_allclose(resized[2:-2, 2:-2], 127.5, atol=2)


def test_resizing_agrees_with_an_independent_bicubic_filter():
    """Against Pillow's antialiased bicubic, the same kernel by another hand."""
    pixels = smooth_pixels(24, 32)
    ours = images.resize(pixels, 10, 14).numpy().astype(int)
    theirs = Image.fromarray(pixels).resize((14, 10), Image.Resampling.BICUBIC)
    assert np.abs(ours - np.array(theirs)).max() <= 1


def test_every_level_survives_the_way_to_float_and_back():
    levels = np.arange(256, dtype=np.uint8)
    floats = images.to_float(levels)
    assert floats.dtype == tf.float32
    assert float(floats[0]) == -1 and float(floats[-1]) == 1
    np.testing.assert_array_equal(images.to_uint8(floats), levels)
    np.testing.assert_array_equal(images.to_uint8([-3.0, 2.0]), [0, 255])


def test_composition_keeps_known_pixels_bit_for_bit_whatever_is_predicted():
    image = RNG.uniform(-1, 1, [2, 5, 7, 3]).astype(np.float32)
    mask = RNG.integers(0, 2, [2, 5, 7, 1]).astype(np.float32)
    predicted = RNG.uniform(-1, 1, image.shape).astype(np.float32)
    expected = predicted * mask + image * (1 - mask)
    for compose in (images.compose, tf.function(images.compose)):
        np.testing.assert_array_equal(compose(image, predicted, mask), expected)
    predicted = np.where(mask > 0, predicted, np.nan)
    image_without_hole = np.where(mask > 0, np.inf, image)
    np.testing.assert_array_equal(
        images.compose(image_without_hole, predicted, mask), expected
    )


def test_erasing_removes_even_what_is_no_number():
    image = np.full([1, 2, 2, 3], np.nan, np.float32)
    image[0, 0] = 0.25
    mask = np.array([[0, 0], [1, 1]], np.float32).reshape(1, 2, 2, 1)
    erased = images.erase(image, mask)
    np.testing.assert_array_equal(erased[0, 0], np.full([2, 3], 0.25))
    np.testing.assert_array_equal(erased[0, 1], np.zeros([2, 3]))


def test_a_written_png_reads_back_and_leaves_nothing_else(tmp_path):
    pixels = RNG.integers(0, 256, [6, 9, 3], np.uint8)
    path = tmp_path / "new" / "picture.png"
    images.write_png(path, pixels)
    np.testing.assert_array_equal(images.decode(path.read_bytes()), pixels)
    assert [p.name for p in path.parent.iterdir()] == ["picture.png"]


def test_errors_are_told_in_one_line_whatever_they_say():
    missing = tf.errors.NotFoundError(None, None, "\nno file\nat: node x")
    for error, line in (
        (ValueError("first\nsecond"), "first"),
        (ValueError(" \n"), "ValueError"),
        (AssertionError(), "AssertionError"),
        (missing, "no file"),
        (tf.errors.UnknownError(None, None, ""), "UnknownError"),
    ):
        assert image_files.first_line(error) == line


def test_a_disk_that_fails_without_a_word_is_told_in_one_line(tmp_path):
    with pytest.raises(run_folder.RunFolderError, match=r"there \(OSError\)"):
        with run_folder.written_whole(str(tmp_path / "new")):
            raise OSError
