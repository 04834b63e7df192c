"""Completion by a convolution branch and a contextual-attention branch in parallel.

The first approach of "Image Inpainting using Deep Learning Models" (section 3.1): a
GLCIC-like encoder beside a second encoder that ends in contextual attention, fused and
decoded together, trained against a global and a local discriminator.

Inputs: image [B, H, W, 3] in [-1, 1] and hole [B, H, W, 1], 1 = missing; H and W
multiples of 4, for training the square `image_size`.
Outputs: predicted [B, H, W, 3] in (-1, 1), completed [B, H, W, 3] with the known pixels
untouched, attention_offsets [B, ceil(H/4/rate), ceil(W/4/rate), 2] int32.

Stages: erase the hole, append the mask; convolution branch and attention branch at a
quarter of the resolution; fusion; decoder; compose. Training: context loss (eq. 1) and
adversarial loss (eq. 2) in one simultaneous step of both players.

Where the paper is silent: ELU after every layer and no normalisation (as in DeepFill
v1, so that an example never depends on its batch mates), except ReLU where features
enter the attention; leaky ReLU 0.2 in the discriminators; a pixel of the reduced mask
is missing when any of its 4x4 pixels is. Eq. 2 as printed lacks the "1 -" before the
second D and looks at ground truth by a mask of its own; here ground truth and completed
image are looked at in the same place.
"""

import keras
import tensorflow as tf
from keras import layers

from inpainting_tf import health, images, losses, masks
from inpainting_tf.averaging import averaged_copy, check_decay, follow
from inpainting_tf.contextual_attention import MEMORY_MB, ContextualAttention
from inpainting_tf.convolutions import Conv2D, Conv2DTranspose
from inpainting_tf.layers import leaky_relu, scaled_channels, through
from inpainting_tf.optimization import (
    adam,
    apply_gradients,
    gradient_norm,
    scaled_share,
)


def _convolution(channels, kernel_size, strides=1, dilation=1, activation="elu"):
    return Conv2D(
        channels,
        kernel_size,
        strides=strides,
        dilation_rate=dilation,
        padding="same",
        activation=activation,
    )


def _enlarging_convolution(channels):
    return Conv2DTranspose(channels, 4, strides=2, padding="same", activation="elu")


def _encoder(scaled, last_activation="elu"):
    """The six layers that both branches begin with: [B, H, W, 4] -> [B, H/4, W/4, 256].

    Args:
      scaled: function from published to built channel count.
      last_activation: activation of the sixth layer.
    """
    return [
        _convolution(scaled(64), 5),
        _convolution(scaled(128), 3, strides=2),
        _convolution(scaled(128), 3),
        _convolution(scaled(256), 3, strides=2),
        _convolution(scaled(256), 3),
        _convolution(scaled(256), 3, activation=last_activation),
    ]


class CompletionNetwork(keras.Model):
    """The generator: (image, hole) -> predicted pixels and attention offsets."""

    def __init__(
        self,
        *,
        width=1.0,
        attention_branch=True,
        attention_rate=2,
        attention_propagation=True,
        attention_memory_mb=MEMORY_MB,
        **kwargs,
    ):
        """
        Args:
          width: multiplier on all channel counts, 1 = as published.
          attention_branch: False leaves the branch out (ablation).
          attention_rate: downscaling inside the contextual attention.
          attention_propagation: False skips the fuse step (ablation).
          attention_memory_mb: above which attention goes row by row, see
            `contextual_attention`; results are the same.
          **kwargs: of keras.Model.

        Raises:
          ValueError: width not above 0.
        """
        super().__init__(**kwargs)
        scaled = scaled_channels(width)
        self.convolution_branch = _encoder(scaled) + [
            _convolution(scaled(256), 3, dilation=rate) for rate in (2, 4, 8, 16)
        ]
        self.attention_encoder = []
        if attention_branch:
            self.attention_encoder = _encoder(scaled, last_activation="relu")
            self.attention = ContextualAttention(
                rate=attention_rate,
                fuse=attention_propagation,
                memory_mb=attention_memory_mb,
            )
            self.attention_decoder = [
                _convolution(scaled(256), 3),
                _convolution(scaled(256), 3),
            ]
        self.fusion = [_convolution(scaled(256), 3), _convolution(scaled(256), 3)]
        self.decoder = [
            _enlarging_convolution(scaled(128)),
            _convolution(scaled(128), 3),
            _enlarging_convolution(scaled(64)),
            _convolution(scaled(32), 3),
            # Pixels in float32 whatever the precision of the layers before.
            layers.Conv2D(3, 3, padding="same", activation="tanh", dtype="float32"),
        ]

    def call(self, image, hole):
        """
        Args:
          image: float [B, H, W, 3] in [-1, 1]; missing pixels may hold anything.
          hole: float [B, H, W, 1], 1 = missing.

        Returns:
          dict: `predicted` float32 [B, H, W, 3] in (-1, 1), and with the attention
          branch `attention_offsets` int32 [B, h, w, 2].

        Raises:
          ValueError: H or W known and no multiple of 4.
        """
        if any(size is not None and size % 4 for size in image.shape[1:3]):
            raise ValueError(
                f"image of {image.shape[1]}x{image.shape[2]}: height and width must "
                "be multiples of 4"
            )
        known = tf.concat([images.erase(image, hole), hole], axis=-1)
        features = through(self.convolution_branch, known)
        outputs = {}
        if self.attention_encoder:
            attended = through(self.attention_encoder, known)
            reduced_hole = tf.nn.max_pool2d(hole, 4, 4, "VALID")
            attended, outputs["attention_offsets"] = self.attention(
                attended, attended, reduced_hole
            )
            attended = through(self.attention_decoder, attended)
            features = tf.concat([features, attended], axis=-1)
        features = through(self.fusion, features)
        outputs["predicted"] = through(self.decoder, features)
        return outputs


