"""Picture files decoded and encoded inside a graph, for servers without Python.

Inputs: the bytes of PNG or JPEG files, scalar strings. Outputs: uint8 pixels, the same
levels that `images.decode` gives: grey, palette, CMYK and 16-bit become 8-bit RGB,
transparency is laid on white. Only the EXIF rotation is not applied: pictures stay as
they are stored, and so does what is completed in them.

Files are refused, with an InvalidArgumentError that says why, before memory for their
pixels is taken: by their first bytes and by the size that their header declares. No
other formats, since servers may be older than TensorFlow's decoders of them, and an
animation holds more than its header tells.

Stages: `decode_picture` (check, decode) and `decode_mask`; `encode_png`.
"""

import tensorflow as tf

PNG_START = b"\x89PNG\r\n\x1a\n"
# Length and kind of a PNG file's first chunk, which holds the size. Decoders skip
# unknown chunks before it, behind which another size could hide.
_PNG_FIRST_CHUNK = b"\0\0\0\rIHDR"
_PNG_HEADER = 26  # Bytes up to size, bit depth and colour type.
_MAX_CHUNKS = 1000  # Before the pixels, looked through for transparent colours.
JPEG_START = b"\xff\xd8\xff"
# Levels from which a pixel of a mask file is missing, where it has more than 0 and 1.
MASK_THRESHOLD = 128


def require(condition, what, *values):
    """Fails the graph unless a condition holds; for `tf.control_dependencies`.

    Args:
      condition: bool scalar tensor.
      what: text with a "{}" for each of `values`.
      *values: tensors to be shown.

    Returns:
      the operation; it raises InvalidArgumentError with the text.
    """
    return tf.debugging.Assert(condition, [tf.strings.format(what, values)])


def decode_picture(data, max_pixels, name="image"):
    """Decodes a picture.

    Args:
      data: string [], a whole PNG or JPEG file.
      max_pixels: height times width at most, int.
      name: what messages call it.

    Returns:
      uint8 [H, W, 3].

    Raises:
      InvalidArgumentError: when the graph runs: empty, of another format, damaged, or
        too large.
    """
    data = _checked(data, max_pixels, name)

    def png():
        return tf.cond(
            _has_transparency(data, name),
            lambda: _on_white(tf.io.decode_png(data, channels=4)),
            lambda: tf.io.decode_png(data, channels=3),
        )

    def jpeg():
        return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")

    return tf.ensure_shape(tf.cond(_is_png(data), png, jpeg), [None, None, 3])


def decode_mask(data, max_pixels, name="mask"):
    """Decodes a mask of 0 and 1, 0 and 255, or grey levels (a JPEG).

    Args: as of `decode_picture`.

    Returns:
      uint8 [H, W, 1] of levels, the mean of red, green and blue; see `missing_pixels`.

    Raises:
      InvalidArgumentError: as `decode_picture`, or no pixel is clearly missing although
        some are not 0.
    """
    # The mean of the channels, rounded up: above 127 where it was.
    levels = tf.cast(decode_picture(data, max_pixels, name), tf.int32)
    levels = (tf.reduce_sum(levels, axis=-1, keepdims=True) + 2) // 3
    largest = tf.reduce_max(levels)
    clear = (largest <= 1) | (largest >= MASK_THRESHOLD)
    message = (
        f"{name}: the brightest pixel is {{}}; missing ones must be {MASK_THRESHOLD} or "
        "more, or 1 beside 0"
    )
    with tf.control_dependencies([require(clear, message, largest)]):
        return tf.cast(levels, tf.uint8)


def missing_pixels(levels):
    """Which pixels of masks are missing.

    Args:
      levels: uint8 [B, H, W, 1]. A mask with nothing above 1 is one of 0 and 1; in
        others 128 and above is missing.

    Returns:
      float32 [B, H, W, 1], 1 = missing.
    """
    largest = tf.reduce_max(levels, axis=[1, 2, 3], keepdims=True)
    threshold = tf.where(
        largest > 1, tf.constant(MASK_THRESHOLD, tf.uint8), tf.constant(1, tf.uint8)
    )
    return tf.cast(levels >= threshold, tf.float32)


