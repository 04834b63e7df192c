"""The completion networks of GLCIC and GIICA beside the same ones in PyTorch.

    pip install torch
    python -m benchmarks.pytorch
    python -m benchmarks.pytorch --batch_sizes=1,16 --channels_last

Forward pass, and a step that trains the completion network alone: squared error on the
hole (glcic) or absolute error (giica), gradients, Adam. Both libraries have all cores
and take turns in one process; ratios are PyTorch's time over ours, round by round.

Each library is used as its users do: ours as a compiled graph, PyTorch eagerly, with its
fused Adam. The layers are the same, and computed as the package and a port do: attention
along diagonals here, by patches and example by example there; doubled pixels by
transposed convolutions here, enlarged before a convolution there.
"""

import functools
import os

import numpy as np
import tensorflow as tf
import torch
from absl import app, flags

from baselines import giica_networks, glcic_networks
from benchmarks import pytorch_networks, timing
from benchmarks.batches import random_batch
from command_line.parsing import parse_flags
from inpainting_tf import images
from inpainting_tf.optimization import adam

FLAGS = flags.FLAGS
flags.DEFINE_multi_enum(
    "network", ["glcic", "giica"], ["glcic", "giica"], "Which networks; repeatable."
)
flags.DEFINE_list("batch_sizes", ["4"], "Images at once.")
flags.DEFINE_integer("rounds", 7, "Turns that are timed.", lower_bound=2)
flags.DEFINE_bool("channels_last", False, "PyTorch's memory format for networks.")


class GIICA:
    """Coarse and refinement network in turn, as `baselines.giica` calls them."""

    def __init__(self):
        self.coarse = giica_networks.CoarseNetwork()
        self.refinement = giica_networks.RefinementNetwork()

    def __call__(self, image, hole, training=False):
        coarse = self.coarse(image, hole)
        composed = images.compose(image, coarse, hole)
        return coarse, self.refinement(composed, hole)[0]

    @property
    def trainable_variables(self):
        return self.coarse.trainable_variables + self.refinement.trainable_variables


def ours(network, error, batch):
    """Functions without arguments: forward pass and step."""
    image, hole = batch["image"], batch["mask"]
    network(image, hole)
    optimizer = adam(1e-4)
    optimizer.build(network.trainable_variables)

    @tf.function
    def forward():
        return network(image, hole)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            predicted = network(image, hole, training=True)
            loss = error(tf.nest.flatten(predicted), image, hole, tf.reduce_mean)
        variables = network.trainable_variables
        optimizer.apply_gradients(
            zip(tape.gradient(loss, variables), variables, strict=True)
        )
        return loss

    return forward, step


def theirs(network, error, batch):
    """As `ours`; tensors are read as TensorFlow's are."""
    image, hole = (
        torch.from_numpy(np.moveaxis(batch[name].numpy(), -1, 1).copy())
        for name in ("image", "mask")
    )
    if FLAGS.channels_last:
        image, hole, network = (
            x.to(memory_format=torch.channels_last) for x in (image, hole, network)
        )
    optimizer = torch.optim.Adam(network.parameters(), 1e-4, fused=True)

    def forward():
        network.eval()
        with torch.inference_mode():
            return network(image, hole)

    def step():
        network.train()
        optimizer.zero_grad()
        predicted = network(image, hole)
        if torch.is_tensor(predicted):
            predicted = [predicted]
        loss = error(predicted, image, hole, torch.mean)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return forward, step


def squared_error(predicted, image, hole, mean):
    return sum(mean((p - image) ** 2 * hole) for p in predicted)


def absolute_error(predicted, image, hole, mean):
    return sum(mean(abs(p - image) * hole) for p in predicted)


def main(_):
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    networks = {
        "glcic": (
            functools.partial(
                glcic_networks.CompletionNetwork, mean_color=(127.5,) * 3
            ),
            pytorch_networks.GLCIC,
            squared_error,
            128,
        ),
        "giica": (GIICA, pytorch_networks.GIICA, absolute_error, 256),
    }
    print(f"TensorFlow {tf.__version__}, PyTorch {torch.__version__}")
    for name in FLAGS.network:
        our_network, their_network, error, size = networks[name]
        for count in map(int, FLAGS.batch_sizes):
            batch = random_batch(count, size)
            our_forward, our_step = ours(our_network(), error, batch)
            their_forward, their_step = theirs(their_network(), error, batch)
            for what, mine, other in (
                ("forward", our_forward, their_forward),
                ("step", our_step, their_step),
            ):
                seconds = timing.in_turns({"ours": mine, "theirs": other}, FLAGS.rounds)
                ratios = timing.ratios(seconds["theirs"], seconds["ours"])
                print(
                    f"{name}, {count} of {size}x{size}, {what}: ours "
                    f"{1e3 * np.median(seconds['ours']):.0f} ms, PyTorch "
                    f"{1e3 * np.median(seconds['theirs']):.0f} ms, "
                    f"{timing.spread(ratios)} times as long",
                    flush=True,
                )


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
