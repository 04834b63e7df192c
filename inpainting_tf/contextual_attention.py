"""Contextual attention: fill a hole with copies of similar background patches.

Paper: Yu et al., "Generative Image Inpainting with Contextual Attention", CVPR 2018
(arXiv 1801.07892), section 4.1; also the attention branch of parallel_attention.

Inputs: foreground and background features `[B, H, W, C]` (any range, any float
dtype; computed in float32) and a mask `[B, H, W, 1]` of the background, 1 = missing.
Outputs: the foreground rebuilt from background patches, `[B, H, W, C]` float32, and
for each position of the reduced foreground the offset to the background position it
attends to most, `[B, h, w, 2]` int32, where h = ceil(H / rate), w = ceil(W / rate).

Stages, in order:

    1. reduce      foreground, background and mask shrink by `rate`
    2. match       scores of all pairs of patches: cosine on the background's side
    3. propagate   scores of neighbouring pairs support each other ("fuse")
    4. attend      softmax over the background's valid patches
    5. paste       full-resolution background patches, weighted and overlapped
    6. offsets     where each position looks; `offsets_to_color` draws them

Stages 2 to 5 exist in two forms with equal results. "patches" is the paper's wording
and stands here: extracted patches serve as kernels of a convolution and of a transposed
convolution. "diagonal" (the default, `attention_diagonals`) uses that a pair of patches
is a sum over pairs of pixels that move together, that is along diagonals of the matrix
of all pairs: one C-deep product per pair of positions, then moved additions, with
kernel_size**2 times fewer multiplications in matching and four times fewer in pasting.

Scores are `[B, h, w, h', w']`: foreground row and column, background row and column.
Memory grows with (h w h' w'): 4 MB per example and copy at 32 x 32. Where they do not
fit into `memory_mb`, the diagonal form goes row by row (`attention_rows`), and its
gradient by blocks of foreground rows (`attention_blocks`).
On GPUs with TensorFloat-32, products lose precision unless
`tf.config.experimental.enable_tensor_float_32_execution(False)` is set.
"""

import keras
import numpy as np
import tensorflow as tf

from inpainting_tf.attention_blocks import attend_in_blocks, fits_at_once
from inpainting_tf.attention_diagonals import attend_at_once
from inpainting_tf.attention_stages import (
    PATCHES_PER_PIXEL,
    attend,
    ceil_div,
    most_attended,
    patch_norm,
    reduce_features,
    valid_patches,
)
from inpainting_tf.layers import resize_nearest_aligned, sizes
from inpainting_tf.ordered_sums import fork

# For the scores of all pairs; what needs more goes row by row.
MEMORY_MB = 1024.0


