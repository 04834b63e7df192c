"""How long SIIDGM's search takes to a given context loss, against the usual loop.

    python -m benchmarks.searches --dcgan=runs/dcgan --protocol=celeba64_center_validation \\
        --data_dir=... --count=8

The usual loop is the one of the widely used program: a compiled step is fed the images
and z and fetches losses, gradients and generated images in every iteration; z moves in
NumPy by Nesterov's rule at that program's constants, from a normal start, for 1,000
iterations. Its lowest context loss, image by image, is what the package's search has to
come down to; both count the same weighted loss and prior. Time is wall time up to the
iteration that does, each at the pace of its own whole run in this process.

Prints for each way of searching the iterations and seconds an image takes, how many
images get there within the iterations allowed, and how many times faster that is: median
and quartiles over images; one that does not get there counts with all iterations.
"""

import time

import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks import timing
from command_line import trained
from command_line.parsing import UsageError, parse_flags, refuse
from inpainting_tf import latent_search, protocol_examples, protocols

FLAGS = flags.FLAGS
flags.DEFINE_string("dcgan", None, "Run folder of a dcgan.", required=True)
flags.DEFINE_string("protocol", None, "Whose images and masks.", required=True)
flags.DEFINE_string("data_dir", None, "Folder of its images.")
flags.DEFINE_integer("count", 8, "Images.", lower_bound=2)
flags.DEFINE_integer("iterations", 1000, "Of the usual loop.", lower_bound=1)

LEARNING_RATE, MOMENTUM, PRIOR_WEIGHT = 0.01, 0.9, 0.1
# Ways of the package: arguments of `latent_search.search`.
WAYS = {
    "defaults (adam, 0.01)": {},
    "adam, 0.03": {"learning_rate": 0.03},
    "adam, 0.1": {"learning_rate": 0.1},
    "adam, 0.03, all together": {"learning_rate": 0.03, "group_size": 0},
    "adam, 0.1, all together": {"learning_rate": 0.1, "group_size": 0},
    "nesterov as the loop, all together": {
        "optimizer": "nesterov",
        "learning_rate": LEARNING_RATE,
        "group_size": 0,
    },
}


def usual_loop(gan, image, weights, iterations):
    """Feeds and fetches; returns (context losses [B, iterations], seconds)."""

    @tf.function
    def step(z, image, weights):
        with tf.GradientTape() as tape:
            tape.watch(z)
            generated = gan.generate(z)
            context = latent_search.context_loss(generated, [(image, weights)])
            prior = latent_search.prior_loss(gan.score(generated))
            total = tf.reduce_sum(context + PRIOR_WEIGHT * prior)
        return context, prior, tape.gradient(total, z), generated

    generator = np.random.default_rng(0)
    z = generator.normal(size=[len(image), gan.latent_size]).astype(np.float32)
    velocity = np.zeros_like(z)
    step(z, image, weights)
    losses = []
    began = time.perf_counter()
    for _ in range(iterations):
        fetched = step(z, image, weights)
        context, _, gradient, _ = [tensor.numpy() for tensor in fetched]
        losses.append(context)
        before = velocity
        velocity = MOMENTUM * velocity - LEARNING_RATE * gradient
        z = z + (1 + MOMENTUM) * velocity - MOMENTUM * before
        z = np.clip(z, -1, 1)
    return np.transpose(losses), time.perf_counter() - began


def package_search(gan, image, weights, iterations, **arguments):
    """Returns (context losses [B, iterations + 1], seconds)."""

    @tf.function
    def search(image, weights, iterations):
        return latent_search.search(
            gan.generate,
            gan.score,
            [(image, weights)],
            latent_size=gan.latent_size,
            iterations=iterations,
            prior_weight=PRIOR_WEIGHT,
            **arguments,
        )

    def run(iterations):
        found = search(image, weights, tf.constant(iterations))
        return found["context_losses"].numpy()

    run(1)
    began = time.perf_counter()
    losses = run(iterations)
    return losses, time.perf_counter() - began


def first_reached(losses, goal):
    """The first iteration at or below the goal, image by image, or how many there are."""
    reached = losses <= goal[:, np.newaxis]
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, losses.shape[1])


def main(_):
    try:
        gan, recorded, step = trained.load(FLAGS.dcgan)
        if recorded["method"] != "dcgan":
            raise UsageError(f"--dcgan={FLAGS.dcgan} is a run of {recorded['method']}")
        protocol = protocols.read(FLAGS.protocol)
        if protocol.size != gan.image_size:
            raise UsageError(
                f"--protocol={FLAGS.protocol} has images of {protocol.size}, the dcgan "
                f"generates {gan.image_size}"
            )
        examples = protocol_examples.open_examples(
            protocol, FLAGS.data_dir, batch_size=FLAGS.count
        )
        batch = next(iter(examples))
    except (ValueError, OSError) as error:
        refuse("benchmarks.searches", error)
    image, mask = tf.constant(batch["image"]), tf.constant(batch["mask"])
    weights = latent_search.importance_weights(mask)
    losses, seconds = usual_loop(gan, image, weights, FLAGS.iterations)
    goal = losses.min(axis=1)
    needed = first_reached(losses, goal)
    usual = needed * seconds / FLAGS.iterations / len(goal)
    print(
        f"{FLAGS.dcgan} at step {step}, {len(goal)} images of {FLAGS.protocol}\n"
        f"usual loop: {1e3 * seconds / FLAGS.iterations / len(goal):.1f} ms per image "
        f"and iteration; lowest context loss {timing.spread(goal, '.0f')} after "
        f"{timing.spread(needed, '.0f')} iterations, {timing.spread(usual)} s an image",
        flush=True,
    )
    for name, arguments in WAYS.items():
        losses, seconds = package_search(
            gan, image, weights, FLAGS.iterations, **arguments
        )
        needed = first_reached(losses, goal)
        pace = seconds / FLAGS.iterations / len(goal)
        own = needed * pace
        arrived = int((losses.min(axis=1) <= goal).sum())
        print(
            f"{name}: {1e3 * pace:.1f} ms per image and iteration; there after "
            f"{timing.spread(needed, '.0f')} iterations ({arrived} of {len(goal)} "
            f"images), {timing.spread(own)} s an image: "
            f"{timing.spread(timing.ratios(usual, own), '.1f')} times faster",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
