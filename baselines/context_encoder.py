"""Context Encoders: an encoder, a narrow bottleneck, a decoder, and one discriminator.

Pathak, Krahenbuhl, Donahue, Darrell, Efros, "Context Encoders: Feature Learning by
Inpainting", CVPR 2016, and its Torch program.

Inputs: image [B, S, S, 3] in [-1, 1] and hole [B, S, S, 1], 1 = missing; S is
`image_size`, 128 as published.
Outputs: predicted [B, S, S, 3] in [-1, 1], completed [B, S, S, 3] with the known pixels
untouched.

Two variants, by `region`. "center": the network predicts the central S/2 x S/2 box
alone, and every missing pixel must lie in it (`predicted` is 0 outside it).
"random": it predicts the whole image and takes any hole; encoder and discriminator are
as before, the decoder has one layer more, the discriminator sees the whole image.

Stages: fill the hole with the mean colour; encoder, k4 s2 down to 4x4; bottleneck, a
vector; decoder; compose. Training: 0.999 squared error, ten times as heavy in a band of
4 pixels inside the hole's border, and 0.001 adversarial loss, in one simultaneous step
of both players.

Deviations: the program lets the network see the band of 4 pixels, which makes it no
hole at all; here a missing pixel is missing. It steps the discriminator first, and
takes the adversarial gradient with activations from before and weights from after that
step. In its random variant the squared error is of all pixels, and the discriminator
sees the raw prediction; here, of the missing ones, and the completed image.
"""

import keras
import tensorflow as tf
from keras import layers

from inpainting_tf import health, images, losses
from inpainting_tf.averaging import averaged_copy, check_decay, follow
from inpainting_tf.layers import (
    BatchNormalization,
    leaky_relu,
    scaled_channels,
    through,
)
from inpainting_tf.optimization import (
    adam,
    apply_gradients,
    gradient_norm,
    scaled_share,
)

MEAN_COLOR = (117.0, 104.0, 123.0)


def _channels(size):
    """Channels of the stride-2 layers from size x size to 4x4, as published for 128."""
    levels = (size // 4).bit_length() - 1
    channels = [64, 128, 256, 512]
    return [64] * (levels - 4) + channels[max(0, 4 - levels) :]


class Block(layers.Layer):
    """Convolution, batch normalisation (where wanted), activation."""

    def __init__(self, kind, channels, activation, *, normalize=True, **options):
        """
        Args:
          kind: layers.Conv2D or layers.Conv2DTranspose.
          channels: of the output.
          activation: function of a tensor.
          normalize: False for a bias instead.
          **options: `strides` and `padding` of the convolution.
        """
        super().__init__()
        # Starting values of DCGAN, which the program shares.
        self.convolution = kind(
            channels,
            4,
            use_bias=not normalize,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
            **options,
        )
        self.normalization = None
        if normalize:
            self.normalization = BatchNormalization(
                momentum=0.9,
                epsilon=1e-5,
                gamma_initializer=keras.initializers.RandomNormal(1.0, 0.02),
            )
        self.activation = activation

    def call(self, features, training=False):
        features = self.convolution(features)
        if self.normalization is not None:
            features = self.normalization(features, training=training)
        return self.activation(features)


def _encoder(channels, scaled):
    """k4 s2 blocks, the first without normalisation."""
    return [
        Block(
            layers.Conv2D,
            scaled(c),
            leaky_relu,
            normalize=index > 0,
            strides=2,
            padding="same",
        )
        for index, c in enumerate(channels)
    ]


class CompletionNetwork(keras.Model):
    """The generator: filled image [B, S, S, 3] -> [B, R, R, 3], R the region's side."""

    def __init__(self, *, image_size, region_size, width, bottleneck, **kwargs):
        """Args: see ContextEncoder; region_size: side of the output."""
        super().__init__(**kwargs)
        scaled = scaled_channels(width)
        self.encoder = _encoder(_channels(image_size), scaled)
        self.bottleneck = Block(layers.Conv2D, scaled(bottleneck), leaky_relu)
        first, *others = reversed(_channels(region_size))
        self.decoder = [Block(layers.Conv2DTranspose, scaled(first), tf.nn.relu)]
        self.decoder += [
            Block(
                layers.Conv2DTranspose,
                scaled(c),
                tf.nn.relu,
                strides=2,
                padding="same",
            )
            for c in others
        ]
        # Pixels in float32 whatever the precision of the layers before.
        self.last = layers.Conv2DTranspose(
            3,
            4,
            strides=2,
            padding="same",
            activation="tanh",
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
            dtype="float32",
        )

    def call(self, image, training=False):
        vector = self.bottleneck(
            through(self.encoder, image, training=training), training=training
        )
        return self.last(through(self.decoder, vector, training=training))


class Discriminator(keras.Model):
    """Logit [B, 1] of the region [B, R, R, 3] being ground truth: k4 s2 blocks to 4x4,
    then one k4 convolution."""

    def __init__(self, *, region_size, width, **kwargs):
        """Args: see ContextEncoder; region_size: side of the input."""
        super().__init__(**kwargs)
        self.blocks = _encoder(_channels(region_size), scaled_channels(width))
        self.score = layers.Conv2D(
            1,
            4,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.02),
            dtype="float32",
        )

    def call(self, region, training=False):
        logit = self.score(through(self.blocks, region, training=training))
        return tf.reshape(logit, [-1, 1])


