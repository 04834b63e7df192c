"""Masks: every rule's law, bit-equality across ways of running, boxes, patches, banks."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from inpainting_tf import masks

HEIGHT, WIDTH = 24, 40
BANK = np.random.default_rng(0).integers(0, 2, [5, HEIGHT, WIDTH, 1], dtype=np.uint8)


def seeds_of(count, stream=3):
    return tf.stack([tf.range(count), tf.fill([count], stream)], axis=1)


def draw_many(rule, count, height=HEIGHT, width=WIDTH, stream=3, **options):
    """NumPy masks [count, H, W] and boxes [count, 4], checked to be masks at all."""

    @tf.function
    def run(seeds):
        return masks.draw_batch(rule, seeds, height, width, **options)

    mask, box = run(seeds_of(count, stream))
    assert mask.dtype == tf.float32 and mask.shape == [count, height, width, 1]
    assert box.dtype == tf.int32 and box.shape == [count, 4]
    assert set(np.unique(mask)) <= {0.0, 1.0}
    return mask.numpy()[..., 0], box.numpy()


def numpy_bounding_box(mask):
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return [0, 0, 0, 0]
    top, left = rows.min(), columns.min()
    return [top, left, rows.max() - top + 1, columns.max() - left + 1]


def filled_box(box, height=HEIGHT, width=WIDTH):
    top, left, box_height, box_width = box
    mask = np.zeros([height, width], np.float32)
    mask[top : top + box_height, left : left + box_width] = 1
    return mask


def numpy_uniforms(seed, shape):
    """The numbers a mask is made of: the high 24 bits of philox's words."""
    bits = tf.random.stateless_uniform(shape, seed, None, None, tf.uint32, "philox")
    return (bits.numpy() >> 8) / 2**24


def assert_uniform(values, low, high):
    """Every integer of low..high, and no other, about equally often (6 sigma)."""
    assert set(values) == set(range(low, high + 1))
    share = 1 / (high - low + 1)
    expected = len(values) * share
    counts = np.bincount(np.asarray(values) - low)
    assert np.all(np.abs(counts - expected) < 6 * np.sqrt(expected * (1 - share)))


# The same mask however it is run.


@pytest.mark.parametrize("rule", masks.RULES)
def test_eager_graph_tf_data_and_xla_draw_the_same_bits(rule):
    def draw_batch(seeds):
        return masks.draw_batch(rule, seeds, HEIGHT, WIDTH, bank=BANK)

    seeds = seeds_of(4)
    eager = [masks.draw(rule, seed, HEIGHT, WIDTH, bank=BANK) for seed in seeds]
    expected = [np.stack(parts) for parts in zip(*eager, strict=True)]
    dataset = tf.data.Dataset.from_tensor_slices(seeds)
    dataset = dataset.map(lambda seed: masks.draw(rule, seed, HEIGHT, WIDTH, bank=BANK))
    assert dataset.element_spec[0].shape == [HEIGHT, WIDTH, 1]
    assert dataset.element_spec[1].shape == [4]
    for actual in (
        draw_batch(tf.cast(seeds, tf.int64)),
        tf.function(draw_batch)(seeds),
        tf.function(draw_batch, jit_compile=True)(seeds),
        next(iter(dataset.batch(4))),
    ):
        np.testing.assert_array_equal(actual[0], expected[0])
        np.testing.assert_array_equal(actual[1], expected[1])


@pytest.mark.parametrize("rule", ["free_form", "pattern", "random_pixels"])
def test_xla_draws_the_same_bits_at_training_size(rule):
    def draw_batch(seeds):
        return masks.draw_batch(rule, seeds, 130, 117)[0]

    graph = tf.function(draw_batch)(seeds_of(30))
    compiled = tf.function(draw_batch, jit_compile=True)(seeds_of(30))
    np.testing.assert_array_equal(graph, compiled)


