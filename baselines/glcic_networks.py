"""The networks of GLCIC: completion network, global and local discriminator.

Iizuka, Simo-Serra, Ishikawa, "Globally and Locally Consistent Image Completion",
SIGGRAPH 2017; layers are named as in its widely used TensorFlow 1 program.

Inputs: images [B, H, W, 3] in [-1, 1] and hole [B, H, W, 1], 1 = missing; H and W
multiples of 4. Outputs: predicted pixels [B, H, W, 3] in (-1, 1); logits [B, 1].

Stages: fill the hole, append the mask; completion network; discriminators, their two
vectors concatenated. Batch normalisation and ReLU after every convolution but the last.
"""

import keras
import tensorflow as tf
from keras import layers

from inpainting_tf import images
from inpainting_tf.convolutions import Conv2D, Conv2DTranspose
from inpainting_tf.layers import (
    BatchNormalization,
    scaled_channels,
    through,
)

CELEBA_MEAN_COLOR = (131.0, 109.0, 97.0)  # aligned and cropped to 178x178, RGB


class _Block(layers.Layer):
    """Convolution without bias, batch normalisation, ReLU."""

    def __init__(self, convolution, random_scale, **kwargs):
        super().__init__(**kwargs)
        self.convolution = convolution
        scale = "ones"
        if random_scale:
            scale = keras.initializers.TruncatedNormal(mean=0.0, stddev=0.1)
        self.normalization = BatchNormalization(
            momentum=0.99, epsilon=1e-3, gamma_initializer=scale
        )

    def call(self, features, training=False):
        features = self.normalization(self.convolution(features), training=training)
        return tf.nn.relu(features)


class CompletionNetwork(keras.Model):
    """The generator: (image, hole) -> predicted pixels."""

    def __init__(
        self,
        *,
        width=1.0,
        mask_channel=True,
        mean_color=CELEBA_MEAN_COLOR,
        random_scales=False,
        **kwargs,
    ):
        """
        Args: see GLCIC.

        Raises:
          ValueError: width not above 0.
        """
        super().__init__(**kwargs)
        scaled = scaled_channels(width)
        self.mask_channel = mask_channel
        self.fill = images.color_to_float(mean_color)

        def block(name, channels, kernel_size, strides=1, dilation=1):
            convolution = Conv2D(
                scaled(channels),
                kernel_size,
                strides=strides,
                dilation_rate=dilation,
                padding="same",
                use_bias=False,
            )
            return _Block(convolution, random_scales, name=name)

        def enlarging_block(name, channels):
            convolution = Conv2DTranspose(
                scaled(channels), 4, strides=2, padding="same", use_bias=False
            )
            return _Block(convolution, random_scales, name=name)

        self.blocks = [
            block("conv1", 64, 5),
            block("conv2", 128, 3, strides=2),
            block("conv3", 128, 3),
            block("conv4", 256, 3, strides=2),
            block("conv5", 256, 3),
            block("conv6", 256, 3),
            block("dilated1", 256, 3, dilation=2),
            block("dilated2", 256, 3, dilation=4),
            block("dilated3", 256, 3, dilation=8),
            block("dilated4", 256, 3, dilation=16),
            block("conv7", 256, 3),
            block("conv8", 256, 3),
            enlarging_block("deconv1", 128),
            block("conv9", 128, 3),
            enlarging_block("deconv2", 64),
            block("conv10", 32, 3),
        ]
        # Pixels in float32 whatever the precision of the layers before.
        self.last = layers.Conv2D(
            3,
            3,
            padding="same",
            use_bias=False,
            activation="tanh",
            dtype="float32",
            name="conv11",
        )

    def call(self, image, hole, training=False):
        """
        Args:
          image: float [B, H, W, 3] in [-1, 1]; missing pixels may hold anything.
          hole: float [B, H, W, 1], 1 = missing.
          training: normalise by the batch's statistics and move the running ones.

        Returns:
          predicted, float32 [B, H, W, 3] in (-1, 1).

        Raises:
          ValueError: H or W known and no multiple of 4.
        """
        if any(size is not None and size % 4 for size in image.shape[1:3]):
            raise ValueError(
                f"image of {image.shape[1]}x{image.shape[2]}: height and width must "
                "be multiples of 4"
            )
        known = images.erase(image, hole) + hole * tf.constant(self.fill, hole.dtype)
        if self.mask_channel:
            known = tf.concat([known, hole], axis=-1)
        return self.last(through(self.blocks, known, training=training))


class Discriminator(keras.Model):
    """The global and the local discriminator with their joint logit.

    5x5 stride-2 convolutions (at 128x128 global five, local four; at 256x256 six and
    five), a vector of 1024 each without activation; both concatenated, global first,
    and scored by one dense unit.
    """

    def __init__(
        self,
        *,
        image_size=128,
        width=1.0,
        random_scales=False,
        **kwargs,
    ):
        """
        Args: see GLCIC.
        """
        super().__init__(**kwargs)
        scaled = scaled_channels(width)
        channels = [64, 128, 256, 512, 512, 512][: 5 if image_size <= 128 else 6]

        def vector_network(channels):
            convolutions = [
                _Block(
                    layers.Conv2D(
                        scaled(c), 5, strides=2, padding="same", use_bias=False
                    ),
                    random_scales,
                    name=f"conv{index}",
                )
                for index, c in enumerate(channels, start=1)
            ]
            return convolutions, layers.Dense(scaled(1024), name="fc")

        self.global_blocks, self.global_vector = vector_network(channels)
        self.local_blocks, self.local_vector = vector_network(channels[:-1])
        self.score = layers.Dense(1, dtype="float32", name="concatenation")

    def call(self, image, patch, training=False):
        """
        Args:
          image: float [B, S, S, 3] in [-1, 1], S fixed at the first call.
          patch: float [B, P, P, 3], the local patch of the same examples.
          training: normalise by the batch's statistics and move the running ones.

        Returns:
          float32 [B, 1], logit of being a ground-truth image.
        """
        vectors = []
        for blocks, vector, pixels in (
            (self.global_blocks, self.global_vector, image),
            (self.local_blocks, self.local_vector, patch),
        ):
            features = through(blocks, pixels, training=training)
            size = features.shape[1] * features.shape[2] * features.shape[3]
            vectors.append(vector(tf.reshape(features, [-1, size])))
        return self.score(tf.concat(vectors, axis=-1))
