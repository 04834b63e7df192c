"""A search that is watched finds the same, tells of its way, and can be ended."""

import numpy as np
import pytest
import tensorflow as tf

from baselines.dcgan import DCGAN
from baselines.siidgm import SIIDGM
from inpainting_tf.watched_search import WatchedSearch

ITERATIONS = 11


@pytest.fixture(scope="module")
def search():
    tf.keras.utils.set_random_seed(3)
    gan = DCGAN(image_size=64, width=0.02)
    return SIIDGM(gan, iterations=ITERATIONS, restarts=2)


@pytest.fixture(scope="module")
def watched(search):
    return WatchedSearch(search, every=4)


def example():
    generator = np.random.default_rng(0)
    image = generator.uniform(-1, 1, [1, 64, 64, 3]).astype(np.float32)
    mask = np.zeros([1, 64, 64, 1], np.float32)
    mask[:, 18:40, 20:45] = 1
    return tf.constant(image), tf.constant(mask)


def test_watching_changes_no_bit_and_tells_every_few_iterations(search, watched):
    image, mask = example()
    told = []
    completed = watched(image, mask, lambda *news: told.append(news))
    found = tf.function(search.complete)(image, mask)
    np.testing.assert_array_equal(completed, found["completed"])
    assert watched.iterations == ITERATIONS
    # Both restarts, one after the other.
    assert [iteration for iteration, *_ in told] == [0, 4, 8] * 2
    losses = found["losses"][0].numpy()
    own = told[3 * int(found["restart"][0]) :][:3]
    np.testing.assert_allclose([loss for *_, loss in own], losses[:9:4], rtol=1e-6)
    for _, picture, _ in told:
        assert picture.shape == (64, 64, 3) and np.abs(picture).max() <= 1


def test_what_a_report_raises_ends_the_search_and_the_next_one_is_whole(watched):
    image, mask = example()
    told = []

    def end_at_once(iteration, *_):
        told.append(iteration)
        raise RuntimeError("enough")

    with pytest.raises(tf.errors.OpError, match="enough"):
        watched(image, mask, end_at_once)
    assert told == [0]
    again = [watched(image, mask, lambda *_: None) for _ in range(2)]
    np.testing.assert_array_equal(*again)
