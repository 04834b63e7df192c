"""Deep convolutional GAN: the face prior that the latent searches search.

Radford, Metz, Chintala, "Unsupervised Representation Learning with Deep Convolutional
Generative Adversarial Networks", ICLR 2016 (arXiv 1511.06434).

Inputs: latent z [N, 100] in [-1, 1]; images [B, S, S, 3] in [-1, 1], S 64 or 128.
Outputs: generated images, likewise; logits [N, 1] of being a ground-truth image.

Stages. Generator: dense to 4x4, transposed 5x5 stride-2 convolutions, channels halving,
to S x S; batch norm and ReLU after each but the last, tanh. Discriminator: 5x5 stride-2
convolutions down to 4x4, channels doubling from 64; leaky ReLU 0.2 after each, batch
norm before it on all but the first; dense 1. Training: one simultaneous step of both
players, ground truth and generated images scored in separate passes, so that their
batch statistics do not mix.

128x128 is the same with one more block in each player. Weights start normal with
deviation 0.02, as published; the paper's other scale factors start at 1. Other channel
counts than halvings and doublings, and fewer blocks in the discriminator, are there for
GANs trained elsewhere (`released_dcgan`).
"""

import keras
import tensorflow as tf
from keras import layers

from inpainting_tf import health, losses
from inpainting_tf.layers import BatchNormalization, leaky_relu, scaled_channels
from inpainting_tf.optimization import (
    adam,
    apply_gradients,
    gradient_norm,
    own_rows,
    scaled_share,
)

IMAGE_SIZES = (64, 128)

# Streams of random numbers, apart from each other under one seed.
_TRAINING_STREAM, _SAMPLE_STREAM = 0, 1


def _initializer():
    return keras.initializers.RandomNormal(stddev=0.02)


