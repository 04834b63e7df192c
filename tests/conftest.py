"""Two logical CPU devices for all tests, so that mirroring runs for real."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest
import tensorflow as tf

tf.config.set_visible_devices([], "GPU")
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * 2,
)


@pytest.fixture(scope="session")
def mirrored():
    """One strategy for all tests: a process numbers its collectives only once."""
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