@pytest.mark.parametrize("rule", masks.RULES)
def test_an_example_depends_on_its_own_seed_alone(rule):
    together, _ = draw_many(rule, 6, bank=BANK)
    for index in (1, 4):
        alone, _ = masks.draw(rule, seeds_of(6)[index], HEIGHT, WIDTH, bank=BANK)
        np.testing.assert_array_equal(alone[..., 0], together[index])
    if rule not in ("center", "left_half", "right_half", "half"):
        assert len(np.unique(together.reshape(6, -1), axis=0)) >= 2
        other, _ = draw_many(rule, 6, stream=4, bank=BANK)
        assert not np.array_equal(together, other)


@pytest.mark.parametrize("rule", masks.RULES)
def test_hole_lies_inside_its_box(rule):
    mask, box = draw_many(rule, 40, bank=BANK)
    for one_mask, one_box in zip(mask, box, strict=True):
        assert one_mask.any()
        assert np.all(one_mask <= filled_box(one_box))
        assert min(one_box) >= 0
        assert one_box[0] + one_box[2] <= HEIGHT and one_box[1] + one_box[3] <= WIDTH


@pytest.mark.parametrize("rule", ["free_form", "random_pixels", "pattern", "folder"])
def test_box_of_an_irregular_hole_is_its_bounding_box(rule):
    mask, box = draw_many(rule, 20, bank=BANK, share=0.01)
    expected = [numpy_bounding_box(one) for one in mask]
    np.testing.assert_array_equal(box, expected)


# The rules' laws.


def test_center_is_the_centred_box():
    mask, box = draw_many("center", 2, hole_size=(5, 12))
    np.testing.assert_array_equal(box, [[9, 14, 5, 12]] * 2)
    np.testing.assert_array_equal(mask[0], filled_box(box[0]))
    _, box = draw_many("center", 1)
    np.testing.assert_array_equal(box, [[6, 10, 12, 20]])


def test_random_box_takes_every_position_and_shrinks_by_up_to_an_eighth():
    mask, box = draw_many("random_box", 4000, hole_size=(16, 25))
    assert np.all(box[:, 2:] == [16, 25])
    assert_uniform(box[:, 0], 0, HEIGHT - 16)
    assert_uniform(box[:, 1], 0, WIDTH - 25)
    hole = np.array([numpy_bounding_box(one) for one in mask])
    for index in (0, 17, 3999):
        np.testing.assert_array_equal(mask[index], filled_box(hole[index]))
    shrink = hole[:, :2] - box[:, :2]
    np.testing.assert_array_equal(hole[:, 2:], box[:, 2:] - 2 * shrink)
    assert_uniform(shrink[:, 0], 0, 2)
    assert_uniform(shrink[:, 1], 0, 3)


def test_random_box_has_the_published_shrinking_at_256():
    mask, box = draw_many("random_box", 200, 256, 256)
    hole = np.array([numpy_bounding_box(one) for one in mask])
    assert np.all(box[:, 2:] == 128)
    shrink = hole[:, :2] - box[:, :2]
    assert shrink.min() == 0 and shrink.max() == 16


def test_random_box_may_be_as_large_as_the_image():
    _, box = draw_many("random_box", 3, hole_size=(HEIGHT, WIDTH))
    np.testing.assert_array_equal(box, [[0, 0, HEIGHT, WIDTH]] * 3)


def test_box_in_patch_follows_glcic():
    mask, box = draw_many("box_in_patch", 3000, hole_size=16)
    assert np.all(box[:, 2:] == 16)
    assert_uniform(box[:, 0], 0, HEIGHT - 16)
    assert_uniform(box[:, 1], 0, WIDTH - 16)
    hole = np.array([numpy_bounding_box(one) for one in mask])
    for index in (0, 17, 2999):
        np.testing.assert_array_equal(mask[index], filled_box(hole[index]))
    offset = hole[:, :2] - box[:, :2]
    for axis in (0, 1):
        assert_uniform(hole[:, 2 + axis], 6, 12)
        for side in (6, 9, 12):
            assert_uniform(offset[hole[:, 2 + axis] == side, axis], 0, 16 - side)


def test_box_in_patch_has_the_published_sizes_at_128():
    mask, box = draw_many("box_in_patch", 300, 128, 128)
    assert np.all(box[:, 2:] == 64)
    sides = np.array([numpy_bounding_box(one)[2:] for one in mask])
    assert sides.min() == 24 and sides.max() == 48