class ContextEncoder(keras.Model):
    """The method: both players, their optimizers, and one training step.

    Attributes:
      batches_per_step: how many batches `update` takes at once, one after another.
      size_multiple: None, as `call` takes pictures of `image_size` alone.
    """

    batches_per_step = 1
    size_multiple = None

    def __init__(
        self,
        *,
        image_size=128,
        width=1.0,
        region="center",
        bottleneck=4000,
        mean_color=MEAN_COLOR,
        overlap=4,
        overlap_weight=10.0,
        reconstruction_weight=0.999,
        adversarial_weight=0.001,
        learning_rate=2e-3,
        discriminator_learning_rate=2e-4,
        beta_1=0.5,
        beta_2=0.999,
        clip_norm=None,
        averaging_decay=0.0,
        **kwargs,
    ):
        """
        Args:
          image_size: side of the images in pixels, a power of two from 32 on; 128 as
            published.
          width: multiplier on all channel counts, 1 = as published.
          region: "center" or "random", what is predicted: see the module.
          bottleneck: length of the vector between encoder and decoder, times width.
          mean_color: RGB levels (0..255) that fill the hole at the network's input.
          overlap: width in pixels of the band inside the hole's border.
          overlap_weight: weight of the band's squared errors.
          reconstruction_weight, adversarial_weight: of the completion network's losses;
            an adversarial weight of 0 trains it alone.
          learning_rate: of the completion network's Adam, in the program ten times the
            discriminator's.
          discriminator_learning_rate: of the discriminator's Adam.
          beta_1, beta_2: of both Adams.
          clip_norm: largest global gradient norm of each player; None for no limit.
          averaging_decay: per step, of the moving average of the completion network's
            weights and statistics that is used outside training, see `averaging`; 0
            for no average.
          **kwargs: of keras.Model.

        Raises:
          ValueError: a size, width, region or decay that the method cannot take.
        """
        # Images stay float32 under mixed precision; the networks' layers cast for
        # themselves.
        super().__init__(**{"dtype": "float32", **kwargs})
        check_decay(averaging_decay)
        if image_size < 32 or image_size & (image_size - 1):
            raise ValueError(
                f"--image_size={image_size}: context_encoder takes powers of two from "
                "32 on"
            )
        if region not in ("center", "random"):
            raise ValueError(f"--region={region}: must be center or random")
        if overlap < 0:
            raise ValueError(f"--overlap={overlap}: must be at least 0")
        self.image_size = image_size
        self.region = region
        self.region_size = image_size // 2 if region == "center" else image_size
        self.fill = images.color_to_float(mean_color)
        self.overlap = overlap
        self.overlap_weight = overlap_weight
        self.reconstruction_weight = reconstruction_weight
        self.adversarial_weight = adversarial_weight
        self.clip_norm = clip_norm
        self.averaging_decay = averaging_decay

        def completion_network(name):
            network = CompletionNetwork(
                image_size=image_size,
                region_size=self.region_size,
                width=width,
                bottleneck=bottleneck,
                name=name,
            )
            network(tf.zeros([1, image_size, image_size, 3]))
            return network

        self.completion = completion_network("completion")
        self.completion_optimizer = adam(learning_rate, beta_1, beta_2, epsilon=1e-8)
        self.completion_optimizer.build(self.completion.trainable_variables)
        self.discriminator = None
        if adversarial_weight:
            self.discriminator = Discriminator(
                region_size=self.region_size, width=width, name="discriminator"
            )
            self.discriminator(tf.zeros([1, self.region_size, self.region_size, 3]))
            self.discriminator_optimizer = adam(
                discriminator_learning_rate, beta_1, beta_2, epsilon=1e-8
            )
            self.discriminator_optimizer.build(self.discriminator.trainable_variables)
        # Last, so that all else starts from the same random weights without it.
        self.averaged_completion = averaged_copy(
            self.completion,
            lambda: completion_network("averaged_completion"),
            averaging_decay,
        )
        self.built = True

    def call(self, image, hole, training=False):
        """Completes images; outside training with the averaged weights, if any.

        Args:
          image: float32 [B, S, S, 3] in [-1, 1]; missing pixels may hold anything.
          hole: float32 [B, S, S, 1], 1 = missing; for the region "center" within the
            central box.
          training: with the weights being trained, normalised by the batch's statistics,
            which moves the running ones.

        Returns:
          dict: `predicted`, `completed` float32 [B, S, S, 3].

        Raises:
          ValueError: the image is of another size, or a pixel outside the central box
            is missing; in a graph the latter is an InvalidArgumentError.
        """
        size = self.image_size
        if any(side not in (None, size) for side in image.shape[1:3]):
            raise ValueError(
                f"image of {image.shape[1]}x{image.shape[2]}: this context_encoder "
                f"takes {size}x{size}"
            )
        known = images.erase(image, hole) + hole * tf.constant(self.fill)
        if self.region == "center":
            known = _checked(known, hole, size // 4)
        network = self.completion
        if self.averaged_completion is not None and not training:
            network = self.averaged_completion
        predicted = network(known, training=training)
        if self.region == "center":
            margin = [size // 4, size // 4]
            predicted = tf.pad(predicted, [[0, 0], margin, margin, [0, 0]])
        completed = images.compose(image, predicted, hole)
        return {"predicted": predicted, "completed": completed}

    def update(self, batch):
        """One simultaneous optimisation step of both players.

        Args:
          batch: dict of this replica's `image` [b, S, S, 3] and `mask` [b, S, S, 1].

        Returns:
          dict of float32 scalars, means over this replica's examples: the losses, and
          what `health` watches.
        """
        image, mask = batch["image"], batch["mask"]
        with tf.GradientTape(persistent=True) as tape:
            outputs = self(image, mask, training=True)
            reconstruction = losses.missing_squared_error(
                image, outputs["predicted"], mask, self.overlap, self.overlap_weight
            )
            results = {"reconstruction_loss": reconstruction}
            completion_loss = self.reconstruction_weight * reconstruction
            if self.discriminator is not None:
                real_logits = self.logits(image, training=True)
                fake_logits = self.logits(outputs["completed"], training=True)
                adversarial = losses.minimax_generator_loss(fake_logits)
                completion_loss += self.adversarial_weight * adversarial
                discriminator_loss = losses.minimax_discriminator_loss(
                    real_logits, fake_logits
                )
                results["adversarial_loss"] = adversarial
                results["discriminator_loss"] = discriminator_loss
                results |= health.logit_accuracies(real_logits, fake_logits)
                scaled_discriminator_loss = scaled_share(
                    self.discriminator_optimizer, discriminator_loss
                )
            scaled_completion_loss = scaled_share(
                self.completion_optimizer, completion_loss
            )
            results["completion_loss"] = completion_loss

        completion_weights = self.completion.trainable_variables
        completion_gradients = tape.gradient(scaled_completion_loss, completion_weights)
        results["health/completion_gradient_norm"] = gradient_norm(
            self.completion_optimizer, completion_gradients
        )
        if self.discriminator is not None:
            discriminator_weights = self.discriminator.trainable_variables
            discriminator_gradients = tape.gradient(
                scaled_discriminator_loss, discriminator_weights
            )
            results["health/discriminator_gradient_norm"] = gradient_norm(
                self.discriminator_optimizer, discriminator_gradients
            )
            apply_gradients(
                self.discriminator_optimizer,
                discriminator_gradients,
                discriminator_weights,
                self.clip_norm,
            )
        del tape
        apply_gradients(
            self.completion_optimizer,
            completion_gradients,
            completion_weights,
            self.clip_norm,
        )
        follow(
            self.averaged_completion,
            self.completion,
            self.averaging_decay,
            self.completion_optimizer.iterations,
        )
        return results

    def logits(self, image, training=False):
        """Scores the region of images, ground truth or completed: [B, 1]."""
        margin = (self.image_size - self.region_size) // 2
        end = margin + self.region_size
        return self.discriminator(image[:, margin:end, margin:end], training=training)


def _checked(known, hole, margin):
    """`known`, once it is certain that no pixel outside the central box is missing."""
    inside = tf.reduce_sum(hole[:, margin:-margin, margin:-margin])
    only_inside = tf.equal(tf.reduce_sum(hole), inside)
    message = (
        "mask with missing pixels outside the central box: context_encoder with "
        "--region=center takes --mask=center; train --region=random for other masks"
    )
    if tf.executing_eagerly():
        if not only_inside:
            raise ValueError(message)
        return known
    with tf.control_dependencies([tf.debugging.Assert(only_inside, [message])]):
        return tf.identity(known)
