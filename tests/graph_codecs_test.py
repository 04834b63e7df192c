"""Picture files in a graph: the levels of Pillow, and refusals before decoding."""

import io
import struct

import damaged_files
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from inpainting_tf import graph_codecs, images

RANDOM = np.random.default_rng(0)
NOISE = RANDOM.integers(0, 256, [20, 33, 3], dtype=np.uint8)
SMOOTH = np.array(Image.fromarray(NOISE).resize((66, 40), Image.Resampling.BICUBIC))
MAX_PIXELS = 10_000


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def decode(data):
    return graph_codecs.decode_picture(data, MAX_PIXELS)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)])
def decode_mask(data):
    return graph_codecs.decode_mask(data, MAX_PIXELS)


def file_of(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    return file.getvalue()


def pictures():
    picture = Image.fromarray(SMOOTH)
    alpha = Image.fromarray(RANDOM.integers(0, 256, [40, 66], dtype=np.uint8))
    transparent = picture.copy()
    transparent.putalpha(alpha)
    palette = picture.quantize(16)
    sixteen = RANDOM.integers(0, 65536, [9, 7]).astype(np.uint16)
    return {
        "rgb": file_of(picture),
        "grey": file_of(picture.convert("L")),
        "one_bit": file_of(picture.convert("1")),
        "palette": file_of(palette),
        "palette_with_transparency": file_of(palette, transparency=3),
        "rgba": file_of(transparent),
        "grey_alpha": file_of(transparent.convert("LA")),
        "sixteen_bits": file_of(Image.fromarray(sixteen)),
        "jpeg": file_of(picture, "JPEG", quality=70),
        "jpeg_grey": file_of(picture.convert("L"), "JPEG"),
        "jpeg_cmyk": file_of(picture.convert("CMYK"), "JPEG"),
        "jpeg_progressive": file_of(picture, "JPEG", progressive=True),
        "jpeg_full_color": file_of(picture, "JPEG", subsampling=0),
    }


@pytest.mark.parametrize("kind", pictures())
def test_pictures_decode_to_the_levels_of_the_image_path(kind):
    data = pictures()[kind]
    np.testing.assert_array_equal(decode(data), images.decode(data))


def test_every_colour_and_transparency_is_laid_on_white_as_pillow_does():
    color, alpha = np.meshgrid(np.arange(256), np.arange(256))
    channels = [color, color, color, alpha]
    picture = Image.fromarray(np.stack(channels, -1).astype(np.uint8), "RGBA")
    white = Image.new("RGBA", picture.size, "white")
    expected = np.array(Image.alpha_composite(white, picture).convert("RGB"))
    found = graph_codecs.decode_picture(file_of(picture), 256 * 256)
    np.testing.assert_array_equal(found, expected)


def test_masks_of_01_of_0255_and_of_jpeg_levels_mean_the_same():
    missing = np.zeros([2, 16, 24, 1], np.uint8)
    missing[0, 4:9, 3:8], missing[1, :, 10:] = 1, 1
    for levels in (missing, missing * 255):
        np.testing.assert_array_equal(graph_codecs.missing_pixels(levels), missing)
    for one in missing[..., 0]:
        for data in (
            file_of(Image.fromarray(one)),
            file_of(Image.fromarray(one * 255)),
            file_of(Image.fromarray(np.stack([one * 255] * 3, -1))),
            file_of(Image.fromarray(one * 255), "JPEG", quality=90),
        ):
            levels = decode_mask(data)[tf.newaxis]
            found = graph_codecs.missing_pixels(levels)[0, ..., 0]
            np.testing.assert_array_equal(found, one)


def test_masks_of_any_kind_mean_what_the_image_path_makes_of_them():
    grey = np.zeros([12, 9], np.uint8)
    grey[3:7, 2:6] = 255
    clear = np.stack([grey * 0, grey * 0, grey * 0, 255 - grey], -1)
    for picture in (Image.fromarray(clear), Image.fromarray(np.uint16(grey) * 257)):
        levels = decode_mask(file_of(picture))
        mean = images.decode(file_of(picture)).mean(axis=-1)
        np.testing.assert_array_equal(levels[..., 0], np.ceil(mean))
        found = graph_codecs.missing_pixels(levels[tf.newaxis])[0, ..., 0]
        np.testing.assert_array_equal(found, grey > 0)


def test_a_mask_that_is_grey_at_most_is_refused():
    dark = Image.fromarray(np.full([4, 5], 100, np.uint8))
    with pytest.raises(tf.errors.InvalidArgumentError, match="brightest pixel is 100"):
        decode_mask(file_of(dark))


def test_encoded_pictures_come_back_as_they_were():
    data = graph_codecs.encode_png(SMOOTH).numpy()
    np.testing.assert_array_equal(images.decode(data), SMOOTH)


def declared(width, height):
    """A PNG whose header declares another size than its data has."""
    data = bytearray(file_of(Image.fromarray(NOISE)))
    data[16:24] = struct.pack(">II", width, height)
    return bytes(data)


REFUSED = {
    "the file is empty": b"",
    "no PNG or JPEG file": b"a photo",
    "the PNG file is cut short": graph_codecs.PNG_START + b"\0\0\0\rIHDR\0",
    "must have 1 to 10000 pixels": declared(100_000, 100_000),
    "0x20 (width x height)": declared(0, 20),
    "70000x1 (width x height)": declared(70_000, 1),
    "-1x20": declared(2**32 - 1, 20),
}


@pytest.mark.parametrize("message", REFUSED)
@pytest.mark.parametrize("decoder", [decode, decode_mask])
def test_what_is_no_acceptable_file_is_refused_with_the_reason(message, decoder):
    with pytest.raises(tf.errors.InvalidArgumentError) as error:
        decoder(REFUSED[message])
    assert message in error.value.message


def test_words_in_texts_of_a_png_are_not_taken_for_its_chunks():
    for kind in ("one_bit", "palette", "palette_with_transparency", "rgba"):
        data = pictures()[kind]
        for word in (b"tRNS", b"IDAT", b"IHDR"):
            chunks = damaged_files.split(data)
            chunks.insert(1, (b"tEXt", b"Comment\0" + word))
            found = decode(damaged_files.joined(chunks))
            np.testing.assert_array_equal(found, images.decode(data), (kind, word))


def test_a_header_behind_another_chunk_is_refused_whatever_size_is_shown_first():
    header, *rest = damaged_files.split(pictures()["rgb"])
    large = (b"IHDR", struct.pack(">II", 20_000, 20_000) + header[1][8:])
    for second in (header, large):
        data = damaged_files.joined([(b"prVt", header[1]), second, *rest])
        with pytest.raises(tf.errors.InvalidArgumentError, match="not begin with its"):
            decode(data)


def test_endless_small_chunks_are_refused_where_colours_may_be_transparent():
    header, *rest = damaged_files.split(pictures()["palette_with_transparency"])
    few, many = ([header, *[(b"prVt", b"")] * n, *rest] for n in (400, 1500))
    wanted = images.decode(damaged_files.joined([header, *rest]))
    np.testing.assert_array_equal(decode(damaged_files.joined(few)), wanted)
    with pytest.raises(tf.errors.InvalidArgumentError, match="over 1000 chunks"):
        decode(damaged_files.joined(many))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_file_is_refused(kind):
    data = file_of(Image.fromarray(SMOOTH), kind)
    for length in (3, 30, len(data) // 2):
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode(data[:length])


def test_other_formats_and_animations_are_refused():
    frames = [Image.fromarray(NOISE), Image.fromarray(255 - NOISE)]
    animation = io.BytesIO()
    frames[0].save(animation, "GIF", save_all=True, append_images=frames[1:])
    for data in (animation.getvalue(), file_of(frames[0], "BMP")):
        with pytest.raises(tf.errors.InvalidArgumentError, match="no PNG or JPEG"):
            decode(data)
