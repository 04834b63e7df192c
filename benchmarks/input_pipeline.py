"""Images per second of the input pipeline, alone: reading, decoding, resizing, masks.

    python -m benchmarks.input_pipeline --flagfile=flags/quickstart.cfg
    python -m benchmarks.input_pipeline --flagfile=flags/celeba.cfg --data_dir=...

Takes the flags of train.py; prints the median and the range over ten windows of twenty
batches, after warming up. Compare with the `images_per_second` in a run's
metrics.jsonl.
"""

import statistics
import time

from absl import app

import train
from command_line import data_flags
from command_line.parsing import parse_flags
from inpainting_tf import data


def main(_):
    flags = train.FLAGS
    source, _ = train.open_sources()
    batches = data.batches(
        source,
        data_flags.loader(source),
        data_flags.mask_rule(flags.mask, data_flags.load_mask_bank()),
        size=flags.image_size,
        batch_size=flags.batch_size,
        seed=flags.seed,
        flip=flags.flip,
        zoom=flags.zoom,
        examples_per_mask=flags.batch_size if flags.shared_mask else 1,
    )
    iterator = iter(batches)
    for _ in range(20):
        next(iterator)
    rates = []
    for _ in range(10):
        began = time.perf_counter()
        for _ in range(20):
            next(iterator)
        rates.append(20 * flags.batch_size / (time.perf_counter() - began))
    print(
        f"{source.description}, {flags.image_size}x{flags.image_size}, {flags.mask}: "
        f"{statistics.median(rates):.0f} images/s "
        f"({min(rates):.0f} to {max(rates):.0f})"
    )


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
