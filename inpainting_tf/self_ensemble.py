"""Self-ensemble: the mean of what a method makes of a picture and of its mirror image.

Timofte et al. 2016, "Seven ways to improve example-based single image super resolution",
with two of their eight transformations: a face upside down is none. Twice the work, a
smaller error, a smoother picture: docs/reproduction.md measures it.
"""


def mirrored(inpaint):
    """Takes the mean of what a method completes of a picture and of its mirror image.

    Args:
      inpaint: function (image [B, H, W, 3], mask [B, H, W, 1]) -> completed [B, H, W, 3].

    Returns:
      function of the same arguments that gives this mean; known pixels stay what they are,
      bit for bit, if `inpaint` leaves them so.
    """

    def inpaint_both(image, mask):
        other = inpaint(image[:, :, ::-1], mask[:, :, ::-1])
        return (inpaint(image, mask) + other[:, :, ::-1]) / 2.0

    return inpaint_both
