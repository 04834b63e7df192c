"""Requests to TF Serving, over gRPC or REST, and when to repeat one.

Both ask the signature `encoded`, whose pictures are files: PNG bytes of a photo and of
its mask go out, PNG bytes of the completed photo come back. One photo per request,
since one that the model refuses would fail every other of its request.

REST needs no TensorFlow; the messages of gRPC are those of tensorflow-serving-api, which
imports it.
"""

import base64
import http.client
import json
import random
import time
import urllib.parse

import grpc

from inpainting_tf.tensorflow_errors import in_one_line

SIGNATURE = "encoded"
OUTPUT = "completed_bytes"
_STRING = 7  # DT_STRING of TensorFlow's types.proto.
LONGEST_WAIT = 30.0  # Seconds between two attempts.


class RequestError(Exception):
    """A request without a completed photo; the message is one line.

    Attributes:
      retry: whether the same request may well succeed a little later.
      every_request: whether the next photo would fail alike (no server, no model).
    """

    def __init__(self, message, *, retry=False, every_request=False):
        super().__init__(message)
        self.retry = retry
        self.every_request = every_request


def connect(transport, server, model, *, version=None, label=None, timeout=120.0):
    """Prepares requests to one model; nothing is sent yet.

    Args:
      transport: "grpc" or "rest".
      server: "host:port"; for REST also "http://host:port" or "https://...".
      model: name as in models.config.
      version: int, or None for the newest.
      label: version label as in models.config, or None.
      timeout: seconds for one attempt.

    Returns:
      an object with `complete(photo_png, mask_png) -> completed_png`, which raises
      RequestError, and `close()`.

    Raises:
      ValueError: `server` has another form.
    """
    kind = {"grpc": GrpcModel, "rest": RestModel}[transport]
    return kind(server, model, version=version, label=label, timeout=timeout)


def with_retries(request, retries, first_wait=0.5, sleep=time.sleep):
    """Repeats a request while it fails in a way that may pass.

    Args:
      request: function without arguments, raising RequestError.
      retries: attempts after the first one.
      first_wait: seconds before the second attempt; it doubles from then on, up to
        LONGEST_WAIT, and each wait is cut short at random by up to a half, so that
        clients that failed together do not come back together.
      sleep: function that waits for so many seconds.

    Returns:
      what `request` returns.

    Raises:
      RequestError: not worth repeating, or still failing after the last attempt.
    """
    for attempt in range(retries + 1):
        try:
            return request()
        except RequestError as error:
            if not error.retry:
                raise
            if attempt == retries:
                times = f" ({attempt + 1} attempts)" if attempt else ""
                raise RequestError(
                    f"{error}{times}", every_request=error.every_request
                ) from None
        longest = min(first_wait * 2**attempt, LONGEST_WAIT)
        sleep(longest * random.uniform(0.5, 1.0))


