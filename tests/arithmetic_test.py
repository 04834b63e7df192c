"""Multiply-adds are counted as closed formulas have them."""

import keras
import pytest
import tensorflow as tf

from baselines.glcic import GLCIC
from command_line import summary
from inpainting_tf.arithmetic import multiply_adds
from inpainting_tf.contextual_attention import contextual_attention
from inpainting_tf.parallel_attention import ParallelAttention


def test_a_convolution_counts_its_kernel_at_every_position_of_its_output():
    kernel = tf.ones([3, 5, 4, 6])

    def convolve(x):
        return tf.nn.conv2d(x, kernel, [1, 2, 1, 1], "SAME")

    assert multiply_adds(convolve, [2, 7, 9, 4]) == {"": 2 * 4 * 9 * 3 * 5 * 4 * 6}


def test_a_dilated_convolution_costs_what_a_dense_one_does():
    kernel = tf.ones([3, 3, 4, 6])

    def convolve(x):
        return tf.nn.conv2d(x, kernel, 1, "SAME", dilations=4)

    assert multiply_adds(convolve, [1, 16, 12, 4]) == {"": 16 * 12 * 3 * 3 * 4 * 6}


def test_a_transposed_convolution_counts_its_kernel_at_every_position_of_its_input():
    layer = keras.layers.Conv2DTranspose(5, 4, strides=2, padding="same")
    layer.build([None, 6, 8, 3])
    assert multiply_adds(layer, [2, 6, 8, 3]) == {"": 2 * 6 * 8 * 4 * 4 * 3 * 5}


def test_gradients_of_a_convolution_cost_it_twice_more():
    kernel = tf.ones([3, 3, 4, 6])

    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = tf.reduce_sum(tf.square(tf.nn.conv2d(x, kernel, 2, "SAME")))
        return tape.gradient(y, [x, kernel])

    forward = 2 * 4 * 5 * 3 * 3 * 4 * 6
    assert multiply_adds(gradients, [2, 8, 10, 4]) == {"": 3 * forward}


@pytest.mark.parametrize("transpose_a", [False, True])
def test_a_product_counts_its_depth_at_every_element_of_its_result(transpose_a):
    def product(a, b):
        return tf.matmul(a, b, transpose_a=transpose_a)

    left = [2, 5, 3] if transpose_a else [2, 3, 5]
    assert multiply_adds(product, left, [2, 5, 7]) == {"": 2 * 3 * 5 * 7}
    assert multiply_adds(product, left[1:], [5, 7]) == {"": 3 * 5 * 7}


def test_glcic_at_published_width_has_the_arithmetic_of_its_published_layers():
    model = GLCIC(image_size=128)

    def kernels(side, *layers):
        return sum(side**2 * k * k * a * b for k, a, b in layers)

    expected = (
        kernels(128, (5, 4, 64), (3, 64, 32), (3, 32, 3))
        + kernels(64, (3, 64, 128), (3, 128, 128), (3, 128, 128), (4, 128, 64))
        + kernels(32, (3, 128, 256), *[(3, 256, 256)] * 8, (4, 256, 128))
    )
    counted = multiply_adds(
        model.call, [1, 128, 128, 3], [1, 128, 128, 1], networks=["completion"]
    )
    assert counted == {"completion": expected}


def test_a_network_is_found_inside_the_method_and_its_gradients_with_it():
    # Features of 16 x 16, which all dilations divide: padding would count in gradients.
    model = ParallelAttention(image_size=64, width=0.05)

    def update(image, mask, box):
        return model.update(
            {"image": image, "mask": mask, "box": tf.cast(box, "int32")}
        )

    counted = multiply_adds(
        update,
        *([2, 64, 64, 3], [2, 64, 64, 1], [2, 4]),
        networks=["completion", "discriminator"],
    )
    forward = multiply_adds(
        model.call, [2, 64, 64, 3], [2, 64, 64, 1], networks=["completion"]
    )
    assert set(counted) == {"completion", "discriminator"}
    # Forward, to the kernels, to the inputs: those of the first layers are not needed.
    assert 2.5 * forward["completion"] < counted["completion"]
    assert counted["completion"] < 3 * forward["completion"]


