"""SavedModels answer without Python what they answer in it, and survive failures."""

import io
import os
import struct
import subprocess

import keras
import native_runner
import numpy as np
import pytest
import tensorflow as tf

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, [2, 5, 7, 3], np.uint8)
MASK = np.stack([np.eye(5, 7), np.tri(5, 7)])[..., None].astype(np.uint8)
FLOATS = RNG.normal(size=[2, 5, 7, 1]).astype(np.float32)
IMAGES = tf.TensorSpec([None, None, None, 3], tf.uint8, name="image")
MASKS = tf.TensorSpec([None, None, None, 1], tf.uint8, name="mask")


class Everything(tf.Module):
    """What exported methods are made of, one signature each."""

    def __init__(self):
        super().__init__()
        kernel = RNG.normal(size=[3, 3, 1, 2]).astype(np.float32)
        self.kernel = tf.Variable(kernel, name="kernel")

    @tf.function(input_signature=[IMAGES, MASKS])
    def fill(self, image, mask):
        values, hole = tf.cast(image, tf.float32), tf.cast(mask, tf.float32)
        known = tf.reduce_sum(1.0 - hole, [1, 2], keepdims=True)
        mean = tf.reduce_sum(values * (1.0 - hole), [1, 2], keepdims=True) / known
        completed = tf.cast(tf.round(values * (1.0 - hole) + mean * hole), tf.uint8)
        return {
            "completed": completed,
            "share": tf.reduce_mean(hole, [1, 2, 3]),
            "count": tf.math.count_nonzero(mask, [1, 2, 3]),
            "size": tf.shape(image),
            "spoilt": tf.reduce_any(mask > 0, [1, 2, 3]),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def negative(self, image_bytes):
        pictures = tf.map_fn(
            lambda text: tf.ensure_shape(tf.io.decode_png(text, 3), [None, None, 3]),
            image_bytes,
            fn_output_signature=tf.TensorSpec([None, None, 3], tf.uint8),
        )
        texts = tf.map_fn(
            tf.io.encode_png, 255 - pictures, fn_output_signature=tf.string
        )
        return {"completed_bytes": texts}

    @tf.function(
        input_signature=[tf.TensorSpec([None, None, None, 1], tf.float32, name="x")]
    )
    def filtered(self, x):
        return {"filtered": tf.nn.conv2d(x, self.kernel, 1, "SAME")}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 3], tf.float32, name="goal"),
            tf.TensorSpec([], tf.int32, name="iterations"),
        ]
    )
    def search(self, goal, iterations):
        def descend(i, z):
            with tf.GradientTape() as tape:
                tape.watch(z)
                loss = tf.reduce_sum((tf.sin(z) - goal) ** 2)
            return i + 1, z - 0.25 * tape.gradient(loss, z)

        _, z = tf.while_loop(
            lambda i, z: i < iterations, descend, [0, tf.zeros_like(goal)]
        )
        return {"z": z}

    @tf.function(input_signature=[MASKS])
    def checked(self, mask):
        tf.debugging.assert_less_equal(
            mask, tf.constant(1, tf.uint8), "a mask holds 0 and 1 only"
        )
        return {"missing": tf.reduce_sum(tf.cast(mask, tf.int32), [1, 2, 3])}

    @tf.function(
        input_signature=[
            tf.TensorSpec(None, dtype, name=name)
            for name, dtype in (
                ("wide", tf.int64),
                ("switch", tf.bool),
                ("text", tf.string),
                ("double", tf.float64),
            )
        ]
    )
    def same(self, wide, switch, text, double):
        return {"wide": wide, "switch": switch, "text": text, "double": double}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(folder of the SavedModel, its signatures as Python runs them)."""
    path = str(tmp_path_factory.mktemp("everything"))
    module = Everything()
    tf.saved_model.save(
        module,
        path,
        {
            "serving_default": module.fill,
            "encoded": module.negative,
            "filtered": module.filtered,
            "search": module.search,
            "checked": module.checked,
            "same": module.same,
        },
    )
    loaded = tf.saved_model.load(path)
    yield path, loaded.signatures
    del loaded


def png(picture):
    return tf.io.encode_png(picture).numpy()


def good_requests():
    goal = RNG.uniform(-0.9, 0.9, [4, 3]).astype(np.float32)
    return [
        ("serving_default", {"image": IMAGE, "mask": MASK}),
        ("encoded", {"image_bytes": [png(picture) for picture in IMAGE]}),
        ("filtered", {"x": FLOATS}),
        ("search", {"goal": goal, "iterations": np.int32(40)}),
        ("checked", {"mask": MASK}),
        (
            "same",
            {
                "wide": np.array([[-(2**62)], [2**62 + 1]]),
                "switch": np.array([True, False, True]),
                "text": [b"", b"zero at the end\0", b"\xff" * 100],
                "double": np.zeros([2, 0, 3]),
            },
        ),
        (
            "same",
            {
                "wide": np.int64(3),
                "switch": np.bool_(True),
                "text": b"\0",
                "double": np.float64(1 / 3),
            },
        ),
    ]


def failing_requests():
    """(request, code, part of the message)."""
    fill, wrong = "serving_default", MASK + np.uint8(1)
    return [
        (("checked", {"mask": wrong}), "INVALID_ARGUMENT", "a mask holds 0 and 1 only"),
        ((fill, {"image": IMAGE}), "INVALID_ARGUMENT", "serving_default_mask"),
        ((fill, {"picture": IMAGE, "mask": MASK}), "NOT_FOUND", "'picture'"),
        ((fill, {"image": IMAGE / 255, "mask": MASK}), "INVALID_ARGUMENT", "uint8"),
        ((fill, {"image": IMAGE, "mask": MASK[:, 1:]}), "INVALID_ARGUMENT", "2,4,7,1"),
        (("encoded", {"image_bytes": [b"no picture"]}), "INVALID_ARGUMENT", "image"),
    ]


def assert_same(answer, expected):
    assert answer.code == "OK", answer.message
    assert answer.message == ""
    assert sorted(answer.outputs) == sorted(expected)
    for name, tensor in expected.items():
        want, got = tensor.numpy(), answer.outputs[name]
        assert got.dtype == (object if tensor.dtype == tf.string else want.dtype), name
        assert got.shape == tensor.shape, name
        if tensor.dtype == tf.string:
            # A scalar comes as bytes, which NumPy would strip of zeros at their end.
            assert got.tolist() == (want.tolist() if tensor.shape.rank else want)
        else:
            assert got.tobytes() == want.tobytes(), name


def in_python(signature, inputs):
    return signature(**{key: tf.constant(value) for key, value in inputs.items()})


def test_outputs_have_the_bytes_that_python_gets(exported):
    path, signatures = exported
    requests = good_requests()
    answers = native_runner.run(path, requests)
    assert len(answers) == len(requests)
    for (name, inputs), answer in zip(requests, answers, strict=True):
        assert_same(answer, in_python(signatures[name], inputs))
        assert answer.seconds > 0
        assert answer.peak_bytes >= answer.resident_bytes > 2**20


def test_the_pictures_and_the_search_are_right_not_only_equal(exported):
    path, _ = exported
    requests = good_requests()[:4]
    filled, encoded, _, found = native_runner.run(path, requests)

    known = MASK == 0
    completed = filled.outputs["completed"]
    np.testing.assert_array_equal(
        np.where(known, completed, 0), np.where(known, IMAGE, 0)
    )
    mean = IMAGE[0][known[0, ..., 0]].mean(axis=0)
    np.testing.assert_allclose(completed[0, 0, 0], mean, atol=0.5 + 1e-4)
    np.testing.assert_array_equal(filled.outputs["count"], MASK.sum(axis=(1, 2, 3)))

    texts = encoded.outputs["completed_bytes"]
    for text, picture in zip(texts, IMAGE, strict=True):
        np.testing.assert_array_equal(tf.io.decode_png(text), 255 - picture)
    np.testing.assert_allclose(
        np.sin(found.outputs["z"]), requests[3][1]["goal"], atol=1e-3
    )


def test_failing_requests_are_reported_and_the_next_ones_answered(exported):
    path, signatures = exported
    failing, good = failing_requests(), good_requests()[0]
    requests = [request for bad, _, _ in failing for request in (bad, good)]
    answers = native_runner.run(path, requests)
    for (_, code, message), answer in zip(failing, answers[::2], strict=True):
        assert answer.code == code, answer
        assert message in answer.message, answer
        assert answer.outputs == {}
    expected = in_python(signatures[good[0]], good[1])
    for answer in answers[1::2]:
        assert_same(answer, expected)


def test_the_session_leaves_static_shapes_to_the_graph(exported):
    """Why an export has to check what it declares: nobody before it does."""
    path, _ = exported
    image = np.concatenate([IMAGE, IMAGE[..., :1]], axis=-1)
    (answer,) = native_runner.run(
        path, [("serving_default", {"image": image, "mask": MASK})]
    )
    assert answer.outputs["completed"].shape == (2, 5, 7, 4)


def test_tensors_that_the_graph_lacks_are_named(exported):
    path, _ = exported
    feeds, fetches = {"checked_mask:0": MASK}, native_runner.signatures(path)["checked"]
    operation = fetches[1]["missing"].split(":")[0]
    wrong = ["nothing:0", "nothing", operation + ":999", operation + ":", "", "\0:0"]
    answers = native_runner.run_tensors(
        path,
        [(feeds, {"a": name}) for name in wrong] + [({"x:-1": MASK}, fetches[1])],
    )
    assert [answer.code for answer in answers] == ["NOT_FOUND"] * 7
    assert f"'{operation}:999'" in answers[2].message


def test_a_keras_export_archive_runs(tmp_path):
    model = keras.Sequential([keras.Input([4]), keras.layers.Dense(3, "tanh")])
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serve",
        lambda x: {"y": model(x)},
        input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")],
    )
    archive.write_out(str(tmp_path / "model"), verbose=False)
    x = RNG.normal(size=[5, 4]).astype(np.float32)
    signatures = native_runner.signatures(tmp_path / "model")
    assert {"serve", "serving_default"} <= set(signatures)
    requests = [("serve", {"x": x}), ("serving_default", {"x": x[:1]})]
    for answer, batch in zip(
        native_runner.run(tmp_path / "model", requests), (x, x[:1]), strict=True
    ):
        kernel, bias = model.get_weights()
        expected = np.tanh(batch @ kernel + bias)
        assert list(answer.outputs) == ["y"]
        np.testing.assert_allclose(answer.outputs["y"], expected, atol=1e-6)


def test_warmup_requests_are_read_and_run(exported, tmp_path):
    from tensorflow_serving.apis import prediction_log_pb2

    path, signatures = exported
    os.makedirs(tmp_path / "assets.extra")
    requests = good_requests()[:2]
    with tf.io.TFRecordWriter(
        str(tmp_path / "assets.extra" / "tf_serving_warmup_requests")
    ) as writer:
        for name, inputs in requests:
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            if name != "serving_default":
                request.model_spec.signature_name = name
            for key, value in inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            writer.write(log.SerializeToString())
    read = native_runner.warmup_requests(tmp_path)
    assert [name for name, _ in read] == ["serving_default", "encoded"]
    for (name, inputs), answer in zip(
        requests, native_runner.run(path, read), strict=True
    ):
        assert_same(answer, in_python(signatures[name], inputs))


def test_memory_stays_flat_over_a_thousand_requests(exported):
    path, _ = exported
    image = RNG.integers(0, 256, [2, 100, 140, 3], np.uint8)
    mask = RNG.integers(0, 2, [2, 100, 140, 1], np.uint8)
    kinds = [
        ("serving_default", {"image": image, "mask": mask}),
        ("encoded", {"image_bytes": [png(picture) for picture in image]}),
        ("checked", {"mask": mask + np.uint8(1)}),
        ("filtered", {"x": FLOATS}),
    ]
    resident = [
        answer.resident_bytes for answer in native_runner.run(path, kinds * 250)
    ]
    # Leaking one batch of pictures per request of a kind would take 18 MB.
    growth = np.median(resident[-20:]) - np.median(resident[80:100])
    assert growth < 10e6, resident[::50]


def test_sanitizers_find_nothing_in_good_failing_or_broken_requests(exported, tmp_path):
    path, signatures = exported
    requests = good_requests()
    answers = native_runner.run(
        path, [bad for bad, _, _ in failing_requests()] + requests, sanitized=True
    )
    for (name, inputs), answer in zip(requests, answers[-len(requests) :], strict=True):
        assert_same(answer, in_python(signatures[name], inputs))
    for broken in (asked_bytes()[:-3], asked_bytes(strings=["long " * 20])[:-60]):
        asked = tmp_path / "asked"
        asked.write_bytes(broken)
        process = native_runner.start(path, asked, tmp_path / "answered", True)
        assert process.returncode == 2
        assert "malformed" in complaint(process)


def complaint(process):
    """The one line of the program's own on standard error, after TensorFlow's."""
    *others, last = process.stderr.splitlines()
    start = "saved_model_runner: "
    assert last.startswith(start), process.stderr
    assert not any(line.startswith((start, "=")) for line in others), process.stderr
    return last.removeprefix(start)


def asked_bytes(strings=("a", "b")):
    """A file with one good request."""
    file = io.BytesIO()
    feeds = {"x:0": IMAGE, "y:0": [text.encode() for text in strings]}
    native_runner.write_requests(file, [(feeds, {"z": "z:0"})])
    return file.getvalue()


def one_tensor(kind, sizes, content=b""):
    """A file with one request that feeds one tensor."""
    start = b"REQUESTS" + struct.pack("=II", 1, 1) + struct.pack("=Q", 3) + b"x:0"
    shape = struct.pack(f"=II{len(sizes)}q", kind, len(sizes), *sizes)
    return start + shape + content


FLOAT, STRING, RESOURCE = 1, 7, 20


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "it ends too early"),
        (b"SOMETHING ELSE", "does not begin with REQUESTS"),
        (asked_bytes()[:-1], "a text is longer than the file"),
        (asked_bytes() + b"\0", "bytes follow its last request"),
        (b"REQUESTS" + struct.pack("=II", 1, 2**32 - 1), "too many tensors"),
        (one_tensor(FLOAT, [2, -1]), "does not fit into the file"),
        (one_tensor(FLOAT, [2**40, 2**40]), "does not fit into the file"),
        (one_tensor(FLOAT, [2**62]), "does not fit into the file"),
        (one_tensor(STRING, [2**31]), "does not fit into the file"),
        (one_tensor(FLOAT, [1] * 255), "too many dimensions"),
        (one_tensor(RESOURCE, [1], b"\0" * 8), "a type that cannot be fed"),
        (one_tensor(9999, [1], b"\0" * 8), "a type that cannot be fed"),
        (one_tensor(STRING, [1], b"\xff" * 8), "a text is longer than the file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_broken_files_of_requests_are_refused(exported, tmp_path, content, reason):
    asked, answered = tmp_path / "asked", tmp_path / "answered"
    asked.write_bytes(content)
    process = native_runner.start(exported[0], asked, answered)
    assert process.returncode == 2
    said = complaint(process)
    assert said.startswith(f"{asked}: malformed, ")
    assert reason in said
    assert os.listdir(tmp_path) == ["asked"]


def test_models_and_signatures_that_are_not_there_are_reported(exported, tmp_path):
    path, _ = exported
    with pytest.raises(ValueError, match="no signature 'predict'; it has checked, enc"):
        native_runner.run(path, [("predict", {})])
    with pytest.raises(RuntimeError, match="\nsaved_model_runner: .*: NOT_FOUND: "):
        native_runner.run_tensors(tmp_path, [])


def test_the_program_prints_time_and_memory_and_has_no_python_in_it(exported, tmp_path):
    asked = tmp_path / "asked"
    with open(asked, "wb") as file:
        native_runner.write_requests(file, [({"checked_mask:0": MASK}, {"x": "none"})])
    process = native_runner.start(exported[0], asked, tmp_path / "answered")
    assert process.returncode == 0
    loaded, request, peak = process.stdout.splitlines()
    assert loaded.startswith("loaded in ")
    assert request.startswith("request 0: NOT_FOUND, ")
    assert " ms, resident " in request
    assert peak.startswith("peak ")

    libraries = subprocess.run(
        ["ldd", native_runner.compiled()], capture_output=True, text=True, check=True
    ).stdout
    assert "libtensorflow_cc.so.2 => /" in libraries
    assert "python" not in libraries.replace(tf.sysconfig.get_lib(), "")


def test_a_machine_without_a_compiler_skips_and_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match="need a C compiler"):
        native_runner.compiled.__wrapped__()


def test_numpy_strings_that_would_lose_bytes_are_refused():
    with pytest.raises(TypeError, match="strings go as bytes"):
        native_runner.write_requests(io.BytesIO(), [({"x:0": np.array([b"a\0"])}, {})])
