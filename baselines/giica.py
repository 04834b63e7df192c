"""Coarse-to-fine completion with contextual attention and Wasserstein critics (GIICA).

Paper: Yu et al., "Generative Image Inpainting with Contextual Attention", CVPR 2018
(arXiv 1801.07892), also known as DeepFill v1. The networks are those of the authors'
program, v1.0.0, so that weights trained by it can be loaded (`released_giica`).

Inputs: image [B, H, W, 3] in [-1, 1] and hole [B, H, W, 1], 1 = missing; H and W
multiples of 8, for training the square `image_size`.
Outputs: predicted [B, H, W, 3] in [-1, 1] (the refined picture), completed with the
known pixels untouched, coarse [B, H, W, 3] in [-1, 1], attention_offsets
[B, H/8, W/8, 2] int32.

Stages: erase the hole, append ones and mask; coarse network; compose; refinement
network with a dilated ("hallucination") and an attention branch; compose. Training:
each step updates both critics `critic_updates` times, then the two networks once, every
time on fresh images and masks.

Chosen as in the program where the paper differs or is silent: spatial discount of 0.9
per pixel (paper: 0.99); L1 weights of 1.2 and adversarial weight 0.001; 1.2 more on the
coarse output; every nearest-neighbour resize with aligned corners (see
`layers.resize_nearest_aligned`).

Deviations from the program: one hole per example, not per batch, hence the loss on
known pixels is normalised by each example's share of them; each player has its own
Adam; the local patch is centred on the box and of a fixed size, the same as the box
where holes are boxes of that size.
"""

import keras
import tensorflow as tf

from baselines.giica_networks import (
    GLOBAL_CHANNELS,
    LOCAL_CHANNELS,
    CoarseNetwork,
    Critic,
    RefinementNetwork,
)
from inpainting_tf import health, images, losses, masks
from inpainting_tf.averaging import averaged_copy, check_decay, follow
from inpainting_tf.contextual_attention import MEMORY_MB
from inpainting_tf.optimization import (
    adam,
    apply_gradients,
    gradient_norm,
    own_rows,
    scaled_share,
)
from inpainting_tf.ordered_sums import add_in_order, fork


