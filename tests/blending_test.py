"""Poisson blending against recordings, a direct sparse solve and its own properties."""

import os
import pathlib

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import tensorflow as tf

from inpainting_tf import masks
from inpainting_tf.blending import poisson_blend

GOLDEN = pathlib.Path(__file__).parent / "golden"
TOLERANCE = 1e-6

compiled_blend = tf.function(poisson_blend, reduce_retracing=True)


def recordings():
    files = {path.name: path for path in GOLDEN.glob("siidgm/poisson_*.npz")}
    if more := os.environ.get("INPAINTING_GOLDEN_DIR"):
        found = pathlib.Path(more).rglob("poisson_*.npz")
        files.update((path.name, path) for path in found)
    return [pytest.param(files[name], id=name[:-4]) for name in sorted(files)]


def pictures(*shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, [2, *shape]).astype(np.float32)


def sparse_solve(target, source, missing):
    """Perez et al., eq. 7, for one channel [H, W], neighbours inside the image."""
    height, width = target.shape
    matrix = scipy.sparse.lil_matrix((height * width, height * width))
    right = np.zeros(height * width)
    for y in range(height):
        for x in range(width):
            i = y * width + x
            if not missing[y, x]:
                matrix[i, i] = 1
                right[i] = target[y, x]
                continue
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= v < height and 0 <= u < width:
                    matrix[i, i] += 1
                    matrix[i, v * width + u] -= 1
                    right[i] += np.float64(source[y, x]) - source[v, u]
    solution = scipy.sparse.linalg.spsolve(matrix.tocsr(), right)
    return solution.reshape(height, width)


