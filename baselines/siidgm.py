"""Semantic image inpainting with deep generative models, on a trained DCGAN.

Yeh et al., CVPR 2017 (arXiv 1607.07539): find the latent z whose generated image
agrees with the known pixels, context loss || W (G(z) - y) ||_1 with importance weights
W, and looks like a face to the discriminator, prior loss lambda log(1 - D(G(z))); blend
it into the hole.

Inputs: image [B, S, S, 3] in [-1, 1], mask [B, S, S, 1], 1 = missing; S the GAN's size.
Outputs: completed, with the known pixels untouched; predicted = G(z); z and losses.

Stages: importance weights; search; Poisson blending; compose.

Defaults follow the paper. `PROGRAM` and `PROGRAM_EXTENSIONS` hold the arguments that
follow the two branches of the widely used program. What stays different from it: an
example never depends on its batch mates, known pixels come back unchanged (its
unblended output mixes in G by the importance weights), and blended values are clipped
to [-1, 1] (it lets them exceed white). Its z starts differ, as random draws do.
"""

import tensorflow as tf

from inpainting_tf.latent_search import (
    check_size,
    importance_weights,
    search_and_blend,
)

PROGRAM = {
    "neighbourhood": 7,
    "weighting": "known",
    "prior": "non_saturating",
    "prior_weight": 0.1,
    "iterations": 1000,
    "start": "normal",
    "optimizer": "nesterov",
    "learning_rate": 0.01,
    "momentum": 0.9,
    "keep": "last",
    "border": "wrap",
}
PROGRAM_EXTENSIONS = PROGRAM | {
    "neighbourhood": 15,
    "weighting": "missing",
    "prior_weight": 0.2,
    "iterations": 3000,
    "learning_rate": 3e-4,
}


class SIIDGM:
    """The method on a trained GAN: `inpaint(image, mask) -> completed`."""

    def __init__(
        self,
        gan,
        *,
        neighbourhood=7,
        weighting="missing",
        context="l1",
        prior="saturating",
        prior_weight=0.003,
        iterations=1500,
        restarts=1,
        seed=0,
        start="uniform",
        optimizer="adam",
        learning_rate=0.01,
        momentum=0.9,
        beta_1=0.9,
        beta_2=0.999,
        patience=0,
        min_improvement=1e-3,
        keep="best",
        blending="poisson",
        border="natural",
    ):
        """
        Args:
          gan: has `generate`, `score`, `latent_size` and `image_size`, as
            `baselines.dcgan.DCGAN`.
          neighbourhood, weighting: see `importance_weights` (`weighting` is its mode).
          context, prior, prior_weight, iterations, restarts, seed, start, optimizer,
            learning_rate, momentum, beta_1, beta_2, patience, min_improvement, keep:
            see `latent_search.search`.
          blending, border: see `latent_search.search_and_blend`.
        """
        self.gan = gan
        self.neighbourhood = neighbourhood
        self.weighting = weighting
        self.constants = {
            "context": context,
            "prior": prior,
            "prior_weight": prior_weight,
            "iterations": iterations,
            "restarts": restarts,
            "seed": seed,
            "start": start,
            "optimizer": optimizer,
            "learning_rate": learning_rate,
            "momentum": momentum,
            "beta_1": beta_1,
            "beta_2": beta_2,
            "patience": patience,
            "min_improvement": min_improvement,
            "keep": keep,
            "blending": blending,
            "border": border,
        }
        self._compiled = tf.function(self.complete, reduce_retracing=True)

    def __call__(self, image, mask):
        """Returns the completed images, see `complete`; compiled."""
        check_size("siidgm", self.gan, tf.convert_to_tensor(image))
        return self._compiled(image, mask)["completed"]

    def complete(self, image, mask, keys=None):
        """Searches and blends; to be called in a graph, which is much faster.

        Args:
          image: float32 [B, S, S, 3] in [-1, 1]; missing pixels may hold anything.
          mask: float32 [B, S, S, 1], 1 = missing.
          keys: int32 [B], see `latent_search.search`.

        Returns:
          dict, see `latent_search.search_and_blend`.

        Raises:
          ValueError: the image is not of the GAN's size.
        """
        image, mask = tf.convert_to_tensor(image), tf.convert_to_tensor(mask)
        check_size("siidgm", self.gan, image)
        weights = importance_weights(mask, self.neighbourhood, self.weighting)
        return search_and_blend(
            self.gan, image, mask, [(image, weights)], keys=keys, **self.constants
        )
