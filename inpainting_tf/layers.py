"""Small pieces shared by the networks: channel counts, layers in turn, batch
normalisation, resampling.

`resize_nearest_aligned` is the nearest-neighbour resize of the original GIICA
program (Yu et al. 2018, TensorFlow 1's `align_corners=True`), which TensorFlow 2's
`tf.image.resize` no longer offers. Input and output: `[B, H, W, C]`, any dtype, any
value range; values are copied, never mixed.
"""

import keras
import tensorflow as tf


def scaled_channels(width):
    """Function from a published channel count to the one that is built, at least 1.

    Args:
      width: multiplier on channel counts, 1 = as published.

    Raises:
      ValueError: width not above 0.
    """
    if width <= 0:
        raise ValueError(f"--width={width}: must be above 0 (1 = as published)")
    return lambda channels: max(1, round(channels * width))


def through(network_layers, tensor, **options):
    """Calls layers one after another, each on the result of the one before.

    Args:
      network_layers: iterable of layers.
      tensor: input of the first.
      **options: keyword arguments of every call, such as `training`.
    """
    for layer in network_layers:
        tensor = layer(tensor, **options)
    return tensor


def leaky_relu(x, slope=0.2):
    """max(x, slope x), for slopes below 1."""
    return tf.maximum(x, slope * x)  # TF 2.21's graph optimiser trips over its own op.


@keras.saving.register_keras_serializable(package="inpainting_tf")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's layer, by the statistics of the examples of all replicas together.

    So a batch that is shared out among devices or machines is normalised as on one, its
    gradients included, and all replicas keep the same moving statistics. Keras's own
    option for this, `synchronized`, sends three messages for each call where this sends
    one, and takes the variance as a difference of squares, which cancels where the mean
    is large.

    On one replica pictures are normalised by TensorFlow's fused operation, in half of
    the time of Keras's, which goes over them for each of its steps.
    """

    def call(self, inputs, training=None, mask=None):
        """Overrides Keras's, with its results up to rounding."""
        replica = tf.distribute.get_replica_context()
        fusible = (
            inputs.shape.rank == 4
            and inputs.dtype == tf.float32
            and self.axis in (-1, 3)
            and self.scale
            and self.center
            and mask is None
        )
        if not (training and self.trainable and fusible) or (
            replica is not None and replica.num_replicas_in_sync > 1
        ):
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(self.gamma),
            offset=tf.convert_to_tensor(self.beta),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        # The operation's is the unbiased variance; Keras keeps the biased one.
        count = tf.cast(tf.size(inputs) // inputs.shape[3], tf.float32)
        variance *= (count - 1.0) / count
        for kept, new in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            kept.assign(kept * self.momentum + new * (1.0 - self.momentum))
        return outputs

    def _moments(self, inputs, mask):
        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return super()._moments(inputs, mask)
        # Near the mean and the same on every replica, so that little cancels below.
        center = tf.stop_gradient(tf.cast(self.moving_mean, inputs.dtype))
        deviations = inputs - center
        own = [
            tf.reduce_mean(x, self._reduction_axes)
            for x in (deviations, tf.square(deviations))
        ]
        # Every replica has as many examples.
        mean, square = tf.unstack(
            replica.all_reduce(tf.distribute.ReduceOp.MEAN, tf.stack(own))
        )
        return mean + center, tf.maximum(square - tf.square(mean), 0.0)


def sizes(x):
    """Sizes of x: ints where they are known, scalar tensors elsewhere."""
    dynamic = tf.shape(x)
    return [dynamic[i] if n is None else n for i, n in enumerate(x.shape)]


def resize_nearest_aligned(x, height, width):
    """Resizes images by nearest neighbour with the corner pixels aligned.

    Output row i of n reads input row round(i (N - 1) / (n - 1)), halves rounded up,
    likewise for columns: 64 -> 32 reads rows 0, 2, ... 30, 33, ... 63 (not every
    second one) and 32 -> 64 doubles every pixel.

    Args:
      x: `[B, H, W, C]`, any dtype; static or dynamic sizes.
      height: rows of the result, a positive int or scalar int32 tensor.
      width: columns of the result, likewise.

    Returns:
      `[B, height, width, C]`, dtype of `x`. Gradients flow to the pixels read.

    Raises:
      ValueError: `x` is not of rank 4.
    """
    x = tf.convert_to_tensor(x)
    if x.shape.rank != 4:
        raise ValueError(
            f"resize_nearest_aligned: x must be [B, H, W, C], got shape {x.shape}"
        )
    for axis, size in ((1, height), (2, width)):
        indices = _aligned_source_indices(tf.shape(x)[axis], size)
        static = x.shape[axis]
        if isinstance(size, int) and static is not None and size <= static:
            x = _gather_distinct(x, indices, axis)
        else:
            x = tf.gather(x, indices, axis=axis)
    return x


def _gather_distinct(x, indices, axis):
    """tf.gather of indices that differ, whose gradient needs no sums, only a gather."""

    @tf.custom_gradient
    def gather(x):
        def gradient(upstream):
            # Each index of x was read once or not at all, and gets a zero then.
            count = tf.shape(upstream)[axis]
            nowhere = tf.fill([tf.shape(x)[axis]], count)
            readers = tf.tensor_scatter_nd_update(
                nowhere, indices[:, tf.newaxis], tf.range(count)
            )
            paddings = [[0, int(place == axis)] for place in range(len(x.shape))]
            return tf.gather(tf.pad(upstream, paddings), readers, axis=axis)

        return tf.gather(x, indices, axis=axis), gradient

    return gather(x)


def _aligned_source_indices(size_in, size_out):
    """Input index read by each of `size_out` output positions, int32."""
    # Exact ties (18 -> 9, 22 -> 11) are decided by the rounding of single precision:
    # quotient first, then product. The product of two float32 numbers is exact in
    # float64, so that narrowing it rounds once, however a compiler fuses the rest.
    intervals_in = tf.cast(size_in - 1, tf.float32)
    intervals_out = tf.cast(tf.maximum(size_out - 1, 1), tf.float32)
    scale = tf.cast(intervals_in / intervals_out, tf.float64)
    position = tf.cast(tf.cast(tf.range(size_out), tf.float64) * scale, tf.float32)
    below = tf.floor(position)
    round_up = position - below >= 0.5
    return tf.cast(below, tf.int32) + tf.cast(round_up, tf.int32)
