"""Weights that are packed complete as their run does, and come with a card."""

import json
import os

import numpy as np
import programs
import pytest
import small_exports
import tensorflow as tf

from baselines.methods import METHODS
from command_line import contenders, trained, weights_along
from command_line.parsing import UsageError
from inpainting_tf import checkpoints, compiled_steps, run_folder
from inpainting_tf.checkpoints import TrainingStopped
from inpainting_tf.named_weights import completing_weights, named_weights


def example(size):
    generator = np.random.default_rng(0)
    image = generator.uniform(-1, 1, [2, size, size, 3]).astype(np.float32)
    mask = np.zeros([2, size, size, 1], np.float32)
    mask[0, 8:20, 4:24] = mask[1, 10:25, 10:20] = 1
    return image, mask


def outputs(model):
    image, mask = example(model.image_size)
    return compiled_steps.compile_forward(model)(image, mask)


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(method, marks=pytest.mark.slow if method == "giica" else ())
        for method in small_exports.NETWORKS
    ],
)
def test_weights_that_completing_takes_are_enough_for_the_same_bits(method, tmp_path):
    run_dir, model = small_exports.write_run(str(tmp_path), method)
    folder = str(tmp_path / "packed")
    whole = checkpoints.Checkpoints(model, os.path.join(run_dir, "checkpoints"))
    prefix = whole.save_completing_weights(folder, 7)
    with open(os.path.join(folder, "checkpoint")) as file:
        listed = file.read()
    assert listed.count("step-7") == 2 and "timestamp" not in listed
    arguments = small_exports.NETWORKS[method]
    other = METHODS[method](**arguments)
    restored = checkpoints.Checkpoints(other, folder)
    assert restored.restore(prefix, weights_only=True) == 7
    for name, value in named_weights(other).items():
        same = np.array_equal(value, named_weights(model)[name])
        assert same or name not in completing_weights(model), name
    if method == "dcgan":
        assert completing_weights(model) == set(named_weights(model))
        return
    np.testing.assert_array_equal(
        outputs(other)["completed"], outputs(model)["completed"]
    )
    judges = {name for name in named_weights(model) if "discriminator" in name}
    assert not judges & completing_weights(model)


def test_halved_weights_are_the_weights_rounded_to_float16(tmp_path):
    _, model = small_exports.write_run(str(tmp_path), "glcic")
    names = sorted(completing_weights(model))
    kernel = next(name for name in names if name.endswith("kernel"))
    value = named_weights(model)[kernel].numpy()
    value.flat[:3] = [1e5, -1e-6, 0.1]  # The first is more than float16 can hold.
    named_weights(model)[kernel].assign(value)
    whole = checkpoints.Checkpoints(model, str(tmp_path))
    prefix = whole.save_completing_weights(str(tmp_path / "packed"), 7, half=True)
    stored = tf.train.load_checkpoint(prefix).get_variable_to_dtype_map()
    full = [name for name, dtype in stored.items() if dtype == tf.float32]
    assert len(full) == 1 and kernel.replace("/", "..") in full[0]
    other = METHODS["glcic"](**small_exports.NETWORKS["glcic"])
    restored = checkpoints.Checkpoints(other, str(tmp_path))
    assert restored.restore(prefix, weights_only=True) == 7
    for name in names:
        wanted = named_weights(model)[name].numpy()
        if name != kernel:
            wanted = wanted.astype(np.float16).astype(np.float32)
        np.testing.assert_array_equal(named_weights(other)[name], wanted, name)


def test_averaged_weights_take_the_place_of_those_that_were_trained():
    model = METHODS["parallel_attention"](
        **small_exports.NETWORKS["parallel_attention"], averaging_decay=0.9
    )
    players = {name.partition("/")[0] for name in completing_weights(model)}
    assert players == {"averaged_completion"}


def test_replicas_need_the_weights_that_one_device_needs(mirrored):
    arguments = small_exports.NETWORKS["glcic"]
    with mirrored.scope():
        shared = METHODS["glcic"](**arguments)
    alone = completing_weights(METHODS["glcic"](**arguments))
    assert completing_weights(shared) == alone and alone


def test_a_checkpoint_without_a_weight_that_completing_takes_is_refused(tmp_path):
    _, model = small_exports.write_run(str(tmp_path), "glcic")
    names = sorted(completing_weights(model))
    weights = {
        name.replace("/", "."): named_weights(model)[name].value for name in names[1:]
    }
    step = tf.Variable(7, dtype=tf.int64)
    prefix = tf.train.Checkpoint(weights=weights, step=step).save(str(tmp_path / "c"))
    with pytest.raises(TrainingStopped, match=f"no weight {names[0]}"):
        checkpoints.Checkpoints(model, str(tmp_path)).restore(prefix, weights_only=True)


