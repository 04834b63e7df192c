"""Photos as the page takes and shows them: checked, reduced, sampled.

Input: the bytes of a picture file. Output: `photos.Photo`, or a PhotoError in words
that a photographer understands; data URLs, which a page shows without another request.
"""

import base64
import io

import numpy as np
import skimage.data
from PIL import Image

from inpainting_tf import image_files, images, photos, synthetic_faces
from inpainting_tf.figure_tiles import Example, shown_input

SHOWN_SIDE = 1024  # Longest side of what the page shows, in pixels.
SAMPLES = {"photo": "a photo", "face": "a drawn face"}


class PhotoError(ValueError):
    """A photo that cannot be used; the message is for who opened it."""


def read(data, max_pixels):
    """Reads a photo as inpaint.py does.

    Args:
      data: the bytes of a file.
      max_pixels: of a photo; larger ones are refused before they are decoded.

    Returns:
      photos.Photo.

    Raises:
      PhotoError: no usable photo.
    """
    try:
        if data:
            width, height = image_files.header_size(data)
            if width * height > max_pixels:
                raise PhotoError(
                    f"This photo has {width} x {height} pixels, {_mega(width * height)} "
                    f"megapixels; this page takes up to {_mega(max_pixels)}. Make it "
                    "smaller, or crop it."
                )
        return photos.read(data)
    except image_files.ImageError as error:
        kind, _, special = str(error).partition(":")
        if kind == "damaged":
            raise PhotoError(
                f"This file is damaged and cannot be opened ({special.strip()})."
            ) from None
        if kind == "empty file":
            raise PhotoError("This file is empty.") from None
        if kind.startswith("too large"):
            raise PhotoError(f"This photo is {error}.") from None
        raise PhotoError(f"This file is {error}.") from None


def too_large(max_bytes):
    """What is said of a file of more bytes."""
    return (
        f"This file is larger than {max_bytes / 1e6:g} MB, the most that this page takes. "
        "Save the photo as a JPEG, or make it smaller."
    )


def sample(name):
    """The bytes of a picture of `SAMPLES`, all in the public domain or drawn here."""
    if name == "photo":
        return image_files.encode_png(skimage.data.astronaut())
    faces, _ = synthetic_faces.render([7], 128, split="test_frontal")
    return image_files.encode_png(faces[0].numpy())


def opened(photo, token):
    """What the page's editor is told of a photo that it has opened."""
    height, width = photo.rgb.shape[:2]
    return {
        "photo": token,
        "width": width,
        "height": height,
        "shown": data_url(photo.rgb),
        "notes": list(photo.notes),
    }


def data_url(rgb):
    """uint8 [H, W, 3] -> a URL that holds the picture itself, reduced if it is large."""
    picture = Image.fromarray(rgb)
    stream = io.BytesIO()
    if max(picture.size) > SHOWN_SIDE:
        picture.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.BOX)
        picture.save(stream, "JPEG", quality=90)
        kind = "jpeg"
    else:
        picture.save(stream, "PNG", compress_level=3)
        kind = "png"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"


def png_url(data):
    """The bytes of a PNG file -> a URL that holds them."""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def with_grey_hole(rgb, missing):
    """The photo with its missing pixels in grey, uint8 [H, W, 3]."""
    return shown_input(Example("", rgb, missing, {}))


def float_url(picture):
    """float32 [H, W, 3] in [-1, 1] -> a URL that holds the picture."""
    return data_url(np.asarray(images.to_uint8(picture)))


def _mega(pixels):
    return f"{pixels / 1e6:.3g}"
