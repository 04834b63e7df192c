"""Completes pictures by a latent search of a trained dcgan, and measures them.

    python search.py --flagfile=flags/siidgm_paper.cfg --gan=runs/dcgan
    python search.py --flagfile=flags/symmetric_search_paper.cfg --gan=runs/dcgan \\
        --dataset=folder --data_dir=faces --count=64 --restarts=4

Writes to --output_dir: completed/*.png; grid.png, input, found, completed and truth
side by side; losses.png and losses.npz, every iteration's losses; iterations.png, what
was found on the way, if asked for; results.jsonl, one object per picture; flags.cfg.
Holes and pictures are those of train.py's validation.
"""

import os
import signal
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Before TensorFlow is imported.

import tensorflow as tf
from absl import app, flags, logging
from tqdm import tqdm

from baselines.methods import SEARCHES
from command_line import data_flags, method_flags, trained, weights_along
from command_line.parsing import UsageError, parse_flags, refuse
from inpainting_tf import (
    data,
    evaluation,
    figure_files,
    figure_grids,
    figure_tiles,
    images,
    run_folder,
    sources,
)
from inpainting_tf.checkpoints import TrainingStopped
from inpainting_tf.progress import say
from inpainting_tf.search_results import SearchResults

FLAGS = flags.FLAGS

flags.DEFINE_enum("method", "siidgm", list(SEARCHES), "Search to complete by.")
flags.DEFINE_string(
    "gan",
    None,
    "Run folder of the trained dcgan that is searched, or the name of one that comes "
    "along.",
)
flags.DEFINE_string(
    "gan_checkpoint", "newest", "Its checkpoint: newest, or a step that was kept."
)
flags.DEFINE_string(
    "split",
    None,
    "Pictures to complete: TFDS split syntax, a partition of --data_list, or a "
    "synthetic_faces population. Default: test; all of a folder or of a list without "
    "partitions.",
)
flags.DEFINE_integer("count", 8, "Number of pictures, the first ones.", lower_bound=1)
flags.DEFINE_integer("batch_size", 64, "Pictures searched at once.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Decides the starting z.", lower_bound=0)
flags.DEFINE_string("output_dir", None, "Folder for the results; new or empty.")
flags.DEFINE_integer("grid_rows", 8, "Pictures shown in grid.png.", lower_bound=1)
flags.DEFINE_list(
    "shown_iterations",
    [],
    "Iterations, such as 1,10,100, at which iterations.{png,pdf} shows the first four "
    "pictures; they are searched once more for each.",
)
method_flags.define(SEARCHES)
for module in (data_flags, method_flags):  # For --help.
    flags.adopt_module_key_flags(module)


def check_flags():
    """Refuses impossible combinations before anything is built.

    Raises:
      UsageError: naming the flags and what to do.
    """
    for name in ("gan", "output_dir"):
        if not FLAGS[name].value:
            raise UsageError(f"--{name} is missing; {FLAGS[name].help}")
    if os.path.isdir(FLAGS.output_dir) and os.listdir(FLAGS.output_dir):
        raise UsageError(
            f"--output_dir={FLAGS.output_dir} is not empty; use another folder"
        )
    method_flags.check(SEARCHES, FLAGS.method)
    for number in FLAGS.shown_iterations:
        if not number.isdecimal() or int(number) < 1:
            raise UsageError(
                f"--shown_iterations={','.join(FLAGS.shown_iterations)}: must be whole "
                "numbers from 1 on"
            )


def load_gan():
    """The trained dcgan; the images' size is its own unless --image_size was given.

    Raises:
      UsageError: the folder holds no run of a dcgan.
    """
    source = weights_along.find(FLAGS.gan)
    gan, recorded, step = trained.load(source, FLAGS.gan_checkpoint)
    if recorded["method"] != "dcgan":
        raise UsageError(
            f"--gan={FLAGS.gan} holds a run of {recorded['method']}; the searches need "
            "one of dcgan"
        )
    if FLAGS["image_size"].using_default_value:
        FLAGS.image_size = gan.image_size
    elif FLAGS.image_size != gan.image_size:
        raise UsageError(
            f"--image_size={FLAGS.image_size}: {FLAGS.gan} makes "
            f"{gan.image_size}x{gan.image_size} images; leave the flag out"
        )
    return gan, step


def open_source():
    """Opens the pictures to complete."""
    if FLAGS.dataset == "synthetic_faces":
        return sources.SyntheticFacesSource(FLAGS.split or "test", FLAGS.count)
    if FLAGS.dataset == "folder":
        if FLAGS.split:
            raise UsageError("--dataset=folder has no splits; leave --split out")
        return sources.folder_source(FLAGS.data_dir)
    if FLAGS.dataset == "list":
        return sources.list_source(FLAGS.data_list, FLAGS.data_dir, FLAGS.split)
    return sources.tfds_source(FLAGS.dataset, FLAGS.data_dir, FLAGS.split or "test")


