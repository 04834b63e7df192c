"""Search for the latent z whose generated image best explains the known pixels.

Yeh et al., "Semantic Image Inpainting with Deep Generative Models", CVPR 2017
(arXiv 1607.07539): minimise over z, for a trained GAN with weights fixed,

    context loss + prior_weight * prior loss,

the context loss comparing G(z) with the known pixels by importance weights (eq. 3 and
4), the prior loss asking the discriminator (eq. 5).

Inputs: the GAN as two functions, generate(z [N, L]) -> image [N, H, W, 3] in [-1, 1]
and score(image) -> logit [N, 1]; what to compare with as pairs (image, weights).
Outputs: z in [-1, 1], G(z), and every iteration's losses.

Stages: `importance_weights`; `initial_z`, several restarts per example; `search`, one
tf.while_loop for each group of restarts and examples; the best restart of each example.
Whole methods are in `latent_completion`.

An example's z depends on nothing but the example, its key and the seed, not on its
batch mates: losses are sums within one example, and the networks given must not use
statistics of the batch. On a CPU that holds bit for bit, because the networks see one z
at a time: matrix products and convolutions round differently for other batch sizes, on
some processors for other places in a batch too, and hundreds of steps blow such
differences up to hundredths of z. On a GPU nothing can be promised bit for bit.
"""

import tensorflow as tf

from inpainting_tf.ordered_sums import add_in_order, fork

WEIGHTINGS = ("missing", "known", "uniform")
CONTEXTS = ("l1", "squared")
PRIORS = ("saturating", "non_saturating")
OPTIMIZERS = ("adam", "nesterov")
STARTS = ("uniform", "normal")
KEPT = ("best", "last")


def importance_weights(mask, neighbourhood=7, mode="missing"):
    """How much each known pixel counts in the context loss; 0 in the hole.

    Args:
      mask: float [B, H, W, 1], 1 = missing.
      neighbourhood: odd side in pixels of the square round a pixel; beyond the image
        it is mirrored with the edge pixel repeated.
      mode: "missing": the share of missing pixels in the neighbourhood, largest beside
        the hole, 0 far from it (Yeh et al., eq. 3). "known": the share of known
        pixels, smallest beside the hole, 1 far from it (the widely used program).
        "uniform": 1.

    Returns:
      float32 [B, H, W, 1] in [0, 1].

    Raises:
      ValueError: unknown mode; neighbourhood even, below 1 or too large for the image.
    """
    _check_choice("mode", mode, WEIGHTINGS)
    if neighbourhood < 1 or neighbourhood % 2 == 0:
        raise ValueError(f"neighbourhood={neighbourhood}: must be odd and at least 1")
    known = tf.where(mask > 0, 0.0, 1.0)
    if mode == "uniform":
        return known
    margin = neighbourhood // 2
    if any(size is not None and size < margin for size in known.shape[1:3]):
        raise ValueError(
            f"neighbourhood={neighbourhood}: too large for an image of "
            f"{known.shape[1]}x{known.shape[2]}"
        )
    counted = known if mode == "known" else 1.0 - known
    sides = [margin, margin]
    mirrored = tf.pad(counted, [[0, 0], sides, sides, [0, 0]], "SYMMETRIC")
    share = tf.nn.avg_pool2d(mirrored, neighbourhood, 1, "VALID")
    return known * share