class Discriminator(keras.Model):
    """The global and the local discriminator with their joint logit.

    Global: five 5x5 stride-2 convolutions on the whole image; local: the same without
    the first-size layer, four, on the patch round the hole; each ends in a vector of
    1024, both are concatenated (global first) and scored by one dense unit.
    """

    def __init__(self, *, width=1.0, local=True, **kwargs):
        """
        Args:
          width: multiplier on all channel counts, 1 = as published.
          local: False leaves the local discriminator out (ablation).
          **kwargs: of keras.Model.
        """
        super().__init__(**kwargs)
        scaled = scaled_channels(width)

        def vector_network(channels):
            convolutions = [
                _convolution(scaled(c), 5, strides=2, activation=leaky_relu)
                for c in channels
            ]
            vector = layers.Dense(scaled(1024), activation=leaky_relu)
            return [*convolutions, layers.Flatten(), vector]

        self.global_network = vector_network([64, 128, 256, 512, 512])
        self.local_network = vector_network([64, 128, 256, 512]) if local else []
        self.score = layers.Dense(1, dtype="float32")

    def call(self, image, patch):
        """
        Args:
          image: float [B, S, S, 3] in [-1, 1], S fixed at the first call.
          patch: float [B, P, P, 3], the local patch of the same examples.

        Returns:
          float32 [B, 1], logit of being a ground-truth image.
        """
        vectors = [through(self.global_network, image)]
        if self.local_network:
            vectors.append(through(self.local_network, patch))
        return self.score(tf.concat(vectors, axis=-1))


