"""What is done to the pictures of a collection, without any engine."""

import mean_color_model
import numpy as np
import pytest
import tensorflow as tf
from damaged_files import saved
from PIL import Image

from collection import work
from inpainting_tf import image_files


@pytest.fixture(scope="module")
def completer(tmp_path_factory):
    path = mean_color_model.save(str(tmp_path_factory.mktemp("model")), 1)
    return work.Completer(path, measure=True)


def example_of(name, side, seed=0, hole=4):
    generator = np.random.default_rng(seed)
    mask = np.zeros([side, side + 2, 1], np.uint8)
    mask[2 : 2 + hole, 1:4] = 255
    pixels = generator.integers(0, 256, [side, side + 2, 3], np.uint8)
    return work.Example(name, pixels, mask)


def test_batches_hold_one_size_and_little_memory():
    def example(side):
        return work.Example(b"", np.zeros([side, 4, 3], np.uint8), None)

    batches = work.BatchesBySize(3, max_pixels=200)
    due = [batches.add(example(side)) for side in (4, 5, 4, 5, 4, 20, 20, 30)]
    assert [[e.image.shape[0] for e in batch] for batch in due] == [
        *([], [], [], [], [4, 4, 4]),
        *([], [], [20, 20]),
    ]
    rest = [[e.image.shape[0] for e in batch] for batch in batches.rest()]
    assert rest == [[5, 5], [30]]


def test_a_finished_file_carries_its_row_and_is_a_picture():
    row = {"height": 3, "width": 4, "missing": 0.25}
    pixels = np.random.default_rng(0).integers(0, 256, [3, 4, 3], np.uint8)
    data = work._with_row(image_files.encode_png(pixels), row)
    assert work.recorded(data[: work.HEAD_BYTES]) == row
    np.testing.assert_array_equal(image_files.decode(data), pixels)
    assert work.recorded(image_files.encode_png(pixels)) is None
    assert all(work.recorded(data[:length]) is None for length in range(60))


def test_a_batch_gives_each_example_its_own_picture_and_measures(completer):
    examples = [example_of(b"%d" % i, 14, seed=i, hole=3 + i) for i in range(3)]
    results = list(completer.complete(examples))
    assert [example.name for example, _ in results] == [b"0", b"1", b"2"]
    for example, data in results:
        completed = image_files.decode(data)
        known = example.mask[..., 0] == 0
        np.testing.assert_array_equal(completed[known], example.image[known])
        mean = np.round(example.image[known].astype(float).mean(axis=0))
        assert (completed[~known] == mean).all()
        row = work.recorded(data)
        error = (completed.astype(float) - example.image) / 255
        assert row["l1"] == pytest.approx(np.abs(error).mean(), abs=2e-6)
        assert row["missing"] == pytest.approx((~known).mean(), abs=1e-6)


def test_pictures_smaller_than_the_window_have_no_ssim(completer):
    ((_, data),) = completer.complete([example_of(b"", 9)])
    assert set(work.recorded(data)) == {"height", "width", "missing", "l1", "psnr"}


def test_what_a_model_refuses_spoils_no_other(tmp_path):
    class Refuser(tf.Module):
        @tf.function(
            input_signature=[
                tf.TensorSpec([None, None, None, 3], tf.uint8, "image"),
                tf.TensorSpec([None, None, None, 1], tf.uint8, "mask"),
            ]
        )
        def __call__(self, image, mask):
            allowed = tf.reduce_all(image[:, 0, 0, 0] > 0)
            check = tf.debugging.Assert(allowed, ["black corners are not taken"])
            with tf.control_dependencies([check]):
                return {"completed": tf.identity(image)}

    model = Refuser()
    tf.saved_model.save(
        model,
        str(tmp_path),
        {"serving_default": model.__call__.get_concrete_function()},
    )
    examples = [example_of(b"%d" % i, 12, seed=i) for i in range(3)]
    for example in examples:
        example.image[0, 0, 0] = 5
    examples[1].image[0, 0, 0] = 0
    completer = work.Completer(str(tmp_path), measure=False)
    first, second, third = (result for _, result in completer.complete(examples))
    for example, data in ((examples[0], first), (examples[2], third)):
        np.testing.assert_array_equal(image_files.decode(data), example.image)
    assert str(second) == "refused by the model: black corners are not taken"


def test_masks_that_fit_no_picture_are_refused():
    image = np.zeros([6, 8, 3], np.uint8)

    def mask(levels):
        return saved(Image.fromarray(levels), "PNG")

    hole = np.zeros([6, 8], np.uint8)
    for data, reason in (
        (b"", "mask is unusable: empty file"),
        (mask(hole), "mask without a missing pixel"),
        (mask(hole.T), "mask of another size: 6x8, the picture is 8x6"),
    ):
        with pytest.raises(image_files.ImageError, match=reason):
            work.with_mask(b"", image, data)
    hole[2:4, 3] = 1
    example = work.with_mask(b"", image, mask(hole))
    np.testing.assert_array_equal(example.mask[..., 0], hole * 255)
