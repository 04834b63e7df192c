"""Writes a protocol's images and masks as files, for programs other than this one.

    python -m inpainting_tf.protocol_pictures --protocol=celeba128_center \\
        --data_dir=celeba --output_dir=protocol_files

    images/<name>.png    the images, cropped and resized, holes not yet cut
    masks/<name>.png     white = missing

What the program makes of them, `<name>.png` of the same size, is a contender of
evaluate.py: `--methods=theirs=<folder>`. Every image and mask is checked as it is
written.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Before TensorFlow is imported.

from absl import app, flags, logging

from inpainting_tf import images, protocol_examples, protocols
from inpainting_tf.protocol_definition import ProtocolError

FLAGS = flags.FLAGS


def write(protocol, data_dir, output_dir):
    """Writes the pictures of all examples; those that are there are written again.

    Args:
      protocol: Protocol from `protocols.read`.
      data_dir: folder of its images, None for drawn faces.
      output_dir: folder for images/ and masks/.

    Raises:
      ProtocolError: an image or mask that is not the frozen one, or two images of one
        name.
      OSError: a file that cannot be written.
    """
    stems = [os.path.splitext(os.path.basename(name))[0] for name in protocol.names]
    if len({*stems}) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise ProtocolError(
            f"protocol {protocol.name} has several images named {twice}"
        )
    for batch in protocol_examples.open_examples(protocol, data_dir):
        pixels = images.to_uint8(batch["image"]).numpy()
        masks = (batch["mask"][..., 0].numpy() * 255).astype("uint8")
        for place, number in enumerate(batch["index"]):
            for kind, pictures in (("images", pixels), ("masks", masks)):
                path = os.path.join(output_dir, kind, f"{stems[number]}.png")
                images.write_png(path, pictures[place])


def define_flags():
    """Defines the program's flags; importing the function alone does not."""
    flags.DEFINE_string("protocol", None, "Path of a protocol, or its name.")
    flags.DEFINE_string("data_dir", None, "Folder of its pictures, if it needs any.")
    flags.DEFINE_string("output_dir", None, "Folder for images/ and masks/.")


def main(argv):
    logging.set_verbosity(logging.WARNING)
    try:
        if len(argv) > 1:
            raise ValueError(
                f"{argv[1]!r} is not a flag; flags are written --name=value"
            )
        for name in ("protocol", "output_dir"):
            if not FLAGS[name].value:
                raise ValueError(f"--{name} is missing: {FLAGS[name].help}")
        protocol = protocols.read(FLAGS.protocol)
        write(protocol, FLAGS.data_dir, FLAGS.output_dir)
    except (ValueError, OSError) as error:
        print(f"protocol_pictures: {str(error).splitlines()[0]}", file=sys.stderr)
        sys.exit(2)
    print(
        f"{len(protocol)} images and masks of {protocol.name} ({protocol.hash}) in "
        f"{FLAGS.output_dir}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    define_flags()
    app.run(main)