def contextual_attention(
    foreground,
    background,
    mask=None,
    *,
    kernel_size=3,
    stride=1,
    rate=1,
    fuse_kernel_size=3,
    softmax_scale=10.0,
    fuse=True,
    form="diagonal",
    memory_mb=None,
):
    """Rebuilds the foreground from background patches (Yu et al. 2018, section 4.1).

    Args:
      foreground: `[B, H, W, C]` features that ask, any float dtype.
      background: `[B, H', W', C]` features that answer; the size may differ.
      mask: `[B, H', W', 1]` or `[1, H', W', 1]`, 1 = missing. Background patches that
        touch a missing pixel get no weight. None: everything is known.
      kernel_size: side of the patches compared, odd; in pixels of the reduced size.
      stride: between the patches compared; only 1 is defined.
      rate: reduction before matching; pasted patches have side 2 * rate.
      fuse_kernel_size: number of neighbouring pairs added per propagation pass, odd.
      softmax_scale: factor on the scores before the softmax.
      fuse: whether to propagate attention.
      form: "diagonal" (fast) or "patches" (the paper's wording); equal results.
      memory_mb: about how much memory the diagonal form may take for scores. Where
        all pairs of two examples need more, it goes row by row, see `attention_rows`:
        equal results, and about a dozen times w h' w' floats of memory; gradients then
        by blocks of at least seven rows. XLA needs shapes that are known when the graph
        is made, and an empty batch too. None: all at once; more than 2**30 pairs of
        positions are refused where sizes are known when the graph is made. Pictures of
        fewer rows or columns than a propagation step reaches always go at once.

    Returns:
      (output, offsets): the output is `[B, H, W, C]` float32, all-zero where the whole
      background is masked; weaker at the borders, where fewer patches overlap (as in
      the original). Offsets are `[B, ceil(H / rate), ceil(W / rate), 2]` int32, row and
      column of the most attended background position minus the own position.

    Raises:
      ValueError: wrong shapes or arguments, or too many pairs of positions.
    """
    _check_arguments(kernel_size, stride, rate, fuse_kernel_size, form, memory_mb)
    if foreground is background:
        # What is compared on both sides and pasted as well gets three gradients.
        foreground, background = fork(tf.convert_to_tensor(foreground))
    foreground = tf.cast(foreground, tf.float32)
    background = tf.cast(background, tf.float32)
    if mask is not None:
        mask = tf.cast(mask, tf.float32)
    _check_shapes(foreground, background, mask)
    reduced_foreground = reduce_features(foreground, rate)
    reduced_background = reduce_features(background, rate)
    if mask is None:
        mask = tf.zeros_like(background[:1, :, :, :1])
    valid = valid_patches(reduce_features(mask, rate), kernel_size)

    if form == "patches":
        scores = _match_patches(reduced_foreground, reduced_background, kernel_size)
        if fuse:
            scores = _propagate(scores, fuse_kernel_size)
        attention = attend(scores, valid, softmax_scale)
        output = _paste_patches(attention, background, sizes(foreground), rate)
        best = most_attended(attention)
        return output, _offsets(best, sizes(reduced_background)[2])

    fuse_kernel_size = fuse_kernel_size if fuse else 1
    features = (reduced_foreground, reduced_background)
    fits = fits_at_once(*features, fuse_kernel_size, memory_mb)
    sources = (*features, valid, background, sizes(foreground)[1:3])
    options = {
        "rate": rate,
        "kernel_size": kernel_size,
        "fuse_kernel_size": fuse_kernel_size,
        "softmax_scale": softmax_scale,
    }
    if tf.is_tensor(fits):
        output, best = tf.cond(
            fits,
            lambda: attend_at_once(*sources, **options),
            lambda: attend_in_blocks(*sources, **options, megabytes=memory_mb),
        )
    elif fits:
        output, best = attend_at_once(*sources, **options)
    else:
        output, best = attend_in_blocks(*sources, **options, megabytes=memory_mb)
    return output, _offsets(best, sizes(reduced_background)[2])


# ---------------------------------------------------------------- 2. match


def _match_patches(foreground, background, kernel_size):
    """Convolves the foreground with the normalised background patches."""
    _, height, width, channels = sizes(background)
    patches = _extract_patches(background, kernel_size, stride=1)
    squares = tf.reduce_sum(tf.square(patches), axis=-1, keepdims=True)
    patches /= patch_norm(squares)

    def match_one(example):
        foreground, patches = example
        kernels = tf.reshape(patches, [-1, kernel_size, kernel_size, channels])
        kernels = tf.transpose(kernels, [1, 2, 3, 0])
        return tf.nn.conv2d(foreground[tf.newaxis], kernels, 1, "SAME")[0]

    scores = tf.map_fn(match_one, (foreground, patches), fn_output_signature=tf.float32)
    batch, rows, columns, _ = sizes(foreground)
    return tf.reshape(scores, [batch, rows, columns, height, width])


# ---------------------------------------------------------------- 3. propagate


def _propagate(scores, size):
    """Adds the scores of the pairs one step before and after, along both axes.

    Positions are flattened, so that the step after the end of a row is the start of
    the next row. The original does so; published weights were trained with it.
    """
    kernel = tf.eye(size)[:, :, tf.newaxis, tf.newaxis]
    # Row by row first. The transposition makes the second pass go column by column,
    # and then restores the order.
    for _ in range(2):
        batch, rows, columns, height, width = sizes(scores)
        matrix = tf.reshape(scores, [batch, rows * columns, height * width, 1])
        matrix = tf.nn.conv2d(matrix, kernel, 1, "SAME")
        scores = tf.reshape(matrix, [batch, rows, columns, height, width])
        scores = tf.transpose(scores, [0, 2, 1, 4, 3])
    return scores


# ---------------------------------------------------------------- 5. paste


