"""GLCIC: a dilated completion network with a global and a local discriminator.

Iizuka, Simo-Serra, Ishikawa, "Globally and Locally Consistent Image Completion",
SIGGRAPH 2017, and its widely used TensorFlow 1 program (tadax/glcic), for 128x128 and
256x256.

Inputs: image [B, H, W, 3] in [-1, 1] and hole [B, H, W, 1], 1 = missing; H and W
multiples of 4, for training the square `image_size`.
Outputs: predicted [B, H, W, 3] in (-1, 1), completed [B, H, W, 3] with the known pixels
untouched.

Stages: fill the hole, append the mask; completion network; compose. Training in three
phases by step count: completion network alone, discriminators alone, both jointly. A
resting player costs nothing and nothing of it moves.

| keyword                        | default      | paper      | program      |
|--------------------------------|--------------|------------|--------------|
| mask_channel                   | True         | True       | False        |
| mean_color                     | CelebA's     | data's own | 127.5 (zero) |
| reconstruction                 | "mean"       | "mean"     | "half_sum"   |
| adversarial_weight             | 4e-4         | 4e-4       | 0            |
| discriminator_weight           | 1            | 1          | 4e-4         |
| optimizer, learning_rate       | "adam", 1e-3 | "adadelta" | "adam", 1e-3 |
| discriminator_batch_statistics | False        | False      | True         |
| random_scales                  | False        | False      | True         |
| completion_steps               | 90,000       | 90,000     | 100 epochs   |
| discriminator_steps            | 10,000       | 10,000     | 0            |

The paper's output is a sigmoid on [0, 1], which is the tanh of half the argument on
[-1, 1]; tanh, the program's, serves both. Both players step simultaneously, each
gradient taken at the weights before the step.
"""

import functools

import keras
import tensorflow as tf

from baselines.glcic_networks import (
    CELEBA_MEAN_COLOR,
    CompletionNetwork,
    Discriminator,
)
from inpainting_tf import health, images, losses, masks
from inpainting_tf.averaging import averaged_copy, check_decay, follow
from inpainting_tf.optimization import (
    adadelta,
    adam,
    apply_gradients,
    choose,
    gradient_norm,
    scaled_share,
)

PHASES = ("completion", "discriminator", "joint")


