"""Exports under thousands of damaged requests, a thousand in a row, and of many sizes.

Slow, and left out of the ordinary run:

    python -m pytest -m slow

Everything runs through TensorFlow's own loader without Python. Each answer must be right
or an INVALID_ARGUMENT that says why; a crash or a hang fails the whole run. Damage is
the same at every run (fixed seeds).
"""

import dataclasses
import math

import damaged_files
import native_runner
import numpy as np
import pytest
import small_exports
import tensorflow as tf
from tensorflow.python.eager import context

from inpainting_tf import images
from inpainting_tf.image_files import encode_png

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MAX_PIXELS = 20_000
# One network that takes pictures at their own sizes, one search of reduced ones.
# Requests with files and with tensors; a search takes ten times as long as a network.
METHODS = {"glcic": (2_000, 1_000), "siidgm": (400, 200)}
INPUTS = ("image", "mask")
MIB = 2**20


@pytest.fixture(scope="module", params=list(METHODS))
def export(request, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp(request.param))
    path, _ = small_exports.export_method(folder, request.param, max_pixels=MAX_PIXELS)
    return path, *METHODS[request.param]


def random_size(generator):
    """(height, width), now and then one pixel wide or high."""
    sizes = [(16, 20), (21, 9), (33, 31), (1, 17), (40, 1), (1, 1)]
    return sizes[generator.choice(len(sizes), p=[0.4, 0.2, 0.2, 0.08, 0.08, 0.04])]


