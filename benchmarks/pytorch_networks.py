"""The completion networks of GLCIC and GIICA beside plain PyTorch versions of them.

    python -m pip install torch --index-url https://download.pytorch.org/whl/cpu
    python -m benchmarks.pytorch_networks

For each network, in turns within one process: the forward pass, and a training step that
takes gradients of the squared error and lets Adam move the weights. The PyTorch versions
are written as their ports are: modules in training mode, channels first, attention by
convolutions with the patches of one example after another. Both sides must have equally
many weights. Prints how many times longer PyTorch takes, median and quartiles over
rounds, so that above 1 the package is faster. PyTorch is no dependency of the package.
"""

import numpy as np
import tensorflow as tf
import torch
from absl import app, flags
from torch import nn
from torch.nn import functional

from baselines.giica_networks import CoarseNetwork, RefinementNetwork
from baselines.glcic_networks import CompletionNetwork
from benchmarks import timing
from benchmarks.batches import random_batch
from command_line.parsing import parse_flags

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 9, "Turns that are timed.", lower_bound=2)
flags.DEFINE_list("networks", ["glcic", "giica"], "Which.")
SIZES = {"glcic": 128, "giica": 256}
BATCHES = {"glcic": 4, "giica": 2}

torch.set_num_threads(tf.config.threading.get_intra_op_parallelism_threads() or 2)


