"""Picture files of every kind that there is, and damage done to them, from a seed.

`kinds` and `mask_kinds` write whole files that decoders must accept, `foreign` what they
must refuse; `harmless` changes bytes beside the pixels, `damage` any bytes. A damaged
file may still be one: what it holds then differs between decoders.

Pixels are uint8 [H, W, 3], masks uint8 [H, W] of 0 and 255. Randomness comes from a
`numpy.random.Generator`.
"""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from inpainting_tf.graph_codecs import PNG_START

# Adam7: first column, first row, step in columns, step in rows.
_PASSES = [
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
]
_SIZES = [0, 1, 2, 7, 8, 255, 65_535, 65_536, 10**6, 2**27, 2**31 - 1, 2**31, 2**32 - 1]


def saved(picture, kind, **options):
    """The bytes of a file that Pillow writes."""
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    return file.getvalue()


def chunk(kind, data):
    """A PNG chunk with its length and check sum."""
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def png(levels, color_type, interlaced=False):
    """A PNG file written by hand, for what Pillow does not write.

    Args:
      levels: uint8 or uint16 [H, W, C].
      color_type: 0 grey, 2 RGB, 4 grey and alpha, 6 RGB and alpha.
      interlaced: whether by Adam7.
    """
    height, width, _ = levels.shape
    rows = b""
    for left, top, across, down in _PASSES if interlaced else [(0, 0, 1, 1)]:
        part = levels[top::down, left::across]
        for row in part if part.size else []:
            rows += b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes()
    depth = 8 * levels.dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, interlaced)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return PNG_START + b"".join(chunk(*each) for each in chunks)


def kinds(pixels):
    """Whole files, name -> bytes; all are accepted."""
    picture = Image.fromarray(pixels)
    transparent = picture.copy()
    transparent.putalpha(picture.convert("L"))
    palette = picture.quantize(16)
    sixteen = pixels.astype(np.uint16) * 256 + pixels[::-1]
    other = Image.fromarray(255 - pixels)
    return {
        "rgb": saved(picture, "PNG"),
        "grey": saved(picture.convert("L"), "PNG"),
        "one_bit": saved(picture.convert("1"), "PNG"),
        "palette": saved(palette, "PNG"),
        "palette_with_transparency": saved(palette, "PNG", transparency=3),
        "rgba": saved(transparent, "PNG"),
        "grey_alpha": saved(transparent.convert("LA"), "PNG"),
        "sixteen_bits": png(sixteen, 2),
        "sixteen_bits_grey": png(sixteen[..., :1], 0),
        "interlaced": png(pixels, 2, interlaced=True),
        "interlaced_sixteen_bits": png(sixteen, 2, interlaced=True),
        "animated_png": saved(picture, "PNG", save_all=True, append_images=[other]),
        "jpeg": saved(picture, "JPEG"),
        "jpeg_grey": saved(picture.convert("L"), "JPEG"),
        "jpeg_cmyk": saved(picture.convert("CMYK"), "JPEG"),
        "jpeg_progressive": saved(picture, "JPEG", progressive=True),
        "jpeg_full_color": saved(picture, "JPEG", subsampling=0),
        "jpeg_restarts": saved(picture, "JPEG", restart_marker_blocks=1),
    }


