"""GAN image inpainting in TensorFlow: data, masks, networks, training, measuring.

The contract: `image` float32 [B, H, W, 3] in [-1, 1], `mask` float32 [B, H, W, 1] with
1 = missing, one mask per example; a method is any `inpaint(image, mask) -> completed`
that leaves known pixels untouched.

To complete an array:

    import inpainting_tf
    inpaint = inpainting_tf.load("celeba128")
    completed = inpaint(photo, mask)  # uint8 [H, W, 3], any size; [H, W], True = missing
"""

import numbers
import os

__version__ = "0.1.0"


def load(source, working_size=None):
    """Opens a method that completes photos of any size.

    Args:
      source: "telea", "navier_stokes" or "mean_color"; the name of weights that come
        along, see `weights`; or the path of a run folder, a checkpoint of one, a
        SavedModel, TF1 weights of GIICA or GLCIC, or a recipe of search.py. With
        +mirrored behind it, the mean of both: see `self_ensemble`.
      working_size: side at which a network sees windows of the photo, in pixels; None
        for the one that it was trained at.

    Returns:
      `completion.PhotoMethod`, to be called with a photo and a mask.

    Raises:
      ValueError: one line that says what is wrong, and what there is.
      TypeError: `source` is neither text nor a path.
    """
    # The front door: all else in this package knows nothing of what is built on it.
    from command_line import photo_methods

    is_side = isinstance(working_size, numbers.Integral) and working_size > 0
    if working_size is not None and not is_side:
        raise ValueError(
            f"working_size: {working_size}; must be a whole number above 0"
        )
    return photo_methods.open_method(os.fspath(source), working_size)


def weights():
    """Names of the weights that come along, to be given to `load`."""
    from command_line import weights_along

    return weights_along.names()
