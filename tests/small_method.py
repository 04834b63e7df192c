"""A whole method small enough to train in a moment: two layers against one."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from inpainting_tf import health, images, losses
from inpainting_tf.optimization import adam, apply_gradients, gradient_norm


class SmallMethod(keras.Model):
    """See the README's contract."""

    batches_per_step = 1

    def __init__(self, learning_rate=1e-3):
        super().__init__()
        self.built = True  # By what follows.
        self.encode = layers.Conv2D(4, 3, padding="same", activation="elu")
        self.decode = layers.Conv2D(3, 3, padding="same", activation="tanh")
        self.discriminator = layers.Dense(1)
        self(tf.zeros([1, 16, 16, 3]), tf.zeros([1, 16, 16, 1]))
        self.discriminator(tf.zeros([1, 16 * 16 * 3]))
        self.completion_optimizer = adam(learning_rate)
        self.completion_optimizer.build(self._completion_weights())
        self.discriminator_optimizer = adam(learning_rate)
        self.discriminator_optimizer.build(self.discriminator.trainable_variables)

    def _completion_weights(self):
        return self.encode.trainable_variables + self.decode.trainable_variables

    def call(self, image, hole, training=False):
        known = tf.concat([images.erase(image, hole), hole], axis=-1)
        predicted = self.decode(self.encode(known))
        completed = images.compose(image, predicted, hole)
        return {"predicted": predicted, "completed": completed}

    def update(self, batch):
        image, mask = batch["image"], batch["mask"]
        with tf.GradientTape(persistent=True) as tape:
            outputs = self(image, mask, training=True)
            real, fake = (
                self.discriminator(tf.reshape(pixels, [-1, 16 * 16 * 3]))
                for pixels in (image, outputs["completed"])
            )
            completion_loss = losses.missing_squared_error(
                image, outputs["predicted"], mask
            ) + 0.01 * losses.minimax_generator_loss(fake)
            discriminator_loss = losses.minimax_discriminator_loss(real, fake)
        results = {
            "completion_loss": completion_loss,
            "discriminator_loss": discriminator_loss,
            **health.logit_accuracies(real, fake),
        }
        for player, loss, weights in (
            ("completion", completion_loss, self._completion_weights()),
            (
                "discriminator",
                discriminator_loss,
                self.discriminator.trainable_variables,
            ),
        ):
            optimizer = getattr(self, f"{player}_optimizer")
            gradients = tape.gradient(loss, weights)
            results[f"health/{player}_gradient_norm"] = gradient_norm(
                optimizer, gradients
            )
            apply_gradients(optimizer, gradients, weights)
        return results


def small_method(**parameters):
    """A SmallMethod with the same weights every time."""
    keras.utils.set_random_seed(0)
    return SmallMethod(**parameters)


def batches(first_step=0, seed=0, count=200, image=None):
    """Batches of four images of noise with random holes, from a step on.

    Args:
      first_step: of the first batch; a batch depends on its step and the seed alone.
      seed: int.
      count: how many steps there are.
      image: function (step) -> float32 [4, 16, 16, 3], instead.
    """
    everything = []
    for step in range(first_step, count):
        draw = np.random.default_rng([seed, step])
        pixels = draw.uniform(-1, 1, [4, 16, 16, 3]).astype(np.float32)
        if image is not None:
            pixels = image(step)
        box = np.concatenate([draw.integers(0, 8, [4, 2]), np.full([4, 2], 8)], axis=1)
        mask = np.zeros([4, 16, 16, 1], np.float32)
        for one, (top, left, height, width) in zip(mask, box, strict=True):
            one[top : top + height, left : left + width] = 1
        everything.append({"image": pixels, "mask": mask, "box": box.astype(np.int32)})
    stacked = {
        name: np.stack([batch[name] for batch in everything]) for name in everything[0]
    }
    return tf.data.Dataset.from_tensor_slices(stacked)
