"""The loop's parts: strategies, checkpoints, logs, and the run folder."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from inpainting_tf import compiled_steps, figures, masks, run_folder
from inpainting_tf.checkpoints import Checkpoints, TrainingStopped
from inpainting_tf.parallel_attention import ParallelAttention


def tiny_method(**parameters):
    keras.utils.set_random_seed(0)
    return ParallelAttention(
        **{"image_size": 32, "width": 0.05, "adversarial_weight": 1.0, **parameters}
    )


def example_batches(count, batch_size=4):
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, [count * batch_size, 32, 32, 3]).astype(np.float32)
    seeds = [[i, 1] for i in range(count * batch_size)]
    mask, box = masks.draw_batch("random_box", seeds, 32, 32)
    return tf.data.Dataset.from_tensor_slices(
        {"image": image, "mask": mask, "box": box}
    ).batch(batch_size, drop_remainder=True)


def run_steps(strategy, count, jit_compile=False, **parameters):
    with strategy.scope():
        model = tiny_method(**parameters)
    step = compiled_steps.compile_step(model, strategy, jit_compile)
    results = []
    for batch in strategy.experimental_distribute_dataset(example_batches(count)):
        values = {name: float(value) for name, value in step(batch).items()}
        # Two replicas report the norms of their own halves of a batch.
        results.append({k: v for k, v in values.items() if not k.endswith("_norm")})
    return model, results


@pytest.mark.slow
def test_two_replicas_train_as_one_device_with_the_same_batch(mirrored):
    """With clipping and averaging, at rates at which both matter."""
    parameters = {"averaging_decay": 0.9, "clip_norm": 5.0, "learning_rate": 1e-3}
    one, expected = run_steps(compiled_steps.choose_strategy("one"), 3, **parameters)
    assert mirrored.num_replicas_in_sync == 2
    two, results = run_steps(mirrored, 3, **parameters)
    assert results[0] == pytest.approx(expected[0], rel=1e-5)
    assert results[2] == pytest.approx(expected[2], rel=1e-3)
    differences, moves = [], []
    keras.utils.set_random_seed(0)
    start = tiny_method(**parameters).get_weights()
    for weight, other, initial in zip(
        two.get_weights(), one.get_weights(), start, strict=True
    ):
        differences.append(np.abs(weight - other).ravel())
        moves.append(np.abs(other - initial).ravel())
    # Adam follows the sign of a gradient that is rounding noise, so few may differ.
    apart = np.concatenate(differences) > 0.02 * np.concatenate(moves) + 1e-5
    assert np.mean(apart) < 0.02


@pytest.mark.slow
def test_a_mirrored_run_with_float16_takes_finite_steps(mirrored):
    keras.mixed_precision.set_dtype_policy("mixed_float16")
    try:
        _, results = run_steps(mirrored, 2, clip_norm=5.0)
    finally:
        keras.mixed_precision.set_dtype_policy("float32")
    assert all(np.isfinite(v) for values in results for v in values.values())


def test_a_checkpoint_restores_weights_both_optimizers_and_the_step(tmp_path):
    folder = str(tmp_path)
    model, _ = run_steps(compiled_steps.choose_strategy("one"), 3, averaging_decay=0.9)
    Checkpoints(model, folder).save(3)
    other = tiny_method(averaging_decay=0.9)
    checkpoints = Checkpoints(other, folder)
    assert checkpoints.restore() == 3
    for old, new in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    for name in ("completion_optimizer", "discriminator_optimizer"):
        pairs = zip(
            getattr(model, name).variables, getattr(other, name).variables, strict=True
        )
        for old, new in pairs:
            np.testing.assert_array_equal(old, new)
    batch = next(iter(example_batches(1)))
    assert {k: float(v) for k, v in model.update(batch).items()} == {
        k: float(v) for k, v in other.update(batch).items()
    }


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    Checkpoints(tiny_method(), str(tmp_path)).save(1)
    wider = tiny_method(width=0.1)
    with pytest.raises(TrainingStopped, match="cannot be restored"):
        Checkpoints(wider, str(tmp_path)).restore()
    averaged = tiny_method(averaging_decay=0.9)
    with pytest.raises(TrainingStopped, match="cannot be restored"):
        Checkpoints(averaged, str(tmp_path)).restore()


def test_a_cut_checkpoint_is_refused_not_ignored(tmp_path):
    Checkpoints(tiny_method(), str(tmp_path)).save(1)
    shard = tmp_path / "step-1.data-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(TrainingStopped, match="step-1 cannot be restored"):
        Checkpoints(tiny_method(), str(tmp_path)).restore()


def test_a_model_with_a_weight_that_is_no_number_is_refused(tmp_path):
    model = tiny_method()
    checkpoints = Checkpoints(model, str(tmp_path))
    checkpoints.refuse_non_finite(1)
    checkpoints.save(1)
    weight = model.completion.trainable_variables[5]
    weight.assign(np.full(weight.shape, np.nan, np.float32))
    with pytest.raises(TrainingStopped, match="step 2: weight .*step-1"):
        checkpoints.refuse_non_finite(2)


def test_only_the_newest_and_the_best_checkpoints_are_kept(tmp_path):
    checkpoints = Checkpoints(tiny_method(), str(tmp_path), keep=2)
    for step, best in ((1, False), (2, True), (3, False), (4, False)):
        checkpoints.save(step, best)
    assert sorted(p.stem for p in tmp_path.glob("*.index")) == ["step-3", "step-4"]
    assert [p.stem for p in (tmp_path / "best").glob("*.index")] == ["step-2"]


def test_a_log_continues_from_the_restored_step(tmp_path):
    log = run_folder.Log(str(tmp_path), 0)
    for step in range(5):
        log.scalars(step, {"validation/psnr": 10.0 + step % 3})
    log.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "valida')  # Cut by a crash.
    log = run_folder.Log(str(tmp_path), 3)
    assert log.best("validation/psnr") == 12.0
    log.scalars(4, {"validation/psnr": 1.0})
    log.close()
    lines = [
        json.loads(x) for x in (tmp_path / "metrics.jsonl").read_text().split("\n") if x
    ]
    assert [entry["step"] for entry in lines] == [0, 1, 2, 3, 4]
    assert lines[4]["validation/psnr"] == 1.0


def test_a_run_folder_with_other_flags_or_data_is_refused(tmp_path):
    facts = {"data": {"training pictures": "a", "masks": None}}
    run_dir = str(tmp_path / "run")
    flags = {"width": "0.5", "steps": "10"}
    run_folder.check(run_dir, flags)
    run_folder.prepare(run_dir, flags, facts)
    assert run_folder.read_flags(run_dir) == flags
    run_folder.check(run_dir, {**flags, "steps": "20"}, changeable=("steps",))
    with pytest.raises(run_folder.RunFolderError, match="--width was 0.5, is 1"):
        run_folder.check(run_dir, {**flags, "width": "1"}, ("steps",))
    with pytest.raises(run_folder.RunFolderError, match="--seed was not set, is 1"):
        run_folder.check(run_dir, {**flags, "seed": "1"}, ("steps",))
    # A run of before there was a flag had what now is its default.
    newer = {**flags, "averaging_decay": "0.0"}
    run_folder.check(run_dir, newer, defaults={"averaging_decay": "0.0"})
    newer["averaging_decay"] = "0.9"
    with pytest.raises(run_folder.RunFolderError, match="was 0.0, is 0.9"):
        run_folder.check(run_dir, newer, defaults={"averaging_decay": "0.0"})
    other = {"data": {"training pictures": "a", "masks": "b"}}
    with pytest.raises(run_folder.RunFolderError, match="began with other masks"):
        run_folder.prepare(run_dir, flags, other)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    with pytest.raises(run_folder.RunFolderError, match="not empty and holds no run"):
        run_folder.check(str(tmp_path / "thesis"), flags)


def test_unusable_pictures_are_noted_once_whatever_their_names(tmp_path):
    for name in ("a.png", "n\udce4me.png", "a.png"):
        path = run_folder.note_unusable(str(tmp_path), name, "empty file")
    with open(path, "rb") as file:
        assert file.read() == b"a.png: empty file\nn\xe4me.png: empty file\n"


def test_a_sample_grid_shows_each_picture_in_its_place():
    columns = {
        "first": np.full([2, 8, 12, 3], 10, np.uint8),
        "second": np.stack([np.full([4, 6, 3], v, np.uint8) for v in (100, 200)]),
    }
    grid = figures.sample_grid(columns, scale=2)
    _height, width = grid.shape[:2]
    assert width == 4 + 2 * (24 + 4)
    assert (grid[-20:-4, 4:28] == 10).all()
    assert (grid[-20:-4, 32:56] == 200).all()
    assert (grid[-40:-24, 32:56] == 100).all()