def test_a_new_model_starts_from_a_runs_weights_but_counts_its_own_steps(tmp_path):
    run_dir, model = small_exports.write_run(str(tmp_path), "glcic")
    model.steps_taken.assign(9)
    checkpoints.Checkpoints(model, f"{run_dir}/checkpoints").save(9)
    other = METHODS["glcic"](**small_exports.NETWORKS["glcic"])
    found = trained.start_from(other, "glcic", run_dir)
    assert found == (f"{run_dir}/checkpoints/step-9", [])
    old = named_weights(model)
    for name, value in named_weights(other).items():
        if name == "steps_taken":
            assert int(value) == 0
        else:
            np.testing.assert_array_equal(value, old[name])


@pytest.mark.parametrize("method", ["glcic", "giica"])
@pytest.mark.parametrize("decays", [(0.0, 0.5), (0.5, 0.0), (0.5, 0.5)])
def test_a_start_is_what_the_other_run_completes_with(method, decays, tmp_path):
    old_decay, new_decay = decays
    arguments = small_exports.NETWORKS[method]
    old = METHODS[method](**arguments, averaging_decay=old_decay)
    for weight in named_weights(old).values():
        if "int" not in weight.dtype:
            weight.assign(weight + tf.random.normal(weight.shape, stddev=0.01))
    whole = checkpoints.Checkpoints(old, str(tmp_path))
    whole.save(9)
    new = METHODS[method](**arguments, averaging_decay=new_decay)
    checkpoints.Checkpoints(new, str(tmp_path / "new")).start_from(whole.newest_path)
    wanted = outputs(old)["completed"]
    np.testing.assert_array_equal(outputs(new)["completed"], wanted)
    weights = named_weights(new)
    for name, value in weights.items():
        if name.startswith("averaged_"):
            trained_weight = weights[name.removeprefix("averaged_")]
            np.testing.assert_array_equal(value, trained_weight, err_msg=name)


def test_what_cannot_be_a_start_is_refused_in_one_line(tmp_path):
    run_dir, model = small_exports.write_run(str(tmp_path), "glcic")
    with pytest.raises(UsageError, match="weights of glcic, not of giica"):
        trained.start_from(model, "giica", run_dir)
    with pytest.raises(UsageError, match="no checkpoint of step 8, only of 7"):
        trained.start_from(model, "glcic", f"{run_dir}@8")
    wider = METHODS["glcic"](image_size=32, width=0.125)
    with pytest.raises(UsageError, match="initial_weights=.*not the weights to start"):
        trained.start_from(wider, "glcic", run_dir)
    with pytest.raises(UsageError, match="weights=study/.*@8: .* step 8, only of"):
        trained.start_from(model, "glcic", "study/glcic@8")
    names = sorted(completing_weights(model))
    weights = {
        name.replace("/", "."): named_weights(model)[name].value for name in names[1:]
    }
    prefix = tf.train.Checkpoint(weights=weights).save(str(tmp_path / "c"))
    whole = checkpoints.Checkpoints(model, f"{run_dir}/checkpoints")
    with pytest.raises(TrainingStopped, match=f"no weight {names[0]}"):
        whole.start_from(prefix)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.5])
@pytest.mark.parametrize("method", ["glcic", "giica"])
def test_packed_weights_are_a_start_whose_discriminators_begin_anew(
    method, decay, half, tmp_path
):
    arguments = small_exports.NETWORKS[method]
    old = METHODS[method](**arguments, averaging_decay=0.5)
    for weight in named_weights(old).values():
        if "int" not in weight.dtype:
            weight.assign(weight + tf.random.normal(weight.shape, stddev=0.01))
    whole = checkpoints.Checkpoints(old, str(tmp_path / "old"))
    prefix = whole.save_completing_weights(str(tmp_path / "packed"), 9, half)
    new = METHODS[method](**arguments, averaging_decay=decay)
    before = {name: np.array(value) for name, value in named_weights(new).items()}
    absent = checkpoints.Checkpoints(new, str(tmp_path / "new")).start_from(prefix)
    stay = {"glcic": ["discriminator"], "giica": ["global_critic", "local_critic"]}
    assert absent == stay[method]
    old_weights = named_weights(old)
    for name, value in named_weights(new).items():
        if name.partition("/")[0] in absent or "int" in value.dtype:
            np.testing.assert_array_equal(value, before[name], err_msg=name)
            continue
        wanted = np.array(old_weights[f"averaged_{name.removeprefix('averaged_')}"])
        wanted = wanted.astype(np.float16) if half else wanted
        np.testing.assert_array_equal(value, wanted, err_msg=name)


def pack(*flags):
    return programs.run("-m", "command_line.pack_weights", *flags)


