"""What the monitor says of healthy and of sick training, and rolling back."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf
from programs import SMALL_RUN, entries, run, without_speed
from small_method import SmallMethod, batches, small_method

from inpainting_tf import compiled_steps, health, run_folder, training
from inpainting_tf.checkpoints import NotFinite, TrainingStopped
from inpainting_tf.optimization import gradient_norm
from inpainting_tf.parallel_attention import ParallelAttention

# --------------------------------------------------------------------- measures


def test_accuracies_are_shares_of_logits_on_the_right_side():
    real = tf.constant([[2.0], [-1.0], [0.5], [0.0]])
    fake = tf.constant([[-3.0], [-0.1], [0.25], [-2.0]])
    accuracies = health.logit_accuracies(real, fake)
    assert float(accuracies["health/real_accuracy"]) == 2.5 / 4
    assert float(accuracies["health/fake_accuracy"]) == 3 / 4
    assert float(health.pair_accuracy(real, fake)) == 3 / 4


def test_a_gradient_norm_is_that_of_all_gradients_together():
    model = small_method()
    batch = next(iter(batches(count=1)))
    weights = model._completion_weights()
    with tf.GradientTape() as tape:
        outputs = model(batch["image"], batch["mask"])
        loss = tf.reduce_mean(outputs["predicted"])
    gradients = tape.gradient(loss, weights)
    expected = math.sqrt(sum(np.sum(g.numpy().astype(float) ** 2) for g in gradients))
    value = float(gradient_norm(model.completion_optimizer, gradients))
    assert value == pytest.approx(expected, rel=1e-5)


def test_output_measures_look_at_the_missing_pixels_only():
    """By hand: left halves missing, outputs that differ there by half the truth."""
    image = np.zeros([2, 4, 6, 3], np.float32)
    image[0, :, :3] = np.linspace(0, 0.5, 12).reshape(4, 3)[..., None]
    image[1, :, :3] = image[0, :, :3] + 0.4
    image[:, :, 3:] = [[[[-1.0]]], [[[1.0]]]]  # Known, saturated, far apart.
    mask = np.zeros([2, 4, 6, 1], np.float32)
    mask[:, :, :3] = 1
    predicted = image.copy()
    predicted[1, :, :3] = image[0, :, :3] + 0.2
    predicted[0, 0, 0, 0] = 1.0  # One of 72 values.
    samples = {"image": image, "predicted": predicted, "mask": mask}
    measures = health.output_measures({**samples, "completed": predicted})
    assert measures["health/truth_diversity"] == pytest.approx(0.4)
    differences = (35 * 0.2 + 0.8) / 36
    assert measures["health/output_diversity"] == pytest.approx(differences / 0.4)
    assert measures["health/saturated_outputs"] == pytest.approx(1 / 72)
    assert measures["health/saturated_truth"] == 0
    assert measures["health/flat_outputs"] == measures["health/flat_truth"] == 0
    # A prior's outputs are all its own.
    whole = health.output_measures(samples)
    assert whole["health/saturated_truth"] == pytest.approx(0.5)


def test_outputs_of_one_colour_are_flat_and_alike():
    rng = np.random.default_rng(0)
    samples = {
        "image": rng.uniform(-1, 1, [3, 4, 6, 3]),
        "predicted": np.full([3, 4, 6, 3], 0.995),
        "mask": np.ones([3, 4, 6, 1]),
        "completed": np.zeros([3, 4, 6, 3]),
    }
    measures = health.output_measures(samples)
    assert measures["health/output_diversity"] == pytest.approx(0, abs=1e-12)
    assert measures["health/flat_outputs"] == measures["health/saturated_outputs"] == 1
    assert measures["health/flat_truth"] == 0
    assert health.output_measures({**samples, "mask": np.zeros([3, 4, 6, 1])}) == {}


# ---------------------------------------------------------------------- sentences


def entry(step, **values):
    """A healthy logged entry, but for what is given (`a__b` stands for `a/b`)."""
    healthy = {
        "completion_loss": 1.0,
        "discriminator_loss": 1.2,
        "health/real_accuracy": 0.75,
        "health/fake_accuracy": 0.75,
        "health/completion_gradient_norm": 3.0,
        "health/discriminator_gradient_norm": 0.5,
    }
    return {"step": step, **healthy, **values}


def sentences(history):
    """What a monitor says over a history: list of (step, sentence)."""
    monitor = health.Monitor()
    said = []
    for values in history:
        monitor.observe(values)
        said += [(values["step"], words) for words in monitor.news()]
    return said


def sick(count=30, first=12, **values):
    """A history that falls ill at entry `first`."""
    return [entry(s, **(values if s >= first else {})) for s in range(1, count)]


OUTPUTS = {
    "health/output_diversity": 0.8,
    "health/truth_diversity": 0.4,
    "health/saturated_outputs": 0.1,
    "health/saturated_truth": 0.1,
    "health/flat_outputs": 0.0,
    "health/flat_truth": 0.0,
}


def test_a_healthy_history_gives_no_warning_and_a_summary():
    history = [entry(step, **OUTPUTS) for step in range(1, 40)]
    assert sentences(history) == []
    summary = health.Monitor(history).summary()
    assert "right on 75% of the ground truth and 75% of the outputs" in summary
    assert "completion 3, discriminator 0.5" in summary
    assert "differ 0.80 times as much" in summary


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"health/real_accuracy": 1.0, "health/fake_accuracy": 1.0},
            "nearly always right",
        ),
        (
            {"health/real_accuracy": 1.0, "health/fake_accuracy": 0.0},
            "takes everything for ground truth",
        ),
        ({"health/discriminator_gradient_norm": 0.0}, "reaches the discriminator"),
        ({"health/completion_gradient_norm": 0.0}, "reaches the completion"),
        ({"health/completion_gradient_norm": 900.0}, "900, usually 3"),
        ({"health/completion_gradient_norm": math.inf}, "are not finite"),
        ({"gradient_penalty": 400.0}, "the gradient penalty is"),
        ({**OUTPUTS, "health/output_diversity": 0.01}, "hardly differ"),
        ({**OUTPUTS, "health/saturated_outputs": 0.9}, "90% of the outputs' values"),
        ({**OUTPUTS, "health/flat_outputs": 1.0}, "are one colour"),
        (
            {"health/truth_diversity": 0.0, "health/saturated_truth": 0.0},
            "validation pictures are all the same",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_illness_is_named_once_and_again_after_a_recovery(values, said):
    history = sick(45, **values)
    words = sentences(history)
    assert len(words) == 1 and said in words[0][1], words
    assert 12 <= words[0][0] < 40
    recovered = [
        entry(s, **{**OUTPUTS, "gradient_penalty": 1.0}) for s in range(45, 90)
    ]
    again = [{**values, "step": 50 + values["step"]} for values in history[11:]]
    again = [{**e, "step": 90 + i} for i, e in enumerate(again)]
    assert len([w for _, w in sentences(history + recovered + again) if said in w]) == 2


def test_a_player_at_rest_is_not_ill():
    """GLCIC's phases: completion alone, discriminators alone, both."""
    rests = {"health/real_accuracy": 0.0, "health/fake_accuracy": 0.0}
    rests |= {"discriminator_loss": 0.0, "health/discriminator_gradient_norm": 0.0}
    still = {"completion_loss": 0.0, "health/completion_gradient_norm": 0.0}
    history = [entry(s, **rests) for s in range(1, 30)]
    history += [entry(s, **still) for s in range(30, 60)]
    history += [entry(s) for s in range(60, 90)]
    assert sentences(history) == []