def draw_iterations(gan, arguments, image, mask, names):
    """Draws what the search finds after --shown_iterations, with its losses so far.

    A search is a pure function of its image, so that a shorter one is a longer one's
    beginning.
    """
    numbers = sorted({int(number) for number in FLAGS.shown_iterations})

    @tf.function
    def search_for(iterations):
        changed = arguments | {"iterations": iterations, "keep": "last"}
        search = SEARCHES[FLAGS.method](gan, seed=FLAGS.seed, **changed)
        return search.complete(image, mask)

    stages = [search_for(tf.constant(number)) for number in numbers]
    pictures = {
        kind: images.to_uint8(tf.stack([stage[key] for stage in stages], 1)).numpy()
        for kind, key in (("found", "predicted"), ("completed", "completed"))
    }
    truth = images.to_uint8(image).numpy()
    examples = [
        figure_tiles.Example(
            os.path.basename(name),
            truth[i],
            mask[i].numpy(),
            {kind: stack[i] for kind, stack in pictures.items()},
        )
        for i, name in enumerate(names)
    ]
    losses = {
        "context loss": stages[-1]["context_losses"].numpy(),
        "prior loss": stages[-1]["prior_losses"].numpy(),
    }
    figure = figure_grids.search_iterations(examples, numbers, losses)
    figure_files.save(figure, os.path.join(FLAGS.output_dir, "iterations"))


def run():
    """Searches for every picture the flags name; returns the exit status."""
    check_flags()
    gan, step = load_gan()
    data_flags.check(FLAGS.mask)  # Only now is the size of the images known.
    arguments = method_flags.arguments(SEARCHES, FLAGS.method)
    search = SEARCHES[FLAGS.method](gan, seed=FLAGS.seed, **arguments)
    bank = data_flags.load_mask_bank()
    draw_mask = data_flags.mask_rule(FLAGS.mask, bank)
    source = open_source()
    count = min(FLAGS.count, len(source))
    loader = data_flags.loader(source)
    batches = data.fixed_batches(
        source,
        loader,
        draw_mask,
        size=FLAGS.image_size,
        batch_size=min(FLAGS.batch_size, count),
        seed=0,
        count=count,
    )
    try:
        results = SearchResults(
            FLAGS.output_dir,
            method=FLAGS.method,
            image_size=FLAGS.image_size,
            grid_rows=FLAGS.grid_rows,
        )
    except OSError as error:
        raise UsageError(
            f"--output_dir={FLAGS.output_dir}: cannot write there ({error.strerror})"
        ) from None
    in_effect = data_flags.effective_flags(SEARCHES)
    # What newest is changes when the GAN is trained on.
    in_effect["gan_checkpoint"] = str(step)
    run_folder.write_flags(FLAGS.output_dir, in_effect)
    complete = tf.function(search.complete, reduce_retracing=True)
    say(
        f"{FLAGS.method}: {count} pictures, {in_effect['iterations']} iterations each at "
        f"most, dcgan at step {step}"
    )
    began = time.monotonic()
    interrupted = False
    searched = 0
    try:
        with tqdm(total=count, unit="picture", disable=not sys.stderr.isatty()) as bar:
            for batch in batches:
                size = int(batch["image"].shape[0])
                names = [source.name(i) for i in range(searched, searched + size)]
                usable = [
                    i for i, name in enumerate(names) if name not in loader.broken
                ]
                outputs = complete(batch["image"], batch["mask"])
                if not searched:
                    shown = usable[:4]
                    beginning = (
                        tf.gather(batch["image"], shown),
                        tf.gather(batch["mask"], shown),
                        [names[i] for i in shown],
                    )
                results.add(
                    [names[i] for i in usable],
                    {key: tf.gather(value, usable) for key, value in batch.items()},
                    {key: tf.gather(value, usable) for key, value in outputs.items()},
                )
                searched += size
                bar.update(size)
    except tf.errors.OpError:
        if loader.failure is None:
            raise
        raise loader.failure from None
    except KeyboardInterrupt:
        interrupted = True
    finally:
        data_flags.report_unusable(loader.broken, say, fate="left out")
    if interrupted and not results.count:
        say("interrupted before the first picture was completed")
        return 128 + signal.SIGINT
    if not results.count:
        raise UsageError("nothing was completed")
    seconds = time.monotonic() - began
    results.write()
    if FLAGS.shown_iterations and beginning[2]:
        draw_iterations(gan, arguments, *beginning)
    for label, prefix in (("mean-colour fill", "mean_color_fill/"), ("completed", "")):
        measures = {k: results.mean(prefix + k) for k in evaluation.MEASURES}
        say(f"{label}: {evaluation.describe(measures)}")
    say(
        f"{seconds / results.count:.1f} s per picture; look at "
        f"{os.path.join(FLAGS.output_dir, 'grid.png')}"
    )
    if interrupted:
        say(f"interrupted after {results.count} of {count} pictures")
        return 128 + signal.SIGINT
    return 0


def main(_):
    logging.set_verbosity(logging.WARNING)
    try:
        sys.exit(run())
    except OSError as error:
        refuse("search.py", f"{error.filename or '--output_dir'}: {error.strerror}")
    except (ValueError, TrainingStopped) as error:
        refuse("search.py", error)
    except KeyboardInterrupt:  # Before the first picture.
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
