"""Measures any `inpaint(image, mask) -> completed` on fixed images and masks.

Inputs are batches of `image` [B, H, W, 3] in [-1, 1] and `mask` [B, H, W, 1] with
1 = missing; what completes them is any callable. Outputs are means over all examples.
"""

import tensorflow as tf

from inpainting_tf import images, metrics

# What is measured on the whole image, by name.
MEASURES = {"psnr": metrics.psnr, "ssim": metrics.ssim, "l1": metrics.l1}


def mean_color_fill(image, mask):
    """Fills each hole with the mean colour of the example's known pixels.

    The floor that a learned method must clear.

    Args:
      image: float32 [B, H, W, 3] in [-1, 1].
      mask: float32 [B, H, W, 1], 1 = missing.

    Returns:
      float32 [B, H, W, 3]; grey where no pixel is known.
    """
    known = 1.0 - mask
    total = tf.reduce_sum(images.erase(image, mask), axis=[1, 2], keepdims=True)
    count = tf.reduce_sum(known, axis=[1, 2], keepdims=True)
    fill = tf.math.divide_no_nan(total, count)
    return images.compose(image, tf.broadcast_to(fill, tf.shape(image)), mask)


def measure(inpaint, batches):
    """Mean whole-image metrics of a method.

    Args:
      inpaint: callable (image, mask) -> completed, all float32 [B, H, W, 3 or 1].
      batches: iterable of dicts with `image` and `mask`.

    Returns:
      dict of floats: `psnr` in dB, `ssim`, `l1` (see `metrics`).
    """
    sums = dict.fromkeys(MEASURES, 0.0)
    count = 0
    for batch in batches:
        completed = inpaint(batch["image"], batch["mask"])
        values = measure_each(batch["image"], completed)
        for name in sums:
            sums[name] += float(tf.reduce_sum(values[name]))
        count += int(batch["image"].shape[0])
    return {name: total / count for name, total in sums.items()}


@tf.function(reduce_retracing=True)
def measure_each(image, completed):
    """Whole-image metrics of every example.

    Args:
      image, completed: float32 [B, H, W, 3] in [-1, 1].

    Returns:
      dict of float32 [B]: those of `MEASURES`.
    """
    return {name: metric(image, completed) for name, metric in MEASURES.items()}


def describe(measures):
    """Measures in words: "PSNR 24.10 dB  SSIM 0.850  L1 0.0310"."""
    return (
        f"PSNR {measures['psnr']:.2f} dB  SSIM {measures['ssim']:.3f}  "
        f"L1 {measures['l1']:.4f}"
    )
