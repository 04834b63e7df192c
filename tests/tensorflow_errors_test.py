"""TensorFlow's words for what went wrong, as users are told them."""

import pytest
import tensorflow as tf

from inpainting_tf.tensorflow_errors import in_one_line
from web_page import job


@tf.function
def refuse_ones(values):
    tf.debugging.assert_less(values, 1.0, message="values too large")
    return values


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            "assertion failed: [too large:] [9] [pixels] [Condition x <= y did not "
            "hold element-wise:] [x (a:0) = ] [9]\n\t [[{{node Assert}}]]",
            "too large: 9 pixels",
        ),
        (
            "Unknown image file format.\n\t [[{{node map/DecodeImage}}]]",
            "Unknown image file format.",
        ),
        (
            "2 root error(s) found.\n  (0) INVALID_ARGUMENT: damaged\n\t "
            "[[{{node a}}]]\n  (1) INVALID_ARGUMENT: damaged",
            "(0) INVALID_ARGUMENT: damaged",
        ),
        ("The queue is full\nmore", "The queue is full"),
        ("", "no reason given"),
    ],
)
def test_messages_of_tensorflow_become_one_line(message, line):
    assert in_one_line(message) == line


def test_a_failed_graph_says_why_and_not_that_it_failed():
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        refuse_ones(tf.ones(3))
    assert len(caught.value.message.splitlines()) > 1
    assert in_one_line(caught.value.message) == "values too large"
    assert job._in_words(caught.value) == "This method failed: values too large"
