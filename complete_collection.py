"""Completes a whole collection of pictures by an exported model, on Apache Beam.

    python complete_collection.py --model=exports/glcic/1 --images=photos \\
        --masks=masks --output_dir=completed
    python complete_collection.py --model=gs://models/glcic/1 \\
        --records='gs://photos/*.tfrecord' --output_dir=gs://completed -- \\
        --runner=DataflowRunner --project=... --region=... --temp_location=gs://...

What comes after -- goes to Beam: which engine runs the pipeline, and how. Without it
the pipeline runs in this process. The same command goes on where a stopped one has
been: pictures that are there are not completed again, and none is ever half there.

Writes <output_dir>/pictures/<name>.png, table.csv with a line for every picture, and
outcomes.csv; see `collection/pipeline.py`. Needs the extra `beam`.
"""

import csv
import hashlib
import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # Before TensorFlow is imported.

from absl import app, flags, logging

from command_line.parsing import UsageError, parse_flags, refuse
from inpainting_tf import image_files
from serving.pictures import is_inside

FLAGS = flags.FLAGS

flags.DEFINE_string("model", None, "Folder of a SavedModel, <export_dir>/<method>/<n>.")
flags.DEFINE_string("images", None, "Folder: every picture below it is completed.")
flags.DEFINE_string(
    "records",
    None,
    "Instead of --images: TFRecord files, such as shards/*.tfrecord, of examples with "
    "`image`, an encoded picture, and perhaps `mask` and `name`.",
)
flags.DEFINE_string(
    "masks",
    None,
    "Folder of masks, named as the pictures, with any picture extension; or one mask "
    "file for all. Default: the masks in --records.",
)
flags.DEFINE_string("output_dir", None, "Folder of the completed pictures and table.")
flags.DEFINE_integer(
    "batch_size", 8, "Pictures of one size per call of the model.", lower_bound=1
)
flags.DEFINE_bool(
    "measure",
    False,
    "The pixels below the masks are the truth: add L1, PSNR and SSIM to the table.",
)
flags.DEFINE_integer(
    "table_shards",
    1,
    "Files that the table is written to; 0: as many as the engine likes.",
    lower_bound=0,
)

RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def check_flags():
    """Refuses what cannot be run.

    Raises:
      UsageError: naming the flag and what to do.
    """
    for name in ("model", "output_dir"):
        if not FLAGS[name].value:
            raise UsageError(f"--{name} is missing: {FLAGS[name].help}")
    if (FLAGS.images is None) == (FLAGS.records is None):
        raise UsageError("give either --images or --records")
    if FLAGS.images is not None and FLAGS.masks is None:
        raise UsageError("--images needs --masks")
    for name in ("images", "masks", "model"):
        path = FLAGS[name].value
        if path and "://" not in path and not os.path.exists(path):
            raise UsageError(f"--{name}={path}: no such file or folder")
    if FLAGS.images is None:
        return
    for name in ("masks", "output_dir"):
        path = FLAGS[name].value
        if "://" not in path + FLAGS.images and is_inside(path, FLAGS.images):
            raise UsageError(
                f"--{name}={path} lies in --images={FLAGS.images}, where every picture "
                "is to be completed; keep it elsewhere"
            )


def check_output():
    """Notes what an output folder is made with, and refuses it for anything else.

    Raises:
      UsageError: it holds what another model, other masks or pictures, or --measure
        have made.
    """
    from collection import storage

    settings = {
        "model": model_hash(),
        "measure": FLAGS.measure,
        "images": _place(FLAGS.images),
        "records": _place(FLAGS.records),
        # One mask is known by what it holds, many by where they lie.
        "masks": _place(FLAGS.masks) if mask_for_each() else mask_hash(),
    }
    path = storage.join(FLAGS.output_dir, "collection.json")
    found = {}
    if storage.exists(path):
        found = json.loads(storage.read(path))
        # What earlier versions have not noted may be anything.
        differing = [n for n, value in settings.items() if found.get(n, value) != value]
        if differing:
            raise UsageError(
                f"--output_dir={FLAGS.output_dir} holds pictures made with another "
                f"--{differing[0]}; use that, or another folder"
            )
    if found != settings:
        text = json.dumps(settings, indent=2) + "\n"
        storage.write_whole(FLAGS.output_dir, "collection.json", text.encode())


def _place(path):
    """A path that means the same in any working directory; None as it is."""
    return os.path.realpath(path) if path and "://" not in path else path


def mask_for_each():
    """Whether --masks is a folder with a mask for each picture, not one file for all."""
    masks = FLAGS.masks
    return bool(masks) and not masks.lower().endswith(image_files.EXTENSIONS)


def mask_hash():
    """A short hash of the one mask file for all; None where records have the masks.

    Raises:
      UsageError: it cannot be read.
    """
    from collection import storage

    if not FLAGS.masks:
        return None
    try:
        return hashlib.sha256(storage.read(FLAGS.masks)).hexdigest()[:16]
    except image_files.ImageError as error:
        raise UsageError(f"--masks={FLAGS.masks}: {error}") from None


def model_hash():
    """A short hash of a SavedModel: graphs, and check sums of its weights.

    Raises:
      UsageError: there is none.
    """
    from collection import storage

    digest = hashlib.sha256()
    for part in ("saved_model.pb", "variables/variables.index"):
        try:
            digest.update(storage.read(storage.join(FLAGS.model, part)))
        except image_files.ImageError as error:
            raise UsageError(
                f"--model={FLAGS.model} is no SavedModel: {part}: {error}; name "
                "<export_dir>/<method>/<version>"
            ) from None
    return digest.hexdigest()[:16]


def run(engine):
    """Runs the pipeline; returns the exit status.

    Args:
      engine: words for Beam.
    """
    check_flags()
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise UsageError(
            "Apache Beam is missing; install the extra: pip install -e '.[beam]'"
        ) from None
    from collection import pipeline, storage

    check_output()
    if not any(word.startswith("--runner") for word in engine):
        engine = [f"--runner={RUNNER}", *engine]
    # Words that Beam does not know belong to an engine that is not installed here.
    options = PipelineOptions(engine)
    with beam.Pipeline(options=options) as whole:
        pipeline.build(
            whole,
            FLAGS.model,
            FLAGS.output_dir,
            images=FLAGS.images,
            records=FLAGS.records,
            masks=FLAGS.masks,
            mask_for_each=mask_for_each(),
            batch_size=FLAGS.batch_size,
            measure=FLAGS.measure,
            table_shards=FLAGS.table_shards,
        )
    storage.remove_unfinished(FLAGS.output_dir)
    said = storage.read(storage.join(FLAGS.output_dir, "outcomes.csv")).decode()
    counts = list(csv.reader(said.splitlines()))[1:]
    ordered = sorted(counts, key=lambda pair: -int(pair[1]))
    words = ", ".join(f"{count} {outcome}" for outcome, count in ordered)
    print(f"{FLAGS.output_dir}: {words or 'no pictures'}", file=sys.stderr)
    return 0


def main(words):
    logging.set_verbosity(logging.ERROR)
    try:
        sys.exit(run(words[1:] if words else []))
    except (UsageError, OSError) as error:
        refuse("complete_collection.py", str(error).strip().splitlines()[0])


def parse(argv):
    """Parses what stands before --; returns the program's name and the rest."""
    place = argv.index("--") if "--" in argv else len(argv)
    return [*parse_flags(argv[:place]), *argv[place + 1 :]]


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
