"""What the numbers of a GAN's training say about its health, in plain words.

Inputs: the `health/...` values that a method's `update` returns beside its losses, as
they are logged; and a validation batch with the method's outputs.
Outputs: `health/...` measures of those outputs for the log; and sentences: a summary,
and what is noticed. Nothing here touches the training itself.

In order: accuracies, which methods report; `output_measures`; `Monitor`.

Of a player at rest (a phase that leaves it out) loss and accuracies are 0, which no
player at work has together: a loss of 0 means a discriminator that is always right.
"""

import collections

import numpy as np
import tensorflow as tf

PREFIX = "health/"

# Logged entries over which accuracies are averaged, and how many there must be.
WINDOW, LEAST = 20, 10

# Entries whose gradient norms are what a new one is compared with.
PAST = 200

# Outputs within 1 % of an end of [-1, 1] are saturated; an output whose values in the
# hole deviate by less than two of 255 levels is flat.
SATURATED, FLAT = 0.99, 2 / 127.5

# What `output_measures` gives.
MEASURES = (
    "output_diversity",
    "truth_diversity",
    "saturated_outputs",
    "saturated_truth",
    "flat_outputs",
    "flat_truth",
)


def logit_accuracies(real_logits, fake_logits):
    """How often a discriminator is right, by the sign of its logits.

    Args:
      real_logits: [B, 1], ground-truth images.
      fake_logits: [B, 1], completed or generated images.

    Returns:
      dict of float32 scalars in [0, 1]: health/real_accuracy, health/fake_accuracy; a
      logit of 0 counts one half.
    """
    return {
        PREFIX + "real_accuracy": 0.5 + 0.5 * tf.reduce_mean(tf.sign(real_logits)),
        PREFIX + "fake_accuracy": 0.5 - 0.5 * tf.reduce_mean(tf.sign(fake_logits)),
    }


def pair_accuracy(real_scores, fake_scores):
    """How often a critic, whose scores have no zero, prefers the ground truth.

    Args:
      real_scores, fake_scores: [B, 1], of ground truth and completion of the same
        examples.

    Returns:
      float32 scalar in [0, 1]; equal scores count one half.
    """
    return 0.5 + 0.5 * tf.reduce_mean(tf.sign(real_scores - fake_scores))


def output_measures(samples):
    """Measures of a batch of outputs where they are the method's own.

    That is in the hole, or everywhere for a network that completes nothing.

    Args:
      samples: dict of tensors `image`, `predicted` [B, H, W, 3] in [-1, 1], `mask`
        [B, H, W, 1], 1 = missing, and `completed` if the method completes.

    Returns:
      dict of floats:
        health/output_diversity: mean absolute difference of each output to the next
          one's, where both are missing, as a multiple of the ground truth's; left out
          where no two examples overlap or the ground truth does not differ.
        health/truth_diversity: that of the ground truth, in [0, 2]; left out likewise.
        health/saturated_outputs, health/saturated_truth: shares of values within 1 %
          of -1 or 1.
        health/flat_outputs, health/flat_truth: shares of examples that are one colour.
      Empty where nothing is missing.
    """
    image, predicted, mask = (
        np.asarray(samples[name], np.float64) for name in ("image", "predicted", "mask")
    )
    if "completed" not in samples:
        mask = np.ones_like(mask)
    if not mask.any():
        return {}
    measures = {}
    both = mask * np.roll(mask, 1, axis=0)
    if len(mask) > 1 and both.any():

        def diversity(pixels):
            apart = np.abs(pixels - np.roll(pixels, 1, axis=0)) * both
            return apart.sum() / (both.sum() * pixels.shape[-1])

        truth = diversity(image)
        measures["truth_diversity"] = truth
        if truth > 0:
            measures["output_diversity"] = diversity(predicted) / truth
    for name, pixels in (("outputs", predicted), ("truth", image)):
        missing = np.broadcast_to(mask > 0.5, pixels.shape)
        measures[f"saturated_{name}"] = np.mean(np.abs(pixels[missing]) > SATURATED)
        flat = [
            one[hole].reshape(-1, pixels.shape[-1]).std(axis=0).max() < FLAT
            for one, hole in zip(pixels, missing, strict=True)
            if hole.any()
        ]
        measures[f"flat_{name}"] = np.mean(flat)
    return {PREFIX + name: float(value) for name, value in measures.items()}


