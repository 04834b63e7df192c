"""Convolutions that CPUs are fast at, in little memory: dilated, and enlarging ones.

Inputs `[B, H, W, C]`, any value range; results are Keras's, up to rounding.
"""

import keras
import tensorflow as tf

from inpainting_tf.layers import sizes

# Larger pictures are enlarged strip by strip.
PIXELS_PER_STRIP = 2**15


@keras.saving.register_keras_serializable(package="inpainting_tf")
class Conv2D(keras.layers.Conv2D):
    """Keras's layer, whose dilated kernels have a gradient that is fast on CPUs.

    TensorFlow's own gains nothing from large tiles there: it cuts the picture into
    dilation**2 small ones, and takes up to 19 times as long as the forward pass.
    """

    def convolution_op(self, inputs, kernel):
        """Overrides Keras's; `[B, H, W, C]` and `[k, k, C, D]` -> `[B, h, w, D]`."""
        dilation, across = self.dilation_rate
        odd = all(side % 2 for side in self.kernel_size)
        plain = odd and dilation == across and self.data_format == "channels_last"
        if dilation == 1 or not plain or self.groups > 1:
            return super().convolution_op(inputs, kernel)
        return _dilated_convolution(inputs, kernel, dilation, self.padding.upper())


def _dilated_convolution(x, kernel, dilation, padding):
    """Convolution by an odd kernel; Keras lets a dilated one have no strides."""

    @tf.custom_gradient
    def convolve(x, kernel):
        scope = tf.get_current_name_scope()

        def gradient(upstream):
            # In the layer's scope, so that profiles and counts find it there.
            with tf.name_scope(f"{scope}/" if scope else "convolution"):
                return of_both(upstream)

        def of_both(upstream):
            turned = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])
            around = upstream
            if padding == "VALID":
                height, width = (dilation * (side - 1) for side in kernel.shape[:2])
                borders = [[0, 0], [height, height], [width, width], [0, 0]]
                around = tf.pad(upstream, borders)
            of_x = _dilated_convolution(around, turned, dilation, padding)
            # By TensorFlow's way, the only one there is; a graph leaves out y itself.
            with tf.GradientTape() as tape:
                tape.watch(kernel)
                y = tf.nn.convolution(x, kernel, 1, padding, dilations=dilation)
            of_kernel = tape.gradient(y, kernel, output_gradients=upstream)
            return of_x, of_kernel

        return tf.nn.conv2d(x, kernel, 1, padding, dilations=dilation), gradient

    return convolve(x, tf.convert_to_tensor(kernel))


@keras.saving.register_keras_serializable(package="inpainting_tf")
class DoublingConv2D(Conv2D):
    """A convolution of doubled pixels, without doubling them: `[B, 2 H, 2 W, D]`.

    An odd kernel that meets each pixel twice is an even one of a transposed convolution
    with stride 2, up to rounding: 4 multiplications for 9 of a 3 x 3 kernel, and no
    picture of four times the size between.
    """

    def __init__(self, filters, kernel_size, padding="same", **options):
        """
        Args: of Keras's Conv2D, with zeros beyond the borders.

        Raises:
          ValueError: another padding, even sides of the kernel, or strides, dilation,
            groups or a data format, which it cannot have.
        """
        super().__init__(filters, kernel_size, padding=padding, **options)
        plain = (self.strides, self.dilation_rate, self.groups) == ((1, 1), (1, 1), 1)
        odd = all(side % 2 for side in self.kernel_size)
        if not (
            plain and odd and padding == "same" and self.data_format == "channels_last"
        ):
            raise ValueError(
                'DoublingConv2D: takes odd kernels and padding="same" only, without '
                "strides, dilation, groups, or channels first"
            )

    def convolution_op(self, inputs, kernel):
        """Overrides Keras's; zeros beyond the borders ("same"), stride 1."""
        width = sizes(inputs)[2]
        kernel = tf.convert_to_tensor(kernel)
        # From both pixels of a pair: where the kernel meets the one or the other.
        for axis in (0, 1):
            before, after = ([[0, 0]] * 4 for _ in range(2))
            before[axis], after[axis] = [1, 0], [0, 1]
            kernel = tf.pad(kernel, before) + tf.pad(kernel, after)
        kernel = tf.transpose(kernel[::-1, ::-1], [0, 1, 3, 2])

        def enlarged(x, rows):
            shape = [sizes(x)[0], 2 * rows, 2 * width, self.filters]
            return tf.nn.conv2d_transpose(x, kernel, shape, 2, "SAME")

        reach = (self.kernel_size[0] + 1) // 4
        return _strip_by_strip(enlarged, inputs, reach)

    def compute_output_shape(self, input_shape):
        """Overrides Keras's, for symbolic inputs."""
        batch, *sides, _ = input_shape
        return batch, *(None if n is None else 2 * n for n in sides), self.filters


@keras.saving.register_keras_serializable(package="inpainting_tf")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """Keras's layer, which takes large pictures strip by strip.

    Where it doubles the sides by a 4 x 4 kernel; others are Keras's as they are.
    """

    def call(self, inputs):
        """Overrides Keras's, with its results up to rounding."""
        doubles = (self.kernel_size, self.strides) == ((4, 4), (2, 2))
        same = self.padding == "same" and self.output_padding is None
        if not (doubles and same and self.data_format == "channels_last"):
            return super().call(inputs)
        enlarge = super().call  # Bias and activation meet every pixel alone.
        return _strip_by_strip(lambda x, _: enlarge(x), inputs, reach=1)


def _strip_by_strip(enlarged, x, reach):
    """`enlarged` of pictures, or of strips of large ones.

    For a transposed convolution TensorFlow unrolls a whole picture on CPUs, to as many
    times its size as the kernel has elements.

    Args: see `_in_strips`.
    """
    _, height, width, _ = sizes(x)
    fits = height * width <= PIXELS_PER_STRIP
    if tf.is_tensor(fits):
        return tf.cond(
            fits, lambda: enlarged(x, height), lambda: _in_strips(enlarged, x, reach)
        )
    return enlarged(x, height) if fits else _in_strips(enlarged, x, reach)


def _in_strips(enlarged, x, reach):
    """Pictures in horizontal strips, each with some rows of its neighbours.

    Args:
      enlarged: function of pictures [B, h, W, C] and h that doubles both sides.
      x: [B, H, W, C].
      reach: rows up and down that a row of the result depends on.
    """
    batch, height, width, channels = sizes(x)
    most = tf.maximum if tf.is_tensor(width) else max
    rows = most(1, PIXELS_PER_STRIP // width)
    count = -(-height // rows)
    below = count * rows - height + reach
    x = tf.pad(x, [[0, 0], [reach, below], [0, 0], [0, 0]])
    place = tf.range(count)[:, tf.newaxis] * rows + tf.range(rows + 2 * reach)
    strips = tf.gather(x, place, axis=1)
    strips = tf.reshape(strips, [-1, rows + 2 * reach, width, channels])
    strips = enlarged(strips, rows + 2 * reach)
    strips = strips[:, 2 * reach : 2 * (reach + rows)]
    joined = tf.reshape(strips, [batch, 2 * count * rows, 2 * width, sizes(strips)[-1]])
    return joined[:, : 2 * height]
