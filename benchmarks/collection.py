"""Pictures per second of complete_collection.py, against a plain loop.

    python -m benchmarks.collection
    python -m benchmarks.collection --method=giica --width=1 --count=500 --rounds=3

Completes --count tiny pictures of smooth noise, of three sizes, with a mask each, by an
exported network of random weights (time does not depend on what it has learned):

    loop   one process that goes through the sorted files: read, decode, batch by size,
           complete, write. The same functions as in the pipeline, without Beam and
           without anything that makes a restart possible.
    beam   the pipeline of complete_collection.py on Beam's local runner, from listing
           the folder to the finished table.

Each runs in a fresh process, in turns, so that what else the machine does falls on
both. Seconds are of the whole work, the loading of the model included and the start of
Python and its imports left out: a start of some seconds is nothing beside millions of
pictures.
Prints every pair, and medians of the ratios of pairs, of seconds and of CPU seconds,
which a busy machine disturbs less. Needs the extra `beam`.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Before TensorFlow is imported.

import numpy as np
from absl import app, flags, logging
from PIL import Image

from command_line.parsing import parse_flags

FLAGS = flags.FLAGS
flags.DEFINE_string("method", "glcic", "Name of a network.")
flags.DEFINE_float("width", 0.25, "Channels of the network, as in train.py.")
flags.DEFINE_integer("image_size", 64, "Side of the pictures, about.")
flags.DEFINE_integer("count", 2000, "Number of pictures.", lower_bound=3)
flags.DEFINE_integer("batch_size", 8, "As in complete_collection.py.", lower_bound=1)
flags.DEFINE_integer("rounds", 5, "Pairs to be timed.", lower_bound=2)
flags.DEFINE_enum("one", None, ["loop", "beam"], "Runs this one in --folder, once.")
flags.DEFINE_string("folder", None, "Folder of --one.")


def write_pictures(folder):
    """images/ and masks/ of --count pictures of three sizes."""
    generator = np.random.default_rng(0)
    side = FLAGS.image_size
    for part in ("images", "masks"):
        os.makedirs(os.path.join(folder, part))
    for index in range(FLAGS.count):
        size = side + 8 * (index % 3), side
        coarse = generator.integers(0, 256, [8, 8, 3], np.uint8)
        picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        picture.save(os.path.join(folder, "images", f"{index:06d}.jpg"), quality=90)
        mask = np.zeros(size[::-1], np.uint8)
        mask[side // 4 : side * 3 // 4, side // 4 : side * 3 // 4] = 255
        Image.fromarray(mask).save(os.path.join(folder, "masks", f"{index:06d}.png"))


def export_network(folder):
    """Writes an export with random weights; returns its path."""
    from benchmarks import fresh_runs
    from command_line import served_methods
    from inpainting_tf import exporting

    run_dir = os.path.join(folder, "run")
    fresh_runs.write(run_dir, FLAGS.method, FLAGS.image_size, FLAGS.width, seed=0)
    _, served, facts = served_methods.open_run(run_dir, "newest")
    return exporting.export(served, folder, "model", facts)


def loop(folder, model, output_dir):
    """The plain loop."""
    from collection import work
    from inpainting_tf import image_files

    completer = work.Completer(model, measure=False)
    batches = work.BatchesBySize(FLAGS.batch_size)

    def write(examples):
        for example, png in completer.complete(examples):
            path = os.path.join(output_dir, f"{example.name.decode()}.png")
            with open(path, "wb") as file:
                file.write(png)

    os.makedirs(output_dir)
    for name in sorted(os.listdir(os.path.join(folder, "images"))):
        stem = os.path.splitext(name)[0]
        image = image_files.decode(
            image_files.read(os.path.join(folder, "images", name))
        )
        mask = image_files.read(os.path.join(folder, "masks", f"{stem}.png"))
        if batch := batches.add(work.with_mask(stem.encode(), image, mask)):
            write(batch)
    for batch in batches.rest():
        write(batch)


def through_beam(folder, model, output_dir):
    """The pipeline."""
    import apache_beam as beam

    from collection import pipeline

    with beam.Pipeline(runner="FnApiRunner") as whole:
        pipeline.build(
            whole,
            model,
            output_dir,
            images=os.path.join(folder, "images"),
            masks=os.path.join(folder, "masks"),
            batch_size=FLAGS.batch_size,
        )


def run_one():
    """Runs --one and prints its seconds."""
    # What both need, so that neither pays for imports.
    import apache_beam  # noqa: F401
    import tensorflow  # noqa: F401

    from collection import pipeline  # noqa: F401
    from inpainting_tf import metrics, untrusted  # noqa: F401

    model = os.path.join(FLAGS.folder, "model", "1")
    output_dir = os.path.join(FLAGS.folder, FLAGS.one)
    began, began_cpu = time.perf_counter(), time.process_time()
    {"loop": loop, "beam": through_beam}[FLAGS.one](FLAGS.folder, model, output_dir)
    seconds = time.perf_counter() - began
    found = sum(
        name.endswith(".png") for _, _, names in os.walk(output_dir) for name in names
    )
    if found != FLAGS.count:
        raise SystemExit(f"{FLAGS.one} wrote {found} of {FLAGS.count} pictures")
    print(f"seconds {seconds} {time.process_time() - began_cpu}")


def seconds_of(one, folder):
    """Seconds, and CPU seconds, of one way in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.collection", f"--one={one}"]
    command += [f"--folder={folder}", f"--count={FLAGS.count}"]
    command += [f"--batch_size={FLAGS.batch_size}"]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    shutil.rmtree(os.path.join(folder, one))
    return [float(word) for word in said.split()[-2:]]


def main(_):
    logging.set_verbosity(logging.ERROR)
    if FLAGS.one:
        run_one()
        return
    print(f"load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        write_pictures(folder)
        export_network(folder)
        ratios, cpu_ratios = [], []
        for number in range(FLAGS.rounds):
            ways = ("loop", "beam") if number % 2 else ("beam", "loop")
            seconds = {way: seconds_of(way, folder) for way in ways}
            ratios.append(seconds["beam"][0] / seconds["loop"][0])
            cpu_ratios.append(seconds["beam"][1] / seconds["loop"][1])
            rates = {way: FLAGS.count / value for way, (value, _) in seconds.items()}
            print(
                f"  loop {rates['loop']:.1f} pictures/s, beam {rates['beam']:.1f}; "
                f"beam takes {ratios[-1]:.3f} times as long, "
                f"{cpu_ratios[-1]:.3f} times the CPU time",
                flush=True,
            )
    print(
        f"{FLAGS.count} pictures, {FLAGS.method} of width {FLAGS.width:g}: beam takes "
        f"{statistics.median(ratios):.3f} times as long, "
        f"{statistics.median(cpu_ratios):.3f} times the CPU time"
    )
    print(f"load of the machine {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