def _same(size, kernel, stride, dilation=1):
    """What TensorFlow's "same" puts before and after."""
    out = -(-size // stride)
    needed = max((out - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return needed // 2, needed - needed // 2


class Convolution(nn.Conv2d):
    """With TensorFlow's borders."""

    def forward(self, x):
        (kernel, _), (stride, _), (dilation, _) = (
            self.kernel_size,
            self.stride,
            self.dilation,
        )
        rows = _same(x.shape[2], kernel, stride, dilation)
        columns = _same(x.shape[3], kernel, stride, dilation)
        if rows[0] == rows[1] and columns[0] == columns[1]:
            return functional.conv2d(
                x, self.weight, self.bias, stride, (rows[0], columns[0]), dilation
            )
        x = functional.pad(x, (*columns, *rows))
        return functional.conv2d(x, self.weight, self.bias, stride, 0, dilation)


def glcic():
    """image and hole [B, 4, H, W] -> predicted [B, 3, H, W]."""

    def block(before, channels, kernel=3, stride=1, dilation=1):
        return [
            Convolution(
                before, channels, kernel, stride, dilation=dilation, bias=False
            ),
            nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01),
            nn.ReLU(),
        ]

    def enlarging(before, channels):
        return [
            nn.ConvTranspose2d(before, channels, 4, 2, padding=1, bias=False),
            nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01),
            nn.ReLU(),
        ]

    return nn.Sequential(
        *block(4, 64, 5),
        *block(64, 128, stride=2),
        *block(128, 128),
        *block(128, 256, stride=2),
        *block(256, 256),
        *block(256, 256),
        *block(256, 256, dilation=2),
        *block(256, 256, dilation=4),
        *block(256, 256, dilation=8),
        *block(256, 256, dilation=16),
        *block(256, 256),
        *block(256, 256),
        *enlarging(256, 128),
        *block(128, 128),
        *enlarging(128, 64),
        *block(64, 32),
        Convolution(32, 3, 3, bias=False),
        nn.Tanh(),
    )


def _layers(before, *described):
    """Convolutions with ELU from (channels, kernel, stride, dilation)."""
    made = []
    for channels, kernel, stride, dilation in described:
        made += [
            Convolution(before, channels, kernel, stride, dilation=dilation),
            nn.ELU(),
        ]
        before = channels
    return made


def _decoder(before):
    return [
        *_layers(before, (128, 3, 1, 1), (128, 3, 1, 1)),
        nn.Upsample(scale_factor=2),
        *_layers(128, (64, 3, 1, 1), (64, 3, 1, 1)),
        nn.Upsample(scale_factor=2),
        *_layers(64, (32, 3, 1, 1), (16, 3, 1, 1)),
        Convolution(16, 3, 3),
        nn.Hardtanh(),
    ]


_DILATED = [(128, 3, 1, dilation) for dilation in (2, 4, 8, 16)]


def attention(features, hole, scale=10.0):
    """Contextual attention at rate 2, one example after another."""
    batch, channels, height, width = features.shape
    rows, columns = height // 2, width // 2
    reduced, small_hole = features[:, :, ::2, ::2], hole[:, :, ::2, ::2]
    valid = (functional.max_pool2d(small_hole, 3, 1, 1) == 0).float()
    eye = torch.eye(3)[None, None]
    outputs = []
    for example in range(batch):
        pasted = functional.unfold(features[example][None], 4, stride=2, padding=1)
        pasted = pasted[0].T.reshape(-1, channels, 4, 4)
        kernels = functional.unfold(reduced[example][None], 3, padding=1)
        kernels = kernels[0].T.reshape(-1, channels, 3, 3)
        norms = kernels.flatten(1).norm(dim=1).clamp(min=1e-4)
        kernels = kernels / norms[:, None, None, None]
        scores = functional.conv2d(reduced[example][None], kernels, padding=1)
        scores = scores.reshape(1, 1, rows * columns, rows * columns)
        scores = functional.conv2d(scores, eye, padding=1)
        scores = scores.reshape(1, rows, columns, rows, columns)
        scores = scores.permute(0, 2, 1, 4, 3).reshape(1, 1, rows * columns, -1)
        scores = functional.conv2d(scores, eye, padding=1)
        scores = scores.reshape(1, columns, rows, columns, rows)
        scores = scores.permute(0, 2, 1, 4, 3).reshape(1, rows * columns, rows, columns)
        own = valid[example].reshape(1, 1, rows, columns)
        weights = functional.softmax(scores * own * scale, dim=1) * own
        outputs.append(
            functional.conv_transpose2d(weights, pasted, stride=2, padding=1) / 4
        )
    return torch.cat(outputs)


class Giica(nn.Module):
    """Both stages: image and hole -> coarse and refined."""

    def __init__(self):
        super().__init__()
        self.coarse = nn.Sequential(
            *_layers(5, (32, 5, 1, 1), (64, 3, 2, 1), (64, 3, 1, 1), (128, 3, 2, 1)),
            *_layers(128, (128, 3, 1, 1), (128, 3, 1, 1), *_DILATED),
            *_decoder(128),
        )
        self.hallucination = nn.Sequential(
            *_layers(5, (32, 5, 1, 1), (32, 3, 2, 1), (64, 3, 1, 1), (64, 3, 2, 1)),
            *_layers(64, (128, 3, 1, 1), (128, 3, 1, 1), *_DILATED),
        )
        self.encoder = nn.Sequential(
            *_layers(5, (32, 5, 1, 1), (32, 3, 2, 1), (64, 3, 1, 1), (128, 3, 2, 1)),
            *_layers(128, (128, 3, 1, 1)),
            Convolution(128, 128, 3),
            nn.ReLU(),
        )
        self.after = nn.Sequential(*_layers(128, (128, 3, 1, 1), (128, 3, 1, 1)))
        self.decoder = nn.Sequential(*_decoder(256))

    def forward(self, image, hole):
        ones = torch.ones_like(hole)
        known = image * (1 - hole)
        coarse = self.coarse(torch.cat([known, ones, hole], dim=1))
        composed = known + coarse * hole
        pictures = torch.cat([composed, ones, hole], dim=1)
        attended = attention(self.encoder(pictures), hole[:, :, ::4, ::4])
        features = torch.cat([self.hallucination(pictures), self.after(attended)], 1)
        return coarse, self.decoder(features)


def ours(name):
    """(forward, step, number of weights), each a function without arguments."""
    batch = random_batch(BATCHES[name], SIZES[name])
    image, mask = batch["image"], batch["mask"]
    optimizer = tf.keras.optimizers.Adam(1e-4)
    if name == "glcic":
        networks = [CompletionNetwork()]

        def call():
            return [networks[0](image, mask, training=True)]

    else:
        networks = [CoarseNetwork(), RefinementNetwork()]

        def call():
            coarse = networks[0](image, mask)
            composed = image * (1 - mask) + coarse * mask
            return [coarse, networks[1](composed, mask)[0]]

    call()
    weights = [weight for net in networks for weight in net.trainable_variables]
    optimizer.build(weights)

    @tf.function
    def forward():
        return call()

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            error = sum(tf.reduce_mean((x - image) ** 2) for x in call())
        gradients = tape.gradient(error, weights)
        optimizer.apply_gradients(zip(gradients, weights, strict=True))
        return error

    return (
        lambda: [output[0, 0, 0, 0] for output in forward()],
        step,
        sum(int(tf.size(weight)) for weight in weights),
    )


def theirs(name):
    """The same in PyTorch."""
    batch = random_batch(BATCHES[name], SIZES[name])
    image, mask = (
        torch.from_numpy(np.ascontiguousarray(batch[key].numpy().transpose(0, 3, 1, 2)))
        for key in ("image", "mask")
    )
    if name == "glcic":
        network = glcic()

        def call():
            return [network(torch.cat([image * (1 - mask), mask], dim=1))]

    else:
        network = Giica()

        def call():
            return network(image, mask)

    optimizer = torch.optim.Adam(network.parameters(), 1e-4)

    def forward():
        with torch.no_grad():
            return [tf.constant(output[0, 0, 0, 0].item()) for output in call()]

    def step():
        optimizer.zero_grad()
        error = sum(((output - image) ** 2).mean() for output in call())
        error.backward()
        optimizer.step()
        return tf.constant(error.item())

    return forward, step, sum(weight.numel() for weight in network.parameters())


def main(_):
    for name in FLAGS.networks:
        own_forward, own_step, own_weights = ours(name)
        other_forward, other_step, other_weights = theirs(name)
        if own_weights != other_weights:
            raise SystemExit(f"{name}: {own_weights} weights, PyTorch {other_weights}")
        product, _ = timing.matmul()
        seconds = timing.in_turns(
            {
                "forward": own_forward,
                "PyTorch forward": other_forward,
                "step": own_step,
                "PyTorch step": other_step,
                "product": product,
            },
            FLAGS.rounds,
        )
        for what in ("forward", "step"):
            ratios = timing.ratios(seconds[f"PyTorch {what}"], seconds[what])
            own, other = (
                1e3 * np.median(seconds[key]) for key in (what, f"PyTorch {what}")
            )
            print(
                f"{name}, {BATCHES[name]} of {SIZES[name]}x{SIZES[name]}, {what}: "
                f"{own:.0f} ms, PyTorch {other:.0f} ms: "
                f"{timing.spread(ratios)} times as long",
                flush=True,
            )


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
