"""Every method's export, run by TensorFlow's own loader without any Python of ours."""

import functools
import io

import native_runner
import numpy as np
import pytest
import small_exports
import tensorflow as tf
from PIL import Image

from inpainting_tf import images, serving

MAX_PIXELS = 20_000


def request_of(height, width, batch=3, seed=0):
    """Pictures and masks, uint8 levels: holes of their own, most of them inside."""
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 256, [batch, height, width, 3], dtype=np.uint8)
    mask = np.zeros([batch, height, width, 1], np.uint8)
    for i in range(batch):
        top, left = generator.integers(0, [max(1, height // 2), max(1, width // 2)])
        mask[i, top : top + height // 2 + 1, left : left + width // 3 + 1] = 255
    return image, mask


def files_of(pixels, kind="PNG", **options):
    result = []
    for picture in pixels:
        file = io.BytesIO()
        picture = picture[..., 0] if picture.shape[-1] == 1 else picture
        Image.fromarray(picture).save(file, format=kind, **options)
        result.append(file.getvalue())
    return result


def named(signature, image, mask):
    return signature, {"image": image, "mask": mask}


def both_ways(image, mask):
    """A request in levels, and in files."""
    return [
        named("serving_default", image, mask),
        named("encoded", files_of(image), files_of(mask)),
    ]


def in_floats(image, mask):
    return np.float32(image / 127.5 - 1), np.float32(mask / 255)


SIZES = [(32, 32), (64, 64), (37, 50), (50, 5), (1, 9), (7, 1), (1, 1)]
CASES = [request_of(*size) for size in SIZES]


def asked(served):
    """Everything that is asked of an export: name -> list of requests."""
    image, mask = request_of(40, 44, batch=4)
    other, other_mask = request_of(17, 23, batch=1, seed=1)
    floats, missing = in_floats(image, mask)
    own = in_floats(*request_of(served.image_size, served.image_size, batch=1))
    return {
        "levels": [both_ways(*case)[0] for case in CASES],
        "files": [both_ways(*case)[1] for case in CASES],
        "floats": [named("float", *in_floats(*case)) for case in CASES],
        "own size": [named("float", *own)],
        "together": both_ways(image, mask),
        "alone": [
            request
            for i in range(4)
            for request in both_ways(image[i : i + 1], mask[i : i + 1])
        ],
        "among others": [
            named(
                "encoded",
                files_of(image[:2]) + files_of(other) + files_of(image[2:]),
                files_of(mask[:2]) + files_of(other_mask) + files_of(mask[2:]),
            )
        ],
        "other holes": [
            named("serving_default", np.where(mask > 0, 255 - image, image), mask),
            named("float", np.where(mask > 0, np.float32(np.nan), floats), missing),
            named("float", floats, missing),
        ],
    }


# What a method's export has of its own beyond these is seen with -m slow.
QUICK = ("parallel_attention", "glcic", "context_encoder", "siidgm")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(method, marks=() if method in QUICK else pytest.mark.slow)
        for method in small_exports.EXPORTED
    ],
)
def exported(request, tmp_path_factory):
    """Of each method: its export's path, its ServedMethod, and the answers by name."""
    folder = str(tmp_path_factory.mktemp(request.param))
    path, served = small_exports.export_method(
        folder, request.param, max_pixels=MAX_PIXELS
    )
    requests = asked(served)
    requests["warm-up"] = native_runner.warmup_requests(path)
    # One process for all, since loading takes longer than answering.
    answers = native_runner.run(path, [r for some in requests.values() for r in some])
    assert {answer.message for answer in answers} == {""}
    places = iter(answers)
    return (
        path,
        served,
        {name: [next(places).outputs for _ in some] for name, some in requests.items()},
    )


def test_all_signatures_complete_any_size_and_keep_known_pixels(exported):
    _, served, answers = exported

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, channels]) for channels in (3, 1)
        ]
    )
    def complete(image, mask):
        return serving.complete(served, image, mask)

    for i, (image, mask) in enumerate(CASES):
        levels = answers["levels"][i]["completed"]
        floats = answers["floats"][i]["completed"]
        files = answers["files"][i]["completed_bytes"]
        given, missing = in_floats(image, mask)
        wanted = complete(images.to_float(image), missing)
        # What Python computes, rounded to levels: off by more than half a one nowhere.
        np.testing.assert_allclose(floats, wanted, atol=5e-6)
        np.testing.assert_allclose(levels, (wanted + 1) * 127.5, atol=0.5 + 1e-3)
        known = np.broadcast_to(mask == 0, image.shape)
        np.testing.assert_array_equal(levels[known], image[known])
        np.testing.assert_array_equal(floats[known], given[known])
        decoded = [images.decode(data) for data in files]
        np.testing.assert_array_equal(np.stack(decoded), levels)
    assert (answers["levels"][0]["completed"] != CASES[0][0]).any()


def levels_of(value):
    """Completions as levels 0..255, of files too."""
    if value.dtype.kind == "f":
        return 127.5 * (value + 1)
    if value.dtype.kind != "u":
        value = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in value])
    return value.astype(np.float32)


def test_python_and_the_native_loader_complete_alike(exported):
    """Bit for bit where both choose the same kernels, which oneDNN does not promise."""
    path, served, answers = exported
    loaded = tf.saved_model.load(path).signatures
    requests = native_runner.warmup_requests(path)
    requests += asked(served)["levels"][2:3]
    native = answers["warm-up"] + answers["levels"][2:3]
    for (signature, inputs), expected in zip(requests, native, strict=True):
        inputs = {name: tf.constant(value) for name, value in inputs.items()}
        for name, value in loaded[signature](**inputs).items():
            value, native_value = value.numpy(), np.asarray(expected[name])
            assert value.shape == native_value.shape
            apart = np.abs(levels_of(value) - levels_of(native_value))
            assert apart.max() <= 1 and np.mean(apart > 0.01) < 0.01