def _doublings(image_size):
    """How often 4 doubles to the side of the images."""
    return (image_size // 4).bit_length() - 1


def _batch_norm():
    return BatchNormalization(momentum=0.9, epsilon=1e-5)


class Generator(keras.Model):
    """z -> image."""

    def __init__(
        self, *, image_size=64, width=1.0, channels=1024, widths=None, **kwargs
    ):
        """
        Args:
          image_size: 64 or 128.
          width: multiplier on all channel counts, 1 = as published.
          channels: of the 4x4 features, 1024 as published, 512 in some programs; each
            block halves them.
          widths: channels of the 4x4 features and of each block but the last, instead.
          **kwargs: of keras.Model.
        """
        super().__init__(**kwargs)
        scaled = scaled_channels(width)
        if widths is None:
            widths = [channels // 2**i for i in range(_doublings(image_size))]
        first, *others = (scaled(count) for count in widths)
        self.channels = first
        self.project = layers.Dense(
            16 * self.channels, kernel_initializer=_initializer()
        )
        self.norms = [_batch_norm() for _ in widths]
        self.enlargements = [self._enlarge(count) for count in others]
        # Pixels in float32 whatever the precision of the layers before.
        self.enlargements.append(self._enlarge(3, activation="tanh", dtype="float32"))

    @staticmethod
    def _enlarge(channels, **kwargs):
        return layers.Conv2DTranspose(
            channels,
            5,
            strides=2,
            padding="same",
            kernel_initializer=_initializer(),
            **kwargs,
        )

    def call(self, z, training=False):
        """float [N, L] -> float32 [N, S, S, 3] in (-1, 1)."""
        features = tf.reshape(self.project(z), [-1, 4, 4, self.channels])
        features = tf.nn.relu(self.norms[0](features, training=training))
        for enlarge, norm in zip(self.enlargements[:-1], self.norms[1:], strict=True):
            features = tf.nn.relu(norm(enlarge(features), training=training))
        return self.enlargements[-1](features)


class Discriminator(keras.Model):
    """image -> logit."""

    def __init__(
        self, *, image_size=64, width=1.0, widths=None, leaky_relu_slope=0.2, **kwargs
    ):
        """
        Args:
          image_size: 64 or 128.
          width: multiplier on all channel counts, 1 = as published.
          widths: channels of each block instead of the published ones.
          leaky_relu_slope: of negative values.
          **kwargs: of keras.Model.
        """
        super().__init__(**kwargs)
        scaled = scaled_channels(width)
        if widths is None:
            widths = [64 * 2**i for i in range(_doublings(image_size))]
        self.leaky_relu_slope = leaky_relu_slope
        self.convolutions = [
            layers.Conv2D(
                scaled(count),
                5,
                strides=2,
                padding="same",
                kernel_initializer=_initializer(),
            )
            for count in widths
        ]
        self.norms = [_batch_norm() for _ in widths[1:]]
        self.flatten = layers.Flatten()
        self.score = layers.Dense(1, kernel_initializer=_initializer(), dtype="float32")

    def call(self, image, training=False):
        """float [N, S, S, 3] in [-1, 1] -> float32 [N, 1]."""
        slope = self.leaky_relu_slope
        features = leaky_relu(self.convolutions[0](image), slope)
        for convolution, norm in zip(self.convolutions[1:], self.norms, strict=True):
            features = norm(convolution(features), training=training)
            features = leaky_relu(features, slope)
        return self.score(self.flatten(features))


def _whole_numbers(name, values):
    """Channel counts, which a command line may give as 32.0, as a list of int."""
    counts = [int(value) for value in values]
    if not counts or any(c < 1 or c != v for c, v in zip(counts, values, strict=True)):
        raise ValueError(
            f"--{name}={','.join(map(str, values))}: must be whole numbers from 1 on"
        )
    return counts


class DCGAN(keras.Model):
    """Both players, their optimizers, and one training step.

    Attributes:
      image_size, latent_size: S and L.
      batches_per_step: how many batches `update` takes at once.
    """

    batches_per_step = 1

    def __init__(
        self,
        *,
        image_size=64,
        width=1.0,
        latent_size=100,
        generator_channels=1024,
        generator_widths=None,
        discriminator_widths=None,
        leaky_relu_slope=0.2,
        learning_rate=2e-4,
        discriminator_learning_rate=None,
        beta_1=0.5,
        beta_2=0.999,
        clip_norm=None,
        seed=0,
        **kwargs,
    ):
        """
        Args:
          image_size: side of the images in pixels, 64 or 128.
          width: multiplier on all channel counts, 1 = as published.
          latent_size: L, length of z.
          generator_channels: of the generator's 4x4 features, see Generator.
          generator_widths: channels of the 4x4 features and of each block but the last,
            instead of halvings of `generator_channels`.
          discriminator_widths: channels of each block, instead of doublings of 64.
          leaky_relu_slope: of the discriminator.
          learning_rate: of the generator's Adam.
          discriminator_learning_rate: None for the same rate.
          beta_1, beta_2: of both Adams.
          clip_norm: largest global gradient norm of each player; None for no limit.
          seed: of the z drawn in training and of the samples.
          **kwargs: of keras.Model.

        Raises:
          ValueError: a size, width or slope that the networks cannot take.
        """
        # Images stay float32 under mixed precision; layers cast for themselves.
        super().__init__(**{"dtype": "float32", **kwargs})
        if image_size not in IMAGE_SIZES:
            raise ValueError(
                f"--image_size={image_size}: dcgan takes "
                f"{' or '.join(map(str, IMAGE_SIZES))}"
            )
        if latent_size < 1:
            raise ValueError(f"--latent_size={latent_size}: must be at least 1")
        if generator_widths is not None:
            generator_widths = _whole_numbers("generator_widths", generator_widths)
            if len(generator_widths) != _doublings(image_size):
                raise ValueError(
                    f"--generator_widths names {len(generator_widths)} channel counts; "
                    f"images of {image_size} need {_doublings(image_size)}, of the 4x4 "
                    "features and of each block but the last"
                )
        if discriminator_widths is not None:
            discriminator_widths = _whole_numbers(
                "discriminator_widths", discriminator_widths
            )
        if not 0 <= leaky_relu_slope < 1:
            raise ValueError(
                f"--leaky_relu_slope={leaky_relu_slope}: must be at least 0, below 1"
            )
        self.image_size = image_size
        self.latent_size = latent_size
        self.clip_norm = clip_norm
        self.seed = seed

        self.generator = Generator(
            image_size=image_size,
            width=width,
            channels=generator_channels,
            widths=generator_widths,
            name="generator",
        )
        self.generator(tf.zeros([1, latent_size]))
        self.discriminator = Discriminator(
            image_size=image_size,
            width=width,
            widths=discriminator_widths,
            leaky_relu_slope=leaky_relu_slope,
            name="discriminator",
        )
        self.discriminator(tf.zeros([1, image_size, image_size, 3]))
        if discriminator_learning_rate is None:
            discriminator_learning_rate = learning_rate
        self.generator_optimizer = adam(learning_rate, beta_1, beta_2, epsilon=1e-8)
        self.generator_optimizer.build(self.generator.trainable_variables)
        self.discriminator_optimizer = adam(
            discriminator_learning_rate, beta_1, beta_2, epsilon=1e-8
        )
        self.discriminator_optimizer.build(self.discriminator.trainable_variables)
        self.built = True

    def generate(self, z, training=False):
        """Generates images.

        Args:
          z: float32 [N, L], meant to lie in [-1, 1].
          training: use the statistics of this batch, as in training, instead of the
            moving ones; images then depend on each other.

        Returns:
          float32 [N, S, S, 3] in (-1, 1).
        """
        return self.generator(z, training=training)

    def score(self, image, training=False):
        """Scores images.

        Args:
          image: float32 [N, S, S, 3] in [-1, 1].
          training: as in `generate`.

        Returns:
          float32 [N, 1], logit of being a ground-truth image.
        """
        return self.discriminator(image, training=training)

    def call(self, image, hole, training=False):
        """What the loop looks at: samples, of the same z every time.

        A prior alone completes nothing, so nothing is `completed`; SIIDGM and
        SymmetricSearch complete.

        Args:
          image: float32 [B, S, S, 3], of which only the size matters.
          hole: float32 [B, S, S, 1], likewise.
          training: as in `generate`.

        Returns:
          dict: `predicted`, samples float32 [B, S, S, 3].

        Raises:
          ValueError: images of another size.
        """
        size = self.image_size
        if not tf.TensorShape([None, size, size, 3]).is_compatible_with(image.shape):
            raise ValueError(
                f"this dcgan makes {size}x{size} images; the image has shape "
                f"{tuple(image.shape)}"
            )
        seed = tf.constant([self.seed, _SAMPLE_STREAM], tf.int32)
        return {
            "predicted": self.generate(self._draw_z(seed, tf.shape(image)[0]), training)
        }

    def update(self, batch):
        """One simultaneous optimisation step of both players.

        Args:
          batch: dict with this replica's `image` [b, S, S, 3]; masks are not used.

        Returns:
          dict of float32 scalars, means over this replica's examples:
          `generator_loss` -log D(G(z)), `discriminator_loss`
          -log D(x) - log(1 - D(G(z))), and what `health` watches.
        """
        image = batch["image"]
        z = self._draw_training_z(tf.shape(image)[0])

        with tf.GradientTape(persistent=True) as tape:
            real_logits = self.score(image, training=True)
            fake_logits = self.score(self.generate(z, training=True), training=True)
            generator_loss = losses.minimax_generator_loss(fake_logits)
            discriminator_loss = losses.minimax_discriminator_loss(
                real_logits, fake_logits
            )
            scaled_generator_loss = scaled_share(
                self.generator_optimizer, generator_loss
            )
            scaled_discriminator_loss = scaled_share(
                self.discriminator_optimizer, discriminator_loss
            )
        generator_weights = self.generator.trainable_variables
        discriminator_weights = self.discriminator.trainable_variables
        generator_gradients = tape.gradient(scaled_generator_loss, generator_weights)
        discriminator_gradients = tape.gradient(
            scaled_discriminator_loss, discriminator_weights
        )
        del tape
        apply_gradients(
            self.discriminator_optimizer,
            discriminator_gradients,
            discriminator_weights,
            self.clip_norm,
        )
        apply_gradients(
            self.generator_optimizer,
            generator_gradients,
            generator_weights,
            self.clip_norm,
        )
        return {
            "generator_loss": generator_loss,
            "discriminator_loss": discriminator_loss,
            **health.logit_accuracies(real_logits, fake_logits),
            "health/generator_gradient_norm": gradient_norm(
                self.generator_optimizer, generator_gradients
            ),
            "health/discriminator_gradient_norm": gradient_norm(
                self.discriminator_optimizer, discriminator_gradients
            ),
        }

    def _draw_training_z(self, count):
        """The z of this step and replica: a resumed run draws the same."""
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        # XLA draws other 64-bit numbers than the rest, and its own unless told.
        step = tf.cast(self.generator_optimizer.iterations, tf.int32)
        seed = tf.constant([self.seed, _TRAINING_STREAM], tf.int32)
        seed = tf.random.fold_in(seed, step, alg="philox")
        seed = tf.random.fold_in(seed, 0, alg="philox")  # Runs have begun with it.
        return own_rows(self._draw_z(seed, count * replicas), count)

    def _draw_z(self, seed, count):
        """Uniform in [-1, 1), [count, L]; from bits, the same in eager, graph, XLA."""
        bits = tf.random.stateless_uniform(
            [count, self.latent_size],
            seed,
            minval=None,
            maxval=None,
            dtype=tf.uint32,
            alg="philox",
        )
        high_bits = tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32))
        return tf.cast(high_bits, tf.float32) * 2.0**-23 - 1.0