def test_a_packed_run_has_a_card_and_no_places_of_the_machine(tmp_path):
    run_dir, model = small_exports.write_run(str(tmp_path), "parallel_attention")
    recorded = run_folder.read_flags(run_dir)
    recorded |= {"data_dir": "/secret/place", "data_list": "/secret/list.csv"}
    recorded |= {"mask": "center", "run_dir": run_dir, "validation_count": "5"}
    run_folder.write_flags(run_dir, recorded)
    with open(f"{run_dir}/metrics.jsonl", "w") as file:
        for step, psnr in ((6, 11.0), (small_exports.STEP, 23.456)):
            entry = {"step": step, "loss": 1.0, "validation/psnr": psnr}
            file.write(json.dumps(entry) + "\n")
        file.write('{"step": 9, "loss": 1.0}\n{"step": 10, "validation/p')
    results = {
        "protocol": "faces",
        "protocol_hash": "abc123",
        "methods": [{"label": "ours", "count": 9}],
        "table": {"ours": {"psnr": {"mean": 21.5, "low": 21.0, "high": 22.0}}},
    }
    (tmp_path / "results.json").write_text(json.dumps(results))
    given = (f"--run_dir={run_dir}", "--name=faces64", f"--output={tmp_path}/along")
    given += ("--data=drawn faces", "--terms=none", "--note=It took a minute.")
    status, errors = pack(*given, f"--results={tmp_path}/results.json")
    assert status == 0, errors
    packed = f"{tmp_path}/along/faces64"
    text = open(f"{packed}/README.md").read()
    for words in ("drawn faces", "It took a minute.", "psnr 23.46", "`abc123`"):
        assert words in text
    assert "| 9 | ours | 21.50 [21.00, 22.00] |" in text
    assert "secret" not in text + open(f"{packed}/flags.cfg").read()
    assert run_folder.logged_entries(packed) == [
        {"step": 6, "validation/psnr": 11.0},
        {"step": small_exports.STEP, "validation/psnr": 23.456},
    ]
    assert weights_along.terms(packed) == "none"
    other, _, step = trained.load(packed)
    assert step == small_exports.STEP
    np.testing.assert_array_equal(
        outputs(other)["completed"], outputs(model)["completed"]
    )
    assert os.listdir(tmp_path / "along") == ["faces64"]
    assert "--data_dir=... --data_list=... --run_dir=..." in text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("glcic", "holds something else"),
        ("", "--name=: must be letters"),
        (".", "--name=.: must be letters"),
    ],
)
def test_no_run_and_no_other_folder_is_replaced(name, message, tmp_path):
    run_dir, _ = small_exports.write_run(str(tmp_path), "glcic")
    before = sorted(os.listdir(run_dir))
    given = (f"--run_dir={run_dir}", f"--name={name}", f"--output={tmp_path}")
    status, errors = pack(*given, "--data=d", "--terms=t")
    assert status == 2 and message in errors
    assert sorted(os.listdir(run_dir)) == before


def test_evaluate_finds_weights_that_come_along_by_name(tmp_path, monkeypatch):
    run_dir, model = small_exports.write_run(str(tmp_path / "along"), "glcic")
    monkeypatch.setattr(weights_along, "WEIGHTS_DIR", os.path.dirname(run_dir))
    (found,) = contenders.open_all(["ours=glcic"], 32, [])
    image, mask = example(32)
    completed = found.complete({"image": image, "mask": mask})
    np.testing.assert_array_equal(completed, outputs(model)["completed"])
    assert found.label == "ours" and "glcic of" in found.description
    (both,) = contenders.open_all([f"glcic@{small_exports.STEP}+mirrored"], 32, [])
    turned = found.complete({"image": image[:, :, ::-1], "mask": mask[:, :, ::-1]})
    expected = (completed + turned[:, :, ::-1]) / 2
    assert both.label == "glcic_mirrored"
    np.testing.assert_allclose(
        both.complete({"image": image, "mask": mask}), expected, atol=1e-6
    )
    with pytest.raises(UsageError, match="weights that come along: glcic"):
        contenders.open_all(["glcik"], 32, [])


def test_weights_of_the_study_are_found_but_not_offered(tmp_path, monkeypatch):
    run_dir, _ = small_exports.write_run(str(tmp_path / "study"), "glcic")
    monkeypatch.setattr(weights_along, "WEIGHTS_DIR", str(tmp_path))
    assert weights_along.names() == []
    assert weights_along.names(weights_along.STUDY) == ["study/glcic"]
    assert weights_along.find("study/glcic") == run_dir
    assert weights_along.terms(run_dir) == ""  # A run without a card.
    (found,) = contenders.open_all(["study/glcic"], 32, [])
    assert (found.label, found.terms) == ("glcic", "")
    with open(f"{run_dir}/README.md", "w") as file:
        file.write("# glcic\n\n- Terms: research alone.\n")
    (found,) = contenders.open_all(["study/glcic"], 32, [])
    assert found.terms == "research alone"


def test_results_that_are_none_are_refused_and_nothing_is_written(tmp_path):
    run_dir, _ = small_exports.write_run(str(tmp_path), "glcic")
    given = (f"--run_dir={run_dir}", "--name=a", f"--output={tmp_path}/along")
    given += ("--data=d", "--terms=t", f"--results={run_dir}/flags.cfg")
    status, errors = pack(*given)
    assert status == 2 and "no results.json of evaluate.py" in errors
    assert not os.path.exists(tmp_path / "along")