def test_a_resumed_monitor_says_what_an_uninterrupted_one_would():
    history = sick(40, first=25, **{"health/real_accuracy": 1.0}) + [
        entry(s, **{"health/real_accuracy": 1.0, "health/fake_accuracy": 1.0})
        for s in range(40, 80)
    ]
    expected = sentences(history)
    assert expected
    for cut in (10, 30, 60, 79):
        monitor = health.Monitor(history[:cut])
        said = []
        for values in history[cut:]:
            monitor.observe(values)
            said += [(values["step"], words) for words in monitor.news()]
        assert said == [one for one in expected if one[0] > cut]


# ---------------------------------------------------------------- sick on purpose


def watch(model, data, steps=40):
    """Trains a model on batches; returns everything that a monitor said."""
    step = compiled_steps.compile_step(model, compiled_steps.choose_strategy("one"))
    monitor = health.Monitor()
    said = []
    for number, batch in zip(range(1, steps + 1), data, strict=False):
        values = {name: float(value) for name, value in step(batch).items()}
        if number % 10 == 0:
            outputs = model(batch["image"], batch["mask"])
            values |= health.output_measures({**batch, **outputs})
        monitor.observe({"step": number, **values})
        said += monitor.news()
    return " / ".join(said)


def test_a_healthy_small_run_is_left_in_peace():
    said = watch(small_method(), batches(count=40))
    assert "discriminator takes" not in said and "reaches" not in said
    assert "same" not in said and "saturated" not in said


