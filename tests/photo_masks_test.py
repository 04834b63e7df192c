"""Masks as photographers bring them: read as meant, or refused in plain words."""

import io

import numpy as np
import pytest
from PIL import Image

from inpainting_tf import photo_masks, photos

HEIGHT, WIDTH = 24, 36


def encode(pixels, kind="PNG", **options):
    stream = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(stream, format=kind, **options)
    return stream.getvalue()


def photo(exif=None):
    """A photo of noise, as a JPEG so that it may have an EXIF rotation."""
    pixels = np.random.default_rng(0).integers(0, 256, [HEIGHT, WIDTH, 3], np.uint8)
    return photos.read(encode(pixels, "JPEG", **({"exif": exif} if exif else {})))


def hole():
    missing = np.zeros([HEIGHT, WIDTH], bool)
    missing[6:14, 10:25] = True
    return missing


def painted(known, missing, channels=()):
    pixels = np.empty([HEIGHT, WIDTH, *channels], np.uint8)
    pixels[...], pixels[hole()] = known, missing
    return pixels


def read(data, polarity="auto", of=None):
    return photo_masks.read(data, of or photo(), polarity)


TWO_LEVELS = {
    "0 and 255": (painted(0, 255), ""),
    "0 and 1": (painted(0, 1), "two levels, 0 and 1"),
    "half grey": (painted(0, 100), "two levels, 0 and 100"),
    "bool": (hole(), ""),
    "red on black": (painted((0, 0, 0), (255, 0, 0), [3]), "two levels, 0 and 85"),
    "16 bits": (painted(0, 1).astype(np.uint16), "two levels, 0 and 1"),
    "full 16 bits": (hole().astype(np.uint16) * 65535, "two levels, 0 and 65535"),
    "opaque": (painted((0, 0, 0, 255), (255, 255, 255, 255), [4]), ""),
}


@pytest.mark.parametrize("kind", TWO_LEVELS)
def test_of_two_levels_the_brighter_is_missing(kind):
    pixels, said = TWO_LEVELS[kind]
    missing, note = read(encode(pixels))
    np.testing.assert_array_equal(missing, hole())
    assert note == "" if not said else said in note


def test_a_jpeg_is_thresholded_and_that_is_said():
    missing, note = read(encode(painted(0, 255), "JPEG", quality=60))
    np.testing.assert_array_equal(missing, hole())
    assert note == "greys; missing from level 128 on"
    # Dark red on black: all levels lie below 128.
    dark = encode(painted((0, 0, 0), (200, 0, 0), [3]), "JPEG", subsampling=0)
    missing, note = read(dark)
    np.testing.assert_array_equal(missing, hole())
    assert "greys" in note


def test_a_soft_brush_counts_from_the_middle_on():
    pixels = painted(0, 255)
    pixels[5, 10:25], pixels[14, 10:25] = 100, 150
    wanted = hole()
    wanted[14, 10:25] = True
    np.testing.assert_array_equal(read(encode(pixels))[0], wanted)


def test_paint_on_a_transparent_layer_is_missing():
    layer = painted((0, 0, 0, 0), (40, 200, 40, 255), [4])
    missing, note = read(encode(layer))
    np.testing.assert_array_equal(missing, hole())
    assert "transparent layer" in note


def test_a_copy_of_the_photo_with_a_part_erased_is_missing_there():
    own = photo()
    copy = np.dstack([own.rgb, np.where(hole(), 0, 255).astype(np.uint8)])
    missing, note = read(encode(copy), of=own)
    np.testing.assert_array_equal(missing, hole())
    assert "erased" in note
    # Of another photo nobody can tell.
    copy[..., :3] = copy[::-1, ::-1, :3]
    with pytest.raises(photo_masks.MaskError, match="save it as white on black"):
        read(encode(copy), of=own)


def test_an_evidently_inverted_mask_is_turned_round_and_that_is_said():
    inverted = painted(255, 0)
    missing, note = read(encode(inverted))
    np.testing.assert_array_equal(missing, hole())
    assert note.startswith("black is missing (the white is most of the photo")
    missing, note = read(encode(inverted), "white")
    np.testing.assert_array_equal(missing, ~hole())
    assert note == ""
    missing, note = read(encode(painted(0, 255)), "black")
    np.testing.assert_array_equal(missing, ~hole())
    assert note == "black is missing, as asked"