class GIICA(keras.Model):
    """The method: two-stage network, two critics, optimizers, one training step.

    Attributes:
      batches_per_step: how many batches `update` takes at once, one after another.
      size_multiple, min_size: `call` takes pictures whose sides are multiples of the
        first and at least the second.
    """

    size_multiple = 8

    def __init__(
        self,
        *,
        image_size=256,
        width=1.0,
        local_patch_size=None,
        padding="same",
        attention_memory_mb=MEMORY_MB,
        critic_updates=5,
        coarse_pretraining_steps=0,
        spatial_discount_gamma=0.9,
        coarse_weight=1.2,
        hole_weight=1.2,
        known_weight=1.2,
        adversarial_weight=0.001,
        global_adversarial_weight=1.0,
        gradient_penalty_weight=10.0,
        learning_rate=1e-4,
        beta_1=0.5,
        beta_2=0.9,
        clip_norm=None,
        averaging_decay=0.0,
        seed=0,
        **kwargs,
    ):
        """
        Args:
          image_size: side of the training images in pixels, a multiple of 8.
          width: multiplier on all channel counts, 1 = as published.
          local_patch_size: side of the local critic's patch; None for half the image,
            the size of the program's holes.
          padding: of the convolutions: "same" (zeros) or "symmetric" (mirrored; needs
            sides of at least 64 for the widest dilation).
          attention_memory_mb: above which attention goes row by row, see
            `contextual_attention`; results are the same.
          critic_updates: updates of the critics for each of the two networks.
          coarse_pretraining_steps: so many first steps train the coarse network alone,
            without critics; `predicted` stays the refined picture, which is of no use
            until they are over.
          spatial_discount_gamma: weight of the L1 loss in the hole per pixel of
            distance from the border: 0.9 in the program, 0.99 in the paper, 1 for none.
          coarse_weight: of the coarse network's L1 losses beside the refined ones.
          hole_weight, known_weight: of the L1 losses on the local patch and on the
            known pixels.
          adversarial_weight: of both critics' scores beside them.
          global_adversarial_weight: of the global critic's beside the local one's.
          gradient_penalty_weight: lambda, beside the critics' loss.
          learning_rate, beta_1, beta_2: of both Adams.
          clip_norm: largest global gradient norm of each player; None for no limit.
          averaging_decay: per step, of the moving average of both networks' weights
            that is used outside training, see `averaging`; 0 for no average.
          seed: of the random mixing in the gradient penalty, which depends on nothing
            but this and the step.
          **kwargs: of keras.Model.

        Raises:
          ValueError: a size, width, padding, count or decay that the method cannot take.
        """
        # Images stay float32 under mixed precision; the networks' layers cast for
        # themselves.
        super().__init__(**{"dtype": "float32", **kwargs})
        check_decay(averaging_decay)
        if image_size < 16 or image_size % 8:
            raise ValueError(
                f"--image_size={image_size}: giica takes multiples of 8 from 16 on"
            )
        if padding not in ("same", "symmetric"):
            raise ValueError(f"--padding={padding}: must be same or symmetric")
        self.padding = padding
        # The widest dilation mirrors 16 of the reduced pixels.
        self.min_size = 64 if padding == "symmetric" else self.size_multiple
        self._check_size(image_size, image_size)
        if local_patch_size is None:
            local_patch_size = image_size // 2
        if not 0 < local_patch_size <= image_size:
            raise ValueError(
                f"--local_patch_size={local_patch_size}: must lie in "
                f"1..{image_size} (--image_size)"
            )
        if critic_updates < 1:
            raise ValueError(f"--critic_updates={critic_updates}: must be at least 1")
        if coarse_pretraining_steps < 0:
            raise ValueError(
                f"--coarse_pretraining_steps={coarse_pretraining_steps}: must be at "
                "least 0"
            )
        if not 0 < spatial_discount_gamma <= 1:
            raise ValueError(
                f"--spatial_discount_gamma={spatial_discount_gamma}: must be above 0, "
                "at most 1"
            )
        self.image_size = image_size
        self.local_patch_size = local_patch_size
        self.critic_updates = critic_updates
        self.batches_per_step = critic_updates + 1
        self.coarse_pretraining_steps = coarse_pretraining_steps
        self.spatial_discount_gamma = spatial_discount_gamma
        self.coarse_weight = coarse_weight
        self.hole_weight = hole_weight
        self.known_weight = known_weight
        self.adversarial_weight = adversarial_weight
        self.global_adversarial_weight = global_adversarial_weight
        self.gradient_penalty_weight = gradient_penalty_weight
        self.clip_norm = clip_norm
        self.averaging_decay = averaging_decay
        self.seed = seed

        picture = tf.zeros([1, image_size, image_size, 3])
        hole = tf.zeros([1, image_size, image_size, 1])

        def coarse_network(name):
            network = CoarseNetwork(width=width, padding=padding, name=name)
            network(picture, hole)
            return network

        def refinement_network(name):
            network = RefinementNetwork(
                width=width,
                padding=padding,
                attention_memory_mb=attention_memory_mb,
                name=name,
            )
            network(picture, hole)
            return network

        self.coarse_network = coarse_network("coarse")
        self.refinement_network = refinement_network("refinement")
        self.generator_optimizer = adam(learning_rate, beta_1, beta_2, epsilon=1e-8)
        self.generator_optimizer.build(self._generator_weights())

        self.local_critic = Critic(LOCAL_CHANNELS, width=width, name="local_critic")
        self.local_critic(tf.zeros([1, local_patch_size, local_patch_size, 3]))
        self.global_critic = Critic(GLOBAL_CHANNELS, width=width, name="global_critic")
        self.global_critic(picture)
        self.critic_optimizer = adam(learning_rate, beta_1, beta_2, epsilon=1e-8)
        self.critic_optimizer.build(self._critic_weights())
        # Last, so that all else starts from the same random weights without it.
        self.averaged_coarse_network = averaged_copy(
            self.coarse_network,
            lambda: coarse_network("averaged_coarse"),
            averaging_decay,
        )
        self.averaged_refinement_network = averaged_copy(
            self.refinement_network,
            lambda: refinement_network("averaged_refinement"),
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
          dict: `predicted` (the refined picture), `completed`, `coarse` float32
          [B, H, W, 3] in [-1, 1]; `attention_offsets` int32 [B, H/8, W/8, 2].

        Raises:
          ValueError: H or W known and not possible, see `padding`.
        """
        self._check_size(*image.shape[1:3])
        coarse_network = self.coarse_network
        refinement_network = self.refinement_network
        if self.averaged_coarse_network is not None and not training:
            coarse_network = self.averaged_coarse_network
            refinement_network = self.averaged_refinement_network
        coarse = coarse_network(image, hole)
        refined, offsets = refinement_network(images.compose(image, coarse, hole), hole)
        return {
            "predicted": refined,
            "completed": images.compose(image, refined, hole),
            "coarse": coarse,
            "attention_offsets": offsets,
        }

    def update(self, batch):
        """One optimisation step: the critics `critic_updates` times, then the networks.

        Args:
          batch: dict of this replica's `image` [n b, S, S, 3], `mask` [n b, S, S, 1]
            and `box` int32 [n b, 4], the region that the local patch is centred on;
            n = `batches_per_step`, b examples for each update in this order.

        Returns:
          dict of float32 scalars, means over the b examples of the last update of each
          player: reconstruction_loss, known_pixels_loss, adversarial_loss,
          generator_loss, critic_loss, gradient_penalty, and what `health` watches. The
          critics' are 0 in coarse pretraining.

        Raises:
          ValueError: the number of examples is known and no multiple of n.
        """
        *critic_batches, generator_batch = self._split(batch)
        step = self.generator_optimizer.iterations
        pretraining = step < self.coarse_pretraining_steps
        for critic_batch in critic_batches:
            critic_results, gradients = self._unless(
                pretraining, self._critic_step, self._no_critic_step, critic_batch
            )
            apply_gradients(
                self.critic_optimizer,
                gradients,
                self._critic_weights(),
                self.clip_norm,
                when=~pretraining if self.coarse_pretraining_steps else None,
            )
        critic_norm = gradient_norm(self.critic_optimizer, gradients)
        generator_results, gradients = self._unless(
            pretraining, self._generator_step, self._coarse_step, generator_batch
        )
        apply_gradients(
            self.generator_optimizer,
            gradients,
            self._generator_weights(),
            self.clip_norm,
        )
        coarse_steps = self.generator_optimizer.iterations
        both_steps = tf.maximum(coarse_steps - self.coarse_pretraining_steps, 0)
        for average, network, steps in (
            (self.averaged_coarse_network, self.coarse_network, coarse_steps),
            (self.averaged_refinement_network, self.refinement_network, both_steps),
        ):
            follow(average, network, self.averaging_decay, steps)
        critic_results["health/critic_gradient_norm"] = critic_norm
        generator_results["health/generator_gradient_norm"] = gradient_norm(
            self.generator_optimizer, gradients
        )
        return {**generator_results, **critic_results}

    def critic_losses(self, image, completed, mask, box, mixing):
        """Losses of the critics; a pure function of its arguments and the weights.

        Args:
          image: ground truth float32 [b, S, S, 3] in [-1, 1].
          completed: the networks' result, likewise.
          mask: float32 [b, S, S, 1], 1 = missing.
          box: int32 [b, 4].
          mixing: float32 [2, b, 1, 1, 1] in [0, 1], places between image and completed
            where the local (first) and the global penalty are taken.

        Returns:
          dict of float32 scalars: critic_loss, the weighted sum, and gradient_penalty,
          its weighted penalty, both of the two critics together; and their mean
          health/critic_accuracy, see `health.pair_accuracy`.
        """
        critic_losses, penalties, accuracy = [], [], 0.0
        for (critic, real, fake, missing), alpha in zip(
            self._views(image, completed, mask, box), tf.unstack(mixing), strict=True
        ):
            scores = critic(tf.concat([real, fake], axis=0))
            real_scores, fake_scores = tf.split(scores, 2)
            critic_losses.append(
                losses.wasserstein_critic_loss(real_scores, fake_scores)
            )
            accuracy += 0.5 * health.pair_accuracy(real_scores, fake_scores)
            penalties.append(
                losses.masked_gradient_penalty(critic, real, fake, missing, alpha)
            )
        penalty = self.gradient_penalty_weight * add_in_order(penalties)
        return {
            "critic_loss": add_in_order([*critic_losses, penalty]),
            "gradient_penalty": penalty,
            "health/critic_accuracy": accuracy,
        }

    def generator_losses(self, image, outputs, mask, box):
        """Losses of the two networks; a pure function of its arguments and the critics.

        Args:
          image: ground truth float32 [b, S, S, 3] in [-1, 1].
          outputs: dict of `coarse` and, except in coarse pretraining, `predicted` and
            `completed`, likewise.
          mask: float32 [b, S, S, 1], 1 = missing.
          box: int32 [b, 4].

        Returns:
          dict of float32 scalars: reconstruction_loss (local patch, discounted),
          known_pixels_loss, adversarial_loss (0 in coarse pretraining) and their
          weighted sum generator_loss.
        """
        size = self.local_patch_size
        discount = losses.spatial_discount(size, size, self.spatial_discount_gamma)
        corner = self._corner(box)
        patch = masks.crop_patches(image, corner, size, size)
        reconstructions, known_pixels = [], []
        for name, weight in (("coarse", self.coarse_weight), ("predicted", 1.0)):
            if name in outputs:
                # Outputs are used once more, for the next picture made from them.
                for_patch, for_known = fork(outputs[name])
                predicted_patch = masks.crop_patches(for_patch, corner, size, size)
                reconstructions.append(
                    weight * losses.weighted_l1_loss(patch, predicted_patch, discount)
                )
                known_pixels.append(
                    weight * losses.known_pixels_l1_loss(image, for_known, mask)
                )
        reconstruction = add_in_order(reconstructions)
        known_pixels = add_in_order(known_pixels)
        adversarial = tf.constant(0.0)
        if "completed" in outputs:
            (local_critic, _, local_fake, _), (global_critic, _, global_fake, _) = (
                self._views(image, outputs["completed"], mask, box)
            )
            adversarial = losses.wasserstein_generator_loss(local_critic(local_fake))
            adversarial += (
                self.global_adversarial_weight
                * losses.wasserstein_generator_loss(global_critic(global_fake))
            )
        return {
            "reconstruction_loss": reconstruction,
            "known_pixels_loss": known_pixels,
            "adversarial_loss": adversarial,
            "generator_loss": add_in_order(
                [
                    self.hole_weight * reconstruction,
                    self.known_weight * known_pixels,
                    self.adversarial_weight * adversarial,
                ]
            ),
        }

    # The players' gradients. Each function takes one batch of b examples and returns
    # (results, gradients); the pretraining ones give zeros for weights at rest, which
    # Adam, still without moments, does not move.

    def _critic_step(self, batch):
        image, mask = batch["image"], batch["mask"]
        completed = self(image, mask, training=True)["completed"]
        mixing = self._mixing(tf.shape(image)[0])
        weights = self._critic_weights()
        with tf.GradientTape() as tape:
            results = self.critic_losses(image, completed, mask, batch["box"], mixing)
            scaled_loss = scaled_share(self.critic_optimizer, results["critic_loss"])
        return results, tape.gradient(scaled_loss, weights)

    def _no_critic_step(self, batch):
        names = ("critic_loss", "gradient_penalty", "health/critic_accuracy")
        results = {name: tf.zeros([]) for name in names}
        return results, [tf.zeros_like(weight) for weight in self._critic_weights()]

    def _generator_step(self, batch):
        def forward(image, mask):
            return self(image, mask, training=True)

        return self._generator_gradients(forward, batch)

    def _coarse_step(self, batch):
        def forward(image, mask):
            return {"coarse": self.coarse_network(image, mask)}

        return self._generator_gradients(forward, batch)

    def _generator_gradients(self, forward, batch):
        image, mask = batch["image"], batch["mask"]
        with tf.GradientTape() as tape:
            outputs = forward(image, mask)
            results = self.generator_losses(image, outputs, mask, batch["box"])
            loss = scaled_share(self.generator_optimizer, results["generator_loss"])
        weights = self._generator_weights()
        return results, [
            tf.zeros_like(weight) if gradient is None else gradient
            for weight, gradient in zip(
                weights, tape.gradient(loss, weights), strict=True
            )
        ]

    def _unless(self, pretraining, step, pretraining_step, batch):
        if not self.coarse_pretraining_steps:
            return step(batch)
        return tf.cond(
            pretraining, lambda: pretraining_step(batch), lambda: step(batch)
        )

    # What they are made of.

    def _generator_weights(self):
        return (
            self.coarse_network.trainable_variables
            + self.refinement_network.trainable_variables
        )

    def _critic_weights(self):
        return (
            self.local_critic.trainable_variables
            + self.global_critic.trainable_variables
        )

    def _check_size(self, height, width):
        """Refuses sizes that are known and that the networks cannot take."""
        sizes = [size for size in (height, width) if size is not None]
        if any(size % 8 for size in sizes):
            raise ValueError(
                f"image of {height}x{width}: height and width must be multiples of 8"
            )
        if any(size < self.min_size for size in sizes):
            raise ValueError(
                f"image of {height}x{width}: symmetric padding needs height and width "
                f"of at least {self.min_size}"
            )

    def _split(self, batch):
        """`batches_per_step` batches out of one, in order."""
        count = self.batches_per_step
        examples = batch["image"].shape[0]
        if examples is not None and (not examples or examples % count):
            raise ValueError(
                f"batch of {examples}: giica takes a multiple of {count} examples per "
                "device and step (critic_updates + 1)"
            )
        parts = {name: tf.split(value, count) for name, value in batch.items()}
        return [{name: parts[name][i] for name in batch} for i in range(count)]

    def _corner(self, box):
        patch, size = self.local_patch_size, self.image_size
        return masks.local_patch_corner(box, patch, patch, size, size)

    def _views(self, image, completed, mask, box):
        """What each critic sees, local first: (critic, real, fake, mask)."""
        corner, size = self._corner(box), self.local_patch_size
        whole = (image, completed, mask)
        local = (masks.crop_patches(x, corner, size, size) for x in whole)
        return (self.local_critic, *local), (self.global_critic, *whole)

    def _mixing(self, count):
        """Uniform in [0, 1), float32 [2, count, 1, 1, 1], by seed, update and example.

        From random bits, since float uniforms differ with and without XLA.
        """
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        update = tf.cast(self.critic_optimizer.iterations, tf.int64)
        bits = tf.random.stateless_uniform(
            [2, count * replicas, 1, 1, 1],
            tf.stack([tf.constant(self.seed, tf.int64), update]),
            minval=None,
            maxval=None,
            dtype=tf.uint32,
            alg="philox",
        )
        high_bits = tf.bitwise.right_shift(bits, tf.constant(8, tf.uint32))
        return own_rows(tf.cast(high_bits, tf.float32) * 2.0**-24, count, axis=1)
