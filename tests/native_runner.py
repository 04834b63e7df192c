"""SavedModels run without Python, through the loader that TensorFlow Serving uses.

`run` hands requests to native/saved_model_runner.c, a C program on the C library inside
the installed tensorflow wheel, and returns its answers. The program is compiled with
the machine's `cc` once per test process; a test on a machine without one is skipped,
with that reason.

    requests = [("serving_default", {"image": image, "mask": mask})] * 3
    requests.append(("encoded", {"image_bytes": [png], "mask_bytes": [mask_png]}))
    for answer in native_runner.run(saved_model_dir, requests):
        print(answer.code, answer.message, answer.outputs, answer.seconds)

A request is (signature, inputs), inputs a dict of the signature's input names to NumPy
arrays, which keep dtype and shape as they are, or to lists of bytes (strings `[n]`), or
bytes (a scalar string). Of a signature, all outputs are fetched. An input name that the
signature lacks is sent as the name of a tensor, for which the program answers
NOT_FOUND; an input left out is answered by the session.

The session checks dtypes. A signature's static shapes it does not check: a picture of
four channels passes where three are declared, unless an op inside the graph objects.
"""

import atexit
import dataclasses
import functools
import os
import shutil
import struct
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

_SOURCE = os.path.join(os.path.dirname(__file__), "native", "saved_model_runner.c")
_SANITIZERS = "-fsanitize=address,undefined"


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the program says of one request.

    Attributes:
      code: "OK", or TensorFlow's name of the failure, such as "INVALID_ARGUMENT".
      message: what failed; empty if nothing did.
      outputs: dict, the signature's output names -> NumPy arrays, strings as object
        arrays of bytes; empty after a failure.
      seconds: time inside TF_SessionRun.
      resident_bytes: resident memory of the program after the request, its answer and
        its inputs still held.
      peak_bytes: the most resident memory so far, loading included.
    """

    code: str
    message: str
    outputs: dict
    seconds: float
    resident_bytes: int
    peak_bytes: int


def run(saved_model_dir, requests, sanitized=False, timeout=600):
    """Loads a SavedModel once in a process without Python and runs requests in it.

    Args:
      saved_model_dir: folder that holds saved_model.pb.
      requests: sequence of (signature, {input name: array or bytes or list of bytes}).
      sanitized: whether to use the program with address and undefined-behaviour checks,
        which then fail it.
      timeout: seconds for everything, loading included.

    Returns:
      List of Answer, one per request, in order.

    Raises:
      ValueError: a signature that the model lacks.
      RuntimeError: the program did not end well, such as on a model that cannot be
        loaded; carries what it wrote to standard error.
    """
    known = signatures(saved_model_dir)
    named = []
    for signature, inputs in requests:
        if signature not in known:
            raise ValueError(
                f"{saved_model_dir}: no signature '{signature}'; it has "
                + ", ".join(sorted(known))
            )
        of_inputs, of_outputs = known[signature]
        feeds = {of_inputs.get(name, name): value for name, value in inputs.items()}
        named.append((feeds, of_outputs))
    return run_tensors(saved_model_dir, named, sanitized, timeout)


def run_tensors(saved_model_dir, requests, sanitized=False, timeout=600):
    """`run` below the level of signatures, on tensors of the graph.

    Args:
      saved_model_dir: folder that holds saved_model.pb.
      requests: sequence of (feeds, fetches): feeds {tensor name: value}, fetches
        {output name: tensor name}, tensor names as "operation:index".
      sanitized, timeout: as in `run`.

    Returns, raises: as `run`.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked = os.path.join(folder, "asked")
        answered = os.path.join(folder, "answered")
        with open(asked, "wb") as file:
            write_requests(file, requests)
        process = start(saved_model_dir, asked, answered, sanitized, timeout)
        if process.returncode != 0:
            raise RuntimeError(
                f"saved_model_runner: status {process.returncode}\n{process.stderr}"
            )
        with open(answered, "rb") as file:
            return read_answers(file, [list(fetches) for _, fetches in requests])


