"""Semantic image inpainting with deep generative models, on a trained DCGAN.

Yeh et al., CVPR 2017 (arXiv 1607.07539): find the latent z whose generated image
agrees with the known pixels, context loss || W (G(z) - y) ||_1 with importance weights
W, and looks like a face to the discriminator, prior loss lambda log(1 - D(G(z))); blend
it into the hole.

Inputs: image [B, S, S, 3] in [-1, 1], mask [B, S, S, 1], 1 = missing; S the GAN's size.
Outputs: completed, with the known pixels untouched; predicted = G(z); z and losses.

Stages: importance weights; search; Poisson blending; compose.

Defaults follow the paper; flags/siidgm_author.cfg and flags/siidgm_extensions.cfg hold
the arguments that follow the two branches of the widely used program. What stays
different from it: an example never depends on its batch mates, and its z starts
differ, as random draws do.
"""

from inpainting_tf.latent_completion import LatentCompletion
from inpainting_tf.latent_search import importance_weights


class SIIDGM:
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
          neighbourhood, weighting: see `importance_weights` (`weighting` is its mode).
          context, prior, prior_weight: see `latent_search.search`.
          iterations, restarts, seed, start: see there.
          optimizer, learning_rate, momentum, beta_1, beta_2, epsilon: see there.
          patience, min_improvement, keep, group_size: see there.
          blending, border, clip_blended: see `latent_completion.search_and_blend`.
        """
        constants = dict(locals())
        for name in ("self", "gan", "neighbourhood", "weighting"):
            del constants[name]

        def terms(image, mask):
            return [(image, importance_weights(mask, neighbourhood, weighting))]

        self.gan = gan
        self.iterations = iterations
        self._completion = LatentCompletion("siidgm", gan, terms, constants)
        self.complete = self._completion.complete

    def __call__(self, image, mask):
        """Returns the completed images, see `complete`; compiled."""
        return self._completion(image, mask)