def initial_z(seed, keys, restarts, latent_size, start="uniform"):
    """Random starts, each a pure function of (seed, key, restart).

    Args:
      seed: int or int scalar tensor.
      keys: int32 [B].
      restarts, latent_size: ints.
      start: "uniform" in (-1, 1), or standard "normal" (the widely used program).

    Returns:
      float32 [B * restarts, latent_size], an example's restarts side by side.
    """
    _check_choice("start", start, STARTS)
    keys = tf.repeat(tf.cast(keys, tf.int32), restarts)
    places = tf.tile(tf.range(restarts), [tf.size(keys) // restarts])

    def draw(key_and_place):
        key, place = key_and_place
        words = tf.stack([tf.cast(seed, tf.int32), key])
        # From random bits: float uniforms differ between XLA and the rest.
        bits = tf.random.stateless_uniform(
            [latent_size],
            tf.random.fold_in(words, place, alg="philox"),
            minval=None,
            maxval=None,
            dtype=tf.uint32,
            alg="philox",
        )
        high_bits = tf.bitwise.right_shift(bits, tf.constant(9, tf.uint32))
        # Centres of 2^23 equal cells of (-1, 1), exact in float32, never an end.
        return (tf.cast(high_bits, tf.float32) + 0.5) * 2.0**-22 - 1.0

    uniform = tf.map_fn(
        draw,
        (keys, places),
        fn_output_signature=tf.TensorSpec([latent_size], tf.float32),
    )
    if start == "normal":
        return tf.sqrt(2.0) * tf.math.erfinv(uniform)
    return uniform


def context_loss(generated, terms, context="l1"):
    """Weighted distance to all targets, summed over pixels, channels and terms.

    Args:
      generated: float [N, H, W, 3].
      terms: list of (target [N, H, W, 3], weights [N, H, W, 1]).
      context: "l1": sum |W (G - y)| (Yeh et al.); "squared": sum (W (G - y))^2
        ("Image Inpainting using Deep Learning Models", eq. 3).

    Returns:
      float32 [N].
    """
    distances = []
    for copy, (target, weights) in zip(fork(generated, len(terms)), terms, strict=True):
        # A missing pixel may hold anything, even no number.
        difference = tf.where(weights > 0, weights * (copy - target), 0.0)
        measured = tf.abs(difference) if context == "l1" else tf.square(difference)
        distances.append(tf.reduce_sum(measured, axis=[1, 2, 3]))
    return add_in_order(distances)


def prior_loss(logits, prior="saturating"):
    """What the discriminator says of the generated images.

    Args:
      logits: float [N, 1], of being a ground-truth image.
      prior: "saturating": log(1 - D) (both papers); "non_saturating": -log D (the
        widely used program), which keeps its gradient where D is sure of a fake.

    Returns:
      float32 [N].
    """
    logits = tf.reshape(logits, [-1])
    if prior == "saturating":
        return -tf.nn.softplus(logits)
    return tf.nn.softplus(-logits)


def nesterov_step(z, velocity, gradient, learning_rate, momentum):
    """Nesterov momentum on z. Returns (z, velocity) after the step, z not clipped."""
    next_velocity = momentum * velocity - learning_rate * gradient
    z = z - momentum * velocity + (1.0 + momentum) * next_velocity
    return z, next_velocity


def adam_step(z, slots, gradient, step, learning_rate, beta_1, beta_2, epsilon):
    """Adam on z (Kingma and Ba 2015, algorithm 1).

    Args:
      z, gradient: float32 [N, L].
      slots: (first, second) moment, each [N, L], 0 before the first step.
      step: number of this step, 1 for the first.
      learning_rate, beta_1, beta_2, epsilon: the algorithm's constants.

    Returns:
      (z, slots) after the step, z not clipped.
    """
    step = tf.cast(step, tf.float32)
    first = beta_1 * slots[0] + (1.0 - beta_1) * gradient
    second = beta_2 * slots[1] + (1.0 - beta_2) * tf.square(gradient)
    unbiased_first = first / (1.0 - tf.pow(beta_1, step))
    unbiased_second = second / (1.0 - tf.pow(beta_2, step))
    z = z - learning_rate * unbiased_first / (tf.sqrt(unbiased_second) + epsilon)
    return z, (first, second)


def search(
    generate,
    score,
    terms,
    *,
    latent_size=100,
    iterations=1500,
    restarts=1,
    seed=0,
    keys=None,
    start="uniform",
    start_z=None,
    context="l1",
    prior="saturating",
    prior_weight=0.003,
    optimizer="adam",
    learning_rate=0.01,
    momentum=0.9,
    beta_1=0.9,
    beta_2=0.999,
    epsilon=1e-8,
    patience=0,
    min_improvement=1e-3,
    keep="best",
    group_size=1,
    watch=None,
):
    """Minimises context loss + prior_weight * prior loss over z, per example.

    Args:
      generate: function float32 [N, L] -> images float [N, H, W, 3] in [-1, 1],
        differentiable, each row by itself.
      score: function from such images to logits [N, 1].
      terms: list of (target [B, H, W, 3], weights [B, H, W, 1]) of the context loss;
        targets may hold anything where their weight is 0.
      latent_size: L.
      iterations: steps at most; int or scalar tensor.
      restarts: starts per example, searched side by side; the best one is returned.
      seed: int, of the starts.
      keys: int32 [B], what distinguishes the examples' starts; None gives every
        example the same starts, so that its place in a batch does not matter.
      start: see `initial_z`.
      start_z: float [B * restarts, L], an example's restarts side by side, instead of
        random starts.
      context, prior: see `context_loss`, `prior_loss`.
      prior_weight: lambda.
      optimizer: "adam" or "nesterov". z is clipped to [-1, 1] after each step.
      learning_rate: of either.
      momentum: of Nesterov.
      beta_1, beta_2, epsilon: of Adam.
      patience: an example stops, its z frozen, when for so many iterations its lowest
        loss has not fallen; 0 never stops early.
      min_improvement: what counts as falling: more than this share of the absolute
        value of the lowest loss so far.
      keep: "best": the z of the lowest loss met, of those that are numbers; "last": the
        z after the last step.
      group_size: how many z the networks see at once; the last group is filled up.
        With 1, z is the same bits in every batch. More are faster for large batches
        (on two cores 64 take 1.2 times as long in ones as in twos, 1.5 times as in
        eights, 1.7 times as all at once, which is 0), but then z depends on its place,
        and with 0 on the batch size, through rounding. Where TensorFlow has a GPU,
        always all: nothing can be promised bit for bit there, and small groups leave
        it idle.
      watch: function (step, generated [group_size, H, W, 3], values [group_size, 3]:
        loss, context and prior loss) that is called in the graph at each iteration,
        before z moves; None for none. It changes nothing of what is found.

    Returns:
      dict: `z` float32 [B, L] and `image` [B, H, W, 3], of the best restart; `loss`
      [B], theirs; `losses`, `context_losses`, `prior_losses` (not weighted)
      [B, iterations + 1], entry t at the z after t steps, flat once an example has
      stopped; `steps` int32 [B], how many were taken; `restart` int32 [B], the best;
      `last_z` [B, L], z after its last step.

    Raises:
      ValueError: an unknown choice, a count below 1, a negative group size.
    """
    check_constants(
        context=context,
        prior=prior,
        optimizer=optimizer,
        keep=keep,
        start=start,
        restarts=restarts,
        iterations=iterations,
        group_size=group_size,
    )
    examples = tf.shape(terms[0][0])[0]
    if start_z is None:
        if keys is None:
            keys = tf.zeros([examples], tf.int32)
        start_z = initial_z(seed, keys, restarts, latent_size, start)
    else:
        start_z = tf.cast(start_z, tf.float32)
    terms = [tuple(tf.cast(x, tf.float32) for x in term) for term in terms]
    count = tf.shape(start_z)[0]
    if group_size == 0 or tf.config.list_logical_devices("GPU"):
        group_size = tf.maximum(count, 1)

    def evaluate(z, group_terms):
        generated = tf.cast(generate(z), tf.float32)
        contexts = context_loss(generated, group_terms, context)
        priors = prior_loss(tf.cast(score(generated), tf.float32), prior)
        return generated, tf.stack(
            [contexts + prior_weight * priors, contexts, priors], axis=-1
        )

    def step_z(z, slots, gradient, step):
        if optimizer == "adam":
            return adam_step(
                z, slots, gradient, step + 1, learning_rate, beta_1, beta_2, epsilon
            )
        z, velocity = nesterov_step(z, slots[0], gradient, learning_rate, momentum)
        return z, (velocity, slots[1])

    def search_group(places):
        """Searches from the rows `places` of start_z; places beyond its end idle."""
        rows = tf.minimum(places, count - 1)
        z = tf.gather(start_z, rows)
        group_terms = [
            tuple(tf.gather(x, rows // restarts) for x in term) for term in terms
        ]

        def unfinished(step, stopped, *_):
            return (step < iterations) & ~tf.reduce_all(stopped)

        def iterate(
            step, stopped, z, slots, best_z, best_loss, goal, waited, taken, curve
        ):
            with tf.GradientTape() as tape:
                tape.watch(z)
                generated, values = evaluate(z, group_terms)
                # Examples do not meet in the sum: each z gets its own gradient.
                summed = tf.reduce_sum(values[:, 0])
            gradient = tape.gradient(summed, z)
            if watch is not None:
                watch(step, generated, values)
            curve = curve.write(step, values)
            loss = values[:, 0]

            better = loss < best_loss
            best_z = tf.where(better[:, tf.newaxis], z, best_z)
            # Unlike tf.minimum, leaves out a loss that is no number.
            best_loss = tf.where(better, loss, best_loss)
            if patience:
                fallen = loss < goal
                goal = tf.where(fallen, loss - min_improvement * tf.abs(loss), goal)
                waited = tf.where(fallen, 0, waited + 1)
                stopped |= waited >= patience

            moved_z, moved_slots = step_z(z, slots, gradient, step)
            moved_z = tf.clip_by_value(moved_z, -1.0, 1.0)
            frozen = stopped[:, tf.newaxis]
            z = tf.where(frozen, z, moved_z)
            slots = tuple(
                tf.where(frozen, old, new)
                for old, new in zip(slots, moved_slots, strict=True)
            )
            taken += tf.where(stopped, 0, 1)
            return (step + 1, stopped, z, slots, best_z, best_loss) + (
                goal,
                waited,
                taken,
                curve,
            )

        infinite = tf.fill(tf.shape(places), float("inf"))
        nothing = tf.zeros_like(places)
        curve = tf.TensorArray(
            tf.float32, iterations, element_shape=[None, 3], clear_after_read=False
        )
        done, _, last_z, _, best_z, best_loss, _, _, taken, curve = tf.while_loop(
            unfinished,
            iterate,
            (
                tf.constant(0),
                places >= count,
                z,
                (tf.zeros_like(z), tf.zeros_like(z)),
                z,
                infinite,
                infinite,
                nothing,
                nothing,
                curve,
            ),
            # The next iteration needs this one's z, and memory would grow for nothing.
            parallel_iterations=1,
        )

        image, values = evaluate(last_z, group_terms)
        loss, z = values[:, 0], last_z
        if keep == "best":
            # As written, a last loss that is no number leaves the best one.
            z = tf.where((loss <= best_loss)[:, tf.newaxis], last_z, best_z)
            image, kept_values = evaluate(z, group_terms)
            loss = kept_values[:, 0]
        # Once all have stopped nothing moves any more; every later entry is the last.
        curve = curve.gather(tf.minimum(tf.range(iterations), done - 1))
        curve = tf.concat([curve, values[tf.newaxis]], axis=0)
        return {
            "z": z,
            "image": image,
            "loss": loss,
            "curve": tf.transpose(curve, [1, 0, 2]),
            "steps": taken,
            "last_z": last_z,
        }

    groups = -(-count // group_size)
    latent_shape = start_z.shape[1:]
    found = tf.map_fn(
        search_group,
        tf.reshape(tf.range(groups * group_size), [groups, group_size]),
        fn_output_signature={
            "z": tf.TensorSpec([None, *latent_shape]),
            "image": tf.TensorSpec([None, *terms[0][0].shape[1:]]),
            "loss": tf.TensorSpec([None]),
            "curve": tf.TensorSpec([None, None, 3]),
            "steps": tf.TensorSpec([None], tf.int32),
            "last_z": tf.TensorSpec([None, *latent_shape]),
        },
        # More at once cost memory and are no faster: each uses all cores.
        parallel_iterations=1,
    )

    loss = tf.reshape(found["loss"], [-1])[:count]
    ranked = tf.where(tf.math.is_finite(loss), loss, float("inf"))
    restart = tf.argmin(
        tf.reshape(ranked, [examples, restarts]), axis=1, output_type=tf.int32
    )
    chosen = tf.range(examples) * restarts + restart
    chosen = tf.stack([chosen // group_size, chosen % group_size], axis=-1)
    best = {name: tf.gather_nd(value, chosen) for name, value in found.items()}
    losses, context_losses, prior_losses = tf.unstack(best.pop("curve"), axis=-1)
    return {
        **best,
        "losses": losses,
        "context_losses": context_losses,
        "prior_losses": prior_losses,
        "restart": restart,
    }


def check_constants(
    *, context, prior, optimizer, keep, start, restarts, iterations, group_size, **_
):
    """Refuses constants that `search` cannot take; further ones are not looked at.

    Raises:
      ValueError: an unknown choice, or a count below the smallest possible.
    """
    _check_choice("context", context, CONTEXTS)
    _check_choice("prior", prior, PRIORS)
    _check_choice("optimizer", optimizer, OPTIMIZERS)
    _check_choice("keep", keep, KEPT)
    _check_choice("start", start, STARTS)
    for name, count in (("restarts", restarts), ("iterations", iterations)):
        if not tf.is_tensor(count) and count < 1:
            raise ValueError(f"{name}={count}: must be at least 1")
    if group_size < 0:
        raise ValueError(f"group_size={group_size}: must be at least 0 (0 = all)")


def _check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(
            f"{name}={value!r} is unknown; choose one of {', '.join(choices)}"
        )