class Monitor:
    """Watches the logged values of one run and says what it notices.

    A run that resumes gives the log so far, and notices what it would have noticed
    without the interruption.
    """

    def __init__(self, history=()):
        """
        Args:
          history: what has been logged, dicts with `step`, oldest first.
        """
        self._recent = collections.deque(maxlen=WINDOW)
        self._norms = {}
        self._measures = {}
        self._measures_before = {}
        self._said = set()
        for entry in list(history)[-PAST:]:
            if entry["step"]:
                self.observe(entry)
        self._said = {kind for kind, _ in self._noticed()}

    def observe(self, values):
        """Takes one logged entry: losses and `health/...` values, measures included.

        Gradient norms may be infinite or no number, as they are now and then under
        float16, where such a step is skipped.
        """
        self._recent.append(values)
        for name, value in values.items():
            if name.endswith("_gradient_norm"):
                self._norms.setdefault(name, collections.deque(maxlen=PAST))
                if np.isfinite(value) and value > 0:
                    self._norms[name].append(value)
        measures = {
            name: values[PREFIX + name] for name in MEASURES if PREFIX + name in values
        }
        if measures:
            self._measures_before = self._measures
            self._measures = measures

    def summary(self):
        """The state in numbers, one line; empty for a method that reports nothing."""
        parts = []
        real, fake, pairs, penalty = self._balance_numbers()
        if real is not None and fake is not None:
            parts.append(
                f"discriminator right on {real:.0%} of the ground truth and {fake:.0%} "
                "of the outputs"
            )
        if pairs is not None:
            parts.append(f"critics prefer the ground truth in {pairs:.0%}")
        if penalty is not None:
            parts.append(f"gradient penalty {penalty:.3g}")
        norms = {
            _player(name): self._recent[-1].get(name)
            for name in self._norms
            if self._recent and self._recent[-1].get(name) is not None
        }
        if norms:
            parts.append(
                "gradient norms "
                + ", ".join(f"{name} {value:.3g}" for name, value in norms.items())
            )
        if "output_diversity" in self._measures:
            parts.append(
                f"outputs differ {self._measures['output_diversity']:.2f} times as "
                "much as the ground truth"
            )
        if "flat_outputs" in self._measures:
            parts.append(
                f"{self._measures['saturated_outputs']:.0%} of their values saturated, "
                f"{self._measures['flat_outputs']:.0%} of them one colour"
            )
        return "; ".join(parts)

    def news(self):
        """What is noticed now and was not at the last call: list of sentences."""
        noticed = dict(self._noticed())
        new = [words for kind, words in noticed.items() if kind not in self._said]
        self._said = set(noticed)
        return new

    def _noticed(self):
        """Yields (kind, sentence) of everything noticed."""
        yield from self._balance()
        yield from self._gradients()
        # Bad outputs are the rule at the beginning: they must be so twice in a row.
        before = {kind for kind, _ in _of_outputs(self._measures_before)}
        for kind, words in _of_outputs(self._measures):
            if kind in before:
                yield kind, words

    def _balance(self):
        """The discriminator against the generator."""
        if len(self._at_work()) < LEAST:
            return
        real, fake, pairs, penalty = self._balance_numbers()
        if real is not None and fake is not None:
            if min(real, fake) >= 0.98:
                yield (
                    "winning",
                    f"the discriminator is nearly always right ({real:.0%} of the "
                    f"ground truth, {fake:.0%} of the outputs) and teaches little; if "
                    "the outputs stop improving, lower --discriminator_learning_rate",
                )
            elif max(real, fake) > 0.95 and min(real, fake) < 0.05:
                side = "ground truth" if real > fake else "outputs of the network"
                yield (
                    "one-sided",
                    f"the discriminator takes everything for {side} ({real:.0%} right "
                    f"on the ground truth, {fake:.0%} on the outputs)",
                )
        if pairs == 0.5:
            yield "tied", "the critics give everything the same score"
        if penalty is not None and penalty > 50:
            yield (
                "penalty",
                f"the gradient penalty is {penalty:.3g}: the critics' slopes are far "
                "from 1; lower --learning_rate if it stays",
            )

    def _gradients(self):
        """Players that no gradient reaches, and gradients that have outgrown all."""
        for name, past in self._norms.items():
            player = _player(name)
            recent = [entry[name] for entry in self._recent if name in entry]
            if not recent or _rests(player, self._recent[-1]):
                continue
            if len(recent) >= 3 and not any(recent[-3:]):
                yield (
                    f"{player} dead",
                    f"no gradient reaches the {player}: its weights no longer change; "
                    "they are zero, or its units are saturated or dead",
                )
            last = recent[-1]
            if not np.isfinite(last):
                yield (
                    f"{player} overflow",
                    f"gradients of the {player} are not finite; under float16 such "
                    "steps are skipped, otherwise the run is about to fail",
                )
            elif len(past) >= LEAST and last > 100 * (usual := np.median(past)) > 0:
                yield (
                    f"{player} jump",
                    f"the gradient norm of the {player} is {last:.3g}, usually "
                    f"{usual:.3g}: training is about to diverge; lower the learning "
                    "rate or set a --clip_norm",
                )

    def _at_work(self):
        """Recent entries in which a discriminator learns; none if it rests now."""
        if not self._recent or _judge_rests(self._recent[-1]):
            return []
        return [entry for entry in self._recent if not _judge_rests(entry)]

    def _balance_numbers(self):
        """Means of real, fake, critic accuracy and gradient penalty; None if absent."""
        names = [PREFIX + f"{side}_accuracy" for side in ("real", "fake", "critic")]
        entries = self._at_work()
        columns = (
            [entry[name] for entry in entries if name in entry]
            for name in (*names, "gradient_penalty")
        )
        return [float(np.mean(column)) if column else None for column in columns]