def start(saved_model_dir, asked, answered, sanitized=False, timeout=600):
    """Runs the program on files; returns the finished process, outputs as text.

    Its environment is empty but for TensorFlow's own settings, so that nothing in it
    can depend on the Python that started it.
    """
    program = compiled(sanitized)
    settings = {key: value for key, value in os.environ.items() if key[:3] == "TF_"}
    return subprocess.run(
        [program, os.fspath(saved_model_dir), asked, answered],
        env={"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "", **settings},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def signatures(saved_model_dir):
    """Signatures of the graph that serves.

    Returns:
      Dict: signature -> ({input name: tensor name}, {output name: tensor name}).
    """
    saved_model = saved_model_pb2.SavedModel()
    with open(os.path.join(saved_model_dir, "saved_model.pb"), "rb") as file:
        saved_model.ParseFromString(file.read())
    (graph,) = [
        graph
        for graph in saved_model.meta_graphs
        if set(graph.meta_info_def.tags) == {"serve"}
    ]
    return {
        name: (
            {key: info.name for key, info in signature.inputs.items()},
            {key: info.name for key, info in sorted(signature.outputs.items())},
        )
        for name, signature in graph.signature_def.items()
        if name != "__saved_model_init_op"
    }


def warmup_requests(saved_model_dir):
    """The requests that TensorFlow Serving sends to a model before anyone else's.

    Args:
      saved_model_dir: folder with assets.extra/tf_serving_warmup_requests, a TFRecord
        of PredictionLog.

    Returns:
      List of requests as `run` takes them. An unnamed signature is serving_default.

    Raises:
      ValueError: a record that is no predict request.
    """
    from tensorflow_serving.apis import prediction_log_pb2

    path = os.path.join(saved_model_dir, "assets.extra", "tf_serving_warmup_requests")
    requests = []
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        kind = log.WhichOneof("log_type")
        if kind != "predict_log":
            raise ValueError(f"{path}: record {len(requests)} is a {kind}")
        request = log.predict_log.request
        signature = request.model_spec.signature_name or "serving_default"
        inputs = {key: tf.make_ndarray(proto) for key, proto in request.inputs.items()}
        requests.append((signature, inputs))
    return requests


@functools.cache
def compiled(sanitized=False):
    """Path of the program, compiled at the first call.

    A test is skipped, with the reason, where there is no C compiler, the wheel's
    library is not Linux's, or, for `sanitized`, the compiler has no sanitizers.
    """
    include, library = tf.sysconfig.get_include(), tf.sysconfig.get_lib()
    libraries = [
        os.path.join(library, name)
        for name in ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2")
    ]
    if not sys.platform.startswith("linux") or not all(map(os.path.exists, libraries)):
        pytest.skip(f"native runs need TensorFlow's Linux libraries: {libraries}")
    if shutil.which("cc") is None:
        pytest.skip("native runs need a C compiler: there is no `cc` on the path")

    folder = tempfile.mkdtemp(prefix="saved_model_runner")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if sanitized and not _links(folder, [_SANITIZERS]):
        pytest.skip(f"the C compiler cannot link with {_SANITIZERS}")
    program = os.path.join(folder, "saved_model_runner")
    command = ["cc", "-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O1", "-g"]
    command += ["-Wall", "-Wextra", "-Werror", "-isystem", include]
    command += [_SANITIZERS] if sanitized else []
    # The default linker takes ten seconds over a library of a gigabyte, gold two.
    command += ["-fuse-ld=gold"] if _links(folder, ["-fuse-ld=gold"]) else []
    command += [_SOURCE, "-o", program, *libraries, f"-Wl,-rpath,{library}"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode != 0:
        raise RuntimeError(f"{_SOURCE} does not compile:\n{process.stderr}")
    return program


def _links(folder, options):
    """Whether the compiler makes a program with these options."""
    process = subprocess.run(
        ["cc", "-x", "c", "-", *options, "-o", os.path.join(folder, "probe")],
        input=b"int main(void) { return 0; }",
        capture_output=True,
        check=False,
    )
    return process.returncode == 0


def write_requests(file, requests):
    """Writes requests as `run_tensors` takes them, in the program's format."""
    file.write(b"REQUESTS" + struct.pack("=I", len(requests)))
    for feeds, fetches in requests:
        file.write(struct.pack("=I", len(feeds)))
        for name, value in feeds.items():
            _put_text(file, name.encode())
            _put_tensor(file, value)
        file.write(struct.pack("=I", len(fetches)))
        for name in fetches.values():
            _put_text(file, name.encode())


def read_answers(file, output_names):
    """Reads what the program has written.

    Args:
      file: open file.
      output_names: per request, the list of names of its fetches, in order.

    Returns:
      List of Answer.
    """
    assert file.read(8) == b"ANSWERS."
    count, _, _ = _take(file, "=IdQ")
    assert count == len(output_names)
    answers = []
    for names in output_names:
        code, message = _take_text(file).decode(), _take_text(file).decode()
        seconds, resident, peak, outputs = _take(file, "=dQQI")
        arrays = [_take_tensor(file) for _ in range(outputs)]
        assert len(arrays) == (len(names) if code == "OK" else 0)
        named = dict(zip(names, arrays, strict=False))
        answers.append(Answer(code, message, named, seconds, resident, peak))
    assert file.read(1) == b""
    return answers


def _put_text(file, text):
    file.write(struct.pack("=Q", len(text)) + text)


def _put_tensor(file, value):
    if isinstance(value, bytes | list):
        strings = np.empty(() if isinstance(value, bytes) else len(value), object)
        strings[...] = value
        value = strings
    value = np.asarray(value)
    if value.dtype.kind in "SU":
        # NumPy's own strings lose zero bytes at their end.
        raise TypeError("strings go as bytes, lists of bytes or arrays of objects")
    dtype = tf.as_dtype(value.dtype)
    file.write(struct.pack("=II", dtype.as_datatype_enum, value.ndim))
    file.write(struct.pack(f"={value.ndim}q", *value.shape))
    if dtype != tf.string:
        file.write(value.tobytes())
        return
    for text in value.ravel():
        _put_text(file, text)


def _take(file, layout):
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _take_text(file):
    (length,) = _take(file, "=Q")
    return file.read(length)


def _take_tensor(file):
    kind, rank = _take(file, "=II")
    shape = _take(file, f"={rank}q")
    dtype = tf.as_dtype(kind)
    if dtype == tf.string:
        strings = np.empty(shape, object)
        strings.ravel()[:] = [_take_text(file) for _ in range(strings.size)]
        return strings
    dtype = np.dtype(dtype.as_numpy_dtype)
    size = dtype.itemsize * int(np.prod(shape))
    return np.frombuffer(bytearray(file.read(size)), dtype).reshape(shape)
