"""The networks of GIICA: coarse, refinement, critics.

Paper: Yu et al., "Generative Image Inpainting with Contextual Attention", CVPR 2018
(arXiv 1801.07892); layers and their names are those of the authors' program, v1.0.0.

Inputs: pictures [B, H, W, 3] in [-1, 1] and hole [B, H, W, 1], 1 = missing; H and W
multiples of 8. Outputs: coarse and refined pictures, clipped to [-1, 1], attention
offsets [B, H/8, W/8, 2] int32, and scores [B, 1].

Stages: five input channels (picture, ones, mask); coarse network; refinement network
on the composed picture, with a dilated ("hallucination") and an attention branch and
one decoder; critics. ELU, no normalisation. All nearest-neighbour resizing is with
aligned corners, see `layers.resize_nearest_aligned`.
"""

import keras
import tensorflow as tf
from keras import layers

from inpainting_tf import images
from inpainting_tf.contextual_attention import MEMORY_MB, ContextualAttention
from inpainting_tf.convolutions import Conv2D, DoublingConv2D
from inpainting_tf.layers import (
    leaky_relu,
    resize_nearest_aligned,
    scaled_channels,
    through,
)

# Of the critics' convolutions, as published.
LOCAL_CHANNELS = (64, 128, 256, 512)
GLOBAL_CHANNELS = (64, 128, 256, 256)


class _Convolution(layers.Layer):
    """A convolution with bias: doubled pixels and mirrored borders on demand.

    Its name is that of the layer in the authors' program.
    """

    def __init__(
        self,
        name,
        channels,
        kernel_size=3,
        *,
        padding,
        strides=1,
        dilation=1,
        double=False,
        activation="elu",
        dtype=None,
    ):
        super().__init__(name=name, dtype=dtype)
        self.border = dilation * (kernel_size - 1) // 2 if padding == "symmetric" else 0
        # Doubled pixels beyond the border are kept, and cut off afterwards.
        self.surplus = 2 * self.border if double else 0
        self.convolution = (DoublingConv2D if double else Conv2D)(
            channels,
            kernel_size,
            strides=strides,
            dilation_rate=dilation,
            padding="same" if double or not self.border else "valid",
            activation=activation,
            dtype=dtype,
        )

    def call(self, x):
        if self.border:
            # The edge pixels are mirrored too, and also before strides, so that these
            # read other pixels than with "same".
            border = [self.border, self.border]
            x = tf.pad(x, [[0, 0], border, border, [0, 0]], "SYMMETRIC")
        x = self.convolution(x)
        if self.surplus:
            x = x[:, self.surplus : -self.surplus, self.surplus : -self.surplus]
        return x


def _hidden_layers(width, padding):
    """Function building a hidden layer from its name and published channel count."""
    scaled = scaled_channels(width)

    def convolution(name, channels, *arguments, **options):
        return _Convolution(
            name, scaled(channels), *arguments, padding=padding, **options
        )

    return convolution


def _decoder(convolution, prefix, first, padding):
    """The last seven layers of either network: [B, H/4, W/4, C] -> [B, H, W, 3].

    Args:
      convolution: from `_hidden_layers`.
      prefix: of the layers' names.
      first: number of the first layer.
      padding: "same" or "symmetric".
    """
    names = [f"{prefix}{first + i}" for i in range(7)]
    return [
        convolution(names[0], 128),
        convolution(names[1], 128),
        convolution(f"{names[2]}_upsample", 64, double=True),
        convolution(names[3], 64),
        convolution(f"{names[4]}_upsample", 32, double=True),
        convolution(names[5], 16),
        # Pixels in float32 whatever the precision of the layers before.
        _Convolution(names[6], 3, padding=padding, activation=None, dtype="float32"),
    ]


def _dilated(convolution, prefix):
    """Layers 7 to 10 of a branch."""
    return [
        convolution(f"{prefix}{number}_atrous", 128, dilation=dilation)
        for number, dilation in ((7, 2), (8, 4), (9, 8), (10, 16))
    ]


def _with_mask(picture, hole):
    """The five input channels: picture, ones, mask."""
    return tf.concat([picture, tf.ones_like(hole), hole], axis=-1)


