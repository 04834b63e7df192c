"""What comes from elsewhere runs no Python, takes no memory on its word, and names no
files outside its own folder."""

import ast
import contextlib
import json
import os
import pathlib
import pickle
import sys

import keras
import mean_color_model
import numpy as np
import pytest
import tensorflow as tf

from baselines import frozen_graph, tf1_checkpoint
from command_line import trained
from inpainting_tf import (
    checkpoints,
    features,
    freeze_protocol,
    protocol_definition,
    protocol_examples,
    sources,
    untrusted,
)
from serving import local_model

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("inpainting_tf", "baselines", "command_line", "serving")

# ------------------------------------------------------------------------ Python


class Called(Exception):
    """Python of a file has run."""


def explode(*_):
    raise Called


class Payload:
    def __reduce__(self):
        return explode, ()


# What Python reports before it runs what a file brought along. (TensorFlow makes named
# tuples, by exec, of source text of its own.)
_EVENTS = ("pickle.find_class", "marshal.loads", "os.system")
_EVENTS += ("subprocess.Popen", "ctypes.dlopen", "code.__new__")
_heard = None


def _hear(event, arguments):
    if _heard is not None and event in _EVENTS:
        _heard.append((event, str(arguments)[:80]))


sys.addaudithook(_hear)  # For good: hooks cannot be taken off.


@contextlib.contextmanager
def listening():
    """The list of what Python was made to run meanwhile."""
    global _heard
    _heard = []
    try:
        yield _heard
    finally:
        _heard = None


def source_files():
    programs = [path for path in ROOT.glob("*.py") if path.name != "conftest.py"]
    return programs + [p for folder in PACKAGES for p in (ROOT / folder).glob("*.py")]