def test_a_zeroed_discriminator_is_found_dead():
    """The paper's, of which every gradient vanishes with its weights."""
    model = ParallelAttention(image_size=16, width=0.05, attention_branch=False)
    for weight in model.discriminator.trainable_variables:
        weight.assign(tf.zeros_like(weight))
    monitor = health.Monitor()
    for step, batch in enumerate(batches(count=3), start=1):
        batch["box"] = tf.constant([[4, 4, 8, 8]] * 4)
        values = {name: float(value) for name, value in model.update(batch).items()}
        monitor.observe({"step": step, **values})
    assert values["health/real_accuracy"] == values["health/fake_accuracy"] == 0.5
    assert values["discriminator_loss"] == pytest.approx(2 * math.log(2))
    (sentence,) = monitor.news()
    assert "no gradient reaches the discriminator" in sentence


def test_a_learning_rate_of_a_hundred_is_noticed():
    said = watch(small_method(learning_rate=100.0), batches(count=60), steps=60)
    assert "saturated" in said or "jump" in said or "reaches the completion" in said


def test_constant_data_are_noticed():
    grey = np.full([4, 16, 16, 3], 0.25, np.float32)
    said = watch(small_method(), batches(count=40, image=lambda step: grey))
    assert "the validation pictures are all the same" in said


# ------------------------------------------------------------------- rolling back


def prepare(tmp_path, name="run"):
    run_dir = str(tmp_path / name)
    run_folder.prepare(run_dir, {"steps": "12"}, {"data": {}})
    return run_dir


def train(run_dir, make_batches, steps=12, **parameters):
    """A run of a SmallMethod with checkpoints at 4, 8 and 12."""
    return training.train(
        small_method(),
        make_batches,
        batches(count=1),
        strategy=compiled_steps.choose_strategy("one"),
        run_dir=run_dir,
        steps=steps,
        batch_size=4,
        **{"log_every": 1, "validate_every": 4, "checkpoint_every": 4, **parameters},
    )


def poisoned(first_step, rollbacks, _share, last_bad=0):
    """Batches of which that of step 7 is not finite, until after some rollbacks."""

    def image(step):
        draw = np.random.default_rng([rollbacks, step])
        pixels = draw.uniform(-1, 1, [4, 16, 16, 3]).astype(np.float32)
        if step == 6 and rollbacks <= last_bad:
            pixels[0] = np.nan
        return pixels

    return batches(first_step, count=20, image=image)