def _paste_patches(attention, background, output_shape, rate):
    """Transposed convolution of the attention with the raw background patches."""
    batch, rows, columns, height, width = sizes(attention)
    _, out_height, out_width, channels = output_shape
    size = 2 * rate
    patches = _extract_patches(background, size, stride=rate)
    attention = tf.reshape(attention, [batch, rows, columns, height * width])

    def paste_one(example):
        attention, patches = example
        kernels = tf.reshape(patches, [-1, size, size, channels])
        kernels = tf.transpose(kernels, [1, 2, 3, 0])
        return tf.nn.conv2d_transpose(
            attention[tf.newaxis],
            kernels,
            [1, out_height, out_width, channels],
            rate,
            "SAME",
        )[0]

    output = tf.map_fn(paste_one, (attention, patches), fn_output_signature=tf.float32)
    return tf.reshape(output, output_shape) / PATCHES_PER_PIXEL


# ---------------------------------------------------------------- 6. offsets


def _offsets(best, width_behind):
    """Attended minus own position, `[B, h, w, 2]` int32."""
    _, rows, columns = sizes(best)
    row = best // width_behind - tf.range(rows)[:, tf.newaxis]
    column = best % width_behind - tf.range(columns)
    return tf.stack([row, column], axis=-1)


def offsets_to_color(offsets, rate=1, *, normalize_by="example"):
    """Draws offsets as a picture: hue = direction, saturation = length.

    Computed in NumPy, float64, outside of any graph. The wheel has 55 hues, white is
    no offset (Baker et al., "A Database and Evaluation Methodology for Optical
    Flow", IJCV 2011, as used by Yu et al. 2018).

    Args:
      offsets: `[B, h, w, 2]` row and column offsets, as from `contextual_attention`.
      rate: enlargement of the picture, by nearest neighbour with aligned corners.
      normalize_by: the radius drawn in full colour. "example": the largest one of
        the same example, so that its picture does not depend on the others.
        "running_maximum": the largest one so far in the batch, as in the original.

    Returns:
      `[B, h * rate, w * rate, 3]` float32 RGB array in [-1, 1].

    Raises:
      ValueError: wrong shape or option.
    """
    offsets = np.asarray(offsets, np.float64)
    if offsets.ndim != 4 or offsets.shape[-1] != 2:
        raise ValueError(
            f"offsets_to_color: offsets must be [B, h, w, 2], got {offsets.shape}"
        )
    if normalize_by not in ("example", "running_maximum"):
        raise ValueError(
            'offsets_to_color: normalize_by must be "example" or "running_maximum", '
            f"got {normalize_by!r}"
        )
    largest = np.sqrt(np.sum(offsets**2, axis=-1)).max(axis=(1, 2), keepdims=True)
    if normalize_by == "running_maximum":
        largest = np.maximum.accumulate(largest, axis=0)
    # The order of operations below decides the last grey level; it is the original's.
    down, right = np.moveaxis(
        offsets / (largest + np.finfo(np.float64).eps)[..., np.newaxis], -1, 0
    )
    radius = np.sqrt(down**2 + right**2)[..., np.newaxis]
    wheel = _color_wheel() / 255
    position = (np.arctan2(-right, -down) / np.pi + 1) / 2 * (len(wheel) - 1) + 1
    below = np.floor(position).astype(int)
    fraction = (position - below)[..., np.newaxis]
    hue = (1 - fraction) * wheel[below - 1] + fraction * wheel[below % len(wheel)]
    color = np.where(radius <= 1, 1 - radius * (1 - hue), hue * 0.75)
    picture = np.float32(np.floor(255 * color) / 127.5 - 1)
    _, height, width, _ = picture.shape
    return resize_nearest_aligned(picture, height * rate, width * rate).numpy()


def _color_wheel():
    """55 hues `[55, 3]` in 0..255: red, yellow, green, cyan, blue, magenta, red."""
    hues = []
    color = np.array([255.0, 0.0, 0.0])
    # Each ramp takes one channel of the current corner colour up or down.
    for steps, channel in ((15, 1), (6, 0), (4, 2), (11, 1), (13, 0), (6, 2)):
        ramp = np.tile(color, (steps, 1))
        rise = np.floor(255 * np.arange(steps) / steps)
        ramp[:, channel] = np.abs(color[channel] - rise)
        hues.append(ramp)
        color[channel] = 255 - color[channel]
    return np.concatenate(hues)