def called_names(tree):
    """(dotted name, call) of every call in a syntax tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_nothing_that_is_installed_can_unpickle_or_evaluate():
    modules = {"pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle"}
    modules |= {"joblib", "torch", "yaml", "jsonpickle", "imp", "runpy", "code"}
    modules |= {"tarfile", "zipfile"}  # Nothing is unpacked either.
    calls = {"eval", "exec", "compile", "__import__", "importlib.import_module"}
    endings = ("Lambda", "load_model", "enable_unsafe_deserialization", "from_config")
    endings += ("deserialize_keras_object", "model_from_json", "unpack_archive")
    endings += ("get_custom_objects", "read_pickle", "fromfile", "NumpyState")
    assert len(source_files()) > 60
    for path in source_files():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [alias.name for alias in getattr(node, "names", [])]
            names += [getattr(node, "module", None) or ""]
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert not modules & {name.split(".")[0] for name in names}, path
        for name, call in called_names(tree):
            assert name not in calls, (path, name)
            assert name.rpartition(".")[2] not in endings, (path, name)
            if name in ("np.load", "numpy.load"):
                refused = [k for k in call.keywords if k.arg == "allow_pickle"]
                assert refused and refused[0].value.value is False, path
            if name.endswith("saved_model.load"):
                assert path.name == "untrusted.py", path


class Small(keras.Model):
    """The least that Checkpoints takes."""

    def __init__(self, units=3):
        super().__init__()
        self.dense = keras.layers.Dense(units)
        self.dense.build([None, 4])
        self.optimizer_of_all = keras.optimizers.SGD(0.1)
        self.built = True


def test_loading_checkpoints_and_saved_models_runs_no_python_of_theirs(tmp_path):
    payload = pickle.dumps(Payload())
    with pytest.raises(Called):  # The payload is a live one.
        pickle.loads(payload)
    run = str(tmp_path / "run")
    checkpoints.Checkpoints(Small(), run).save(1)
    # Beside the weights: the payload as a tensor, and TF's places for Python's state.
    for name in ("step-1.index.pkl", "metadata.pkl", "config.json"):
        (tmp_path / "run" / name).write_bytes(payload)
    old = str(tmp_path / "old")
    variables = {"payload": tf.Variable([payload]), "weight": tf.Variable([1.0])}
    tf.train.Checkpoint(**variables).write(old)
    exported = mean_color_model.save(str(tmp_path / "exported"), 1)
    for name in ("keras_metadata.pb", "config.json", "assets.pkl"):
        (tmp_path / "exported" / "1" / name).write_bytes(payload)

    def load_all():
        checkpoints.Checkpoints(Small(), run).restore()
        tf1_checkpoint.read(old)
        untrusted.load_saved_model(exported)
        local_model.LocalModel(exported)

    load_all()  # What TensorFlow imports late is imported now.
    with listening() as heard:
        load_all()
    assert heard == []
    with listening() as heard, pytest.raises(Called):
        pickle.loads(payload)
    assert [event for event, _ in heard] == ["pickle.find_class"]


# ------------------------------------------------------------------------ graphs


def in_loop(function):
    """The function inside the branch of a condition inside a loop."""

    def looped(x):
        def body(i, y):
            return i + 1, tf.cond(
                y > 0, lambda: tf.ensure_shape(function(y), []), lambda: y
            )

        return tf.while_loop(lambda i, y: i < 2, body, [0, x])[1]

    return looped


def python(x):
    return tf.py_function(explode, [x], tf.float32)


def numpy(x):
    return tf.numpy_function(explode, [x], tf.float32)


def stateless_numpy(x):
    return tf.numpy_function(explode, [x], tf.float32, stateful=False)


def read(x):
    return x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)


def find(x):
    return x + tf.cast(tf.size(tf.io.matching_files("/etc/*")), tf.float32)


def write(x):
    tf.io.write_file("written_by_a_model", "x")
    return x


def write_by_print(x):
    tf.print("x", output_stream="file://written_by_a_model")
    return x


def write_checkpoint(x):
    tf.raw_ops.SaveV2(
        prefix="written_by_a_model",
        tensor_names=["x"],
        shape_and_slices=[""],
        tensors=[x],
    )
    return x


def read_checkpoint(x):
    (found,) = tf.raw_ops.RestoreV2(
        prefix="/somewhere",
        tensor_names=["x"],
        shape_and_slices=[""],
        dtypes=[tf.float32],
    )
    return x + tf.reshape(found, [])


def read_records(x):
    records = tf.data.TextLineDataset("/etc/hostname")
    return records.reduce(x, lambda total, line: total + 1.0)


REACHING = [python, numpy, stateless_numpy, read, find, write, write_by_print]
REACHING += [write_checkpoint, read_checkpoint, read_records]


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("function", REACHING, ids=lambda f: f.__name__)
def test_saved_models_that_reach_out_are_refused(function, nested, tmp_path):
    module = tf.Module()
    module.variable = tf.Variable(1.0)
    module.__call__ = tf.function(
        in_loop(function) if nested else function,
        input_signature=[tf.TensorSpec([], tf.float32)],
        autograph=False,
    )
    path = str(tmp_path / "model")
    tf.saved_model.save(module, path, {"serving_default": module.__call__})
    with pytest.raises(untrusted.UntrustedError, match="holds the operation .*;") as e:
        untrusted.load_saved_model(path)
    assert "\n" not in str(e.value)
    # So is it wherever the package loads one.
    with pytest.raises(ValueError, match="holds the operation"):
        features.saved_model_features(path)
    with pytest.raises(local_model.LocalModelError, match="holds the operation"):
        local_model.LocalModel(path)


def test_a_saved_model_that_reads_a_file_when_loaded_is_refused(tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("a\nb\n")
    module = tf.Module()
    module.table = tf.lookup.StaticVocabularyTable(
        tf.lookup.TextFileInitializer(
            str(words), tf.string, -2, tf.int64, -1, delimiter=" "
        ),
        1,
    )
    tf.saved_model.save(module, str(tmp_path / "model"))
    with pytest.raises(untrusted.UntrustedError, match="HashTable|InitializeTable"):
        untrusted.load_saved_model(str(tmp_path / "model"))


def test_saved_models_that_only_compute_are_loaded(tmp_path):
    path = mean_color_model.save(str(tmp_path / "model"), 1)
    image = np.full([1, 4, 4, 3], 7, np.uint8)
    loaded = untrusted.load_saved_model(path).signatures["serving_default"]
    completed = loaded(image=tf.constant(image), mask=tf.ones([1, 4, 4, 1], tf.uint8))
    assert completed["completed"].shape == [1, 4, 4, 3]


def test_other_forms_of_saved_models_are_refused(tmp_path):
    path = mean_color_model.save(str(tmp_path / "model"), 1)
    pathlib.Path(path, "saved_model.cpb").write_bytes(b"")
    with pytest.raises(untrusted.UntrustedError, match="saved in pieces"):
        untrusted.load_saved_model(path)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [])
        old = str(tmp_path / "old")
        tf.compat.v1.saved_model.simple_save(session, old, {"x": x}, {"y": x + 1})
    with pytest.raises(untrusted.UntrustedError, match="saved by TensorFlow 1"):
        untrusted.load_saved_model(old)
    pathlib.Path(old, "saved_model.pb").write_bytes(b"\xff\xff")
    with pytest.raises(untrusted.UntrustedError, match="saved_model.pb is damaged"):
        untrusted.load_saved_model(old)


@pytest.mark.parametrize(
    "function", [stateless_numpy, read, write], ids=lambda f: f.__name__
)
def test_frozen_graphs_that_reach_out_are_refused(function, tmp_path):
    with tf.Graph().as_default() as graph:
        function(tf.compat.v1.placeholder(tf.float32, [], "z"))
    path = tmp_path / "graph.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    with pytest.raises(ValueError, match="--source=.*graph.pb: holds the operation"):
        frozen_graph.FrozenGraph(str(path))


# ------------------------------------------------------------------- checkpoints


def test_a_checkpoint_that_claims_more_than_it_holds_is_refused(tmp_path):
    model = Small(units=500)
    saved = checkpoints.Checkpoints(model, str(tmp_path))
    saved.save(1)
    assert checkpoints.Checkpoints(Small(units=500), str(tmp_path)).restore() == 1
    data = tmp_path / "step-1.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(checkpoints.TrainingStopped, match="claims .* its files hold 1"):
        checkpoints.Checkpoints(Small(units=500), str(tmp_path)).restore()
    with pytest.raises(ValueError, match="claims [0-9,]+ bytes of weights"):
        tf1_checkpoint.read(str(tmp_path / "step-1"))


def write_state(folder, *paths):
    lines = [f'model_checkpoint_path: "{paths[-1]}"']
    lines += [f'all_model_checkpoint_paths: "{path}"' for path in paths]
    lines += ["all_model_checkpoint_timestamps: 1.0" for _ in paths]
    pathlib.Path(folder, "checkpoint").write_text("\n".join(lines) + "\n")


def test_a_run_folder_from_elsewhere_deletes_nothing_outside(tmp_path):
    victim, run = tmp_path / "victim", tmp_path / "run" / "checkpoints"
    checkpoints.Checkpoints(Small(), str(victim)).save(1)
    before = sorted(os.listdir(victim))
    checkpoints.Checkpoints(Small(), str(run)).save(5)
    write_state(run, victim / "step-1", run / "../../victim/step-1", run / "step-5")
    resumed = checkpoints.Checkpoints(Small(), str(run), keep=1)
    assert resumed.restore() == 5
    for step in (6, 7, 8):
        resumed.save(step)
    assert sorted(os.listdir(victim)) == before
    assert not (run / "step-5.index").exists()  # Its own are kept as asked.
    assert (run / "step-8.index").exists()


def test_a_run_folder_that_was_moved_has_its_checkpoints(tmp_path):
    first = tmp_path / "first" / "checkpoints"
    checkpoints.Checkpoints(Small(), str(first)).save(3)
    (tmp_path / "first").rename(tmp_path / "second")
    second = tmp_path / "second"
    prefix = trained.checkpoint_prefix(str(second), "newest")
    assert prefix == str(second / "checkpoints" / "step-3")
    assert checkpoints.Checkpoints(Small(), str(second / "checkpoints")).restore() == 3


# ------------------------------------------------------------------------- paths

LEAVING = ["../a.png", "a/../../b.png", "/etc/passwd", "..", ".", "", "a\0.png"]


@pytest.mark.parametrize("name", LEAVING)
def test_names_that_leave_their_folder_are_found(name):
    assert not untrusted.stays_inside(name)


@pytest.mark.parametrize("name", ["a.png", "a/b.png", "..a/..", "a/../b", "...", "é "])
def test_names_that_stay_in_their_folder_are_let_through(name):
    assert untrusted.stays_inside(name) == (os.path.normpath(name) != ".")


@pytest.mark.parametrize("name", ["../secret.png", "{outside}/secret.png"])
def test_lists_cannot_name_files_outside_their_folder(tmp_path, name):
    (tmp_path / "data").mkdir()
    (tmp_path / "secret.png").write_bytes(b"")
    name = name.format(outside=tmp_path)
    for list_name, text in (("a.csv", f"file\n{name}\n"), ("a.txt", f"{name}\n")):
        (tmp_path / list_name).write_text(text)
        with pytest.raises(sources.DataError, match="secret.png leaves --data_dir="):
            sources.list_source(str(tmp_path / list_name), str(tmp_path / "data"))


DEFINITION = """[images]
list = "{list}"
crop = "square"
size = 16
[masks]
rule = "center"
hole_size = 8
seed = 0
[metrics]
names = ["l1"]
"""


def test_protocols_cannot_name_files_outside_their_folders(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "secret.png").write_bytes(b"")
    path = tmp_path / "mine.toml"
    path.write_text(DEFINITION.format(list="../stolen.csv"))
    with pytest.raises(protocol_definition.ProtocolError, match="must stay in the pro"):
        freeze_protocol.freeze(str(path), str(tmp_path / "data"))
    path.write_text(DEFINITION.format(list="own.csv"))
    (tmp_path / "own.csv").write_text("file,sha256\n../secret.png,00\n")
    with pytest.raises(protocol_definition.ProtocolError, match="secret.png leaves"):
        freeze_protocol.freeze(str(path), str(tmp_path / "data"))
    protocol, _ = protocol_definition.read_definition(str(path))
    assert protocol_examples.find_images(protocol, str(tmp_path / "data")) == []


# -------------------------------------------------------------------------- TFDS


@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name", "type"])
def test_a_prepared_data_set_imports_no_module_of_its_own(tmp_path, monkeypatch, key):
    (tmp_path / "brought_along.py").write_text("raise SystemExit('it has run')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "faces" / "1.0.0"
    folder.mkdir(parents=True)
    own = "tensorflow_datasets.core.features.features_dict.FeaturesDict"
    inner = {"image": {key: "brought_along.Image", "image": {}}}
    described = {key: own, "featuresDict": {"features": inner}}
    (folder / "features.json").write_text(json.dumps(described))
    facts = {"name": "faces", "version": "1.0.0", "fileFormat": "tfrecord"}
    (folder / "dataset_info.json").write_text(json.dumps(facts))
    with pytest.raises(sources.DataError, match="the class brought_along.Image"):
        sources.tfds_source("faces", str(tmp_path))
    assert "brought_along" not in sys.modules