class RestModel:
    """One model behind TF Serving's REST interface; arguments as in `connect`."""

    def __init__(self, server, model, *, version, label, timeout):
        url = urllib.parse.urlsplit(server if "://" in server else f"http://{server}")
        try:
            port = url.port
        except ValueError:
            port = None
        if url.scheme not in ("http", "https") or not url.hostname or not port:
            raise ValueError(f"--server={server} must be host:port or http://host:port")
        kind = http.client.HTTPConnection
        if url.scheme == "https":
            kind = http.client.HTTPSConnection
        self._connect = lambda: kind(url.hostname, port, timeout=timeout)
        self._path = url.path.rstrip("/")
        self._path += f"/v1/models/{urllib.parse.quote(model, '')}"
        if version is not None:
            self._path += f"/versions/{version}"
        if label is not None:
            self._path += f"/labels/{urllib.parse.quote(label, '')}"
        self._path += ":predict"
        self._names = _Names(server, model, version, label, timeout)

    def complete(self, photo_png, mask_png):
        """PNG bytes of a photo and its mask -> PNG bytes; raises RequestError."""
        row = {"image": _to_json(photo_png), "mask": _to_json(mask_png)}
        body = json.dumps({"signature_name": SIGNATURE, "instances": [row]})
        connection = self._connect()
        try:
            connection.request(
                "POST", self._path, body, {"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            status, answer = response.status, response.read()
        except TimeoutError:
            raise self._names.timed_out() from None
        except OSError as error:
            raise self._names.unreachable(error.strerror or str(error)) from None
        except http.client.HTTPException as error:
            raise self._names.unreachable(
                f"no HTTP answer, {type(error).__name__}; REST is port 8501 where gRPC "
                "is 8500"
            ) from None
        finally:
            connection.close()
        if status != 200:
            raise self._refused(status, answer)
        try:
            # The only output, so no name stands before its values; base64 because its
            # name ends in _bytes.
            (value,) = json.loads(answer)["predictions"]
            return base64.b64decode(value["b64"], validate=True)
        except (ValueError, KeyError, TypeError):
            raise self._names.without_output() from None

    def _refused(self, status, answer):
        try:
            message = json.loads(answer)["error"]
        except (ValueError, KeyError, TypeError):
            message = f"HTTP status {status}"
        if status == 404:
            return self._names.not_found(message)
        # 429, 502 and 504 come from proxies too, when a server is busy or restarts.
        if status in (429, 502, 503):
            return self._names.unavailable(message)
        if status in (408, 504):
            return self._names.timed_out()
        return self._names.refused(message)

    def close(self):
        pass


class GrpcModel:
    """One model behind TF Serving's gRPC interface; arguments as in `connect`."""

    def __init__(self, server, model, *, version, label, timeout):
        if "://" in server or not server.rpartition(":")[2].isdigit():
            raise ValueError(f"--server={server} must be host:port")
        # Takes seconds, as it imports TensorFlow, which REST goes without.
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

        self._channel = grpc.insecure_channel(
            server,
            options=[
                # Photos pass the default of 4 MB; the models limit their size.
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.enable_retries", 0),  # `with_retries` does that.
                ("grpc.enable_http_proxy", 0),  # As REST: straight to the server.
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ],
        )
        stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._predict = stub.Predict
        self._request = predict_pb2.PredictRequest(output_filter=[OUTPUT])
        self._request.model_spec.name = model
        self._request.model_spec.signature_name = SIGNATURE
        if version is not None:
            self._request.model_spec.version.value = version
        if label is not None:
            self._request.model_spec.version_label = label
        self._timeout = timeout
        self._names = _Names(server, model, version, label, timeout)

    def complete(self, photo_png, mask_png):
        """PNG bytes of a photo and its mask -> PNG bytes; raises RequestError."""
        request = type(self._request)()
        request.CopyFrom(self._request)
        for name, data in (("image", photo_png), ("mask", mask_png)):
            tensor = request.inputs[name]
            tensor.dtype = _STRING
            tensor.tensor_shape.dim.add(size=1)
            tensor.string_val.append(data)
        try:
            response = self._predict(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise self._failed(error.code(), error.details() or "") from None
        values = response.outputs[OUTPUT].string_val
        if len(values) != 1:
            raise self._names.without_output()
        return values[0]

    def _failed(self, code, details):
        if code == grpc.StatusCode.UNAVAILABLE:
            reason = details.lower()
            if "http1" in reason or "http/" in reason:
                details = "no gRPC answer; gRPC is port 8500 where REST is 8501"
            elif "connect" in reason:
                details = "Connection refused" if "refused" in reason else details
            else:
                return self._names.unavailable(details)
            return self._names.unreachable(details)
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return self._names.timed_out()
        if code == grpc.StatusCode.NOT_FOUND:
            return self._names.not_found(details)
        if code != grpc.StatusCode.INVALID_ARGUMENT:
            details = f"{code.name}: {details}"
        return self._names.refused(details)

    def close(self):
        self._channel.close()


class _Names:
    """The same failure in the same words, whatever the transport."""

    def __init__(self, server, model, version, label, timeout):
        self.server = server
        self.model = model
        if version is not None:
            self.model += f" version {version}"
        if label is not None:
            self.model += f" label {label}"
        self.timeout = timeout

    def unreachable(self, reason):
        return RequestError(
            f"{self.server} cannot be reached: {in_one_line(reason)}; start TF Serving "
            "or name another --server",
            retry=True,
            every_request=True,
        )

    def unavailable(self, reason):
        return RequestError(
            f"{self.server} is not available: {in_one_line(reason)}",
            retry=True,
            every_request=True,
        )

    def timed_out(self):
        return RequestError(
            f"no answer from {self.server} within {self.timeout:g} s; a longer "
            "--timeout may help",
            retry=True,
        )

    def not_found(self, reason):
        return RequestError(
            f"{self.server} does not serve {self.model}: {in_one_line(reason)}",
            every_request=True,
        )

    def refused(self, reason):
        # TF Serving calls an unknown label an invalid argument.
        if "version label" in reason:
            return self.not_found(reason)
        return RequestError(f"{self.model} refused it: {in_one_line(reason)}")

    def without_output(self):
        return RequestError(
            f"{self.server} answered without {OUTPUT}; is {self.model} a model that "
            "export.py wrote?",
            every_request=True,
        )


def _to_json(data):
    return {"b64": base64.b64encode(data).decode("ascii")}
