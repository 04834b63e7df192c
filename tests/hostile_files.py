"""A folder of picture files such as nobody wants to train on, from a seed.

`write` fills a folder with as many files as wanted, taking turns through `KINDS`, and
says of each what has to become of it: the kind of reason that it is refused for (see
`image_files.kind_of`), REFUSED for one kind or the other, USABLE, or EITHER where that
depends on which bits were hit.

Pictures are smooth colours of 36 to 60 pixels a side, so that they can be trained on at
32x32. Whatever a name or a content has that is odd is in the file, not in this source.
"""

import csv
import dataclasses
import functools
import io
import os
import struct
import zlib
from collections.abc import Callable

import damaged_files
import numpy as np
from damaged_files import chunk, saved
from PIL import Image

from inpainting_tf.graph_codecs import PNG_START

USABLE, REFUSED, EITHER = "usable", "refused", "either"
EMPTY, UNREADABLE = "empty file", "unreadable"
FOREIGN = "not a JPEG, PNG, BMP, GIF or WebP picture"
NO_FILE, SMALL, LARGE = "not a file", "too small", "too large"

FORMATS = {"jpg": "JPEG", "png": "PNG", "bmp": "BMP", "webp": "WEBP"}


@dataclasses.dataclass(frozen=True)
class Hostile:
    """One file: its name in the folder, its kind, and what has to become of it."""

    name: str
    kind: str
    fate: str


def pixels(generator):
    """uint8 [H, W, 3], a smooth picture."""
    height, width = generator.integers(36, 61, 2)
    rows, columns = np.mgrid[:height, :width]
    slopes = generator.uniform(-3, 3, [2, 3])
    levels = 128 + rows[..., None] * slopes[0] + columns[..., None] * slopes[1]
    return levels.clip(0, 255).astype(np.uint8)


def picture(generator):
    return Image.fromarray(pixels(generator))


def file_of(generator, extension, **options):
    return saved(picture(generator), FORMATS[extension], **options)


# Each kind: function (generator, number) -> (content, extension, fate), where content
# is bytes or a function that makes the file at a path.


