"""The Apache Beam pipeline that completes a collection.

Input: a folder of pictures, or TFRecord files; masks; a SavedModel of export.py.
Output, in a folder:

    pictures/<name>.png    completed pictures, each whole or not there
    table.csv              one line per picture: name, outcome, size, missing share,
                           measures if asked for, and why it has not been completed
    outcomes.csv           how many pictures had which outcome

Stages: find (names and places) -> by name (spreads the work; two pictures of one name
are refused) -> read (a picture that is finished only tells its row) -> batch by size ->
complete, measure, write -> table. From reading to writing all runs in one worker, so
that pixels never travel.

Names are bytes in between: not every file's name is text.
"""

import collections
import csv
import errno
import io
import os
import tempfile

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from collection import storage, work
from inpainting_tf import image_files, untrusted

COLUMNS = ("name", "outcome", "height", "width", "missing")
COMPLETED = "completed"

_NAME_ERRORS = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)

# Where a picture is: a file (length None), or a record of a TFRecord file.
Place = collections.namedtuple("Place", "path start length")


class FindPictures(beam.DoFn):
    """Folder -> (name, Place) of each picture below it."""

    def process(self, folder):
        for found in storage.pictures_below(folder):
            name = os.path.splitext(found)[0]
            path = storage.join(folder, found)
            yield os.fsencode(name), Place(os.fsencode(path), 0, None)


class FindRecords(beam.DoFn):
    """Path of a TFRecord file -> (name, Place) of each record.

    The name is the feature `name`, or the file's name and the record's number.
    """

    def process(self, path):
        base = os.path.basename(path)
        try:
            for number, (start, length, data) in enumerate(storage.records_of(path)):
                try:
                    named = _feature(data, "name")
                except image_files.ImageError:
                    named = None  # Reading it again will say so.
                name = named or os.fsencode(f"{base}-{number:08d}")
                yield name, Place(os.fsencode(path), start, length)
        except image_files.ImageError as error:
            yield beam.pvalue.TaggedOutput("rows", _row(os.fsencode(base), error))


def _feature(data, name):
    """The first value of a bytes feature of a tf.train.Example, or None."""
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        features = tf.train.Example.FromString(data).features.feature
    except DecodeError:
        raise image_files.ImageError("damaged record") from None
    values = features[name].bytes_list.value if name in features else ()
    return values[0] if values else None


class ReadPair(beam.DoFn):
    """(name, Places) -> Example; what is finished or unusable -> a row.

    Args:
      masks, mask_for_each: a folder of files named as the pictures, or one for all; or
        None: the feature `mask` of each record.
      output_dir: where finished pictures lie.
    """

    def __init__(self, masks, mask_for_each, output_dir):
        self._masks = masks
        self._mask_for_each = mask_for_each
        self._output_dir = output_dir
        self._one_mask = None
        self._extension = ".png"

    def process(self, element):
        name, places = element
        places = list(places)
        try:
            yield self._example(name, places)
        except image_files.ImageError as error:
            yield beam.pvalue.TaggedOutput("rows", _row(name, error))
        except _FinishedError as finished:
            row = _row(name) | finished.args[0]
            yield beam.pvalue.TaggedOutput("rows", row)

    def _example(self, name, places):
        output = output_name(name)
        if not untrusted.stays_inside(os.fsdecode(name)):
            raise image_files.ImageError("name that leaves its folder")
        if len(places) > 1:
            paths = " and ".join(sorted(os.fsdecode(place.path) for place in places))
            raise image_files.ImageError(f"name of several pictures: {paths}")
        path = storage.join(self._output_dir, output)
        finished = storage.head(path, work.HEAD_BYTES)
        if finished is not None:
            row = work.recorded(finished)
            if row is None:
                raise image_files.ImageError(f"output in the way: {path}")
            raise _FinishedError(row)
        place = Place(*places[0])
        data = storage.read(os.fsdecode(place.path), place.start, place.length)
        example = None if place.length is None else data
        if example is not None:
            data = _feature(example, "image")
            if data is None:
                raise image_files.ImageError("no encoded `image` feature")
        image = image_files.decode(data)  # What is wrong with it comes first.
        mask = self._mask_of(name) if self._masks else _feature(example, "mask")
        if mask is None:
            raise image_files.ImageError("no encoded `mask` feature")
        return work.with_mask(name, image, mask)

    def _mask_of(self, name):
        """The bytes of a picture's mask."""
        if not self._mask_for_each:
            if self._one_mask is None:
                self._one_mask = storage.read(self._masks)
            return self._one_mask
        stem = storage.join(self._masks, os.fsdecode(name))
        # The extension of the last one first: folders are rarely mixed.
        for extension in (self._extension, *image_files.EXTENSIONS):
            if storage.exists(stem + extension):
                self._extension = extension
                try:
                    return storage.read(stem + extension)
                except image_files.ImageError as error:
                    raise image_files.ImageError(f"mask is unusable: {error}") from None
        raise image_files.ImageError(f"no mask: none is named {stem}")


class _FinishedError(Exception):
    """A picture that is there already; carries its row."""


