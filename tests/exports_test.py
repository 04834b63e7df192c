"""Every method's export, run by TensorFlow's own loader without any Python of ours."""

import io

import native_runner
import numpy as np
import pytest
import small_exports
import tensorflow as tf
from PIL import Image

from inpainting_tf import images, serving

MAX_PIXELS = 20_000


@pytest.fixture(scope="module", params=small_exports.EXPORTED)
def exported(request, tmp_path_factory):
    """(path, ServedMethod) of each method in turn."""
    folder = str(tmp_path_factory.mktemp(request.param))
    return small_exports.export_method(folder, request.param, max_pixels=MAX_PIXELS)


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


def both_ways(image, mask):
    """A request in levels, and in files."""
    return [
        ("serving_default", {"image": image, "mask": mask}),
        ("encoded", {"image": files_of(image), "mask": files_of(mask)}),
    ]


def test_all_signatures_complete_any_size_and_keep_known_pixels(exported):
    path, served = exported
    sizes = [(32, 32), (64, 64), (37, 50), (50, 5), (1, 9), (7, 1), (1, 1)]
    cases = [request_of(*size) for size in sizes]
    requests = [r for image, mask in cases for r in both_ways(image, mask)]
    requests += [
        (
            "float",
            {"image": np.float32(image / 127.5 - 1), "mask": np.float32(mask / 255)},
        )
        for image, mask in cases
    ]
    answers = native_runner.run(path, requests)
    assert [answer.message for answer in answers] == [""] * len(requests)
    complete = tf.function(lambda *x: serving.complete(served, *x), reduce_retracing=True)
    for i, (image, mask) in enumerate(cases):
        levels, files = (answers[2 * i + j].outputs for j in (0, 1))
        floats = answers[2 * len(cases) + i].outputs["completed"]
        wanted = complete(images.to_float(image), tf.constant(mask / 255, tf.float32))
        # What Python computes, to the level.
        np.testing.assert_array_equal(levels["completed"], images.to_uint8(wanted))
        np.testing.assert_allclose(floats, wanted, atol=2e-6)
        known = np.broadcast_to(mask == 0, image.shape)
        np.testing.assert_array_equal(levels["completed"][known], image[known])
        np.testing.assert_array_equal(
            floats[known], np.float32(image / 127.5 - 1)[known]
        )
        decoded = [images.decode(data) for data in files["completed_bytes"]]
        np.testing.assert_array_equal(np.stack(decoded), levels["completed"])
    assert (answers[0].outputs["completed"] != cases[0][0]).any()


def test_at_the_methods_own_size_the_export_is_the_bare_network(exported):
    path, served = exported
    image, mask = request_of(served.image_size, served.image_size, batch=1)
    image = np.float32(image / 127.5 - 1)
    mask = np.float32(mask / 255)
    (answer,) = native_runner.run(path, [("float", {"image": image, "mask": mask})])
    expected = tf.function(served.inpaint)(tf.constant(image), tf.constant(mask))
    np.testing.assert_allclose(answer.outputs["completed"], expected, atol=2e-6)


def test_an_example_gets_the_same_bytes_alone_and_in_any_batch(exported):
    path, _ = exported
    image, mask = request_of(40, 44, batch=5)
    other, other_mask = request_of(17, 23, batch=1, seed=1)
    requests = both_ways(image, mask)
    for i in range(5):
        requests += both_ways(image[i : i + 1], mask[i : i + 1])
    mixed = {
        "image": files_of(image[:2]) + files_of(other) + files_of(image[2:]),
        "mask": files_of(mask[:2]) + files_of(other_mask) + files_of(mask[2:]),
    }
    requests.append(("encoded", mixed))
    answers = native_runner.run(path, requests)
    together, files = answers[0].outputs["completed"], answers[1].outputs
    for i in range(5):
        alone, file_alone = answers[2 + 2 * i].outputs, answers[3 + 2 * i].outputs
        assert alone["completed"].tobytes() == together[i].tobytes()
        assert file_alone["completed_bytes"][0] == files["completed_bytes"][i]
    among_others = list(answers[-1].outputs["completed_bytes"])
    del among_others[2]
    assert among_others == list(files["completed_bytes"])