def _of_outputs(measures):
    """Outputs that are dead, saturated or all the same."""
    if measures.get("truth_diversity") == 0:
        yield (
            "alike",
            "the validation pictures are all the same: from such data nothing but "
            "this one picture can be learnt",
        )
    elif measures.get("output_diversity", 1.0) < 0.05:
        yield (
            "collapse",
            "the outputs hardly differ from each other "
            f"({measures['output_diversity']:.1%} of what the ground truth does): "
            "the network ignores its input",
        )
    if "flat_outputs" not in measures:
        return
    if measures["saturated_outputs"] > measures["saturated_truth"] + 0.5:
        truth = measures["saturated_truth"]
        yield (
            "saturated",
            f"{measures['saturated_outputs']:.0%} of the outputs' values are "
            f"saturated at -1 or 1 ({truth:.0%} of the ground truth's): the last "
            "layer passes hardly any gradient on",
        )
    if measures["flat_outputs"] > measures["flat_truth"] + 0.5:
        yield (
            "flat",
            f"{measures['flat_outputs']:.0%} of the outputs are one colour: the "
            "network is dead, or still at its beginning",
        )


def _rests(player, entry):
    """Whether a phase leaves a player out, see the module's beginning."""
    if player in ("discriminator", "critic"):
        return _judge_rests(entry)
    return entry.get(f"{player}_loss") == 0


def _judge_rests(entry):
    losses = [entry.get(f"{player}_loss") for player in ("discriminator", "critic")]
    right = [value for name, value in entry.items() if name.endswith("_accuracy")]
    return 0 in losses and not any(right)


def _player(name):
    return name.removeprefix(PREFIX).removesuffix("_gradient_norm")