def test_halves_are_mirror_images_and_half_takes_both():
    left, left_box = draw_many("left_half", 1, 6, 9)
    right, right_box = draw_many("right_half", 1, 6, 9)
    np.testing.assert_array_equal(left[0], filled_box([0, 0, 6, 4], 6, 9))
    np.testing.assert_array_equal(right[0], left[0, :, ::-1])
    np.testing.assert_array_equal(left_box, [[0, 0, 6, 4]])
    np.testing.assert_array_equal(right_box, [[0, 5, 6, 4]])
    either, box = draw_many("half", 1000, 6, 9)
    is_left = box[:, 1] == 0
    assert np.all(either[is_left] == left[0]) and np.all(either[~is_left] == right[0])
    assert 400 < is_left.sum() < 600


@pytest.mark.parametrize("share", [None, 0.2])
def test_random_pixels_are_missing_independently_with_probability_share(share):
    mask, _ = draw_many("random_pixels", 300, share=share)
    p = 0.8 if share is None else share
    sigma = math.sqrt(p * (1 - p) / mask.size)
    assert abs(mask.mean() - p) < 6 * sigma
    # Neighbours are both missing as often as independence has it.
    both_down, both_right = mask[:, 1:] * mask[:, :-1], mask[:, :, 1:] * mask[:, :, :-1]
    assert abs(both_down.mean() - p * p) < 0.01
    assert abs(both_right.mean() - p * p) < 0.01


@pytest.mark.parametrize("share", [None, 0.1, 0.6])
def test_pattern_covers_the_share_with_large_blobs(share):
    mask, _ = draw_many("pattern", 50, 96, 128, share=share)
    pixels = round((share or 0.25) * 96 * 128)
    # Equal levels at the threshold may add a pixel or two.
    missing = mask.sum(axis=(1, 2))
    assert np.all(missing >= pixels) and np.all(missing <= pixels + 3)
    # Few changes along a row: blobs, where lone pixels would change every few steps.
    changes = np.abs(np.diff(mask, axis=2)).sum(axis=2).mean()
    assert 0.5 < changes < 8
    # No place is favoured.
    assert np.abs(mask.mean(axis=0) - (share or 0.25)).max() < 0.4


def test_pattern_is_the_spline_of_its_noise():
    """Against a cubic B-spline evaluated in float64 by its closed formula."""
    height, width, distance, seed = 32, 48, 4, [11, 5]
    knots_y, knots_x = (height + distance) // 4 + 3, (width + distance) // 4 + 3
    u = numpy_uniforms(seed, [knots_y * knots_x + 2])
    shift_y, shift_x = (u[:2] * distance).astype(int)
    noise = np.floor(u[2:].reshape(knots_y, knots_x) * 1024)

    def spline(positions, knots):
        t = np.abs(positions[:, None] / distance - (np.arange(knots) - 1))
        inner, outer = 2 / 3 - t**2 + t**3 / 2, np.maximum(2 - t, 0) ** 3 / 6
        return np.where(t < 1, inner, outer)

    smooth = spline(np.arange(height) + shift_y, knots_y) @ noise
    smooth = smooth @ spline(np.arange(width) + shift_x, knots_x).T
    mask, _ = masks.draw("pattern", seed, height, width)
    differs = (smooth >= np.quantile(smooth, 0.75)) != mask.numpy()[..., 0]
    assert differs.mean() < 0.005