def test_warm_up_requests_reach_every_signature(exported):
    path, _ = exported
    requests = native_runner.warmup_requests(path)
    assert {signature for signature, _ in requests} == {*serving.SIGNATURES}
    assert all(answer.code == "OK" for answer in native_runner.run(path, requests))


def test_what_is_in_the_hole_of_a_request_plays_no_part(exported):
    path, _ = exported
    image, mask = request_of(45, 38)
    spoilt = np.where(mask > 0, 255 - image, image)
    floats = {"image": np.float32(image / 127.5 - 1), "mask": np.float32(mask / 255)}
    no_numbers = np.where(mask > 0, np.float32(np.nan), floats["image"])
    answers = native_runner.run(
        path,
        [
            ("serving_default", {"image": image, "mask": mask}),
            ("serving_default", {"image": spoilt, "mask": mask}),
            ("float", floats),
            ("float", floats | {"image": no_numbers}),
        ],
    )
    for first, second in (answers[:2], answers[2:]):
        np.testing.assert_array_equal(
            first.outputs["completed"], second.outputs["completed"]
        )


@pytest.fixture(scope="module")
def glcic(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("glcic"))
    return small_exports.export_method(folder, "glcic", max_pixels=MAX_PIXELS)[0]


def bad_requests():
    image, mask = request_of(16, 20, batch=2)
    png, mask_png = files_of(image), files_of(mask)
    floats = {"image": np.float32(image / 127.5 - 1), "mask": np.float32(mask / 255)}
    known_nan = floats["image"].copy()
    known_nan[1, 15, 19] = np.nan
    half_nan = floats["mask"].copy()
    half_nan[0, 0, 0] = np.nan

    def levels(image, mask):
        return "serving_default", {"image": image, "mask": mask}

    def encoded(image, mask):
        return "encoded", {"image": image, "mask": mask}

    gif = files_of(image[:1], "GIF")
    large = np.zeros([1, 200, 101, 3], np.uint8)
    return {
        "no images: must be at least one": levels(image[:0], mask[:0]),
        "no images": encoded([], []),
        "[2 0 20]": levels(image[:, :0], mask[:, :0]),
        "[1 200 101]": levels(large, large[..., :1]),
        "mask of shape [2 16 19 1]": levels(image, mask[:, :, :-1]),
        "mask of shape [1 16 20 1]": levels(image, mask[:1]),
        "mask of shape [2 16 20 3]": levels(image, np.repeat(mask, 3, axis=-1)),
        "image of shape [2 16 20 4]": levels(np.repeat(mask, 4, axis=-1), mask),
        "image of shape [16 20 3]": levels(image[0], mask),
        "mask of shape [2 16 20]:": levels(image, mask[..., 0]),
        "known pixels must be numbers in -1..1": (
            "float",
            floats | {"image": known_nan},
        ),
        "known pixels must be numbers": (
            "float",
            floats | {"image": np.float32(image)},
        ),
        "mask: must be 0 (known) to 1 (missing)": ("float", floats | {"mask": half_nan}),
        "to 1 (missing) everywhere": ("float", floats | {"mask": np.float32(mask)}),
        "image: the file is empty": encoded([b"", png[1]], mask_png),
        "mask: the file is empty": encoded(png, [mask_png[0], b""]),
        "image: no PNG or JPEG file": encoded([b"a photo", png[0]], mask_png),
        "mask: no PNG or JPEG file": encoded(png[:1], gif),
        "Invalid PNG": encoded([png[0][:60]], mask_png[:1]),
        "mask of shape [1 16 19 1]": encoded(png[:1], files_of(mask[:1, :, :-1])),
        "2 images with 1 masks": encoded(png, mask_png[:1]),
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