def encode_png(pixels):
    """uint8 [H, W, 3] -> the bytes of a PNG file, string []."""
    return tf.io.encode_png(pixels)


def _checked(data, max_pixels, name):
    """The data, once its header has been found to be acceptable."""
    length = tf.strings.length(data)
    with tf.control_dependencies([require(length > 0, name + ": the file is empty")]):
        data = tf.identity(data)
    png = _is_png(data)
    jpeg = tf.equal(tf.strings.substr(data, 0, len(JPEG_START)), JPEG_START)
    whole_header = ~png | (length >= _PNG_HEADER)
    with tf.control_dependencies(
        [
            require(png | jpeg, name + ": no PNG or JPEG file"),
            require(whole_header, name + ": the PNG file is cut short"),
        ]
    ):
        data = tf.identity(data)
    header_first = tf.cond(
        png,
        lambda: tf.strings.substr(data, 8, 8) == _PNG_FIRST_CHUNK,
        lambda: tf.constant(True),
    )
    message = name + ": the PNG file does not begin with its header"
    with tf.control_dependencies([require(header_first, message)]):
        data = tf.identity(data)
    # Width and height come with their most significant byte first.
    height, width = tf.cond(
        png,
        lambda: tf.unstack(
            tf.io.decode_raw(
                tf.strings.substr(data, 16, 8), tf.int32, little_endian=False
            )[::-1],
            num=2,
        ),
        lambda: tf.unstack(tf.image.extract_jpeg_shape(data)[:2], num=2),
    )
    pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    fits = (height > 0) & (width > 0) & (pixels <= max_pixels)
    message = f"{name}: {{}}x{{}} (width x height), must have 1 to {max_pixels} pixels"
    with tf.control_dependencies([require(fits, message, width, height)]):
        return tf.identity(data)


def _is_png(data):
    return tf.equal(tf.strings.substr(data, 0, len(PNG_START)), PNG_START)


def _has_transparency(data, name):
    """Whether a PNG file has an alpha channel or a chunk of transparent colours.

    TensorFlow gives pictures of fewer than 8 bits without either an alpha that is not
    opaque.
    """
    color_type = tf.io.decode_raw(tf.strings.substr(data, 25, 1), tf.uint8)[0]
    # Going from chunk to chunk is slow, and few files have any need of it.
    named = tf.strings.regex_full_match(data, r"\C*tRNS\C*")
    return (
        (color_type == 4)
        | (color_type == 6)
        | tf.cond(
            named,
            lambda: _has_transparent_colors(data, name),
            lambda: tf.constant(False),
        )
    )


def _has_transparent_colors(data, name):
    """Whether a PNG file has a chunk tRNS before its pixels; texts may say so too."""
    end = tf.strings.length(data) - 8

    def kind(place):
        return tf.strings.substr(data, place + 4, 4)

    def goes_on(place):
        inside = (place > 0) & (place <= end)
        return tf.cond(
            inside,
            lambda: tf.reduce_all(kind(place) != [b"tRNS", b"IDAT"]),
            lambda: tf.constant(False),
        )

    def following(place):
        length = tf.io.decode_raw(
            tf.strings.substr(data, place, 4), tf.int32, little_endian=False
        )[0]
        fits = (length >= 0) & (length <= end - place)
        return [tf.where(fits, place + 12 + length, -1)]

    place = tf.while_loop(
        goes_on,
        following,
        [tf.constant(len(PNG_START))],
        maximum_iterations=_MAX_CHUNKS,
    )[0]
    message = f"{name}: the PNG file has over {_MAX_CHUNKS} chunks before its pixels"
    with tf.control_dependencies([require(~goes_on(place), message)]):
        inside = (place > 0) & (place <= end)
    return tf.cond(inside, lambda: kind(place) == b"tRNS", lambda: tf.constant(False))


def _on_white(pixels):
    """uint8 [H, W, 4] -> [H, W, 3], laid on white and rounded."""
    levels = tf.cast(pixels, tf.int32)
    color, alpha = levels[..., :3], levels[..., 3:]
    return tf.cast((color * alpha + 255 * (255 - alpha) + 127) // 255, tf.uint8)
