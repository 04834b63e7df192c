"""The classical fills under the package's contract."""

import sys

import numpy as np
import pytest

from baselines import classical
from inpainting_tf import masks

cv2 = pytest.importorskip("cv2", reason="OpenCV is an optional extra")


@pytest.mark.parametrize("fill", [classical.telea, classical.navier_stokes])
def test_a_smooth_picture_is_continued_into_each_examples_own_hole(fill):
    rows, columns = np.mgrid[-1:1:24j, -1:1:32j]
    image = np.stack([rows, columns, rows * columns], -1)[None].repeat(2, 0) * 0.8
    image = image.astype(np.float32)
    mask, _ = masks.draw_batch("random_box", [[0, 1], [5, 1]], 24, 32, hole_size=8)
    mask = mask.numpy()
    assert not np.array_equal(mask[0], mask[1])
    hidden = np.where(mask > 0, np.nan, image)
    completed = fill(hidden, mask).numpy()
    known = np.broadcast_to(mask == 0, image.shape)
    np.testing.assert_array_equal(completed[known], image[known])
    assert np.abs(completed - image)[~known].max() < 0.35
    assert np.abs(completed - image)[~known].mean() < 0.1


def test_without_opencv_the_extra_is_named_as_a_clone_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    image, hole = np.zeros([1, 8, 8, 3], "f"), np.zeros([1, 8, 8, 1], "f")
    with pytest.raises(ImportError, match=r'pip install -e "\.\[classical\]"$'):
        classical.telea(image, hole)