def test_diagonal_attention_computes_a_ninth_and_a_quarter_of_the_patches_form():
    batch, side, channels = 2, 16, 8
    positions = side // 2
    counted = multiply_adds(
        lambda f, b: contextual_attention(f, b, rate=2),
        *[[batch, side, side, channels]] * 2,
    )

    def aligned(length):  # The least of 15, 31, 47, ... that is not below it.
        return next(n for n in range(15, 1000, 16) if n >= length)

    norm = positions**2 * 9
    # Zeros stand round both pictures and one row more below the foreground.
    rows, columns = (positions + 3) * (positions + 2), (positions + 2) ** 2
    match = rows * aligned(columns) * channels
    rows, columns = (positions + 1) ** 2, (positions + 2) * (positions + 1)
    paste = rows * aligned(columns) * 4 * channels
    assert counted == {"": batch * (norm + match + paste)}


def test_of_branches_the_dearest_counts():
    small, large = tf.ones([3, 3]), tf.ones([3, 40])

    def choose(x):
        def project(matrix):
            return lambda: tf.reduce_sum(tf.matmul(x, matrix))

        return tf.cond(tf.reduce_sum(x) > 0, project(small), project(large))

    assert multiply_adds(choose, [2, 3]) == {"": 2 * 3 * 40}


def test_what_no_result_needs_does_not_count():
    def function(x):
        tf.matmul(x, x)
        return x + 1

    assert not multiply_adds(function, [3, 3])


def test_unknown_sizes_and_products_in_loops_are_refused():
    with pytest.raises(ValueError, match="unknown sizes"):
        multiply_adds(lambda x: tf.matmul(x, x), [None, 3])

    def loop(x, **options):
        return tf.while_loop(
            lambda i, _: i < 3, lambda i, y: (i + 1, tf.matmul(y, x)), (0, x), **options
        )

    with pytest.raises(ValueError, match="how often it runs"):
        multiply_adds(loop, [3, 3])
    counted = multiply_adds(lambda x: loop(x, maximum_iterations=5), [3, 3])
    assert counted == {"": 5 * 3**3}


def test_attention_by_rows_costs_each_product_once_and_gradients_their_halos():
    side, channels = 16, 8

    def attend(x, memory_mb):
        return contextual_attention(x, x, memory_mb=memory_mb, fuse=False)[0]

    def gradients(x, memory_mb):
        with tf.GradientTape() as tape:
            tape.watch(x)
            output = attend(x, memory_mb)
        return tape.gradient(output, x)

    shape = [1, side, side, channels]
    positions = side**2
    # Each row meets the background once, four round the first row before all others;
    # with zeros beside rows and columns, to multiples of 16.
    match = (side + 3) * (side + 2) * (side + 2 + 14) + (side + 3) * 15
    paste = (side + 1) * ((side + 2) * (side + 1) + 13)
    norm = 9 * positions
    forward = (side + 4) * match * channels + (side + 1) * paste * channels + norm
    assert multiply_adds(lambda x: attend(x, 1e-5), shape) == {"": forward}
    more = multiply_adds(lambda x: gradients(x, 1e-5), shape).total()
    # By blocks of one row: products of three, a row of output blocks for each side of
    # it; the attention again, then from the output to both factors of both products.
    match = 3 * side * positions * channels
    paste = 2 * (side + 1) ** 3 * channels
    assert more == side * (match + norm) + side * (2 * paste + 2 * match + norm)


def test_the_summary_adds_up():
    model = GLCIC(image_size=64, width=0.1)
    title, _, *rows, ending = summary.describe(model, image_size=64, batch_size=4)
    assert "64x64" in title and "4 pictures" in ending
    table = {name: numbers for name, *numbers in map(str.split, rows)}
    assert set(table) == {"completion", "discriminator", "together"}
    forward, step = (float(x.replace(",", "")) for x in table["completion"][1:])
    assert 2.5 * 4 * forward < step < 3 * 4 * forward
    assert table["discriminator"][1] == "-"
    assert table["together"][0] == f"{model.count_params():,}"
    together = float(table["together"][2].replace(",", ""))
    assert together == pytest.approx(
        sum(float(table[name][2].replace(",", "")) for name in list(table)[:2]), abs=0.2
    )