class CoarseNetwork(keras.Model):
    """The first stage: (image, hole) -> coarse."""

    def __init__(self, *, width=1.0, padding="same", **kwargs):
        super().__init__(**kwargs)
        convolution = _hidden_layers(width, padding)
        self.convolutions = [
            convolution("conv1", 32, 5),
            convolution("conv2_downsample", 64, strides=2),
            convolution("conv3", 64),
            convolution("conv4_downsample", 128, strides=2),
            convolution("conv5", 128),
            convolution("conv6", 128),
            *_dilated(convolution, "conv"),
            *_decoder(convolution, "conv", 11, padding),
        ]

    def call(self, image, hole):
        """
        Args:
          image: float [B, H, W, 3] in [-1, 1]; missing pixels may hold anything.
          hole: float [B, H, W, 1], 1 = missing.

        Returns:
          coarse, float32 [B, H, W, 3] in [-1, 1].
        """
        known = _with_mask(images.erase(image, hole), hole)
        return tf.clip_by_value(through(self.convolutions, known), -1.0, 1.0)


class RefinementNetwork(keras.Model):
    """The second stage: (composed coarse picture, hole) -> refined, offsets."""

    def __init__(
        self, *, width=1.0, padding="same", attention_memory_mb=MEMORY_MB, **kwargs
    ):
        super().__init__(**kwargs)
        convolution = _hidden_layers(width, padding)
        self.hallucination_branch = [
            convolution("xconv1", 32, 5),
            convolution("xconv2_downsample", 32, strides=2),
            convolution("xconv3", 64),
            convolution("xconv4_downsample", 64, strides=2),
            convolution("xconv5", 128),
            convolution("xconv6", 128),
            *_dilated(convolution, "xconv"),
        ]
        self.attention_encoder = [
            convolution("pmconv1", 32, 5),
            convolution("pmconv2_downsample", 32, strides=2),
            convolution("pmconv3", 64),
            convolution("pmconv4_downsample", 128, strides=2),
            convolution("pmconv5", 128),
            convolution("pmconv6", 128, activation="relu"),
        ]
        self.attention = ContextualAttention(rate=2, memory_mb=attention_memory_mb)
        self.attention_decoder = [
            convolution("pmconv9", 128),
            convolution("pmconv10", 128),
        ]
        self.decoder = _decoder(convolution, "allconv", 11, padding)

    def call(self, composed, hole):
        """
        Args:
          composed: float [B, H, W, 3] in [-1, 1], image with the coarse hole.
          hole: float [B, H, W, 1], 1 = missing.

        Returns:
          (refined, offsets): float32 [B, H, W, 3] in [-1, 1] and int32
          [B, H/8, W/8, 2].
        """
        pictures = _with_mask(composed, hole)
        hallucinated = through(self.hallucination_branch, pictures)
        attended = through(self.attention_encoder, pictures)
        height, width = (
            tf.shape(hole)[axis] if hole.shape[axis] is None else hole.shape[axis]
            for axis in (1, 2)
        )
        reduced_hole = resize_nearest_aligned(hole, height // 4, width // 4)
        attended, offsets = self.attention(attended, attended, reduced_hole)
        attended = through(self.attention_decoder, attended)
        features = tf.concat(
            [hallucinated, tf.cast(attended, hallucinated.dtype)], axis=-1
        )
        refined = through(self.decoder, features)
        return tf.clip_by_value(refined, -1.0, 1.0), offsets


class Critic(keras.Model):
    """Four 5x5 stride-2 convolutions and one dense unit: pictures -> scores.

    In float32 under every precision policy: the gradient penalty is a derivative of a
    derivative, too small for half precision.
    """

    def __init__(self, channels, *, width=1.0, **kwargs):
        """
        Args:
          channels: published channel counts of the four convolutions.
          width: multiplier on them.
          **kwargs: of keras.Model.
        """
        super().__init__(**{"dtype": "float32", **kwargs})
        scaled = scaled_channels(width)
        self.convolutions = [
            layers.Conv2D(
                scaled(count),
                5,
                strides=2,
                padding="same",
                activation=leaky_relu,
                dtype="float32",
                name=f"conv{i}",
            )
            for i, count in enumerate(channels, start=1)
        ]
        self.flatten = layers.Flatten(dtype="float32")
        self.score = layers.Dense(1, dtype="float32", name="score")

    def call(self, pictures):
        """
        Args:
          pictures: float32 [B, H, W, 3] in [-1, 1], H and W fixed at the first call.

        Returns:
          float32 [B, 1], unbounded, higher for ground truth.
        """
        return self.score(self.flatten(through(self.convolutions, pictures)))