class ParallelAttention(keras.Model):
    """The method: both players, their optimizers, and one training step.

    Attributes:
      batches_per_step: how many batches `update` takes at once, one after another.
      size_multiple: `call` takes pictures whose sides are multiples of this.
    """

    batches_per_step = 1
    size_multiple = 4

    def __init__(
        self,
        *,
        image_size=128,
        width=1.0,
        local_patch_size=None,
        attention_branch=True,
        attention_rate=2,
        attention_propagation=True,
        attention_memory_mb=MEMORY_MB,
        local_discriminator=True,
        adversarial_weight=3.0,
        learning_rate=1e-4,
        discriminator_learning_rate=None,
        beta_1=0.5,
        beta_2=0.9,
        clip_norm=None,
        averaging_decay=0.0,
        **kwargs,
    ):
        """
        Args:
          image_size: side of the training images in pixels, a multiple of 4.
          width: multiplier on all channel counts, 1 = as published.
          local_patch_size: side of the local discriminator's patch; None for 7/16 of
            the image (56 at 128, as in the paper).
          attention_branch, attention_rate: see CompletionNetwork.
          attention_propagation, attention_memory_mb: see CompletionNetwork.
          local_discriminator: False leaves it out (ablation).
          adversarial_weight: alpha, weight of the adversarial loss beside the context
            loss; 0 trains the completion network alone. The paper gives none; of 0, 3
            and 30 the default had the lowest KID, at the PSNR of 0
            (docs/reproduction.md). GLCIC's 4e-4 stands beside a mean over the hole,
            where eq. 1 has a sum over some ten thousand values.
          learning_rate: of the completion network's Adam.
          discriminator_learning_rate: None for the same rate.
          beta_1, beta_2: of both Adams.
          clip_norm: largest global gradient norm of each player; None for no limit.
          averaging_decay: per step, of the moving average of the completion network's
            weights that is used outside training, see `averaging`; 0 for no average.
          **kwargs: of keras.Model.

        Raises:
          ValueError: a size, width or decay that the method cannot take.
        """
        # Images stay float32 under mixed precision; the networks' layers cast for
        # themselves.
        super().__init__(**{"dtype": "float32", **kwargs})
        check_decay(averaging_decay)
        if image_size < 16 or image_size % 4:
            raise ValueError(
                f"--image_size={image_size}: parallel_attention takes multiples of 4 "
                "from 16 on"
            )
        if local_patch_size is None:
            local_patch_size = image_size * 7 // 16
        if not 0 < local_patch_size <= image_size:
            raise ValueError(
                f"--local_patch_size={local_patch_size}: must lie in "
                f"1..{image_size} (--image_size)"
            )
        self.image_size = image_size
        self.local_patch_size = local_patch_size
        self.adversarial_weight = adversarial_weight
        self.averaging_decay = averaging_decay
        self.clip_norm = clip_norm

        def completion_network(name):
            network = CompletionNetwork(
                width=width,
                attention_branch=attention_branch,
                attention_rate=attention_rate,
                attention_propagation=attention_propagation,
                attention_memory_mb=attention_memory_mb,
                name=name,
            )
            network(
                tf.zeros([1, image_size, image_size, 3]),
                tf.zeros([1, image_size, image_size, 1]),
            )
            return network

        self.completion = completion_network("completion")
        self.completion_optimizer = adam(learning_rate, beta_1, beta_2)
        self.completion_optimizer.build(self.completion.trainable_variables)
        self.discriminator = None
        if adversarial_weight:
            self.discriminator = Discriminator(width=width, local=local_discriminator)
            self.discriminator(
                tf.zeros([1, image_size, image_size, 3]),
                tf.zeros([1, local_patch_size, local_patch_size, 3]),
            )
            if discriminator_learning_rate is None:
                discriminator_learning_rate = learning_rate
            self.discriminator_optimizer = adam(
                discriminator_learning_rate, beta_1, beta_2
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
          image: float32 [B, H, W, 3] in [-1, 1]; missing pixels may hold anything.
          hole: float32 [B, H, W, 1], 1 = missing.
          training: use the weights being trained.

        Returns:
          dict: `predicted`, `completed` float32 [B, H, W, 3] and, with the attention
          branch, `attention_offsets` int32 [B, h, w, 2].
        """
        network = self.completion
        if self.averaged_completion is not None and not training:
            network = self.averaged_completion
        outputs = network(image, hole)
        completed = images.compose(image, outputs["predicted"], hole)
        return {**outputs, "completed": completed}

    def update(self, batch):
        """One simultaneous optimisation step of both players.

        Each player's gradient is taken at the weights before the step, so that every
        network runs forward only once on each image.

        Args:
          batch: dict of this replica's `image` [b, S, S, 3], `mask` [b, S, S, 1] and
            `box` int32 [b, 4], the region that the local patch is centred on.

        Returns:
          dict of float32 scalars, means over this replica's examples: the losses, and
          what `health` watches.
        """
        image, mask = batch["image"], batch["mask"]
        with tf.GradientTape(persistent=True) as tape:
            outputs = self(image, mask, training=True)
            context = losses.context_loss(image, outputs["predicted"], mask)
            results = {"context_loss": context}
            completion_loss = context
            if self.discriminator is not None:
                real_logits, fake_logits = self._logits(image, outputs, batch["box"])
                adversarial = losses.minimax_generator_loss(fake_logits)
                completion_loss = context + self.adversarial_weight * adversarial
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

    def _logits(self, image, outputs, box):
        """Scores ground truth and completed images: two logits [b, 1]."""
        size, patch = self.image_size, self.local_patch_size
        corner = masks.local_patch_corner(box, patch, patch, size, size)

        def score(whole):
            return self.discriminator(
                whole, masks.crop_patches(whole, corner, patch, patch)
            )

        return score(image), score(outputs["completed"])
