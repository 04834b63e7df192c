"""Completion by a latent search that expects faces to be symmetric.

The second approach of "Image Inpainting using Deep Learning Models" (sections 3.2 and
3.3), on top of Yeh et al. 2017: a context loss with a second term (eq. 3),

    || W (G(z) - y) ||^2 + || mirror(W) (G(z) - mirror(y)) ||^2,

and the prior loss (eq. 4), lambda log(1 - D(G(z))). mirror is the left-right flip, so
that the known half of a face tells what belongs into its missing half.

Inputs: image [B, S, S, 3] in [-1, 1], mask [B, S, S, 1], 1 = missing; S the GAN's size.
Outputs: completed, with the known pixels untouched; predicted = G(z); z and losses.

Stages: importance weights; both terms; search; Poisson blending; compose.

Eq. 3 as printed has W in both terms. There y's missing pixels would be compared too
wherever their mirror images are known, with whatever fills them, and the second term
would say nothing about the hole; so W travels with the pixels it describes. `literal`
restores the printed form, missing pixels taken as mid grey.
"""

import tensorflow as tf

from inpainting_tf import images
from inpainting_tf.latent_search import (
    check_size,
    importance_weights,
    search_and_blend,
)


def symmetric_terms(image, mask, neighbourhood=7, weighting="missing", literal=False):
    """The two terms of eq. 3 as (target, weights).

    Args:
      image: float [B, H, W, 3]; missing pixels may hold anything.
      mask: float [B, H, W, 1], 1 = missing.
      neighbourhood, weighting: see `importance_weights`.
      literal: weigh the mirrored image by W instead of mirror(W).

    Returns:
      list of two pairs, see `latent_search.search`.
    """
    known = images.erase(image, mask)
    weights = importance_weights(mask, neighbourhood, weighting)
    mirrored_weights = weights if literal else mirror(weights)
    return [(known, weights), (mirror(known), mirrored_weights)]


def mirror(image):
    """Left-right flip of [B, H, W, C]."""
    return tf.reverse(image, axis=[2])


class SymmetricSearch:
    """The method on a trained GAN: `inpaint(image, mask) -> completed`."""

    def __init__(
        self,
        gan,
        *,
        literal=False,
        neighbourhood=7,
        weighting="missing",
        context="squared",
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
          literal: see `symmetric_terms`.
          neighbourhood, weighting: see `importance_weights` (`weighting` is its mode).
          context, prior, prior_weight, iterations, restarts, seed, start, optimizer,
            learning_rate, momentum, beta_1, beta_2, patience, min_improvement, keep:
            see `latent_search.search`.
          blending, border: see `latent_search.search_and_blend`.
        """
        self.gan = gan
        self.literal = literal
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
        check_size("symmetric_search", self.gan, tf.convert_to_tensor(image))
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
        check_size("symmetric_search", self.gan, image)
        terms = symmetric_terms(
            image, mask, self.neighbourhood, self.weighting, self.literal
        )
        return search_and_blend(
            self.gan, image, mask, terms, keys=keys, **self.constants
        )