def _truncated(generator, number):
    extension = [*FORMATS][number % 4]
    whole = file_of(generator, extension)
    return whole[: len(whole) * (1 + number // 4 % 9) // 10], extension, REFUSED


def _flipped_png(generator, number):
    data = bytearray(file_of(generator, "png"))
    # Behind the signature and the header, in front of the check sum of the end.
    place = int(generator.integers(33, len(data) - 16))
    data[place] ^= 1 << int(generator.integers(8))
    return bytes(data), "png", EITHER


def _flipped(generator, number):
    extension = [*FORMATS][number % 4]
    data = bytearray(file_of(generator, extension))
    for _ in range(generator.integers(1, 9)):
        data[generator.integers(len(data))] ^= 1 << int(generator.integers(8))
    return bytes(data), extension, EITHER


def _mangled(generator, number):
    extension = ("png", "jpg")[number % 2]
    return (
        damaged_files.damage(file_of(generator, extension), generator)[1],
        (extension),
        EITHER,
    )


def _wrong_extension(generator, number):
    return file_of(generator, "png"), ("jpg", "bmp", "gif", "webp")[number % 4], USABLE


def _foreign(generator, number):
    contents = [
        b"words, not colours\n" * 20,
        saved(picture(generator), "TIFF"),
        b"PK\x03\x04" + generator.bytes(400),
        b"%PDF-1.7\n" + generator.bytes(400),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n(/etc/passwd) run\n",
        bytes(500),
        b"<svg xmlns='http://www.w3.org/2000/svg' width='40' height='40'/>",
        b"\x80\x04\x95" + generator.bytes(60),  # As a pickle begins.
    ]
    return contents[number % len(contents)], "jpg", FOREIGN


def _empty(generator, number):
    return b"", ("jpg", "png", "gif")[number % 3], EMPTY


def _one_pixel(generator, number):
    extension = [*FORMATS][number % 4]
    return saved(Image.new("RGB", (1, 1)), FORMATS[extension]), extension, SMALL


def _strip(generator, number):
    size = ((20_000, 1), (1, 20_000))[number % 2]
    return saved(Image.new("RGB", size, "red"), "PNG"), "png", SMALL


def _palette(generator, number):
    own = picture(generator).quantize(16)
    if number % 3 == 0:
        return saved(own, "GIF"), "gif", USABLE
    options = {"transparency": 3} if number % 3 == 1 else {}
    return saved(own, "PNG", **options), "png", USABLE


def _cmyk(generator, number):
    return saved(picture(generator).convert("CMYK"), "JPEG"), "jpg", USABLE


def _sixteen_bits(generator, number):
    levels = pixels(generator).astype(np.uint16) * 257
    if number % 2:
        return damaged_files.png(levels[..., :1], 0), "png", USABLE
    return damaged_files.png(levels, 2, interlaced=number % 4 == 0), "png", USABLE


def _other_modes(generator, number):
    mode = ("L", "1", "LA", "RGBA")[number % 4]
    own = picture(generator)
    if mode.endswith("A"):
        own.putalpha(own.convert("L"))
    return saved(own.convert(mode), "PNG"), "png", USABLE


def _animated(generator, number):
    first, kind = picture(generator), ("GIF", "WEBP", "PNG")[number % 3]
    frames = [Image.new("RGB", first.size, color) for color in ("red", "blue")]
    data = saved(first, kind, save_all=True, append_images=frames)
    return data, kind.lower(), USABLE


def _rotated(generator, number):
    exif = Image.Exif()
    exif[0x0112] = 1 + number % 8
    return (
        file_of(generator, ("jpg", "png", "webp")[number % 3], exif=exif),
        "jpg",
        (USABLE),
    )


def _broken_exif(generator, number):
    exif = b"Exif\0\0" + (b"MM\0*", b"II*\0")[number % 2] + generator.bytes(80)
    return file_of(generator, "jpg", exif=exif), "jpg", EITHER


def _bomb(generator, number):
    extension, data = bombs()[number % len(bombs())]
    return data, extension, LARGE


def bombs():
    """Small files that claim to be of 65,000 pixels a side: [(extension, bytes)]."""
    small, side = Image.new("RGB", (48, 40)), 65_000
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    (_, *rest) = damaged_files.split(saved(small, "PNG"))
    jpeg = bytearray(saved(small, "JPEG"))
    place = jpeg.index(b"\xff\xc0\0") + 5
    jpeg[place : place + 4] = struct.pack(">HH", side, side)
    gif = bytearray(saved(small, "GIF"))
    gif[6:10] = struct.pack("<HH", side, side)
    bmp = bytearray(saved(small, "BMP"))
    bmp[18:26] = struct.pack("<ii", side, side)
    webp = bytearray(saved(small, "WEBP", lossless=True))
    bits = webp.index(b"VP8L") + 9
    webp[bits : bits + 4] = struct.pack("<I", 16_382 | 16_382 << 14)
    return [
        ("png", damaged_files.joined([(b"IHDR", header), *rest])),
        ("jpg", bytes(jpeg)),
        ("gif", bytes(gif)),
        ("bmp", bytes(bmp)),
        ("webp", bytes(webp)),
    ]


@functools.cache
def _packed_comment():
    packed = zlib.compress(bytes(200_000_000), 1)
    return chunk(b"zTXt", b"Comment\0\0" + packed)


def _long_text(generator, number):
    """A PNG whose comment is 200 MB once it is unpacked, in under 1 MB."""
    data = file_of(generator, "png")
    return data[:33] + _packed_comment() + data[33:], "png", EITHER


def _sparse(generator, number):
    def make(path):
        with open(path, "wb") as file:
            file.write(PNG_START)
            file.truncate(2**36)  # Nothing but a size.

    return make, "png", LARGE


def _link(target, fate):
    def kind(generator, number):
        return (
            lambda path: os.symlink(target or os.path.basename(path), path),
            ("png"),
            fate,
        )

    return kind


def _pair_of_links(generator, number):
    def make(path):
        os.symlink(os.path.basename(path) + b".back", path)
        os.symlink(os.path.basename(path), path + b".back")

    return make, "jpg", UNREADABLE


def _pipe(generator, number):
    return os.mkfifo, "jpg", NO_FILE


def _forbidden(generator, number):
    """Mode 000; who runs as root reads it all the same."""
    data = file_of(generator, "png")

    def make(path):
        with open(path, "wb") as file:
            file.write(data)
        os.chmod(path, 0)

    return make, "png", USABLE if os.geteuid() == 0 else UNREADABLE


_NAMES = [
    "two  spaces in it",
    " one in front",
    "-leading dash",
    "--flagfile=none",
    "лицо",
    "顔写真",
    "וجه",
    'über, "quoted"',
    "a\nline end",
    "bell\a and \x1b[31mred\x1b[0m",
    "per%cent %s {} $HOME `id`",
    "n" * 200,
    "emoji 🙂",
    "latin \udce9 byte",  # The byte 0xe9 alone, which is no UTF-8.
    "val",
]


def _named(generator, number):
    return file_of(generator, "png"), "png", USABLE


KINDS: dict[str, Callable] = {
    "truncated": _truncated,
    "flipped": _flipped,
    "flipped_png": _flipped_png,
    "mangled": _mangled,
    "wrong_extension": _wrong_extension,
    "foreign": _foreign,
    "empty": _empty,
    "one_pixel": _one_pixel,
    "strip": _strip,
    "palette": _palette,
    "cmyk": _cmyk,
    "sixteen_bits": _sixteen_bits,
    "other_modes": _other_modes,
    "animated": _animated,
    "rotated": _rotated,
    "broken_exif": _broken_exif,
    "bomb": _bomb,
    "long_text": _long_text,
    "sparse": _sparse,
    "link_to_itself": _link(None, UNREADABLE),
    "pair_of_links": _pair_of_links,
    "link_to_nothing": _link(b"absent.png", UNREADABLE),
    "link_to_parent": _link(b"..", NO_FILE),
    "link_to_device": _link(b"/dev/zero", NO_FILE),
    # A plain file by its status, whose first byte cannot be read, by root neither.
    "link_to_memory": _link(b"/proc/self/mem", UNREADABLE),
    "pipe": _pipe,
    "forbidden": _forbidden,
    "named": _named,
}


def write(folder, count, seed=0):
    """Writes hostile files.

    Args:
      folder: to be made.
      count: number of files; kinds take turns.
      seed: of everything random.

    Returns:
      list of Hostile.
    """
    os.makedirs(folder)
    written = []
    for index in range(count):
        generator = np.random.default_rng([seed, index])
        kind = [*KINDS][index % len(KINDS)]
        number = index // len(KINDS)
        content, extension, fate = KINDS[kind](generator, number)
        words = _NAMES[number % len(_NAMES)] if kind == "named" else kind
        name = f"{words} {index:04d}.{extension}"
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        if callable(content):
            content(path)
        else:
            with open(path, "wb") as file:
                file.write(content)
        written.append(Hostile(name, kind, fate))
    return written


def list_text(hostile):
    """The CSV list of these files, as bytes, with a mark at its start."""
    stream = io.StringIO()
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
    writer.writerow(["file", "partition"])
    for file in hostile:
        writer.writerow([file.name, "train"])
    return b"\xef\xbb\xbf" + os.fsencode(stream.getvalue())
