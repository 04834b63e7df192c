"""Completion by a latent search that expects faces to be symmetric.

The second approach of "Image Inpainting using Deep Learning Models" (sections 3.2 and
3.3), on top of Yeh et al. 2017: a context loss with a second term (eq. 3),

    || W (G(z) - y) ||^2 + || mirror(W) (G(z) - mirror(y)) ||^2,

and the prior loss (eq. 4), lambda log(1 - D(G(z))). mirror is the left-right flip, so
that the known half of a face tells what belongs into its missing half.

Inputs: image [B, S, S, 3] in [-1, 1], mask [B, S, S, 1], 1 = missing; S the GAN's size.
Outputs: completed, with the known pixels untouched; predicted = G(z); z and losses.

Stages: importance weights; both terms; search; Poisson blending; compose.

The paper leaves the importance weights open. The share of known pixels ("known") is
the default: the share of missing ones is 0 beyond a few pixels from the hole, and of a
mirrored half it leaves a strip in the middle of the face.

Eq. 3 as printed has W in both terms. There y's missing pixels would be compared too
wherever their mirror images are known, with whatever fills them, and the second term
would say nothing about the hole; so W travels with the pixels it describes. `literal`
restores the printed form, missing pixels taken as mid grey.
"""

import tensorflow as tf

from inpainting_tf import images
from inpainting_tf.latent_completion import LatentCompletion
from inpainting_tf.latent_search import importance_weights


def symmetric_terms(image, mask, neighbourhood=7, weighting="known", literal=False):
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
    """The method on a trained GAN: `inpaint(image, mask) -> completed`.

    Attributes:
      gan: as given.
      iterations: as given.
      complete: function (image, mask, keys=None, watch=None) -> dict of all outputs,
        see `latent_completion.LatentCompletion.complete`.
    """

    def __init__(
        self,
        gan,
        *,
        literal=False,
        neighbourhood=7,
        weighting="known",
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
        epsilon=1e-8,
        patience=0,
        min_improvement=1e-3,
        keep="best",
        group_size=1,
        blending="poisson",
        border="natural",
        clip_blended=True,
    ):
        """
        Args:
          gan: has `generate`, `score`, `latent_size` and `image_size`, as
            `baselines.dcgan.DCGAN`.
          literal: see `symmetric_terms`.
          neighbourhood, weighting: see `importance_weights` (`weighting` is its mode).
          context, prior, prior_weight: see `latent_search.search`.
          iterations, restarts, seed, start: see there.
          optimizer, learning_rate, momentum, beta_1, beta_2, epsilon: see there.
          patience, min_improvement, keep, group_size: see there.
          blending, border, clip_blended: see `latent_completion.search_and_blend`.
        """
        constants = dict(locals())
        for name in ("self", "gan", "literal", "neighbourhood", "weighting"):
            del constants[name]

        def terms(image, mask):
            return symmetric_terms(image, mask, neighbourhood, weighting, literal)

        self.gan = gan
        self.iterations = iterations
        self._completion = LatentCompletion("symmetric_search", gan, terms, constants)
        self.complete = self._completion.complete

    def __call__(self, image, mask):
        """Returns the completed images, see `complete`; compiled."""
        return self._completion(image, mask)
