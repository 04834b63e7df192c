"""The completion networks of GLCIC and GIICA in plain PyTorch, as a port writes them.

For `benchmarks.pytorch` alone; PyTorch is no requirement of the package. Layers as in
docs of `baselines.glcic_networks` and `baselines.giica_networks`; contextual attention
example by example, its patches as kernels of a convolution and of a transposed one.

Inputs: image [B, 3, H, W] in [-1, 1] and hole [B, 1, H, W], 1 = missing; H and W
multiples of 8. Outputs: predicted [B, 3, H, W]; of GIICA (coarse, refined).
"""

import torch
from torch import nn
from torch.nn import functional


def _same(size, kernel, stride, dilation=1):
    """Zeros before and after, as TensorFlow's SAME."""
    out = -(-size // stride)
    total = max((out - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


class Convolution(nn.Module):
    """A convolution with SAME borders, what follows it, and doubled pixels before."""

    def __init__(
        self, into, out, kernel=3, stride=1, dilation=1, norm=False, act=None, up=False
    ):
        super().__init__()
        self.stride, self.reach, self.dilation, self.up = stride, kernel, dilation, up
        padding = dilation * (kernel - 1) // 2 if stride == 1 else 0
        self.convolution = nn.Conv2d(
            into, out, kernel, stride, padding, dilation, bias=not norm
        )
        self.norm = nn.BatchNorm2d(out, eps=1e-3, momentum=0.01) if norm else None
        self.act = act

    def forward(self, x):
        if self.up:
            x = functional.interpolate(x, scale_factor=2, mode="nearest")
        if self.stride > 1:
            height, width = (_same(n, self.reach, self.stride) for n in x.shape[2:])
            x = functional.pad(x, (*width, *height))
        x = self.convolution(x)
        x = x if self.norm is None else self.norm(x)
        return x if self.act is None else self.act(x)


class Enlarging(nn.Module):
    """Transposed convolution k4 s2, batch norm, ReLU."""

    def __init__(self, into, out):
        super().__init__()
        self.convolution = nn.ConvTranspose2d(into, out, 4, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(out, eps=1e-3, momentum=0.01)

    def forward(self, x):
        return functional.relu(self.norm(self.convolution(x)))


class GLCIC(nn.Module):
    """The completion network at published width."""

    def __init__(self):
        super().__init__()

        def block(into, out, *arguments, **options):
            options |= {"norm": True, "act": functional.relu}
            return Convolution(into, out, *arguments, **options)

        self.layers = nn.Sequential(
            block(4, 64, 5),
            block(64, 128, stride=2),
            block(128, 128),
            block(128, 256, stride=2),
            block(256, 256),
            block(256, 256),
            *[block(256, 256, dilation=dilation) for dilation in (2, 4, 8, 16)],
            block(256, 256),
            block(256, 256),
            Enlarging(256, 128),
            block(128, 128),
            Enlarging(128, 64),
            block(64, 32),
            Convolution(32, 3, act=torch.tanh),
        )

    def forward(self, image, hole):
        return self.layers(torch.cat([image * (1 - hole), hole], dim=1))


class GIICA(nn.Module):
    """Coarse and refinement network at published width."""

    def __init__(self):
        super().__init__()

        def layer(into, out, *arguments, **options):
            return Convolution(
                into, out, *arguments, **{"act": functional.elu, **options}
            )

        def dilated():
            return [layer(128, 128, dilation=d) for d in (2, 4, 8, 16)]

        def decoder(into):
            return nn.Sequential(
                layer(into, 128),
                layer(128, 128),
                layer(128, 64, up=True),
                layer(64, 64),
                layer(64, 32, up=True),
                layer(32, 16),
                Convolution(16, 3),
            )

        self.coarse = nn.Sequential(
            layer(5, 32, 5),
            layer(32, 64, stride=2),
            layer(64, 64),
            layer(64, 128, stride=2),
            layer(128, 128),
            layer(128, 128),
            *dilated(),
            decoder(128),
        )
        self.hallucination = nn.Sequential(
            layer(5, 32, 5),
            layer(32, 32, stride=2),
            layer(32, 64),
            layer(64, 64, stride=2),
            layer(64, 128),
            layer(128, 128),
            *dilated(),
        )
        self.attention_encoder = nn.Sequential(
            layer(5, 32, 5),
            layer(32, 32, stride=2),
            layer(32, 64),
            layer(64, 128, stride=2),
            layer(128, 128),
            layer(128, 128, act=functional.relu),
        )
        self.attention_decoder = nn.Sequential(layer(128, 128), layer(128, 128))
        self.decoder = decoder(256)

    def forward(self, image, hole):
        ones = torch.ones_like(hole)
        known = torch.cat([image * (1 - hole), ones, hole], dim=1)
        coarse = self.coarse(known).clamp(-1, 1)
        composed = coarse * hole + image * (1 - hole)
        pictures = torch.cat([composed, ones, hole], dim=1)
        hallucinated = self.hallucination(pictures)
        attended = self.attention_encoder(pictures)
        reduced = functional.interpolate(hole, scale_factor=0.25, mode="nearest")
        attended = contextual_attention(attended, attended, reduced)
        attended = self.attention_decoder(attended)
        refined = self.decoder(torch.cat([hallucinated, attended], dim=1))
        return coarse, refined.clamp(-1, 1)


def contextual_attention(foreground, background, mask, rate=2, scale=10.0):
    """[B, C, H, W] twice and [B, 1, H, W] -> [B, C, H, W]; patches of 3 x 3."""
    pasted = functional.unfold(background, 2 * rate, padding=rate // 2, stride=rate)
    small, behind, small_mask = (
        functional.interpolate(x, scale_factor=1 / rate, mode="nearest")
        for x in (foreground, background, mask)
    )
    batch, channels, height, width = behind.shape
    kernels = functional.unfold(behind, 3, padding=1)
    kernels = kernels / kernels.norm(dim=1, keepdim=True).clamp_min(1e-4)
    missing = functional.max_pool2d(small_mask, 3, 1, 1)
    positions = height * width
    outputs = []
    for example in range(batch):
        kernel = kernels[example].T.reshape(positions, channels, 3, 3)
        scores = functional.conv2d(small[example : example + 1], kernel, padding=1)
        scores = _propagated(scores.reshape(positions, positions).T, height, width)
        valid = (missing[example].reshape(1, positions) == 0).float()
        weights = torch.softmax(scores * valid * scale, dim=1) * valid
        weights = weights.T.reshape(1, positions, height, width)
        kernel = pasted[example].T.reshape(positions, channels, 2 * rate, 2 * rate)
        output = functional.conv_transpose2d(
            weights, kernel, stride=rate, padding=rate // 2
        )
        outputs.append(output / 4)
    return torch.cat(outputs)


def _propagated(scores, height, width):
    """[N, N] -> [N, N]: identity kernels along rows, then along columns."""
    eye = torch.eye(3).reshape(1, 1, 3, 3)
    positions = height * width
    for sides in ((height, width), (width, height)):
        scores = functional.conv2d(scores[None, None], eye, padding=1)[0, 0]
        pairs = scores.reshape(*sides, *sides).permute(1, 0, 3, 2)
        scores = pairs.reshape(positions, positions)
    return scores
