"""Photo files read and written back: their own pixels, and what belongs to them."""

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps

from inpainting_tf import image_files, photos

HEIGHT, WIDTH = 11, 17


def levels(channels, dtype=np.uint8, seed=0):
    generator = np.random.default_rng(seed)
    top = np.iinfo(dtype).max
    return generator.integers(0, top, [HEIGHT, WIDTH, channels], dtype, endpoint=True)


def hole():
    missing = np.zeros([HEIGHT, WIDTH], bool)
    missing[3:8, 5:12] = True
    return missing


def encode(picture, kind="PNG", **options):
    stream = io.BytesIO()
    picture.save(stream, format=kind, **options)
    return stream.getvalue()


def completed_file(data, missing=None):
    """(photo, what its completion by random pixels reads back as, by OpenCV)."""
    photo = photos.read(data)
    missing = hole() if missing is None else missing
    fill = levels(3, seed=1)[: missing.shape[0], : missing.shape[1]]
    png = photo.completed_png(fill, missing)
    found = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    if found.ndim == 3:  # OpenCV's order is blue, green, red.
        found = found[..., [2, 1, 0, 3][: found.shape[-1]]]
    return photo, found, fill, png


@pytest.mark.parametrize(
    "channels,dtype", [(3, "uint8"), (4, "uint8"), (3, "uint16"), (4, "uint16")]
)
def test_known_pixels_of_colour_files_keep_every_bit(channels, dtype):
    own = levels(channels, np.dtype(dtype))
    order = [2, 1, 0, 3][:channels]
    data = cv2.imencode(".png", own[..., order])[1].tobytes()
    _, found, fill, _ = completed_file(data)
    assert found.dtype == own.dtype
    known = ~hole()
    np.testing.assert_array_equal(found[known], own[known])
    scale = 257 if dtype == "uint16" else 1
    np.testing.assert_array_equal(
        found[hole()][:, :3], fill[hole()].astype(dtype) * scale
    )
    if channels == 4:
        np.testing.assert_array_equal(found[..., 3], own[..., 3])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_grey_files_stay_grey_and_keep_every_bit(dtype):
    own = levels(1, np.dtype(dtype))[..., 0]
    _, found, fill, _ = completed_file(cv2.imencode(".png", own)[1].tobytes())
    assert found.dtype == own.dtype and found.shape == own.shape
    np.testing.assert_array_equal(found[~hole()], own[~hole()])
    grey = np.array(Image.fromarray(fill).convert("L")).astype(dtype)
    np.testing.assert_array_equal(
        found[hole()], grey[hole()] * (257 if dtype == "uint16" else 1)
    )


def test_grey_with_alpha_stays_so():
    own = levels(2)
    photo, _, _, png = completed_file(encode(Image.fromarray(own)))
    found = Image.open(io.BytesIO(png))
    assert found.mode == "LA"
    np.testing.assert_array_equal(np.array(found)[~hole()], own[~hole()])
    np.testing.assert_array_equal(np.array(found)[..., 1], own[..., 1])
    # Methods see transparency laid on white, as everywhere.
    np.testing.assert_array_equal(
        photo.rgb, image_files.decode(encode(Image.fromarray(own)))
    )


@pytest.mark.parametrize("transparent", [False, True])
def test_palettes_become_full_colour_in_the_same_colours(transparent):
    picture = Image.fromarray(levels(3)).quantize(32)
    options = {"transparency": 3} if transparent else {}
    data = encode(picture, **options)
    wanted = np.array(Image.open(io.BytesIO(data)).convert("RGBA"))
    photo, found, _, _ = completed_file(data)
    assert any("palette" in note for note in photo.notes)
    channels = 4 if transparent else 3
    assert found.shape[-1] == channels
    np.testing.assert_array_equal(found[~hole()], wanted[~hole()][:, :channels])


