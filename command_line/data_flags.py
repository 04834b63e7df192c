"""Flags that say which pictures and which holes, and what they stand for."""

import os

import numpy as np
import tensorflow as tf
from absl import flags

from command_line import method_flags
from command_line.parsing import UsageError
from inpainting_tf import data, images, masks

FLAGS = flags.FLAGS

flags.DEFINE_string(
    "dataset",
    "celeb_a",
    "A TensorFlow Datasets name with an `image` feature; folder: every picture below "
    "--data_dir; list: the pictures named in --data_list; synthetic_faces: drawn on "
    "the fly, needs no files.",
)
flags.DEFINE_string(
    "data_dir",
    None,
    "Folder of pictures (folder, list) or of prepared TensorFlow Datasets.",
)
flags.DEFINE_string(
    "data_list",
    None,
    "CSV or text file, in --data_dir or elsewhere, that names pictures relative to "
    "--data_dir, with an optional partition column.",
)
flags.DEFINE_integer("image_size", 128, "Side of the images in pixels.", lower_bound=16)
flags.DEFINE_string(
    "crop",
    "auto",
    "Centred square that is cut out before resizing: a side in pixels, square for the "
    "largest that fits, or auto: 178 for celeb_a, square for others.",
)
flags.DEFINE_float(
    "max_broken_share",
    0.02,
    "Share of unusable pictures (damaged, too small) that may be skipped; the program "
    "stops beyond it.",
    lower_bound=0,
    upper_bound=1,
)
RULES_HELP = (
    f"one of {', '.join(masks.RULES)}, or several, of which each hole takes one"
)
flags.DEFINE_string("mask", "random_box", f"Rule that draws the holes: {RULES_HELP}.")
flags.register_validator(
    "mask", lambda text: are_rules(text), f"must be {RULES_HELP}: center,free_form"
)
flags.DEFINE_integer(
    "hole_size", None, "Side of box holes in pixels; default: half the image."
)
flags.DEFINE_float(
    "mask_share",
    None,
    "Share of missing pixels for random_pixels and pattern; default: the rule's own.",
)
flags.DEFINE_string("mask_dir", None, "Folder of mask pictures for --mask=folder.")


def are_rules(text):
    """Whether a flag's text names mask rules, with commas between; or is None."""
    return text is None or {*text.split(",")} <= {*masks.RULES}


def check(*texts):
    """Refuses impossible combinations of the flags of this module.

    Args:
      texts: the mask rules in use, as flags give them.

    Raises:
      UsageError: naming the flags and what to do.
    """
    rules = {rule for text in texts for rule in text.split(",")}
    if FLAGS.dataset in ("folder", "list") and not FLAGS.data_dir:
        raise UsageError(f"--dataset={FLAGS.dataset} needs --data_dir")
    if (FLAGS.dataset == "list") != bool(FLAGS.data_list):
        raise UsageError("--dataset=list and --data_list go together")
    if FLAGS.dataset == "synthetic_faces" and FLAGS.data_dir:
        raise UsageError("--dataset=synthetic_faces needs no --data_dir")
    if ("folder" in rules) != bool(FLAGS.mask_dir):
        raise UsageError("--mask=folder and --mask_dir go together")
    for flag, takers in (
        ("hole_size", masks.BOX_RULES),
        ("mask_share", masks.DEFAULT_SHARE),
    ):
        if FLAGS[flag].value is not None and not rules & {*takers}:
            raise UsageError(
                f"--{flag} is of no use to --mask={FLAGS.mask}, only to "
                f"{', '.join(takers)}"
            )
    crop = crop_rule()
    if crop != "square" and crop < FLAGS.image_size:
        raise UsageError(
            f"--crop={crop} is smaller than --image_size={FLAGS.image_size}"
        )


def crop_rule():
    """The crop that --crop stands for: "square" or a side in pixels."""
    if FLAGS.crop == "auto":
        return 178 if FLAGS.dataset == "celeb_a" else "square"
    if FLAGS.crop == "square":
        return "square"
    if not FLAGS.crop.isdecimal() or int(FLAGS.crop) == 0:
        raise UsageError(f"--crop={FLAGS.crop}: must be auto, square or a side")
    return int(FLAGS.crop)


def mask_rule(text, bank=None):
    """The function that draws one example's mask and box from a stateless seed.

    Args:
      text: one or several rules, as a flag gives them.
      bank: masks of --mask_dir, for the rule `folder`.
    """
    rules = text.split(",")

    def draw(seed, rules=rules):
        return masks.draw_one_of(
            rules,
            seed,
            FLAGS.image_size,
            FLAGS.image_size,
            hole_size=FLAGS.hole_size,
            share=FLAGS.mask_share,
            bank=bank,
        )

    for rule in rules:  # An impossible one is refused now, not in the loop.
        draw(np.zeros(2, np.int32), [rule])
    return draw


def load_mask_bank():
    """The masks of --mask_dir as a tensor, or None without the flag.

    A tensor, since a NumPy array would become a constant of every graph.
    """
    if not FLAGS.mask_dir:
        return None
    size = FLAGS.image_size
    return tf.constant(masks.load_bank(FLAGS.mask_dir, size, size))


def loader(source, on_broken=None):
    """The Loader of a source's pictures at the size and crop of the flags."""
    return data.Loader(
        source, FLAGS.image_size, crop_rule(), FLAGS.max_broken_share, on_broken
    )


def report_unusable(broken, say, whole_list=None, fate="replaced"):
    """Counts the pictures that had to be skipped by reason, and names some.

    Args:
      broken: dict name -> reason.
      say: prints a line.
      whole_list: path of the file that names them all, if there is one.
      fate: what became of them.
    """
    if broken:
        kinds = images.count_by_kind(broken.values())
        say(f"unusable pictures, {fate}: {len(broken)}: {kinds}")
    for name, reason in sorted(broken.items())[:5]:
        say(f"unusable picture, {fate}: {images.in_one_line(name)}: {reason}")
    if len(broken) > 5:
        where = f", all in {os.path.normpath(whole_list)}" if whole_list else ""
        say(f"and {len(broken) - 5} more{where}")


def effective_flags(methods):
    """All flags in effect of a program that takes --method, pictures and holes.

    Args:
      methods: the classes that --method chooses from, by name.

    Returns:
      dict name -> text: every flag that has a value, and the method's defaults.
    """
    own = (FLAGS.find_module_defining_flag("method"), __name__)
    return method_flags.effective(methods, FLAGS.method, own)