@pytest.mark.parametrize("size", [(64, 64), (48, 80)])
def test_free_form_is_the_union_of_thick_segments(size):
    """Against the distance to each segment, in float64, from the same numbers."""
    height, width = size
    diagonal = math.hypot(height, width)
    scale = diagonal / math.hypot(256, 256)
    low, high = round(12 * scale), round(40 * scale)
    rows, columns = np.mgrid[:height, :width].astype(float)
    stroke_counts, vertex_counts = set(), set()
    for index in range(25):
        seed = [index, 9]
        actual = masks.draw("free_form", seed, height, width)[0].numpy()[..., 0]
        u = numpy_uniforms(seed, [4, 31])
        strokes = 1 + int(4 * u[0, 0])
        stroke_counts.add(strokes)
        surely, possibly = np.zeros(size, bool), np.zeros(size, bool)
        for stroke in u[:strokes]:
            vertices = 4 + int(9 * stroke[1])
            vertex_counts.add(vertices)
            radius = (low + int((high - low + 1) * stroke[2])) / 2
            y, x = int(height * stroke[3]), int(width * stroke[4])
            sense_y, sense_x = np.where(stroke[5:7] < 0.5, -1, 1)
            for vertex in range(vertices):
                quantile = (int(256 * stroke[7 + vertex]) + 0.5) / 256
                length = NormalDist(diagonal / 8, diagonal / 16).inv_cdf(quantile)
                length = round(16 * min(max(length, 0), diagonal / 4)) / 16
                turn = (int(256 * stroke[19 + vertex]) + 0.5) / 128 - 1
                angle = 2 * math.pi / 5 + turn * 2 * math.pi / 15
                sine, cosine = (
                    round(1024 * math.sin(angle)),
                    round(1024 * math.cos(angle)),
                )
                along_y = math.floor(length * sine / 1024 + 0.5)
                along_y *= (-1) ** vertex * sense_y
                along_x = math.floor(length * cosine / 1024 + 0.5) * sense_x
                next_y = min(max(y + along_y, 0), height - 1)
                next_x = min(max(x + along_x, 0), width - 1)
                along_y, along_x = next_y - y, next_x - x
                squared = max(along_y**2 + along_x**2, 1)
                t = ((rows - y) * along_y + (columns - x) * along_x) / squared
                t = np.clip(t, 0, 1)
                distance = np.hypot(rows - y - t * along_y, columns - x - t * along_x)
                surely |= distance < radius - 1e-6
                possibly |= distance < radius + 1e-6
                y, x = next_y, next_x
        assert np.all(surely <= actual) and np.all(actual <= possibly)
    assert stroke_counts == {1, 2, 3, 4}
    assert len(vertex_counts) == 9


def test_free_form_shares_are_plausible_and_reach_the_whole_image():
    mask, _ = draw_many("free_form", 400, 64, 64)
    shares = mask.mean(axis=(1, 2))
    assert 0.1 < shares.mean() < 0.3 and shares.min() < 0.06 and shares.max() > 0.35
    # Symmetric under both flips, on average, and no pixel is spared.
    mean = mask.mean(axis=0)
    assert mean.min() > 0.02
    assert abs(mean[:32].mean() - mean[32:].mean()) < 0.05
    assert abs(mean[:, :32].mean() - mean[:, 32:].mean()) < 0.05


def test_folder_draws_every_mask_of_the_bank_equally():
    mask, _ = draw_many("folder", 1000, bank=255 * BANK)
    matches = np.all(mask[:, None] == BANK[None, ..., 0], axis=(2, 3))
    assert np.all(matches.sum(axis=1) == 1)
    assert_uniform(matches.argmax(axis=1), 0, 4)


@pytest.mark.parametrize("compile", [lambda f: f, tf.function])
def test_one_of_several_rules_draws_each_mask_all_equally_often(compile):
    rules = ("center", "free_form", "random_box", "center")
    alone = {rule: draw_many(rule, 400) for rule in rules}

    @compile
    def draw_one(seed):
        return masks.draw_one_of(rules, seed, HEIGHT, WIDTH)

    found = {rule: [] for rule in rules}
    for i, seed in enumerate(seeds_of(400)):
        mask, box = draw_one(seed)
        drawn_by = [
            rule
            for rule in found
            if np.array_equal(mask[..., 0], alone[rule][0][i])
            and np.array_equal(box, alone[rule][1][i])
        ]
        assert len(drawn_by) == 1
        found[drawn_by[0]].append(i)
    for rule, count in (("center", 200), ("free_form", 100), ("random_box", 100)):
        assert abs(len(found[rule]) - count) < 6 * np.sqrt(count / 2)
    # The choice says nothing about where a box lies: its mean is that of all boxes.
    left = alone["random_box"][1][:, 1]
    chosen = left[found["random_box"]]
    assert abs(chosen.mean() - left.mean()) < 4 * left.std() / np.sqrt(len(chosen))


