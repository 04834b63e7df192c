"""The two gRPC messages of a Predict call, without TensorFlow.

tensorflow_serving.apis has them too, but imports all of TensorFlow for the type of a
tensor: seconds and hundreds of megabytes before a client could say that the server is
not there. Here are those fields that a call with strings needs, under the numbers that
TF Serving publishes in predict.proto, model.proto, tensor.proto and tensor_shape.proto;
what else a server sends is passed over.

    PredictRequest   model_spec { name, version { value }, signature_name,
                     version_label }, inputs: map of Tensor, output_filter
    PredictResponse  outputs: map of Tensor, model_spec
    Tensor           dtype, tensor_shape { dim { size } }, string_val
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PREDICT = "/tensorflow.serving.PredictionService/Predict"
DT_STRING = 7

_FIELD = descriptor_pb2.FieldDescriptorProto
# Message: {field: (number, type, repeated)}; an upper-case type is a message.
_FIELDS = {
    "Dim": {"size": (1, "int64", False)},
    "TensorShape": {"dim": (2, "Dim", True)},
    "Tensor": {
        "dtype": (1, "int32", False),  # An enum, which travels as an integer.
        "tensor_shape": (2, "TensorShape", False),
        "string_val": (8, "bytes", True),
    },
    "Version": {"value": (1, "int64", False)},
    "ModelSpec": {
        "name": (1, "string", False),
        "version": (2, "Version", False),
        "signature_name": (3, "string", False),
        "version_label": (4, "string", False),
    },
    "PredictRequest": {
        "model_spec": (1, "ModelSpec", False),
        "inputs": (2, "PredictRequest.InputsEntry", True),
        "output_filter": (3, "string", True),
    },
    "PredictResponse": {
        "outputs": (1, "PredictResponse.OutputsEntry", True),
        "model_spec": (2, "ModelSpec", False),
    },
}
_MAP_ENTRY = {"key": (1, "string", False), "value": (2, "Tensor", False)}


def _describe(message, fields):
    for name, (number, kind, repeated) in fields.items():
        field = message.field.add(name=name, number=number)
        field.label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
        if kind[0].isupper():
            field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".predict.{kind}"
        else:
            field.type = getattr(_FIELD, f"TYPE_{kind.upper()}")


def _message_classes():
    file = descriptor_pb2.FileDescriptorProto(
        name="predict.proto", package="predict", syntax="proto3"
    )
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        _describe(message, fields)
        for _, kind, _ in fields.values():
            if kind.startswith(f"{name}."):  # protobuf's form of a map.
                entry = message.nested_type.add(name=kind.rpartition(".")[2])
                entry.options.map_entry = True
                _describe(entry, _MAP_ENTRY)
    pool = descriptor_pool.DescriptorPool()  # Its own, beside TensorFlow's.
    pool.Add(file)
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"predict.{name}"))
        for name in ("PredictRequest", "PredictResponse")
    ]


PredictRequest, PredictResponse = _message_classes()


def set_string(tensor, value):
    """Makes an empty tensor the strings [value], shape [1]."""
    tensor.dtype = DT_STRING
    tensor.tensor_shape.dim.add(size=1)
    tensor.string_val.append(value)