class Batch(beam.DoFn):
    """Example -> lists of Examples of one size."""

    def __init__(self, batch_size):
        self._batch_size = batch_size

    def start_bundle(self):
        self._batches = work.BatchesBySize(self._batch_size)

    def process(self, example):
        if batch := self._batches.add(example):
            yield batch

    def finish_bundle(self):
        window = GlobalWindow()
        for batch in self._batches.rest():
            yield WindowedValue(batch, window.max_timestamp(), [window])


class Complete(beam.DoFn):
    """Lists of Examples -> rows, once their pictures are written."""

    def __init__(self, model, measure, output_dir):
        self._model = model
        self._measure = measure
        self._output_dir = output_dir

    def setup(self):
        with tempfile.TemporaryDirectory() as place:
            path = storage.copied_here(self._model, place)
            self._completer = work.Completer(path, self._measure)

    def process(self, batch):
        for example, result in self._completer.complete(batch):
            if isinstance(result, image_files.ImageError):
                yield _row(example.name, result)
            else:
                yield self._write(example.name, result)

    def _write(self, name, png):
        try:
            storage.write_whole(self._output_dir, output_name(name), png)
        except OSError as error:
            # Not the end of a run, as a full disk is: another picture's output where
            # this one needs a folder, or a name that is too long.
            if error.errno not in _NAME_ERRORS:
                raise
            return _row(name, image_files.ImageError(f"no place: {error.strerror}"))
        return _row(name) | work.recorded(png[: work.HEAD_BYTES])


def output_name(name):
    """Path of a picture's output below the output folder, from its name as bytes."""
    return f"pictures/{os.fsdecode(name)}.png"


def _row(name, error=None):
    """A line of the table as a dict."""
    row = {"name": name, "outcome": COMPLETED}
    if error is not None:
        row |= {"outcome": image_files.kind_of(str(error)), "reason": str(error)}
    return row


class Line(beam.DoFn):
    """Dict -> line of a CSV file, as bytes."""

    def __init__(self, columns):
        self._columns = columns

    def process(self, row):
        named = row | {"name": image_files.in_one_line(os.fsdecode(row["name"]))}
        named["reason"] = image_files.in_one_line(row.get("reason", ""))
        yield _line([named.get(column, "") for column in self._columns])


def _line(values):
    """Values -> line of a CSV file, as bytes."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="").writerow(values)
    return os.fsencode(stream.getvalue())


def columns(measure):
    """Columns of the table."""
    return (*COLUMNS, *(work.MEASURES if measure else ()), "reason")


def build(
    pipeline,
    model,
    output_dir,
    *,
    images=None,
    records=None,
    masks=None,
    mask_for_each=True,
    batch_size=8,
    measure=False,
    table_shards=1,
):
    """Adds the completion of a collection to a Beam pipeline.

    Args:
      pipeline: beam.Pipeline.
      model: folder of the SavedModel.
      output_dir: folder of the output.
      images: folder of pictures; or records, a pattern of TFRecord files whose examples
        have `image`, an encoded picture, and may have `mask` and `name`.
      masks: a folder, where there is a `mask_for_each` picture, else one file for all;
        None for the masks in the records.
      batch_size: pictures of one size that go through the model together.
      measure: whether the pixels below the masks are the truth, to be compared with.
      table_shards: files that the table is written to; 0 leaves it to the engine.
    """
    if images is not None:
        found = (
            pipeline
            | "folder" >> beam.Create([images])
            | "find" >> beam.ParDo(FindPictures())
        )
        damaged = ()
    else:
        located = (
            pipeline
            | "files" >> beam.Create(storage.files_of(records))
            | "spread files" >> beam.Reshuffle()
            | "find" >> beam.ParDo(FindRecords()).with_outputs("rows", main="found")
        )
        found, damaged = located.found, (located.rows,)
    read = (
        found
        | "by name" >> beam.GroupByKey()
        | "read"
        >> beam.ParDo(ReadPair(masks, mask_for_each, output_dir)).with_outputs(
            "rows", main="examples"
        )
    )
    completed = (
        read.examples
        | "batch by size" >> beam.ParDo(Batch(batch_size))
        | "complete" >> beam.ParDo(Complete(model, measure, output_dir))
    )
    rows = (completed, read.rows, *damaged) | "rows" >> beam.Flatten()
    names = columns(measure)
    lines = rows | "lines" >> beam.ParDo(Line(names))
    _write(lines, output_dir, "table", names, table_shards)
    counts = (
        rows
        | "outcomes" >> beam.Map(lambda row: row["outcome"])
        | "count" >> beam.combiners.Count.PerElement()
        | "as text" >> beam.Map(_line)
    )
    _write(counts, output_dir, "outcomes", ("outcome", "pictures"), 1)


def _write(lines, folder, name, header, shards):
    one = {"num_shards": 1, "shard_name_template": ""}
    lines | f"write {name}" >> beam.io.WriteToText(
        storage.join(folder, name),
        file_name_suffix=".csv",
        header=",".join(header),
        coder=beam.coders.BytesCoder(),
        **(one if shards == 1 else {"num_shards": shards}),
    )
