"""What networks are fed with when only their time counts."""

import numpy as np
import tensorflow as tf


def random_batch(count, size):
    """Random images and a centred hole of half their side, as the loop feeds them."""
    generator = np.random.default_rng(0)
    image = generator.uniform(-1, 1, [count, size, size, 3]).astype(np.float32)
    begin, end = size // 4, size // 4 + size // 2
    mask = np.zeros([count, size, size, 1], np.float32)
    mask[:, begin:end, begin:end] = 1
    box = np.tile(np.int32([begin, begin, size // 2, size // 2]), [count, 1])
    return {
        "image": tf.constant(image),
        "mask": tf.constant(mask),
        "box": tf.constant(box),
    }
