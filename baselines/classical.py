"""Classical fills by OpenCV: the floor that every learned method must clear.

Papers: Telea, "An Image Inpainting Technique Based on the Fast Marching Method", 2004;
Bertalmio, Bertozzi, Sapiro, "Navier-Stokes, Fluid Dynamics, and Image and Video
Inpainting", CVPR 2001.

Inputs: image float32 [B, H, W, 3] in [-1, 1], mask float32 [B, H, W, 1], 1 = missing.
Output: completed, as image; known pixels untouched. Both work on 8-bit pixels, so the
missing ones come back in steps of 1/127.5. Needs the extra `classical` (OpenCV).
"""

import numpy as np

from inpainting_tf import images

# Radius in pixels of the neighbourhood that a missing pixel is computed from.
RADIUS = 3


def telea(image, mask):
    """Fills each hole from its border inwards, weighing the nearest known pixels."""
    return _fill(image, mask, "INPAINT_TELEA")


def navier_stokes(image, mask):
    """Fills each hole by carrying lines of equal brightness on into it."""
    return _fill(image, mask, "INPAINT_NS")


def _fill(image, mask, algorithm):
    try:
        import cv2
    except ImportError:
        raise ImportError(
            'the classical fills need OpenCV: pip install -e ".[classical]"'
        ) from None
    pixels = images.to_uint8(images.erase(image, mask)).numpy()
    holes = (np.asarray(mask)[..., 0] > 0).astype(np.uint8)
    filled = [
        cv2.inpaint(picture, hole, RADIUS, getattr(cv2, algorithm))
        for picture, hole in zip(pixels, holes, strict=True)
    ]
    return images.compose(image, images.to_float(np.stack(filled)), mask)