def test_one_bit_and_cmyk_become_what_png_holds_and_say_so():
    bits = Image.fromarray(levels(1)[..., 0] > 127)
    photo, found, _, _ = completed_file(encode(bits))
    np.testing.assert_array_equal(found[~hole()], np.array(bits)[~hole()] * 255)
    assert "1-bit" in photo.notes[0]
    cmyk = encode(Image.fromarray(levels(4), "CMYK"), "JPEG", icc_profile=b"of CMYK")
    photo, found, _, png = completed_file(cmyk)
    np.testing.assert_array_equal(found[~hole()], photo.rgb[~hole()])
    assert "CMYK" in photo.notes[0]
    assert "icc_profile" not in Image.open(io.BytesIO(png)).info


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_photos_come_back_upright_with_their_other_exif(orientation, dtype):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "maker"
    exif.get_ifd(0x8825)[1] = "N"  # GPS.
    own = levels(3, np.dtype(dtype))
    data = cv2.imencode(".png", own[..., ::-1])[1].tobytes()
    content = exif.tobytes().removeprefix(b"Exif\0\0")
    data = photos._with_chunks(data, [(b"eXIf", content)])
    eight = own if dtype == "uint8" else (own >> 8).astype(np.uint8)
    tagged = Image.fromarray(eight)
    tagged.getexif()[0x0112] = orientation
    upright = np.array(ImageOps.exif_transpose(tagged))
    missing = np.zeros(upright.shape[:2], bool)
    missing[4:6, 2:5] = True
    photo = photos.read(data)
    np.testing.assert_array_equal(photo.rgb, upright)
    png = photo.completed_png(np.zeros_like(upright), missing)
    found = cv2.imdecode(
        np.frombuffer(png, np.uint8),
        cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION,
    )[..., ::-1]
    wanted = found if dtype == "uint8" else (found >> 8).astype(np.uint8)
    np.testing.assert_array_equal(wanted[~missing], upright[~missing])
    assert found.dtype == own.dtype and not found[missing].any()
    kept = Image.open(io.BytesIO(png)).getexif()
    assert kept[0x010F] == "maker" and kept.get_ifd(0x8825)[1] == "N"
    assert 0x0112 not in kept


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_the_profile_and_the_density_are_kept(kind):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options = {} if kind == "WEBP" else {"dpi": (300, 300)}
    data = encode(Image.fromarray(levels(3)), kind, icc_profile=profile, **options)
    photo, found, _, png = completed_file(data)
    written = Image.open(io.BytesIO(png))
    assert written.info["icc_profile"] == profile
    if options:
        assert written.info["dpi"] == pytest.approx((300, 300), abs=0.01)
    np.testing.assert_array_equal(found[~hole()], image_files.decode(data)[~hole()])


def test_what_a_png_says_of_its_levels_is_kept():
    plain = encode(Image.fromarray(levels(3)))
    gamma = struct.pack(">I", 55555)
    data = photos._with_chunks(plain, [(b"gAMA", gamma), (b"tIME", bytes(7))])
    _, _, _, png = completed_file(data)
    kinds = dict(photos._png_chunks(png))
    assert kinds[b"gAMA"] == gamma and b"tIME" not in kinds


def test_the_preview_of_what_was_in_the_hole_is_left_out():
    # A JPEG's EXIF by hand: one tag, and a second directory with a preview.
    preview = b"\xff\xd8 what was in the hole \xff\xd9"
    first = struct.pack(
        "<HHHIHHI", 1, 0x0131, 2, 4, *struct.unpack("<HH", b"cam\0"), 26
    )
    second = struct.pack(
        "<HHHIIHHIII", 2, 0x0201, 4, 1, 56, 0x0202, 4, 1, len(preview), 0
    )
    exif = b"Exif\0\0II*\0\x08\0\0\0" + first + second + preview
    data = encode(Image.fromarray(levels(3)), "JPEG", exif=exif)
    given = Image.open(io.BytesIO(data)).getexif().get_ifd(ExifTags.IFD.IFD1)
    assert given[0x0202] == len(preview)
    _, _, _, png = completed_file(data)
    assert Image.open(io.BytesIO(png)).getexif()[0x0131] == "cam"
    assert b"what was in the hole" in data and b"what was in the hole" not in png


def test_a_hole_that_was_transparent_becomes_opaque_and_no_other():
    own = levels(4)
    own[..., 3] = 200
    own[hole(), 3] = 0
    own[0, 0, 3] = 0
    _, found, _, _ = completed_file(encode(Image.fromarray(own)))
    assert (found[hole()][:, 3] == 255).all()
    np.testing.assert_array_equal(found[~hole()], own[~hole()])


def test_damaged_exif_is_left_out_and_the_photo_completed():
    data = encode(
        Image.fromarray(levels(3)), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\0x"
    )
    _, found, _, png = completed_file(data)
    np.testing.assert_array_equal(found[~hole()], image_files.decode(data)[~hole()])
    assert not dict(Image.open(io.BytesIO(png)).getexif())


def test_files_that_are_no_photos_are_refused():
    whole = cv2.imencode(".png", levels(3, np.dtype("uint16")))[1].tobytes()
    for data, reason in (
        (b"", "empty"),
        (b"text", "not a JPEG"),
        (whole[:300], "damaged"),
    ):
        with pytest.raises(image_files.ImageError, match=reason):
            photos.read(data)


def test_the_text_in_a_completed_file_is_found_again(tmp_path):
    photo = photos.read(encode(Image.fromarray(levels(3))))
    path = tmp_path / "a.png"
    path.write_bytes(photo.completed_png(levels(3), hole(), "made by hand"))
    assert photos.software(str(path)) == "made by hand"
    path.write_bytes(b"no picture")
    assert photos.software(str(path)) == ""
    assert photos.software(str(tmp_path / "absent")) == ""


def test_a_cameras_jpeg_with_a_second_picture_is_no_animation():
    first, second = (Image.fromarray(levels(3, seed=seed)) for seed in (0, 1))
    stream = io.BytesIO()
    first.save(stream, "MPO", save_all=True, append_images=[second])
    data = stream.getvalue()
    assert Image.open(io.BytesIO(data)).n_frames == 2
    photo = photos.read(data)
    assert photo.notes == ()
    np.testing.assert_array_equal(photo.rgb, Image.open(io.BytesIO(data)))
    animation = encode(first, "GIF", save_all=True, append_images=[second])
    assert "an animation" in photos.read(animation).notes[0]