def test_white_is_missing_where_it_may_well_be_meant():
    # A photo in the middle of an empty canvas, to be continued outwards.
    canvas = np.full([HEIGHT, WIDTH, 3], 250, np.uint8)
    canvas[hole()] = photo().rgb[hole()]
    on_canvas = photos.read(encode(canvas))
    missing, note = read(encode(painted(255, 0)), of=on_canvas)
    np.testing.assert_array_equal(missing, ~hole())
    assert note == ""
    # Most of the photo, but not all of its border.
    most = painted(255, 0)
    most[0, 0] = 0
    np.testing.assert_array_equal(read(encode(most))[0], most > 0)


def test_a_mask_as_the_camera_stored_the_photo_is_turned_with_it():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = photo(exif)
    assert turned.rgb.shape == (WIDTH, HEIGHT, 3)
    missing, note = read(encode(painted(0, 255)), of=turned)
    np.testing.assert_array_equal(missing, np.rot90(hole(), -1))
    assert "upright" in note
    upright, note = read(encode(np.rot90(painted(0, 255), -1)), of=turned)
    np.testing.assert_array_equal(upright, missing)
    assert note == ""


def test_what_does_not_say_what_is_missing_is_refused_in_words():
    grey = np.random.default_rng(1).integers(0, 256, [HEIGHT, WIDTH, 3], np.uint8)
    asked = {
        "37x24 and the photo 36x24; .* draw the mask on the photo": np.zeros(
            [HEIGHT, WIDTH + 1], np.uint8
        ),
        "72x48 and the photo 36x24; .* scale the mask to 36x24": np.zeros(
            [2 * HEIGHT, 2 * WIDTH], np.uint8
        ),
        "black all over": painted(0, 0),
        "white all over": painted(255, 255),
        "grey picture, .* neither black nor white": grey,
        "nearly of one shade": 100 + grey[..., 0] // 32,
    }
    for expected, pixels in asked.items():
        with pytest.raises(photo_masks.MaskError, match=expected):
            read(encode(pixels))


def test_boxes_are_left_top_width_height_inside_the_photo():
    missing = photo_masks.from_boxes([(10, 6, 15, 8)], HEIGHT, WIDTH)
    np.testing.assert_array_equal(missing, hole())
    both = photo_masks.from_boxes([(10, 6, 15, 8), (0, 0, WIDTH, 1)], HEIGHT, WIDTH)
    assert both.sum() == hole().sum() + WIDTH
    for box in ((30, 0, 7, 1), (-1, 0, 5, 5), (0, 20, 5, 5), (0, 0, 0, 5)):
        with pytest.raises(photo_masks.MaskError, match="inside the photo.* 36x24"):
            photo_masks.from_boxes([box], HEIGHT, WIDTH)


def test_a_marking_colour_is_missing_within_its_tolerance():
    rgb = painted((200, 10, 200), (250, 5, 245), [3])
    magenta = photo_masks.parse_color("magenta")
    assert magenta == photo_masks.parse_color("#ff00ff") == (255, 0, 255)
    assert photo_masks.parse_color("255,0,255") == magenta
    np.testing.assert_array_equal(photo_masks.from_color(rgb, magenta, 10), hole())
    assert photo_masks.from_color(rgb, magenta, 55).all()
    with pytest.raises(photo_masks.MaskError, match="nearest differs by 10 "):
        photo_masks.from_color(rgb, magenta, 9)
    for text in ("purplish", "1,2", "300,0,0", "#ff"):
        with pytest.raises(photo_masks.MaskError, match="is no colour"):
            photo_masks.parse_color(text)


def test_growing_is_a_maximum_over_squares():
    missing = np.random.default_rng(2).random([HEIGHT, WIDTH]) < 0.02
    for pixels in (0, 1, 3, 40):
        padded = np.pad(missing, pixels)
        side = 2 * pixels + 1
        views = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
        wanted = views.any(axis=(2, 3))
        np.testing.assert_array_equal(photo_masks.grow(missing, pixels), wanted)


def test_nothing_or_everything_missing_is_refused():
    photo_masks.check(hole())
    for value, expected in ((False, "nothing as missing"), (True, "nothing is left")):
        with pytest.raises(photo_masks.MaskError, match=expected):
            photo_masks.check(np.full([3, 4], value))
