"""Timing in turns: what else a machine does falls on everything that is compared.

Programs are given as functions without arguments that return tensors; they count as
done once these can be read.
"""

import statistics
import time

import tensorflow as tf


def seconds_of(function):
    """Seconds from the call until all its tensors are there."""
    began = time.perf_counter()
    for tensor in tf.nest.flatten(function()):
        tensor.numpy()
    return time.perf_counter() - began


def in_turns(functions, rounds, warm_up=2):
    """Runs every function once a round, backwards in every other round.

    Args:
      functions: dict name -> function without arguments.
      rounds: int.
      warm_up: rounds before, not timed.

    Returns:
      dict name -> list of seconds, one per round.
    """
    for _ in range(warm_up):
        for function in functions.values():
            seconds_of(function)
    seconds = {name: [] for name in functions}
    for index in range(rounds):
        for name in list(functions)[:: -1 if index % 2 else 1]:
            seconds[name].append(seconds_of(functions[name]))
    return seconds


def ratios(slow, fast):
    """How many times longer, round by round."""
    return [a / b for a, b in zip(slow, fast, strict=True)]


def spread(values, form=".2f"):
    """Median and quartiles as text: "8.10 (7.90 to 8.40)"."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def matmul(size=2048):
    """A compiled float32 product, the machine's yardstick, and its multiply-adds.

    Returns:
      (function without arguments, multiply-adds of a call).
    """
    generator = tf.random.Generator.from_seed(0)
    a, b = generator.normal([2, size, size])
    product = tf.function(tf.matmul)
    # One element is read, so that copying the product does not count.
    return lambda: product(a, b)[0, 0], size**3