def random_picture(generator, height, width):
    """Levels [H, W, 3] and mask [H, W] of 0 and 255, at times all or nothing."""
    image = generator.integers(0, 256, [height, width, 3], dtype=np.uint8)
    mask = np.zeros([height, width], np.uint8)
    mask[height // 4 : height // 4 * 3 + 1, width // 4 : width // 2 + 1] = 255
    if generator.random() < 0.1:
        mask[:] = generator.choice([0, 255])
    return image, mask


def refused(answer, label):
    """Whether an answer is a refusal, which must say what was wrong."""
    assert answer.code in ("OK", "INVALID_ARGUMENT"), (label, answer.code)
    assert (answer.code == "OK") == (answer.message == ""), label
    return answer.code != "OK"


def assert_memory_bounded(answers, most):
    """Whatever was sent, the peak stays near what loading and the first answer took."""
    grown = answers[-1].peak_bytes - answers[0].peak_bytes
    assert grown < most, f"{grown / MIB:.0f} MiB"


# ---------------------------------------------------------------- files


@dataclasses.dataclass
class Pair:
    """A picture file and its mask's, and what is known of them.

    Attributes:
      label: what was done to them.
      image, mask: bytes.
      accepted: True, False, or None where decoders may differ.
      size: of the answer, (height, width); None if both are damaged.
      levels: [H, W, 3] of the picture, None if damaged.
      known: bool [H, W], where the mask is 0; None if damaged.
    """

    label: str
    image: bytes
    mask: bytes
    accepted: bool | None
    size: tuple | None
    levels: np.ndarray | None
    known: np.ndarray | None


def random_pair(generator):
    height, width = random_size(generator)
    pixels, mask = random_picture(generator, height, width)
    kinds, mask_kinds = damaged_files.kinds(pixels), damaged_files.mask_kinds(mask)
    kind, mask_kind = (str(generator.choice(list(x))) for x in (kinds, mask_kinds))
    image_file, mask_file = kinds[kind], mask_kinds[mask_kind]
    levels = images.decode(image_file)
    mask_levels = images.decode(mask_file)[..., 0]
    known = mask_levels < (128 if mask_levels.max() > 1 else 1)
    pair = Pair(
        f"{kind}, {mask_kind}", image_file, mask_file, True, levels.shape[:2],
        levels, known,
    )  # fmt: skip

    case = generator.choice(
        ["whole", "harmless", "foreign", "image", "mask", "both", "swapped", "sizes"],
        p=[0.08, 0.1, 0.05, 0.36, 0.25, 0.1, 0.03, 0.03],
    )
    if case == "harmless":
        one, pair.image = damaged_files.harmless(pair.image, generator)
        other, pair.mask = damaged_files.harmless(pair.mask, generator)
        case = f"{one}, {other}"
    elif case == "foreign":
        files = damaged_files.foreign(pixels)
        case = str(generator.choice(list(files)))
        which = "image" if generator.random() < 0.5 else "mask"
        setattr(pair, which, files[case])
        pair.accepted = False
    elif case == "swapped":
        pair.image, pair.mask = pair.mask, pair.image
        pair.levels = pair.known = pair.accepted = None  # No mask is in CMYK.
    elif case == "sizes":
        pair.mask = encode_png(np.zeros([height + 1, width], np.uint8))
        pair.accepted = False
    if case in ("image", "both"):
        one, pair.image = damaged_files.damage(pair.image, generator)
        pair.label += f"; image: {one}"
        pair.levels = pair.accepted = None
    if case in ("mask", "both"):
        one, pair.mask = damaged_files.damage(pair.mask, generator)
        pair.label += f"; mask: {one}"
        pair.known = pair.accepted = None
    if case == "both":
        pair.size = None
    pair.label += f"; {case}"
    return pair


def check_files(pairs, answer):
    """Returns whether the answer is a completion."""
    label = "; ".join(pair.label for pair in pairs)
    if refused(answer, label):
        assert not all(pair.accepted for pair in pairs), (label, answer.message)
        return False
    assert all(pair.accepted is not False for pair in pairs), label
    files = answer.outputs["completed_bytes"]
    assert files.shape == (len(pairs),), label
    for pair, data in zip(pairs, files, strict=True):
        completed = images.decode(data)
        assert data.startswith(b"\x89PNG"), label
        if pair.size is not None:
            assert completed.shape == (*pair.size, 3), label
        if pair.levels is not None and pair.known is not None:
            np.testing.assert_array_equal(
                completed[pair.known], pair.levels[pair.known], label
            )
    return True


def test_damaged_files_are_completed_rightly_or_refused(export):
    path, count, _ = export
    generator = np.random.default_rng(11)
    whole = random_pair(np.random.default_rng(0))
    while not whole.accepted:
        whole = random_pair(generator)
    requests = [[whole]]
    for _ in range(count):
        # A damaged file among good ones, now and then.
        company = [whole] * int(generator.integers(1, 3) * (generator.random() < 0.1))
        requests.append([random_pair(generator), *company])
    answers = native_runner.run(
        path,
        [
            ("encoded", {key: [getattr(x, key) for x in pairs] for key in INPUTS})
            for pairs in requests
        ],
    )
    done = [check_files(*both) for both in zip(requests, answers, strict=True)]
    assert count / 5 < sum(done) < count * 4 / 5  # Damage of both kinds was done.
    assert_memory_bounded(answers, 256 * MIB)


# ---------------------------------------------------------------- tensors


def random_tensors(generator, floats):
    """An image and a mask with up to two things wrong; returns (label, image, mask)."""
    batch = int(generator.integers(1, 4))
    height, width = random_size(generator)
    pictures = [random_picture(generator, height, width) for _ in range(batch)]
    image, mask = (np.stack(x) for x in zip(*pictures, strict=True))
    mask = mask[..., np.newaxis]
    if floats:
        image, mask = np.float32(image / 127.5 - 1), np.float32(mask / 255)
    label = ["floats" if floats else "levels"]
    for _ in range(generator.integers(3)):
        changes = _SHAPES + (_VALUES if floats else [_other_levels])
        change = changes[generator.integers(len(changes))]
        image, mask = change(generator, image, mask)
        label.append(change.__name__.strip("_"))
    return ", ".join(label), image, mask


def _either(change):
    """Applies a change of one tensor to the image or to the mask."""

    def changed(generator, image, mask):
        if generator.random() < 0.5:
            return change(generator, image), mask
        return image, change(generator, mask)

    changed.__name__ = change.__name__
    return changed


def _other_rank(generator, x):
    if generator.random() < 0.5 or not x.ndim:
        return x[np.newaxis] if x.ndim < 7 else x
    return x[(0,) if x.shape[0] else Ellipsis]


def _other_side(generator, x):
    axis = int(generator.integers(max(x.ndim, 1)))
    sizes = [axis_size for axis_size in (0, 1, 2, 3, 4, 5, 20) if x.size]
    if not sizes or not x.ndim:
        return x
    return np.take(x, np.arange(generator.choice(sizes)) % x.shape[axis], axis)


def _both_sides(generator, image, mask):
    """The same empty, short or long side, or batch, in both."""
    axis = int(generator.integers(3))
    size = int(generator.choice([0, 1, 3, 700 if axis else 5]))
    if min(image.ndim, mask.ndim) <= axis or not image.size or not mask.size:
        return image, mask
    return tuple(
        np.take(x, np.arange(size) % x.shape[axis], axis) for x in (image, mask)
    )


def _wild_value(generator, x):
    x = x.copy()
    wild = [np.nan, np.inf, -np.inf, 2.0, -2.0, 3e38, 1e-45, -0.0, 0.5, 0.49]
    if x.size:
        x.flat[generator.integers(x.size)] = generator.choice(wild)
    return x


def _levels_for_floats(generator, x):
    return np.float32((x + 1) * 127.5)


def _garbage_in_holes(generator, image, mask):
    if image.shape[:-1] != mask.shape[:-1] or mask.shape[-1:] != (1,):
        return image, mask
    garbage = np.float32(generator.choice([np.nan, np.inf, 1e30]))
    return np.where(mask >= 0.5, garbage, image), mask


def _other_levels(generator, image, mask):
    if generator.random() < 0.5:
        return image, mask // 255
    return image, generator.integers(0, 256, mask.shape, dtype=np.uint8)


_SHAPES = [_either(_other_rank), _either(_other_side), _both_sides]
_VALUES = [_either(_wild_value), _either(_levels_for_floats), _garbage_in_holes]


def missing_of(image, mask):
    """What the signatures' description says: bool [B, H, W, 1], None if refused."""
    if image.ndim != 4 or mask.ndim != 4 or image.shape[3] != 3:
        return None
    if mask.shape != (*image.shape[:3], 1) or image.size == 0:
        return None
    sides = image.shape[1:3]
    if sides[0] * sides[1] > MAX_PIXELS or max(sides) > 4 * math.isqrt(MAX_PIXELS):
        return None
    if mask.dtype == np.uint8:
        largest = mask.max(axis=(1, 2, 3), keepdims=True)
        return np.where(largest > 1, mask >= 128, mask == 1)
    if not ((mask >= 0) & (mask <= 1)).all():
        return None
    missing = mask >= 0.5
    known = image[np.broadcast_to(~missing, image.shape)]
    return missing if (np.abs(known) <= np.float32(1.001)).all() else None


def test_tensors_are_completed_rightly_or_refused(export):
    path, _, count = export
    generator = np.random.default_rng(12)
    cases = [random_tensors(generator, bool(i % 2)) for i in range(count)]
    answers = native_runner.run(
        path,
        [
            (
                "serving_default" if image.dtype == np.uint8 else "float",
                {"image": image, "mask": mask},
            )
            for _, image, mask in cases
        ],
    )
    done = 0
    for (label, image, mask), answer in zip(cases, answers, strict=True):
        label = f"{label}, {image.shape}, {mask.shape}"
        missing = missing_of(image, mask)
        if refused(answer, label):
            assert missing is None, (label, answer.message)
            continue
        assert missing is not None, label
        done += 1
        completed = answer.outputs["completed"]
        assert (completed.dtype, completed.shape) == (image.dtype, image.shape), label
        known = np.broadcast_to(~missing, image.shape)
        assert completed[known].tobytes() == image[known].tobytes(), label
        assert np.isfinite(completed).all(), label
    assert count / 5 < done < count * 4 / 5
    assert_memory_bounded(answers, 256 * MIB)


def test_other_types_and_missing_inputs_are_refused(export):
    image, mask = random_picture(np.random.default_rng(13), 16, 20)
    image, mask = image[np.newaxis], mask[np.newaxis, ..., np.newaxis]
    wrong = [np.int32, np.float64, np.float16, np.bool_, np.uint16]
    requests = [
        (signature, {"image": image.astype(one), "mask": mask.astype(other)})
        for signature, right in (("serving_default", np.uint8), ("float", np.float32))
        for each in wrong
        for one, other in ((each, right), (right, each))
    ]
    requests += [
        ("encoded", {"image": image, "mask": mask}),
        ("serving_default", {"image": [b"a"], "mask": [b"b"]}),
        ("serving_default", {"image": image}),
        ("encoded", {"mask": [b"a"]}),
        ("float", {}),
    ]
    for request, answer in zip(
        requests, native_runner.run(export[0], requests), strict=True
    ):
        assert refused(answer, request[0])


# ---------------------------------------------------------------- many requests


def requests_of(size, generator):
    """A picture of this size in each signature's form."""
    image, mask = random_picture(generator, *size)
    levels = {"image": image[np.newaxis], "mask": mask[np.newaxis, ..., np.newaxis]}
    floats = {
        "image": np.float32(levels["image"] / 127.5 - 1),
        "mask": np.float32(levels["mask"] / 255),
    }
    files = {"image": [encode_png(image)], "mask": [encode_png(mask)]}
    return [("serving_default", levels), ("float", floats), ("encoded", files)]


def test_memory_is_flat_over_a_thousand_requests(export):
    generator = np.random.default_rng(14)
    sizes = generator.integers(1, 100, [20, 2])
    some = [request for size in sizes for request in requests_of(size, generator)]
    refusal = ("encoded", {"image": [b"a photo"], "mask": [b""]})
    requests = [*some, refusal] * 17
    answers = native_runner.run(export[0], requests)
    assert len(requests) > 1000
    assert {a.code for a in answers} == {"OK", "INVALID_ARGUMENT"}
    # Between equal requests, since an answer is held while memory is read.
    rounds = [answer.resident_bytes for answer in answers[len(some) :: len(some) + 1]]
    assert (rounds[-1] - rounds[1]) / MIB < 24, [x / MIB for x in rounds]


def test_fifty_sizes_are_completed_by_the_same_graphs(export):
    generator = np.random.default_rng(15)
    sizes = np.unique(generator.integers(1, 120, [60, 2]), axis=0)[:50]
    requests = [requests_of(size, generator)[0] for size in sizes]
    assert len(requests) == 50
    answers = native_runner.run(export[0], requests)

    loaded = tf.saved_model.load(export[0])
    function = loaded.signatures["serving_default"]

    def complete(inputs):
        return function(**{key: tf.constant(x) for key, x in inputs.items()})

    complete(requests[0][1])
    functions = set(context.context().list_function_names())
    for (_, inputs), answer in zip(requests, answers, strict=True):
        completed = answer.outputs["completed"]
        known = np.broadcast_to(inputs["mask"] == 0, completed.shape)
        np.testing.assert_array_equal(completed[known], inputs["image"][known])
        here = complete(inputs)["completed"].numpy().astype(int)
        np.testing.assert_allclose(completed, here, atol=1)
    # Retracing would have added functions to the runtime.
    assert set(context.context().list_function_names()) == functions