def holes(height, width):
    """Name -> mask [H, W], one hole of each kind that is hard in its own way."""
    inner = np.zeros([height, width])
    inner[2:-2, 3:-4] = 1
    frame = 1 - inner
    corner = np.zeros([height, width])
    corner[: height // 2, : width // 2] = 1
    one_known = np.ones([height, width])
    one_known[3, 4] = 0
    one_missing = np.zeros([height, width])
    one_missing[5, 2] = 1
    stripes = np.zeros([height, width])
    stripes[:, ::2] = 1
    drawn = {
        rule: masks.draw(rule, [3, 4], height, width)[0][..., 0].numpy()
        for rule in ("free_form", "random_pixels", "pattern", "left_half")
    }
    return {
        "inner": inner,
        "frame": frame,
        "corner": corner,
        "one_known": one_known,
        "one_missing": one_missing,
        "stripes": stripes,
        **drawn,
    }


@pytest.mark.parametrize("path", recordings())
def test_equals_recorded_blending(path):
    golden = np.load(path)
    mask = 1 - golden["known_mask"][np.newaxis, ..., np.newaxis]
    target, source = golden["target"][np.newaxis], golden["source"][np.newaxis]
    blended = compiled_blend(target, source, mask, border="wrap")[0].numpy()
    # The program cuts off what is below black.
    blended = np.maximum(blended, 0)
    np.testing.assert_allclose(blended, golden["blended"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(
        blended, golden["blended_exact_solve"], rtol=0, atol=TOLERANCE
    )
    missing = mask[0, ..., 0] > 0
    edge = np.ones_like(missing)
    edge[1:-1, 1:-1] = False
    natural = compiled_blend(target, source, mask)[0].numpy()
    difference = np.abs(np.maximum(natural, 0) - golden["blended"]).max()
    if (missing & edge).any():
        assert difference > 0.1
    else:
        assert difference <= TOLERANCE


def test_equals_a_direct_sparse_solve_for_holes_of_every_shape():
    height, width = 11, 14
    shapes = holes(height, width)
    count = len(shapes)
    rng = np.random.default_rng(1)
    target = rng.uniform(-1, 1, [count, height, width, 2]).astype(np.float32)
    source = rng.uniform(-1, 1, [count, height, width, 2]).astype(np.float32)
    mask = np.stack(list(shapes.values()))[..., np.newaxis].astype(np.float32)
    blended = compiled_blend(target, source, mask).numpy()
    for i, name in enumerate(shapes):
        for channel in range(2):
            expected = sparse_solve(
                target[i, ..., channel], source[i, ..., channel], mask[i, ..., 0] > 0
            )
            np.testing.assert_allclose(
                blended[i, ..., channel], expected, atol=TOLERANCE, err_msg=name
            )


def test_known_pixels_keep_their_bits_and_missing_ones_may_hold_anything():
    target, source = pictures(2, 12, 9, 3)
    mask = np.zeros([2, 12, 9, 1], np.float32)
    mask[0, 2:8, 3:7] = 1
    mask[1, :5, :5] = 1
    blended = compiled_blend(target, source, mask).numpy()
    known = np.broadcast_to(mask == 0, target.shape)
    np.testing.assert_array_equal(blended[known], target[known])
    damaged = np.where(known, target, np.nan).astype(np.float32)
    np.testing.assert_array_equal(compiled_blend(damaged, source, mask), blended)


def test_source_that_differs_by_a_constant_gives_the_target():
    target, _ = pictures(2, 10, 8, 3)
    for mask in (np.eye(10, 8), np.tri(10, 8)):
        mask = np.broadcast_to(mask[None, ..., None], [2, 10, 8, 1])
        blended = compiled_blend(target, target - 0.25, mask.astype(np.float32))
        np.testing.assert_allclose(blended, target, atol=TOLERANCE)


def test_without_known_pixels_the_source_comes_back_and_without_hole_the_target():
    target, source = pictures(1, 6, 7, 3)
    ones, zeros = np.ones([1, 6, 7, 1]), np.zeros([1, 6, 7, 1])
    np.testing.assert_array_equal(compiled_blend(target, source, ones), source)
    np.testing.assert_array_equal(compiled_blend(target, source, zeros), target)


@pytest.mark.parametrize("border", ["natural", "wrap"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_graph_of_dynamic_sizes_equals_eager_and_each_example_alone(
    border, jit_compile
):
    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, 3]),
            tf.TensorSpec([None, None, None, 3]),
            tf.TensorSpec([None, None, None, 1]),
        ],
        jit_compile=jit_compile,
    )
    def graph(target, source, mask):
        return poisson_blend(target, source, mask, border=border)

    for size in ((7, 9), (10, 6)):
        target, source = pictures(3, *size, 3)
        mask, _ = masks.draw_batch("free_form", [[i, 1] for i in range(3)], *size)
        # An easy example beside hard ones: it is finished first.
        mask = tf.concat([mask[:2], tf.one_hot([[3] * size[0]], size[1])[..., None]], 0)
        together = graph(target, source, mask)
        eager = poisson_blend(target, source, mask, border=border)
        np.testing.assert_allclose(together, eager, atol=TOLERANCE)
        for i in range(3):
            alone = graph(target[i : i + 1], source[i : i + 1], mask[i : i + 1])
            np.testing.assert_allclose(together[i : i + 1], alone, atol=TOLERANCE)


def test_tolerance_and_limit_of_iterations_are_kept():
    target, source = pictures(1, 24, 24, 1)
    mask = np.zeros([1, 24, 24, 1], np.float32)
    mask[:, 2:-2, 2:-2] = 1
    exact = compiled_blend(target, source, mask).numpy()

    def error(**options):
        blended = poisson_blend(target, source, mask, **options)
        return np.abs(blended - exact).max()

    assert 1e-5 < error(tolerance=1e-2) < 0.1
    assert error(tolerance=1e-4) < error(tolerance=1e-2)
    assert error(max_iterations=0) > error(max_iterations=10) > 1e-5
    unsolved = poisson_blend(target, source, mask, max_iterations=0)
    np.testing.assert_array_equal(unsolved, np.where(mask > 0, source, target))


@pytest.mark.parametrize(
    "target, source, mask, options, message",
    [
        ((1, 6, 6, 3), (1, 6, 6, 3), (1, 6, 6, 1), {"border": "x"}, "border='x'"),
        ((6, 6, 3), (6, 6, 3), (6, 6, 1), {}, r"must both be \[B, H, W, C\]"),
        ((1, 6, 6, 3), (1, 6, 5, 3), (1, 6, 6, 1), {}, "must both be"),
        ((2, 6, 6, 3), (2, 6, 6, 3), (1, 6, 6, 1), {}, "one mask per example"),
        ((2, 6, 6, 3), (2, 6, 6, 3), (2, 6, 6, 3), {}, "mask of shape"),
    ],
)
def test_wrong_arguments_are_named(target, source, mask, options, message):
    with pytest.raises(ValueError, match=message):
        poisson_blend(np.zeros(target), np.zeros(source), np.zeros(mask), **options)
