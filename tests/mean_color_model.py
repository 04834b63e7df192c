"""A SavedModel with the signatures of an exported method, tiny and quick.

It fills each hole with the rounded mean colour of the example's known pixels (plus a
shift, so that two versions differ): a result that a test can compute itself. Exports of
trained methods take a minute to write; the client does not care what completes a photo.
"""

import os

import tensorflow as tf


def _fill(image, mask, shift):
    """uint8 [B, H, W, 3] and [B, H, W, 1] -> uint8 [B, H, W, 3]."""
    alike = tf.debugging.assert_equal(
        tf.shape(image)[:3],
        tf.shape(mask)[:3],
        "image and mask must have the same batch size, height and width",
    )
    with tf.control_dependencies([alike]):  # A loaded graph runs in any order.
        image, mask = tf.identity(image), tf.identity(mask)
    missing = mask > 0
    known = tf.cast(~missing, tf.float64)
    total = tf.reduce_sum(tf.cast(image, tf.float64) * known, [1, 2], keepdims=True)
    count = tf.maximum(tf.reduce_sum(known, [1, 2], keepdims=True), 1)
    mean = tf.clip_by_value(tf.round(total / count) + shift, 0, 255)
    return tf.where(missing, tf.cast(mean, tf.uint8), image)


class MeanColor(tf.Module):
    """The three signatures; `shift` is added to the mean, in levels."""

    def __init__(self, shift=0):
        self._shift = tf.constant(float(shift), tf.float64)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.uint8, "image"),
            tf.TensorSpec([None, None, None, 1], tf.uint8, "mask"),
        ]
    )
    def pixels(self, image, mask):
        return {"completed": _fill(image, mask, self._shift)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.float32, "image"),
            tf.TensorSpec([None, None, None, 1], tf.float32, "mask"),
        ]
    )
    def floats(self, image, mask):
        levels = tf.cast(tf.round((image + 1) * 127.5), tf.uint8)
        filled = _fill(levels, tf.cast(mask, tf.uint8), self._shift)
        completed = tf.cast(filled, tf.float32) / 127.5 - 1
        return {"completed": tf.where(mask > 0, completed, image)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, "image"),
            tf.TensorSpec([None], tf.string, "mask"),
        ]
    )
    def encoded(self, image, mask):
        def one(files):
            pixels = tf.io.decode_image(files[0], 3, expand_animations=False)
            hole = tf.io.decode_image(files[1], 1, expand_animations=False)
            filled = _fill(pixels[tf.newaxis], hole[tf.newaxis], self._shift)[0]
            return tf.io.encode_png(filled)

        files = (image, mask)
        return {"completed_bytes": tf.map_fn(one, files, fn_output_signature=tf.string)}


def save(model_folder, version, shift=0):
    """Writes `<model_folder>/<version>` and returns its path."""
    path = os.path.join(model_folder, str(version))
    model = MeanColor(shift)
    signatures = {
        "serving_default": model.pixels,
        "float": model.floats,
        "encoded": model.encoded,
    }
    tf.saved_model.save(model, path, signatures)
    return path