def test_a_loss_that_is_not_finite_rolls_back_and_goes_on(tmp_path, capsys):
    run_dir = prepare(tmp_path)
    assert train(run_dir, poisoned, rollbacks=2) is None
    said = capsys.readouterr().err
    assert "step 7: completion_loss is nan" in said and "rollback 1 of 2" in said
    log = entries(run_dir)
    assert [e["step"] for e in log] == list(range(13))
    (rollback,) = (tmp_path / "run" / "rollbacks.jsonl").read_text().splitlines()
    rollback = json.loads(rollback)
    assert rollback["step"] == 7 and rollback["checkpoint"].endswith("step-4")
    # A later process remembers it.
    seen = []

    def make_batches(first_step, rollbacks, share):
        seen.append((first_step, rollbacks))
        return poisoned(first_step, rollbacks, share)

    train(run_dir, make_batches, steps=13, rollbacks=1)
    assert seen == [(12, 1)]
    # From step 4 on it is the run that had the other batches.
    other = prepare(tmp_path, "other")
    train(other, lambda first, _, s: poisoned(first, 0 if first < 4 else 1, s), steps=4)
    train(other, lambda first, _, s: poisoned(first, 1, s), steps=12)
    assert without_speed(log) == without_speed(entries(other))


def test_rollbacks_end_with_the_number_allowed(tmp_path):
    run_dir = prepare(tmp_path)
    with pytest.raises(NotFinite, match="step 7.*all 2 --rollbacks are used up"):
        train(run_dir, lambda *at: poisoned(*at, last_bad=9), rollbacks=2)
    assert run_folder.rollbacks(run_dir) == 2
    assert [e["step"] for e in entries(run_dir)] == list(range(7))
    with pytest.raises(NotFinite, match="step 7"):  # The same command goes no further.
        train(run_dir, lambda *at: poisoned(*at, last_bad=9), rollbacks=2)
    assert run_folder.rollbacks(run_dir) == 2


def test_without_rollbacks_the_run_stops_and_before_a_checkpoint_it_goes_to_zero(
    tmp_path,
):
    with pytest.raises(TrainingStopped, match="step 7.*step-4"):
        train(prepare(tmp_path), poisoned)
    run_dir = prepare(tmp_path, "no_checkpoint_yet")
    assert train(run_dir, poisoned, rollbacks=1, checkpoint_every=12) is None
    assert [e["step"] for e in entries(run_dir)] == list(range(13))


def test_outputs_that_are_not_finite_in_validation_stop_the_run_in_one_line(
    tmp_path, monkeypatch
):
    """As where weights that are finite overflow in a forward pass alone."""
    call = SmallMethod.call

    def overflowing(self, image, hole, training=False):
        outputs = call(self, image, hole, training)
        if training or not hasattr(self, "completion_optimizer"):
            return outputs
        late = self.completion_optimizer.iterations.value >= 8
        return {name: tf.where(late, np.nan, value) for name, value in outputs.items()}

    monkeypatch.setattr(SmallMethod, "call", overflowing)
    with pytest.raises(NotFinite) as stopped:
        train(prepare(tmp_path), lambda first_step, *_: batches(first_step, count=20))
    words = str(stopped.value)
    assert words.startswith("step 8: health/output_diversity in validation is nan; the")
    assert (
        "last good checkpoint is " in words
        and "step-4; try" in words
        and "\n" not in words
    )
    assert [e["step"] for e in entries(str(tmp_path / "run"))] == list(range(8))


@pytest.mark.slow
def test_a_sick_run_of_train_py_rolls_back_and_says_so(tmp_path):
    """The paper's network at a rate of 100 and of 1e30, on a folder of its own."""
    flags = [
        *SMALL_RUN,
        "--adversarial_weight=1",
        "--validate_every=10",
        "--checkpoint_every=5",
        "--steps=40",
    ]
    status, errors = run(
        "train.py", *flags, "--learning_rate=1e2", f"--run_dir={tmp_path}/hundred"
    )
    assert "health: WARNING" in errors or status == 2, errors
    print(errors)
    status, errors = run(
        "train.py",
        *flags,
        "--learning_rate=1e30",
        "--rollbacks=2",
        f"--run_dir={tmp_path}/sick",
    )
    assert status == 2, errors
    assert "rollback 2 of 2" in errors and "all 2 --rollbacks are used up" in errors
    assert len((tmp_path / "sick" / "rollbacks.jsonl").read_text().splitlines()) == 2