def mask_kinds(mask):
    """Whole files of a mask, name -> bytes; all mean the same but the JPEG."""
    picture = Image.fromarray(mask)
    return {
        "grey": saved(picture, "PNG"),
        "zeros_and_ones": saved(Image.fromarray(mask // 255), "PNG"),
        "one_bit": saved(picture.convert("1"), "PNG"),
        "rgb": saved(picture.convert("RGB"), "PNG"),
        "interlaced": png(mask[..., None], 0, interlaced=True),
        "jpeg": saved(picture, "JPEG", quality=90),
    }


def foreign(pixels):
    """What is no PNG and no JPEG file, name -> bytes; all are refused."""
    picture, other = Image.fromarray(pixels), Image.fromarray(255 - pixels)
    return {
        "gif": saved(picture, "GIF"),
        "animated_gif": saved(picture, "GIF", save_all=True, append_images=[other]),
        "bmp": saved(picture, "BMP"),
        "webp": saved(picture, "WEBP"),
        "tiff": saved(picture, "TIFF"),
        "text": "a photo of a face, ünïcode\n".encode(),
        "empty": b"",
        "zeros": bytes(100),
        "start_of_png": PNG_START,
        "start_of_jpeg": b"\xff\xd8\xff",
    }


def split(data):
    """The chunks of a PNG file, [(kind, data)]."""
    chunks, place = [], len(PNG_START)
    while place + 8 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        chunks.append((data[place + 4 : place + 8], data[place + 8 :][:length]))
        place += 12 + length
    return chunks


def joined(chunks):
    """The inverse of `split`, with right check sums."""
    return PNG_START + b"".join(chunk(*each) for each in chunks)


def harmless(data, generator):
    """Changes what is not the picture; returns (name, bytes)."""
    noise = generator.bytes(int(generator.integers(1, 300)))
    if generator.random() < 0.3:
        return "trailing garbage", data + noise
    if not data.startswith(PNG_START):
        exif = b"Exif\0\0" + noise
        segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
        return "EXIF garbage", data[:2] + segment + data[2:]
    # Words that mean something elsewhere in a PNG file; eXIf is the one of EXIF.
    added = [(b"prVt", noise), (b"eXIf", b"Exif" + noise)]
    added += [(b"tEXt", b"Comment\0" + word) for word in (b"tRNS", b"IDAT", b"IHDR")]
    chunks = split(data)
    chunks.insert(1, added[generator.integers(len(added))])
    return "extra chunk", joined(chunks)


def damage(data, generator):
    """Changes any bytes; returns (name, bytes)."""
    changes = [_truncate, _flip_bits, _overwrite, _insert, _remove, _repeat, _exchange]
    changes += _PNG_CHANGES if data.startswith(PNG_START) else _JPEG_CHANGES
    change = changes[generator.integers(len(changes))]
    return change.__name__.strip("_"), change(data, generator)


def _span(data, generator, most=64):
    start = int(generator.integers(len(data)))
    return start, min(len(data), start + int(generator.integers(1, most + 1)))


def _truncate(data, generator):
    return data[: generator.integers(len(data))]


def _flip_bits(data, generator):
    result = bytearray(data)
    for _ in range(generator.integers(1, 9)):
        result[generator.integers(len(data))] ^= 1 << int(generator.integers(8))
    return bytes(result)


def _overwrite(data, generator):
    start, end = _span(data, generator)
    return data[:start] + generator.bytes(end - start) + data[end:]


def _insert(data, generator):
    start, end = _span(data, generator)
    return data[:start] + generator.bytes(end - start) + data[start:]


def _remove(data, generator):
    start, end = _span(data, generator)
    return data[:start] + data[end:]


def _repeat(data, generator):
    start, end = _span(data, generator)
    return data[:end] + data[start:]


def _exchange(data, generator):
    a, b, c, d = sorted(generator.integers(0, len(data) + 1, 4))
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


# ---------------------------------------------------------------- PNG


def _reorder_chunks(data, generator):
    chunks = split(data)
    first, second = generator.integers(len(chunks), size=2)
    chunks[first], chunks[second] = chunks[second], chunks[first]
    return joined(chunks)


def _repeat_or_drop_chunk(data, generator):
    chunks = split(data)
    place = generator.integers(len(chunks))
    chunks[place : place + 1] = [chunks[place]] * int(2 * generator.integers(2))
    return joined(chunks)


def _check_sum(data, generator):
    chunks = split(data)
    place = int(generator.integers(len(chunks)))
    before, one = joined(chunks[:place]), chunk(*chunks[place])
    after = joined(chunks[place + 1 :])[len(PNG_START) :]
    return before + one[:-4] + generator.bytes(4) + after


def _chunk_length(data, generator):
    chunks = split(data)
    place = int(generator.integers(len(chunks)))
    before, one = joined(chunks[:place]), chunk(*chunks[place])
    after = joined(chunks[place + 1 :])[len(PNG_START) :]
    length = int(generator.choice([0, 1, len(one), 2**31 - 1, 2**32 - 1]))
    return before + struct.pack(">I", length) + one[4:] + after


def _header_size(data, generator):
    size = struct.pack(">II", *(int(x) for x in generator.choice(_SIZES, 2)))
    return _with_header(data, lambda header: size + header[8:])


def _header_kind(data, generator):
    place = int(generator.integers(8, 13))
    value = int(generator.choice([0, 1, 2, 3, 4, 6, 8, 16, 255]))
    return _with_header(
        data, lambda header: header[:place] + bytes([value]) + header[place + 1 :]
    )


def _with_header(data, change):
    (kind, header), *rest = split(data)
    return joined([(kind, change(header)), *rest])


def _hidden_header(data, generator):
    """Another chunk where the header is looked for, with a harmless size in it."""
    large = _with_header(data, lambda header: b"\0\0\x4e\x20" * 2 + header[8:])
    chunks = split(large if generator.random() < 0.5 else data)
    decoy = struct.pack(">IIBBBBB", 20, 16, 8, 2, 0, 0, 0)
    return joined([(b"prVt", decoy), *chunks])


def _other_pixels(data, generator):
    """Too few or too many rows, compressed rightly, or not at all."""
    rows = bytes(generator.integers(0, 5, int(generator.integers(4000)), np.uint8))
    packed = zlib.compress(rows) if generator.random() < 0.7 else rows
    return joined(
        [(kind, packed if kind == b"IDAT" else own) for kind, own in split(data)]
    )


_PNG_CHANGES = [
    _reorder_chunks,
    _repeat_or_drop_chunk,
    _check_sum,
    _chunk_length,
    _header_size,
    _header_kind,
    _hidden_header,
    _other_pixels,
]


# ---------------------------------------------------------------- JPEG


def _frame(data):
    """Where the frame header begins, baseline or progressive."""
    places = [data.find(marker) for marker in (b"\xff\xc0\0", b"\xff\xc2\0")]
    return max(places)


def _frame_size(data, generator):
    place = _frame(data) + 5
    size = struct.pack(">HH", *(int(x) % 2**16 for x in generator.choice(_SIZES, 2)))
    return data[:place] + size + data[place + 4 :]


def _frame_kind(data, generator):
    """Another precision, number of components, or process."""
    place = _frame(data) + int(generator.choice([1, 3, 4, 9, 11]))
    return data[:place] + generator.bytes(1) + data[place + 1 :]


def _second_frame(data, generator):
    place = _frame(data)
    (length,) = struct.unpack(">H", data[place + 2 : place + 4])
    frame = bytearray(data[place : place + 2 + length])
    frame[5:9] = b"\x4e\x20\x4e\x20" if generator.random() < 0.5 else frame[5:9]
    end = place + 2 + length
    return data[:end] + bytes(frame) + data[end:]


def _segment_length(data, generator):
    markers = [i for i in range(len(data) - 4) if data[i] == 255 and data[i + 1] > 0xBF]
    place = int(generator.choice(markers)) + 2
    return data[:place] + generator.bytes(2) + data[place + 2 :]


def _no_end(data, generator):
    return data[:-2]


def _many_scans(data, generator):
    scan = data.rfind(b"\xff\xda")
    return data[:-2] + data[scan:-2] * int(generator.integers(2, 200)) + data[-2:]


_JPEG_CHANGES = [
    _frame_size,
    _frame_kind,
    _second_frame,
    _segment_length,
    _no_end,
    _many_scans,
]
