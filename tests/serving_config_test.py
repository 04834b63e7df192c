"""TF Serving's configuration files hold what it reads, and name what is there."""

import os
import re

import pytest
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

FOLDER = os.path.join(os.path.dirname(os.path.dirname(__file__)), "serving")
METHODS = {
    "parallel_attention",
    "symmetric_search",
    "context_encoder",
    "glcic",
    "giica",
    "siidgm",
}
_INT64 = "google.protobuf.Int64Value"
# The package tensorflow-serving-api has no Python form of these two messages. Names and
# types as TF Serving publishes them, in session_bundle_config.proto and
# monitoring_config.proto (numbers do not show in text).
_MESSAGES = {
    "BatchingParameters": [
        ("max_batch_size", 1, _INT64),
        ("batch_timeout_micros", 2, _INT64),
        ("max_enqueued_batches", 3, _INT64),
        ("num_batch_threads", 4, _INT64),
        ("pad_variable_length_inputs", 7, bool),
        ("enable_large_batch_splitting", 8, "google.protobuf.BoolValue"),
        ("max_execution_batch_size", 9, _INT64),
    ],
    "PrometheusConfig": [("enable", 1, bool), ("path", 2, str)],
    "MonitoringConfig": [("prometheus_config", 1, "published.PrometheusConfig")],
}


def read(name):
    with open(os.path.join(FOLDER, name), encoding="utf-8") as file:
        return file.read()


def published_message(name):
    """An empty message of one of the types above."""
    field_types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="published.proto",
        package="published",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for field, number, kind in fields:
            added = described.field.add(name=field, number=number, label=1)
            if isinstance(kind, str):
                added.type, added.type_name = field_types.TYPE_MESSAGE, f".{kind}"
            else:
                added.type = {
                    bool: field_types.TYPE_BOOL,
                    str: field_types.TYPE_STRING,
                }[kind]
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName(f"published.{name}")
    return message_factory.GetMessageClass(descriptor)()


def served_models():
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse(read("models.config"), config)
    return list(config.model_config_list.config)


def test_every_method_is_served_from_the_folder_of_its_name():
    models = served_models()
    assert sorted(model.name for model in models) == sorted(METHODS)
    for model in models:
        assert model.base_path == f"/models/{model.name}"
        assert model.model_platform == "tensorflow"


def test_labels_name_versions_that_the_policy_loads():
    for model in served_models():
        loaded = set(model.model_version_policy.specific.versions)
        assert set(model.version_labels) == {"stable", "canary"}
        assert set(model.version_labels.values()) <= loaded, model.name


def test_batching_executes_pictures_alone_and_queues_a_whole_request():
    batching = text_format.Parse(
        read("batching.config"), published_message("BatchingParameters")
    )
    assert batching.enable_large_batch_splitting.value
    assert batching.max_execution_batch_size.value == 1
    assert not batching.pad_variable_length_inputs
    assert batching.num_batch_threads.value >= 1
    # A split request must fit into the queue, or it would never be accepted.
    assert batching.max_enqueued_batches.value >= batching.max_batch_size.value > 1


def test_monitoring_is_on():
    monitoring = text_format.Parse(
        read("monitoring.config"), published_message("MonitoringConfig")
    )
    assert monitoring.prometheus_config.enable
    assert monitoring.prometheus_config.path.startswith("/")
    assert monitoring.prometheus_config.path in read("compose.yaml")


def test_a_misspelt_field_is_noticed():
    with pytest.raises(text_format.ParseError, match="max_batchsize"):
        text_format.Parse(
            read("batching.config").replace("max_batch_size", "max_batchsize"),
            published_message("BatchingParameters"),
        )


def test_compose_mounts_and_names_files_that_exist():
    compose = read("compose.yaml")
    mounts = dict(re.findall(r"^ +- ([^$\s:]+):(/\w+):ro$", compose, re.MULTILINE))
    assert mounts == {".": "/config"}
    # Relative paths are relative to the file.
    folder = os.path.join(FOLDER, ".")
    named = re.findall(r"--(\w+_file)=/config/(\S+)", compose)
    assert sorted(flag for flag, _ in named) == [
        "batching_parameters_file",
        "model_config_file",
        "monitoring_config_file",
    ]
    for _, name in named:
        assert os.path.isfile(os.path.join(folder, name)), name


def test_compose_serves_the_exports_where_the_models_are_looked_for():
    compose = read("compose.yaml")
    assert re.search(r"^ +- \$\{EXPORT_DIR:-\S+\}:/models:ro$", compose, re.MULTILINE)
    # Labels are given at the start, when no version is loaded yet.
    assert "--allow_version_labels_for_unavailable_models=true" in compose
    assert re.search(r"image: tensorflow/serving:2\.\d+\.\d+$", compose, re.MULTILINE)