def test_at_the_methods_own_size_the_export_is_the_bare_network(exported):
    _, served, answers = exported
    size = served.image_size
    image, mask = in_floats(*request_of(size, size, batch=1))
    expected = tf.function(served.inpaint)(tf.constant(image), tf.constant(mask))
    (answer,) = answers["own size"]
    np.testing.assert_allclose(answer["completed"], expected, atol=2e-6)


def test_an_example_gets_the_same_bytes_alone_and_in_any_batch(exported):
    _, _, answers = exported
    levels, files = answers["together"]
    for i, alone in enumerate(answers["alone"][::2]):
        assert alone["completed"].tobytes() == levels["completed"][i].tobytes()
    together = list(files["completed_bytes"])
    assert [x["completed_bytes"][0] for x in answers["alone"][1::2]] == together
    among_others = list(answers["among others"][0]["completed_bytes"])
    del among_others[2]
    assert among_others == together


def test_what_is_in_the_hole_of_a_request_plays_no_part(exported):
    _, _, answers = exported
    levels, no_numbers, floats = (x["completed"] for x in answers["other holes"])
    np.testing.assert_array_equal(levels, answers["together"][0]["completed"])
    np.testing.assert_array_equal(no_numbers, floats)


def test_warm_up_requests_reach_every_signature(exported):
    _, served, answers = exported
    shape = (1, served.image_size, served.image_size, 3)
    levels, floats, files = answers["warm-up"]
    assert levels["completed"].shape == floats["completed"].shape == shape
    assert images.decode(files["completed_bytes"][0]).shape == shape[1:]


@pytest.fixture(scope="module")
def glcic(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("glcic"))
    return small_exports.export_method(folder, "glcic", max_pixels=MAX_PIXELS)[0]


def bad_requests():
    image, mask = request_of(16, 20, batch=2)
    png, mask_png = files_of(image), files_of(mask)
    floats, missing = in_floats(image, mask)
    known_nan, half_nan = floats.copy(), missing.copy()
    known_nan[1, 15, 19] = half_nan[0, 0, 0] = np.nan

    levels = functools.partial(named, "serving_default")
    encoded = functools.partial(named, "encoded")

    gif = files_of(image[:1], "GIF")
    large = np.zeros([1, 200, 101, 3], np.uint8)
    strip = np.zeros([1, 1, 565, 3], np.uint8)
    tight = np.zeros([1, 141, 141, 3], np.uint8)
    return {
        "no images: must be at least one": levels(image[:0], mask[:0]),
        "no images": encoded([], []),
        "height and width [0 20]": levels(image[:, :0], mask[:, :0]),
        "height and width [200 101]": levels(large, large[..., :1]),
        "continued to sides that the method takes, [144 144]": levels(
            tight, tight[..., :1]
        ),
        "mask of shape [2 16 19 1]": levels(image, mask[:, :, :-1]),
        "mask of shape [1 16 20 1]": levels(image, mask[:1]),
        "mask of shape [2 16 20 3]": levels(image, np.repeat(mask, 3, axis=-1)),
        "image of shape [2 16 20 4]": levels(np.repeat(mask, 4, axis=-1), mask),
        "image of shape [16 20 3]": levels(image[0], mask),
        "mask of shape [2 16 20]:": levels(image, mask[..., 0]),
        "pixels must be numbers in -1..1": named("float", known_nan, missing),
        "pixels must be numbers": named("float", np.float32(image), missing),
        "must be 0 (known) to 1 (missing)": named("float", floats, half_nan),
        "to 1 (missing) everywhere": named("float", floats, np.float32(mask)),
        "image: the file is empty": encoded([b"", png[1]], mask_png),
        "mask: the file is empty": encoded(png, [mask_png[0], b""]),
        "image: no PNG or JPEG file": encoded([b"a photo", png[0]], mask_png),
        "mask: no PNG or JPEG file": encoded(png[:1], gif),
        "Invalid PNG": encoded([png[0][:60]], mask_png[:1]),
        "mask of shape [1 16 19 1]": encoded(png[:1], files_of(mask[:1, :, :-1])),
        "2 images with 1 masks": encoded(png, mask_png[:1]),
        "no side may exceed 564": levels(strip, strip[..., :1]),
        "101x200 (width x height)": encoded(files_of(large), files_of(large[..., :1])),
    }


def test_what_cannot_be_completed_is_an_invalid_argument_that_says_why(glcic):
    requests = bad_requests()
    good = both_ways(*request_of(16, 20))
    answers = native_runner.run(glcic, [*requests.values(), *good])
    for expected, answer in zip(requests, answers, strict=False):
        assert answer.code == "INVALID_ARGUMENT", expected
        assert expected in answer.message, (expected, answer.message)
    assert [answer.code for answer in answers[-2:]] == ["OK", "OK"]


def test_the_center_variant_refuses_holes_that_it_was_not_made_for(tmp_path):
    networks = small_exports.NETWORKS | {
        "context_encoder": {"image_size": 32, "width": 0.0625, "region": "center"}
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small_exports, "NETWORKS", networks)
        path, _ = small_exports.export_method(str(tmp_path), "context_encoder")
    image, mask = request_of(32, 32, batch=1)
    inside = np.zeros_like(mask)
    inside[:, 9:20, 10:23] = 255
    wrong, right = native_runner.run(
        path,
        [
            ("serving_default", {"image": image, "mask": np.full_like(mask, 255)}),
            ("serving_default", {"image": image, "mask": inside}),
        ],
    )
    assert wrong.code == "INVALID_ARGUMENT"
    assert "central" in wrong.message
    assert right.code == "OK"