# ---------------------------------------------------------------- Keras layer


@keras.saving.register_keras_serializable(package="inpainting_tf")
class ContextualAttention(keras.layers.Layer):
    """`contextual_attention` as a Keras layer without weights; same arguments.

    Only `memory_mb` has another default, MEMORY_MB.
    Under any precision policy it computes in, and returns, float32. Its mask is
    called `hole`, as Keras reserves `mask`.
    """

    def __init__(
        self,
        kernel_size=3,
        stride=1,
        rate=1,
        fuse_kernel_size=3,
        softmax_scale=10.0,
        fuse=True,
        form="diagonal",
        memory_mb=MEMORY_MB,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        _check_arguments(kernel_size, stride, rate, fuse_kernel_size, form, memory_mb)
        self.arguments = {
            "kernel_size": kernel_size,
            "stride": stride,
            "rate": rate,
            "fuse_kernel_size": fuse_kernel_size,
            "softmax_scale": softmax_scale,
            "fuse": fuse,
            "form": form,
            "memory_mb": memory_mb,
        }

    def call(self, foreground, background, hole=None):
        return contextual_attention(foreground, background, hole, **self.arguments)

    def get_config(self):
        return {**super().get_config(), **self.arguments}


# ---------------------------------------------------------------- helpers


def _extract_patches(x, size, stride):
    """`[B, H, W, C]` -> `[B, patches, size * size * C]`, SAME, row-major."""
    batch, height, width, channels = sizes(x)
    patches = tf.image.extract_patches(
        x, [1, size, size, 1], [1, stride, stride, 1], [1, 1, 1, 1], "SAME"
    )
    count = ceil_div(height, stride) * ceil_div(width, stride)
    return tf.reshape(patches, [batch, count, size * size * channels])


def _check_arguments(kernel_size, stride, rate, fuse_kernel_size, form, memory_mb):
    odd = {"kernel_size": kernel_size, "fuse_kernel_size": fuse_kernel_size}
    for name, size in odd.items():
        if size < 1 or size % 2 == 0:
            raise ValueError(
                f"contextual_attention: {name} must be odd and positive, got {size}"
            )
    if stride != 1:
        raise ValueError(
            f"contextual_attention: only stride=1 is supported, got {stride}; "
            "use rate to match on a coarser grid"
        )
    if rate < 1:
        raise ValueError(f"contextual_attention: rate must be at least 1, got {rate}")
    if form not in ("diagonal", "patches"):
        raise ValueError(
            f'contextual_attention: form must be "diagonal" or "patches", got {form!r}'
        )
    if memory_mb is not None and memory_mb <= 0:
        raise ValueError(
            f"contextual_attention: memory_mb must be above 0, got {memory_mb}"
        )


def _check_shapes(foreground, background, mask):
    for name, x in (("foreground", foreground), ("background", background)):
        if x.shape.rank != 4:
            raise ValueError(
                f"contextual_attention: {name} must be [B, H, W, C], got {x.shape}"
            )
    batch, height, width, channels = background.shape
    if not foreground.shape.is_compatible_with([batch, None, None, channels]):
        raise ValueError(
            "contextual_attention: foreground and background must have the same batch "
            f"size and channels, got {foreground.shape} and {background.shape}"
        )
    # Sizes unknown until the graph runs.
    tf.debugging.assert_equal(
        tf.shape(foreground)[0],
        tf.shape(background)[0],
        message="contextual_attention: foreground and background differ in batch size",
    )
    if mask is None:
        return
    if not (
        mask.shape.is_compatible_with([batch, height, width, 1])
        or mask.shape.is_compatible_with([1, height, width, 1])
    ):
        raise ValueError(
            "contextual_attention: mask must be [B, H, W, 1] or [1, H, W, 1] with the "
            f"size of the background {background.shape}, got {mask.shape}"
        )
    # Sizes unknown until the graph runs: a mask of another size would be resampled.
    tf.debugging.assert_equal(
        tf.shape(mask)[1:3],
        tf.shape(background)[1:3],
        message="contextual_attention: mask and background differ in size",
    )
