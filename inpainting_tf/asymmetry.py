"""How much a face differs from its mirror image: who is turned, without landmarks.

    python -m inpainting_tf.asymmetry --protocol=celeba64_half --data_dir=faces \\
        --output=protocols/celeba_test

ranks a protocol's images and writes two lists for protocols of their own,
`<output>_frontal.csv` with the third that differs least and `<output>_turned.csv` with
the third that differs most.

A proxy: CelebA gives no angles. It compares edges, not colours, since light from one
side is no turn; their sizes, smoothed, in the middle of an aligned face, where eyes, nose
and mouth lie. Of drawn faces, whose angles are known, it ranks every face turned by 25
to 45 degrees above every frontal one (tests/asymmetry_test.py).

Stages: grey; smooth; size of the gradient; smooth; cut out the middle; compare with the
mirror image.
"""

import csv
import io
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Before TensorFlow is imported.

import numpy as np
from absl import app, flags, logging

from inpainting_tf import protocol_examples, protocols
from inpainting_tf.protocol_definition import ProtocolError
from inpainting_tf.run_folder import write_text

SIZE = 64
# Where eyes, nose and mouth of an aligned face of 64x64 lie: symmetric in the columns.
_ROWS, _COLUMNS = slice(20, 52), slice(18, 46)


def asymmetry(pixels):
    """Difference between the edges of a face and of its mirror image.

    Args:
      pixels: uint8 [B, 64, 64, 3], aligned faces, eyes level and in the middle.

    Returns:
      float64 [B] in [0, 1]: the sum of the absolute differences over the sum of the
      edges of both; 0 for a picture that is its own mirror image, and where there is no
      edge.

    Raises:
      ValueError: pictures of another size.
    """
    if pixels.shape[1:] != (SIZE, SIZE, 3):
        raise ValueError(f"pictures of {pixels.shape[1:]}: must be {SIZE}x{SIZE}x3")
    grey = _smooth(pixels @ np.array([0.299, 0.587, 0.114]), 2)
    across = grey[:, 1:-1, 2:] - grey[:, 1:-1, :-2]
    down = grey[:, 2:, 1:-1] - grey[:, :-2, 1:-1]
    edges = np.pad(np.hypot(across, down), [(0, 0), (1, 1), (1, 1)])
    middle = _smooth(edges, 4)[:, _ROWS, _COLUMNS]
    mirrored = middle[:, :, ::-1]
    difference = np.abs(middle - mirrored).sum((1, 2))
    total = (middle + mirrored).sum((1, 2))
    return np.divide(difference, total, where=total > 0, out=np.zeros_like(total))


def _smooth(values, times):
    """Weights 1/4, 1/2, 1/4 along both axes, `times` times; the border is repeated."""
    for _ in range(times):
        wide = np.pad(values, [(0, 0), (1, 1), (1, 1)], mode="edge")
        tall = (wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]) / 4
        values = (tall[:, :, :-2] + 2 * tall[:, :, 1:-1] + tall[:, :, 2:]) / 4
    return values


def rank(protocol, data_dir):
    """The images of a protocol, most symmetric first.

    Args:
      protocol: protocols.Protocol of 64x64 images in files.
      data_dir: their folder.

    Returns:
      list of (name, asymmetry).

    Raises:
      ProtocolError: other images, or some that are missing or have changed.
    """
    if protocol.size != SIZE or not protocol.needs_files:
        raise ProtocolError(
            f"protocol {protocol.name}: must be one of {SIZE}x{SIZE} images in files"
        )
    found = []
    examples = protocol_examples.open_examples(protocol, data_dir)
    for batch in examples.unchecked():
        found += zip(batch["name"], asymmetry(batch["pixels"]), strict=True)
    return sorted(found, key=lambda entry: entry[1])


def list_text(entries, order):
    """A list of images for a protocol, in the order in which another has them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "asymmetry"])
    for name, value in sorted(entries, key=lambda entry: order[entry[0]]):
        writer.writerow([name, f"{value:.4f}"])
    return text.getvalue()


def main(argv):
    logging.set_verbosity(logging.WARNING)
    try:
        if argv[1:]:
            raise ValueError(f"{argv[1]!r} is not a flag")
        protocol = protocols.read(flags.FLAGS.protocol)
        ranked = rank(protocol, flags.FLAGS.data_dir)
        order = {name: place for place, name in enumerate(protocol.names)}
        third = len(ranked) // 3
        if not third:
            raise ProtocolError(
                f"protocol {protocol.name}: {len(ranked)} images have no thirds: take "
                "one of at least 3"
            )
        parts = {"frontal": ranked[:third], "turned": ranked[-third:]}
        for part, entries in parts.items():
            path = f"{flags.FLAGS.output}_{part}.csv"
            write_text(path, [list_text(entries, order)])
            values = [value for _, value in entries]
            print(f"{path}: {third} images, {min(values):.3f} to {max(values):.3f}")
    except (ValueError, OSError) as error:
        print(f"asymmetry: {str(error).splitlines()[0]}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    flags.DEFINE_string("protocol", None, "Of 64x64 images in files.", required=True)
    flags.DEFINE_string("data_dir", None, "Folder of its images.")
    flags.DEFINE_string(
        "output", None, "Beginning of both lists' paths.", required=True
    )
    app.run(main)
