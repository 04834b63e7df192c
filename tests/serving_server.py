"""A model server for tests: SavedModels behind TF Serving's two interfaces.

Real sockets and the official messages; what TF Serving documents of its Predict calls,
no more: model, version and label; gRPC's status codes; REST's row ("instances" ->
"predictions") and column ("inputs" -> "outputs") form, base64 objects, a single output
without its name, binary where a name ends in `_bytes`, and {"error": message}. Unlike
TF Serving it can be told to fail or to be silent.
"""

import base64
import concurrent.futures
import http.server
import json
import os
import re
import threading

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

_PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:predict")
_HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class RefusalError(Exception):
    """A gRPC status code and its message."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Server(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Serves `<folder>/<model>/<version>` from construction to `close`.

    Args:
      folder: path of the models.
      labels: {model: {label: version}}.

    Attributes:
      grpc, rest: "localhost:port".
      requests: number of Predict calls so far.
      failures: how many of the next calls answer UNAVAILABLE (503).
      silent: whether calls stay without an answer, until `close`.
      asked: event that is set by the first call.
    """

    def __init__(self, folder, labels=None):
        self._models = {
            name: {
                int(version): tf.saved_model.load(os.path.join(folder, name, version))
                for version in os.listdir(os.path.join(folder, name))
            }
            for name in os.listdir(folder)
        }
        self._labels = labels or {}
        self._closing = threading.Event()
        self.requests = self.failures = 0
        self.silent = False
        self.asked = threading.Event()

        self._grpc = grpc.server(
            concurrent.futures.ThreadPoolExecutor(4),
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            self, self._grpc
        )
        self.grpc = f"localhost:{self._grpc.add_insecure_port('localhost:0')}"
        self._grpc.start()

        handler = type("Handler", (_RestHandler,), {"predictor": self})
        self._rest = http.server.ThreadingHTTPServer(("localhost", 0), handler)
        self.rest = f"localhost:{self._rest.server_port}"
        threading.Thread(target=self._rest.serve_forever, daemon=True).start()

    def close(self):
        self._closing.set()
        self._grpc.stop(None)
        self._rest.shutdown()
        self._rest.server_close()

    def signature(self, name, version, label, signature_name):
        """Looks a signature up in TF Serving's order, with its messages."""
        self.requests += 1
        self.asked.set()
        if self.silent:
            self._closing.wait()
        if self.failures:
            self.failures -= 1
            raise RefusalError(
                grpc.StatusCode.UNAVAILABLE, "The queue is full (a test)"
            )
        if label:
            version = self._labels.get(name, {}).get(label)
            if version is None:
                raise RefusalError(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"Unrecognized servable version label: {label}",
                )
        versions = self._models.get(name, {})
        if not versions or (version is not None and version not in versions):
            wanted = f"Latest({name})"
            if version is not None:
                wanted = f"Specific({name}, {version})"
            raise RefusalError(
                grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}"
            )
        chosen = max(versions) if version is None else version
        signature_name = signature_name or "serving_default"
        if signature_name not in versions[chosen].signatures:
            raise RefusalError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f'Serving signature key "{signature_name}" not found.',
            )
        return versions[chosen].signatures[signature_name], chosen

    def run(self, signature, inputs):
        """{name: array} -> {name: array}, refusing what TF Serving refuses."""
        expected = signature.structured_input_signature[1]
        if set(inputs) != set(expected):
            raise RefusalError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"input names {sorted(inputs)} are not {sorted(expected)}",
            )
        tensors = {}
        for name, value in inputs.items():
            if tf.as_dtype(value.dtype) != expected[name].dtype:
                raise RefusalError(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    f"input {name} is {value.dtype}, not {expected[name].dtype.name}",
                )
            tensors[name] = tf.constant(value, expected[name].dtype)
        try:
            return {name: t.numpy() for name, t in signature(**tensors).items()}
        except tf.errors.OpError as error:
            raise RefusalError(_CODES[error.error_code], error.message) from None

    def Predict(self, request, context):  # noqa: N802 - the service's name.
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        try:
            signature, chosen = self.signature(
                spec.name, version, spec.version_label, spec.signature_name
            )
            inputs = {n: tf.make_ndarray(t) for n, t in request.inputs.items()}
            outputs = self.run(signature, inputs)
        except RefusalError as refusal:
            context.abort(refusal.code, str(refusal))
        response = predict_pb2.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = chosen
        for name in request.output_filter or outputs:
            response.outputs[name].CopyFrom(tf.make_tensor_proto(outputs[name]))
        return response


class _RestHandler(http.server.BaseHTTPRequestHandler):
    predictor = None

    def do_POST(self):
        try:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = 200, self._predict(body)
        except RefusalError as refusal:
            status, answer = _HTTP_STATUS[refusal.code], {"error": str(refusal)}
        data = json.dumps(answer).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            pass  # The client has hung up.

    def _predict(self, body):
        found = _PATH.fullmatch(self.path)
        if not found:
            raise RefusalError(
                grpc.StatusCode.INVALID_ARGUMENT, f"Malformed request: POST {self.path}"
            )
        name, version, label = found.groups()
        try:
            request = json.loads(body)
        except ValueError:
            raise RefusalError(
                grpc.StatusCode.INVALID_ARGUMENT, "JSON Parse error: Invalid value."
            ) from None
        signature, _ = self.predictor.signature(
            name, version and int(version), label, request.get("signature_name")
        )
        rows = request.get("instances")
        columns = request.get("inputs")
        if (rows is None) == (columns is None):
            raise RefusalError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "Request must have either 'instances' or 'inputs'",
            )
        if columns is None:
            columns = {key: [row[key] for row in rows] for key in rows[0]}
        expected = signature.structured_input_signature[1]
        inputs = {
            key: _to_array(value, expected[key].dtype if key in expected else None)
            for key, value in columns.items()
        }
        outputs = {
            key: _to_json(value, key)
            for key, value in self.predictor.run(signature, inputs).items()
        }
        alone = next(iter(outputs.values())) if len(outputs) == 1 else None
        if rows is None:
            return {"outputs": outputs if alone is None else alone}
        if alone is not None:
            return {"predictions": alone}
        values = zip(*outputs.values(), strict=True)
        return {"predictions": [dict(zip(outputs, row, strict=True)) for row in values]}

    def log_message(self, *_):
        pass


def _to_array(value, dtype):
    if dtype != tf.string:
        return np.array(value, dtype and dtype.as_numpy_dtype)

    def text(item):
        if isinstance(item, list):
            return [text(entry) for entry in item]
        if isinstance(item, dict):
            return base64.b64decode(item["b64"], validate=True)
        return item.encode()

    return np.array(text(value), object)


def _to_json(value, name):
    if value.dtype != object:
        return value.tolist()

    def text(item):
        if isinstance(item, list):
            return [text(entry) for entry in item]
        if name.endswith("_bytes"):
            return {"b64": base64.b64encode(item).decode()}
        return item.decode()

    return text(value.tolist())