class GLCIC(keras.Model):
    """The method: both players, their optimizers, and one training step.

    Attributes:
      batches_per_step: how many batches `update` takes at once, one after another.
      size_multiple: `call` takes pictures whose sides are multiples of this.
      steps_taken: int64 variable, the updates so far; it decides the phase.
    """

    batches_per_step = 1
    size_multiple = 4

    def __init__(
        self,
        *,
        image_size=128,
        width=1.0,
        local_patch_size=None,
        mask_channel=True,
        mean_color=CELEBA_MEAN_COLOR,
        reconstruction="mean",
        adversarial_weight=4e-4,
        discriminator_weight=1.0,
        completion_steps=90_000,
        discriminator_steps=10_000,
        optimizer="adam",
        learning_rate=None,
        discriminator_learning_rate=None,
        beta_1=0.9,
        beta_2=0.999,
        clip_norm=None,
        discriminator_batch_statistics=False,
        random_scales=False,
        averaging_decay=0.0,
        **kwargs,
    ):
        """
        Args:
          image_size: side of the training images in pixels, a multiple of 4; the
            published sizes are 128 and 256.
          width: multiplier on all channel counts, 1 = as published.
          local_patch_size: side of the local discriminator's patch; None for half the
            image (64 at 128, 128 at 256, as published).
          mask_channel: the completion network sees the mask as a fourth channel.
          mean_color: RGB levels (0..255) that fill the hole at the network's input;
            127.5 is zero.
          reconstruction: "mean": mean squared error of the missing values; "half_sum":
            half the sum of their squared errors over the global batch.
          adversarial_weight: alpha, weight of the adversarial loss beside the
            reconstruction loss in the joint phase; 0 leaves it out.
          discriminator_weight: factor on the discriminators' loss.
          completion_steps: length of the completion phase.
          discriminator_steps: length of the discriminator phase; after it, joint.
          optimizer: "adam" or "adadelta".
          learning_rate: None for 1e-3 with Adam and 1 with AdaDelta.
          discriminator_learning_rate: None for the same rate.
          beta_1, beta_2: of both Adams.
          clip_norm: largest global gradient norm of each player; None for no limit.
          discriminator_batch_statistics: the discriminators normalise by the batch's
            statistics in evaluation too, so that a logit depends on batch mates.
          random_scales: batch normalisation's scales start from a truncated normal
            (mean 0, deviation 0.1), not at 1.
          averaging_decay: per step, of the moving average of the completion network's
            weights and statistics that is used outside training, see `averaging`; 0
            for no average.
          **kwargs: of keras.Model.

        Raises:
          ValueError: a size, width, name, step count or decay that the method cannot take.
        """
        # Images stay float32 under mixed precision; the networks' layers cast for
        # themselves.
        super().__init__(**{"dtype": "float32", **kwargs})
        check_decay(averaging_decay)
        if image_size < 16 or image_size % 4:
            raise ValueError(
                f"--image_size={image_size}: glcic takes multiples of 4 from 16 on"
            )
        if local_patch_size is None:
            local_patch_size = image_size // 2
        if not 0 < local_patch_size <= image_size:
            raise ValueError(
                f"--local_patch_size={local_patch_size}: must lie in "
                f"1..{image_size} (--image_size)"
            )
        if reconstruction not in ("mean", "half_sum"):
            raise ValueError(
                f"--reconstruction={reconstruction}: must be mean or half_sum"
            )
        if optimizer not in ("adam", "adadelta"):
            raise ValueError(f"--optimizer={optimizer}: must be adam or adadelta")
        if completion_steps < 0 or discriminator_steps < 0:
            raise ValueError(
                f"--completion_steps={completion_steps} "
                f"--discriminator_steps={discriminator_steps}: must be at least 0"
            )
        self.image_size = image_size
        self.local_patch_size = local_patch_size
        self.reconstruction = reconstruction
        self.adversarial_weight = adversarial_weight
        self.discriminator_weight = discriminator_weight
        self.completion_steps = completion_steps
        self.discriminator_steps = discriminator_steps
        self.clip_norm = clip_norm
        self.discriminator_batch_statistics = discriminator_batch_statistics
        self.averaging_decay = averaging_decay

        whole = tf.zeros([1, image_size, image_size, 3])

        def completion_network(name):
            network = CompletionNetwork(
                width=width,
                mask_channel=mask_channel,
                mean_color=mean_color,
                random_scales=random_scales,
                name=name,
            )
            network(whole, tf.zeros([1, image_size, image_size, 1]))
            return network

        self.completion = completion_network("completion")
        self.discriminator = Discriminator(
            image_size=image_size,
            width=width,
            random_scales=random_scales,
            name="discriminator",
        )
        patch = tf.zeros([1, local_patch_size, local_patch_size, 3])
        self.discriminator(whole, patch)

        if learning_rate is None:
            learning_rate = 1e-3 if optimizer == "adam" else 1.0
        if discriminator_learning_rate is None:
            discriminator_learning_rate = learning_rate

        def player_optimizer(network, rate):
            if optimizer == "adam":
                made = adam(rate, beta_1, beta_2, epsilon=1e-8)
            else:
                made = adadelta(rate)
            made.build(network.trainable_variables)
            return made

        self.completion_optimizer = player_optimizer(self.completion, learning_rate)
        self.discriminator_optimizer = player_optimizer(
            self.discriminator, discriminator_learning_rate
        )
        self.steps_taken = self.add_weight(
            shape=(),
            initializer="zeros",
            dtype="int64",
            trainable=False,
            name="steps_taken",
        )
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
          training: with the weights being trained, normalised by the batch's statistics,
            which moves the running ones.

        Returns:
          dict: `predicted`, `completed` float32 [B, H, W, 3].
        """
        network = self.completion
        if self.averaged_completion is not None and not training:
            network = self.averaged_completion
        return self._complete(network, image, hole, training)

    def _complete(self, network, image, hole, training):
        predicted = network(image, hole, training=training)
        completed = images.compose(image, predicted, hole)
        return {"predicted": predicted, "completed": completed}

    def logits(self, image, box, training=False):
        """Scores images jointly by both discriminators.

        Args:
          image: float32 [B, S, S, 3], ground truth or completed.
          box: int32 [B, 4], the region that the local patch is centred on.
          training: see Discriminator; with `discriminator_batch_statistics` always.

        Returns:
          float32 [B, 1].
        """
        training = training or self.discriminator_batch_statistics
        size, patch = self.image_size, self.local_patch_size
        corner = masks.local_patch_corner(box, patch, patch, size, size)
        local = masks.crop_patches(image, corner, patch, patch)
        return self.discriminator(image, local, training=training)

    def update(self, batch):
        """One optimisation step of the players whose phase it is.

        Args:
          batch: dict of this replica's `image` [b, S, S, 3], `mask` [b, S, S, 1] and
            `box` int32 [b, 4], the region that the local patch is centred on.

        Returns:
          dict of float32 scalars, means over this replica's examples, the same keys in
          every phase: the losses, before `discriminator_weight`, and what `health`
          watches, 0 where their player rests; and `phase`, the index in PHASES.
        """
        step = tf.convert_to_tensor(self.steps_taken)
        joint = self.completion_steps + self.discriminator_steps
        phase = tf.cast(step >= self.completion_steps, tf.int32)
        phase += tf.cast(step >= joint, tf.int32)
        branches = [
            functools.partial(self._gradients, discriminator_learns=False),
            functools.partial(self._gradients, completion_learns=False),
            self._gradients,
        ]
        # A phase of no steps is not built, which saves a third of the compilation.
        lengths = (self.completion_steps, self.discriminator_steps, 1)
        built = [index for index, length in enumerate(lengths) if length]
        branch = tf.reduce_sum(tf.cast(phase > built[:-1], tf.int32))
        results, completion_gradients, discriminator_gradients = choose(
            branch, [branches[index] for index in built], batch
        )
        apply_gradients(
            self.discriminator_optimizer,
            discriminator_gradients,
            self.discriminator.trainable_variables,
            self.clip_norm,
            when=phase >= 1,
        )
        apply_gradients(
            self.completion_optimizer,
            completion_gradients,
            self.completion.trainable_variables,
            self.clip_norm,
            when=phase != 1,
        )
        follow(
            self.averaged_completion,
            self.completion,
            self.averaging_decay,
            self.completion_optimizer.iterations,
            rests=tf.equal(phase, 1),
        )
        self.steps_taken.assign_add(1)
        results["health/completion_gradient_norm"] = gradient_norm(
            self.completion_optimizer, completion_gradients
        )
        results["health/discriminator_gradient_norm"] = gradient_norm(
            self.discriminator_optimizer, discriminator_gradients
        )
        return {**results, "phase": tf.cast(phase, tf.float32)}

    def _gradients(self, batch, completion_learns=True, discriminator_learns=True):
        """Losses and gradients of the learning players; zeros for a resting one.

        Returns:
          (dict of losses, list of completion gradients, list of discriminator
          gradients), of the same structure whoever learns.
        """
        image, mask, box = batch["image"], batch["mask"], batch["box"]
        zero = tf.zeros([])
        reconstruction = adversarial = completion_loss = discriminator_loss = zero
        scaled_completion_loss = scaled_discriminator_loss = zero
        accuracies = {"health/real_accuracy": zero, "health/fake_accuracy": zero}
        with tf.GradientTape(persistent=True) as tape:
            outputs = self._complete(self.completion, image, mask, completion_learns)
            if discriminator_learns:
                real_logits = self.logits(image, box, training=True)
                fake_logits = self.logits(outputs["completed"], box, training=True)
                discriminator_loss = losses.minimax_discriminator_loss(
                    real_logits, fake_logits
                )
                accuracies = health.logit_accuracies(real_logits, fake_logits)
                scaled_discriminator_loss = scaled_share(
                    self.discriminator_optimizer,
                    self.discriminator_weight * discriminator_loss,
                )
            if completion_learns:
                reconstruction = self.reconstruction_loss(
                    image, outputs["predicted"], mask
                )
                completion_loss = reconstruction
                if discriminator_learns and self.adversarial_weight:
                    adversarial = losses.minimax_generator_loss(fake_logits)
                    completion_loss += self.adversarial_weight * adversarial
                scaled_completion_loss = scaled_share(
                    self.completion_optimizer, completion_loss
                )

        def gradients(learns, loss, network):
            weights = network.trainable_variables
            if not learns:
                return [tf.zeros(weight.shape, weight.dtype) for weight in weights]
            return tape.gradient(loss, weights)

        results = {
            "reconstruction_loss": reconstruction,
            "adversarial_loss": adversarial,
            "completion_loss": completion_loss,
            "discriminator_loss": discriminator_loss,
            **accuracies,
        }
        return (
            results,
            gradients(completion_learns, scaled_completion_loss, self.completion),
            gradients(
                discriminator_learns, scaled_discriminator_loss, self.discriminator
            ),
        )

    def reconstruction_loss(self, image, predicted, mask):
        """The completion network's loss on the missing pixels, see `reconstruction`."""
        if self.reconstruction == "mean":
            return losses.missing_squared_error(image, predicted, mask)
        # A mean over replicas is taken of it, so that the sum is the global batch's.
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        return replicas * losses.half_missing_squared_sum(image, predicted, mask)