def test_the_mixture_is_the_same_bits_in_data_pipelines_and_xla():
    rules = ("free_form", "random_box")

    def draw_one(seed):
        return masks.draw_one_of(rules, seed, HEIGHT, WIDTH)[0]

    piped = np.stack(
        list(tf.data.Dataset.from_tensor_slices(seeds_of(8)).map(draw_one))
    )
    by_xla = tf.function(draw_one, jit_compile=True)
    np.testing.assert_array_equal(piped, [by_xla(seed) for seed in seeds_of(8)])
    np.testing.assert_array_equal(piped, [draw_one(seed) for seed in seeds_of(8)])


# Errors.


@pytest.mark.parametrize(
    "rule, options, message",
    [
        ("centre", {}, "unknown mask rule 'centre'; choose one of center, random_box"),
        ("center", {"hole_size": 25}, "hole_size 25 does not fit in the 24x40 image"),
        ("random_box", {"hole_size": (8, 41)}, r"\(8, 41\) does not fit"),
        ("box_in_patch", {"hole_size": 0}, "hole_size 0 does not fit"),
        ("random_pixels", {"share": 1.0}, "share of missing pixels is 1.0"),
        ("pattern", {"share": 0}, "share of missing pixels is 0"),
        ("folder", {}, "'folder' needs a bank"),
        ("folder", {"bank": BANK[:, :-1]}, r"must be \[N, 24, 40, 1\]"),
        ("folder", {"bank": BANK[:0]}, "N at least 1"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(rule, options, message):
    with pytest.raises(ValueError, match=message) as error:
        masks.draw(rule, [0, 1], HEIGHT, WIDTH, **options)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match=message):
        masks.draw_batch(rule, seeds_of(2), HEIGHT, WIDTH, **options)


# Boxes and local patches.


@pytest.mark.parametrize("wrap", [lambda f: f, tf.function])
def test_bounding_box_agrees_with_numpy(wrap):
    mask = np.random.default_rng(1).random([50, 7, 11, 1]) < 0.02
    assert not mask.any(axis=(1, 2, 3)).all()
    mask[0] = True
    box = wrap(masks.bounding_box)(tf.constant(mask, tf.float32))
    assert box.dtype == tf.int32
    np.testing.assert_array_equal(
        box, [numpy_bounding_box(one[..., 0]) for one in mask]
    )


def test_local_patch_is_centred_and_kept_inside():
    box = tf.constant([[4, 6, 8, 8], [0, 0, 3, 3], [20, 35, 4, 5], [9, 9, 2, 3]])
    corner = masks.local_patch_corner(box, 10, 12, HEIGHT, WIDTH)
    assert corner.dtype == tf.int32
    np.testing.assert_array_equal(corner, [[3, 4], [0, 0], [14, 28], [5, 4]])


def test_patch_as_large_as_the_box_is_the_box():
    _, box = draw_many("random_box", 50)
    corner = masks.local_patch_corner(tf.constant(box), 12, 20, HEIGHT, WIDTH)
    np.testing.assert_array_equal(corner, box[:, :2])


@pytest.mark.parametrize("patch", [(25, 8), (8, 41), (0, 8)])
def test_patch_that_does_not_fit_is_refused(patch):
    with pytest.raises(ValueError, match=f"{patch[0]}x{patch[1]} does not fit in the"):
        masks.local_patch_corner(tf.zeros([1, 4], tf.int32), *patch, HEIGHT, WIDTH)


@pytest.mark.parametrize("jit_compile", [None, False, True])
def test_crop_patches_agrees_with_slicing_and_passes_gradients(jit_compile):
    rng = np.random.default_rng(2)
    images = rng.normal(size=[4, 7, 9, 3]).astype(np.float32)
    upstream = rng.normal(size=[4, 3, 5, 3]).astype(np.float32)
    corner = np.array([[0, 0], [4, 4], [2, 1], [1, 3]], np.int32)

    def crop(images, corner):
        with tf.GradientTape() as tape:
            tape.watch(images)
            patches = masks.crop_patches(images, corner, 3, 5)
        assert patches.shape == [4, 3, 5, 3]
        return patches, tape.gradient(patches, images, upstream)

    if jit_compile is not None:
        crop = tf.function(crop, jit_compile=jit_compile)
    patches, gradient = crop(tf.constant(images), tf.constant(corner))
    expected_gradient = np.zeros_like(images)
    for index, (top, left) in enumerate(corner):
        window = (index, slice(top, top + 3), slice(left, left + 5))
        np.testing.assert_array_equal(patches[index], images[window])
        expected_gradient[window] = upstream[index]
    np.testing.assert_array_equal(tf.convert_to_tensor(gradient), expected_gradient)


# The bank of masks.


def save_grey(path, grey):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(grey, np.uint8)).save(path)


def test_load_bank_reads_a_folder_tree_in_order_of_names(tmp_path):
    grey = np.random.default_rng(3).integers(0, 256, [3, 12, 20], dtype=np.uint8)
    grey[:, 0, :2] = 127, 128
    save_grey(tmp_path / "b.png", grey[1])
    save_grey(tmp_path / "a" / "z.PNG", grey[0])
    save_grey(tmp_path / "c.bmp", np.repeat(grey[2][..., None], 3, axis=2))
    (tmp_path / "notes.txt").write_text("not a mask")
    bank = masks.load_bank(tmp_path, 12, 20)
    assert bank.dtype == np.uint8
    np.testing.assert_array_equal(bank, (grey > 127)[..., None])
    mask, _ = masks.draw("folder", [1, 2], 12, 20, bank=bank)
    assert any(np.array_equal(mask, one) for one in bank)


def test_load_bank_reads_masks_of_0_and_1_like_masks_of_0_and_255(tmp_path):
    missing = np.random.default_rng(5).integers(0, 2, [6, 10], dtype=np.uint8)
    save_grey(tmp_path / "a.png", missing)
    save_grey(tmp_path / "b.png", 255 * missing)
    save_grey(tmp_path / "c.png", 2 * missing + 126)  # 128 is missing, 126 is not.
    bank = masks.load_bank(tmp_path, 6, 10)
    np.testing.assert_array_equal(bank, np.stack([missing[..., None]] * 3))


def test_load_bank_reduces_larger_masks_and_keeps_them_binary(tmp_path):
    small = np.random.default_rng(4).integers(0, 2, [6, 10], dtype=np.uint8)
    save_grey(tmp_path / "large.png", np.kron(small, np.full([3, 3], 255)))
    bank = masks.load_bank(tmp_path, 6, 10)
    np.testing.assert_array_equal(bank[0, ..., 0], small)


def test_load_bank_names_what_is_wrong(tmp_path):
    def refuses(name, message):
        with pytest.raises(ValueError, match=message) as error:
            masks.load_bank(tmp_path / name, 6, 10)
        assert "\n" not in str(error.value) and str(tmp_path / name) in str(error.value)

    refuses("absent", "does not exist")
    (tmp_path / "none").mkdir()
    refuses("none", "holds no picture")
    ones = np.full([6, 10], 255)
    for name in ("text", "cut", "aspect", "small", "empty"):
        save_grey(tmp_path / name / "good.png", ones)
    (tmp_path / "text" / "bad.png").write_text("no image")
    refuses("text", "bad.png cannot be read")
    whole = (tmp_path / "text" / "good.png").read_bytes()
    (tmp_path / "cut" / "bad.png").write_bytes(whole[: len(whole) // 2])
    refuses("cut", "bad.png cannot be read")
    save_grey(tmp_path / "aspect" / "bad.png", np.full([12, 21], 255))
    refuses("aspect", r"bad.png is 12x21 \(height x width\), wanted is 6x10")
    save_grey(tmp_path / "small" / "bad.png", np.full([3, 5], 255))
    refuses("small", "bad.png is 3x5")
    save_grey(tmp_path / "empty" / "bad.png", np.zeros([6, 10]))
    refuses("empty", "bad.png has no missing pixel")
