"""Released TensorFlow 1 weights: read, refused, and brought into run folders.

Checkpoints are written here by TensorFlow 1's own Saver, graphs by its own operations,
which are also the reference for what a converted DCGAN computes. The recordings in
golden/ come from the original programs.
"""

import hashlib
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from baselines import released_giica, released_glcic, tf1_checkpoint
from baselines.dcgan import DCGAN
from baselines.giica import GIICA
from baselines.glcic import GLCIC
from baselines.released_weights import convert
from command_line import trained
from inpainting_tf import run_folder
from inpainting_tf.checkpoints import Checkpoints

tf.config.experimental.enable_tensor_float_32_execution(False)

ROOT = pathlib.Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
RECORDED_GAN = GOLDEN / "siidgm" / "random_gan.pb"
tf1 = tf.compat.v1


def random_arrays(variables, seed=0):
    """Arrays of the shapes of {name: variable}, positive where they are variances."""
    rng = np.random.default_rng(seed)
    return {
        name: (
            rng.uniform(0.5, 1.5, variable.shape)
            if name.endswith("pop_var")
            else rng.normal(
                0, max(1, np.prod(variable.shape[:-1])) ** -0.5, variable.shape
            )
        ).astype(np.float32)
        for name, variable in variables.items()
    }


@pytest.fixture(scope="module")
def giica_arrays():
    """Variables of a narrow GIICA for 48x48 with local patches of 24x24."""
    model = GIICA(image_size=48, width=0.0625)
    return random_arrays(released_giica.released_variables(model, critics=True))


@pytest.fixture(scope="module")
def glcic_arrays():
    """Variables of a narrow GLCIC for 64x64."""
    model = GLCIC(image_size=64, width=0.03125, mask_channel=False)
    named = released_glcic.released_variables(model)
    return random_arrays({name: variable for name, (variable, _) in named.items()})


def save_checkpoint(folder, arrays, step=None, learned=(), name="snap"):
    """A checkpoint by TF1's Saver, with Adam's slots of the learned variables."""
    with tf.Graph().as_default(), tf1.Session() as session:
        variables = {
            name: tf1.Variable(array, name=name, use_resource=False)
            for name, array in arrays.items()
        }
        global_step = None
        if step is not None:
            global_step = tf1.Variable(np.int32(step), name="global_step")
        if learned:
            chosen = [variables[name] for name in learned]
            loss = tf.add_n([tf.reduce_sum(variable) for variable in chosen])
            tf1.train.AdamOptimizer().minimize(loss, var_list=chosen)
        session.run(tf1.global_variables_initializer())
        prefix = os.path.join(folder, name)
        return tf1.train.Saver().save(
            session, prefix, global_step=global_step, write_meta_graph=False
        )


def load_run(folder):
    """(model, step) of a run folder, as the programs load it, and with optimizers."""
    model, _, step = trained.load(str(folder))
    checkpoints = Checkpoints(model, os.path.join(folder, "checkpoints"))
    assert checkpoints.restore() == step
    return model, step


def facts(folder):
    with open(os.path.join(folder, "run.json"), encoding="utf-8") as file:
        return json.load(file)["released_weights"]


def example(size, batch=2):
    rng = np.random.default_rng(1)
    image = rng.uniform(-1, 1, [batch, size, size, 3]).astype(np.float32)
    hole = np.zeros([batch, size, size, 1], np.float32)
    hole[0, 8:24, 4:20] = hole[1, 2:10, 12:28] = 1
    return tf.constant(image), tf.constant(hole)


def assert_equal(actual, expected, atol=2e-5):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol)


# ------------------------------------------------------------ checkpoints


def test_giica_run_folder_gives_the_programs_picture_in_rgb(giica_arrays, tmp_path):
    learned = ["inpaint_net/conv17/bias", "discriminator/dout_local_fc/kernel"]
    extra = {"lr": np.float32(1e-4)}
    prefix = save_checkpoint(tmp_path, {**giica_arrays, **extra}, 321, learned)
    output = str(tmp_path / "runs" / "giica")
    lines = convert("giica_tf1", prefix, output)
    model, step = load_run(output)
    assert step == 321
    assert (model.image_size, model.local_patch_size) == (48, 24)

    program = GIICA(image_size=48, width=0.0625)
    released_giica.load_released_weights(program, giica_arrays, critics=True)
    image, hole = example(48)
    expected, actual = program(tf.reverse(image, [-1]), hole), model(image, hole)
    for name in ("coarse", "predicted", "completed"):
        assert_equal(tf.reverse(actual[name], [-1]), expected[name])
    scores = program.global_critic(tf.reverse(image, [-1]))
    assert_equal(model.global_critic(image), scores)

    assert "step 321" in lines[0]
    # Two slots each of two variables and two powers.
    assert lines[1] == "unused: 6 of the optimizer; 2 others: global_step, lr"
    known = facts(output)
    assert known["unused"] == ["global_step", "lr"]
    assert len(known["used"]) == len(giica_arrays) and known["step"] == 321
    index = pathlib.Path(prefix + ".index")
    assert known["sha256"][index.name] == hashlib.sha256(index.read_bytes()).hexdigest()
    assert len(known["sha256"]) == 2
    assert os.listdir(tmp_path / "runs") == ["giica"]


def test_giica_without_critics_is_loaded_and_says_so(giica_arrays, tmp_path):
    networks = {k: v for k, v in giica_arrays.items() if k.startswith("inpaint_net/")}
    save_checkpoint(tmp_path, networks)
    output = tmp_path / "run"
    output.mkdir()  # An empty folder is free.
    lines = convert("giica_tf1", str(tmp_path), str(output), image_size=32, bgr=False)
    assert any("no critics in the checkpoint" in line for line in lines)
    model, step = load_run(output)
    assert (model.image_size, step) == (32, 0)
    # In the order in which it was trained, as asked.
    kernel = networks["inpaint_net/conv1/kernel"]
    np.testing.assert_array_equal(
        model.coarse_network.convolutions[0].convolution.kernel, kernel
    )


def test_giica_sizes_come_from_the_critics(giica_arrays):
    name = "discriminator/dout_local_fc/kernel"
    one_position = giica_arrays[name][: len(giica_arrays[name]) // 4]
    model, arguments, unused, _ = released_giica.convert(
        {**giica_arrays, name: one_position}
    )
    assert unused == []
    assert arguments == {
        "image_size": 48,
        "width": 0.0625,
        "padding": "same",
        "local_patch_size": 16,
    }
    np.testing.assert_array_equal(model.local_critic.score.kernel, one_position)


def test_recorded_weights_in_a_checkpoint_give_the_recorded_pictures(tmp_path):
    with np.load(GOLDEN / "deepfill_v1" / "weights_inpaint_net.npz") as stored:
        arrays = {name: stored[name] for name in stored.files if name != "meta"}
    save_checkpoint(tmp_path, arrays)
    prefix, _ = tf1_checkpoint.find(str(tmp_path))
    model, arguments, unused, _ = released_giica.convert(
        tf1_checkpoint.read(prefix), image_size=64
    )
    assert arguments["width"] == 1 and unused == []
    golden = np.load(GOLDEN / "deepfill_v1" / "net_d_64x96_b1_irr.npz")
    outputs = model(tf.reverse(golden["x"], [-1]), golden["mask"])
    assert_equal(tf.reverse(outputs["coarse"], [-1]), golden["x_stage1"], 1e-4)
    assert_equal(tf.reverse(outputs["predicted"], [-1]), golden["x_stage2"], 1e-4)


def test_glcic_run_folder_goes_on_where_the_program_stood(glcic_arrays, tmp_path):
    extra = {"epoch": np.int32(101)}
    learned = ["generator/conv10/beta"]
    save_checkpoint(tmp_path, {**glcic_arrays, **extra}, 777, learned, "latest")
    output = str(tmp_path / "run")
    lines = convert("glcic_tf1", str(tmp_path), output)
    assert lines[1] == "unused: 4 of the optimizer; 2 others: epoch, global_step"
    model, step = load_run(output)
    assert step == int(model.steps_taken) == 777
    assert (model.image_size, model.local_patch_size) == (64, 32)

    # The program flattens by channel, row, column before its dense layers.
    for side, vector in (
        ("global", model.discriminator.global_vector),
        ("local", model.discriminator.local_vector),
    ):
        released = glcic_arrays[f"discriminator/{side}/fc/weight"]
        features = np.random.default_rng(3).normal(size=[5, 2, 2, 16]).astype("f")
        assert released.shape[0] == 2 * 2 * 16
        by_channel = features.transpose(0, 3, 1, 2).reshape(5, -1)
        expected = by_channel @ released + glcic_arrays[f"discriminator/{side}/fc/bias"]
        assert_equal(vector(features.reshape(5, -1)), expected)
    block = model.completion.blocks[3]
    np.testing.assert_array_equal(
        block.convolution.kernel, glcic_arrays["generator/conv4/weight"]
    )
    np.testing.assert_array_equal(
        block.normalization.moving_variance, glcic_arrays["generator/conv4/pop_var"]
    )

    # Three channels with a grey hole, and logits by the batch's statistics.
    image, hole = example(64)
    grey = tf.where(hole > 0, 0.0, image)
    assert_equal(
        model(image, hole)["predicted"], model(grey, tf.zeros_like(hole))["predicted"]
    )
    box = tf.constant([[0, 0, 32, 32], [8, 8, 24, 24]])
    logits = model.logits(image, box)
    assert_equal(logits, model.discriminator(*crops(image, box), training=True), 1e-4)


def crops(image, box):
    corners = [(0, 0), (4, 4)]  # Patches of 32, centred on the boxes.
    assert box.shape == (2, 4)
    patches = [image[i, t : t + 32, s : s + 32] for i, (t, s) in enumerate(corners)]
    return image, tf.stack(patches)


def test_glcic_without_discriminators_is_loaded_and_says_so(glcic_arrays):
    generator = {k: v for k, v in glcic_arrays.items() if k.startswith("generator/")}
    model, arguments, unused, notes = released_glcic.convert(generator, image_size=32)
    assert arguments["image_size"] == model.image_size == 32 and unused == []
    assert "no discriminators" in notes[0]
    np.testing.assert_array_equal(
        model.completion.last.kernel, generator["generator/conv11/weight"]
    )


@pytest.mark.parametrize(
    "released_format, name, change, message",
    [
        (
            "giica_tf1",
            "inpaint_net/allconv13_upsample/allconv13_upsample_conv/bias",
            "missing",
            "allconv13_upsample_conv/bias is missing",
        ),
        ("giica_tf1", "inpaint_net/conv1/bias", "missing", "conv1/bias is missing"),
        (
            "giica_tf1",
            "discriminator/dout_local_fc/kernel",
            "longer",
            "dout_local_fc/kernel: its rows stand for .* no square",
        ),
        ("glcic_tf1", "generator/conv3/pop_var", "longer", r"pop_var has shape \(5,\)"),
        ("glcic_tf1", "discriminator/local/fc/bias", "missing", "fc/bias is missing"),
        (
            "glcic_tf1",
            "discriminator/global/fc/weight",
            "missing",
            "global/fc/weight is missing",
        ),
    ],
)
def test_missing_and_misshapen_variables_are_refused_by_name_and_nothing_is_written(
    released_format, name, change, message, giica_arrays, glcic_arrays, tmp_path
):
    arrays = dict(giica_arrays if released_format == "giica_tf1" else glcic_arrays)
    array = arrays.pop(name)
    if change == "longer":
        arrays[name] = np.concatenate([array, array[:1]])
    source, output = tmp_path / "source", tmp_path / "run"
    source.mkdir()
    save_checkpoint(source, arrays)
    with pytest.raises(ValueError, match=message) as caught:
        convert(released_format, str(source), str(output))
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["source"]


def test_an_output_in_use_is_refused_and_left_as_it_is(tmp_path):
    output = tmp_path / "run"
    output.mkdir()
    (output / "flags.cfg").write_text("--method=dcgan\n")
    with pytest.raises(ValueError, match=rf"--output={output} is not empty"):
        convert("dcgan_pb", str(RECORDED_GAN), str(output))
    assert (output / "flags.cfg").read_text() == "--method=dcgan\n"
    with pytest.raises(ValueError, match="is a file"):
        convert("dcgan_pb", str(RECORDED_GAN), str(output / "flags.cfg"))
    with pytest.raises(ValueError, match="cannot write there"):
        convert("dcgan_pb", str(RECORDED_GAN), str(output / "flags.cfg" / "run"))
    assert os.listdir(output) == ["flags.cfg"]


def test_a_checkpoint_is_found_by_prefix_file_and_folder(tmp_path):
    first = save_checkpoint(tmp_path, {"a": np.float32(1)}, name="first")
    second = save_checkpoint(tmp_path, {"a": np.float32(2)}, name="second")
    for source in (first, first + ".index", first + ".data-00000-of-00001"):
        prefix, files = tf1_checkpoint.find(source)
        assert prefix == first and len(files) == 2
    assert tf1_checkpoint.find(str(tmp_path))[0] == second
    assert tf1_checkpoint.read(second) == {"a": 2}
    # A checkpoint file from another machine names folders that are not here.
    state = tmp_path / "checkpoint"
    state.write_text('model_checkpoint_path: "/another/machine/first"\n')
    assert tf1_checkpoint.find(str(tmp_path))[0] == first
    state.unlink()
    with pytest.raises(ValueError, match="found in it: first, second"):
        tf1_checkpoint.find(str(tmp_path))


def test_absent_and_damaged_checkpoints_are_refused_in_one_line(tmp_path):
    prefix = save_checkpoint(tmp_path, {"a": np.arange(1000, dtype=np.float32)})
    data = pathlib.Path(prefix + ".data-00000-of-00001")

    def refusal(source=prefix):
        with pytest.raises(ValueError) as caught:
            tf1_checkpoint.read(tf1_checkpoint.find(source)[0])
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "there is no checkpoint" in refusal(str(tmp_path / "nothing"))
    whole = data.read_bytes()
    data.write_bytes(whole[:100])
    assert "cannot be read" in refusal()
    data.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    assert "cannot be read" in refusal()
    data.unlink()
    assert "0 of its .data files" in refusal()
    data.write_bytes(whole)
    pathlib.Path(prefix + ".index").write_bytes(b"no index")
    assert "cannot be read" in refusal()


# ------------------------------------------------------------ frozen graphs


@pytest.fixture(scope="module")
def recorded_gan(tmp_path_factory):
    output = str(tmp_path_factory.mktemp("recorded") / "run")
    lines = convert("dcgan_pb", str(RECORDED_GAN), output)
    return load_run(output)[0], lines


@pytest.mark.parametrize(
    "path", sorted((GOLDEN / "siidgm").glob("siidgm_*.npz")), ids=lambda p: p.stem
)
def test_recorded_gan_gives_the_recorded_pictures_and_logits(path, recorded_gan):
    model, golden = recorded_gan[0], np.load(path)
    assert_equal(model.generate(np.float32(golden["z0"])), golden["G_of_z0"], 1e-4)
    logits = np.ravel(model.score(golden["G_of_z0"]))
    assert_equal(logits, np.ravel(golden["D_logits_of_G"]), 1e-4)


def test_recorded_gan_says_what_its_graph_has(recorded_gan):
    model, lines = recorded_gan
    assert lines[0].startswith("dcgan: 18 of 18 variables used")
    assert lines[2].startswith("6 layers of the graph have no batch normalisation")
    assert model.generator.channels == 32 and len(model.discriminator.convolutions) == 3


def graph_gan(
    path,
    norm="fused",
    leaky="op",
    *,
    kernel_size=5,
    relu=tf.nn.relu,
    probability=tf.sigmoid,
    copies=1,
    first=(4, 4),
    spare=False,
):
    """Writes a frozen DCGAN made of TF1 operations.

    Args:
      path: of the .pb file.
      norm: "fused", "arithmetic" (tf.nn.batch_normalization), "folded" (scale and
        offset), "batch" or "fused_batch" (by the batch's statistics), of the blocks
        that a DCGAN normalises, with epsilon 1e-3.
      leaky: "op", "maximum" or "magnitude": how leaky ReLU 0.3 is written.
      kernel_size, relu, probability, copies, first (size of the first features):
        deviations from a DCGAN.
      spare: adds a weight that nothing uses.
    """
    rng = np.random.default_rng(4)

    def weight(*shape, scale=0.3):
        return rng.normal(0, scale, shape).astype(np.float32)

    def normalise(x):
        c = x.shape[-1]
        gamma, beta, mean = weight(c) + 1, weight(c), weight(c)
        variance = rng.uniform(0.5, 2, c).astype(np.float32)
        if norm.startswith("fused"):
            training = norm == "fused_batch"
            return tf1.nn.fused_batch_norm(
                x,
                gamma,
                beta,
                None if training else mean,
                None if training else variance,
                epsilon=1e-3,
                is_training=training,
            )[0]
        if norm == "folded":
            return x * gamma + beta
        variance = tf.constant(variance)
        if norm == "batch":
            mean, variance = tf.nn.moments(x, [0, 1, 2])
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)

    def leaky_relu(x):
        if leaky == "op":
            return tf.nn.leaky_relu(x, 0.3)
        if leaky == "maximum":
            return tf.maximum(x, 0.3 * x)
        return 0.65 * x + 0.35 * tf.abs(x)

    def generator(z):
        x = tf.matmul(z, weight(10, 16 * 12)) + weight(16 * 12)
        x = relu(normalise(tf.reshape(x, [-1, *first, 12])))
        for scale, before, after in ((2, 12, 9), (4, 9, 6), (8, 6, 5), (16, 5, 3)):
            height, width = scale * first[0], scale * first[1]
            kernel = weight(kernel_size, kernel_size, after, before, scale=0.15)
            shape = tf.stack([tf.shape(z)[0], height, width, after])
            x = tf1.nn.conv2d_transpose(x, kernel, shape, [1, 2, 2, 1])
            x = tf.nn.bias_add(tf.reshape(x, [-1, height, width, after]), weight(after))
            if after > 3:
                x = relu(normalise(x))
        return tf.tanh(tf.reshape(x, [-1, 64, 64, 3]))

    with tf.Graph().as_default() as graph:
        z = tf1.placeholder(tf.float32, [None, 10], name="z")
        for _ in range(copies):
            picture = generator(z)
        tf.identity(picture, name="picture")
        x = images = tf1.placeholder(tf.float32, [None, 64, 64, 3], name="images")
        for index, (before, after) in enumerate(((3, 4), (4, 7), (7, 5))):
            x = tf.nn.conv2d(x, weight(5, 5, before, after, scale=0.15), 2, "SAME")
            x = tf.nn.bias_add(x, weight(after))
            x = leaky_relu(x if index == 0 else normalise(x))
        x = tf.matmul(tf.reshape(x, [-1, 8 * 8 * 5]), weight(8 * 8 * 5, 1)) + weight(1)
        tf.identity(x, name="logit")
        probability(x)
        if spare:
            tf.constant(np.ones(5, np.float32), name="spare")
    path.write_bytes(graph.as_graph_def().SerializeToString())

    def run(name, feed):
        with tf1.Session(graph=graph) as session:
            return session.run(f"{name}:0", {f"{k}:0": v for k, v in feed.items()})

    assert images.shape[0] is None
    return run


def draw_z(count, seed=7):
    return np.random.default_rng(seed).uniform(-1, 1, [count, 10]).astype(np.float32)


@pytest.mark.parametrize(
    "norm, leaky",
    [("fused", "op"), ("arithmetic", "maximum"), ("folded", "magnitude")],
)
def test_a_graph_with_batch_norm_makes_the_same_gan(norm, leaky, tmp_path):
    run = graph_gan(tmp_path / "gan.pb", norm, leaky, spare=True)
    output = str(tmp_path / "run")
    lines = convert("dcgan_pb", str(tmp_path / "gan.pb"), output)
    assert lines[1] == "unused: 0 of the optimizer; 1 others: spare"
    model, _ = load_run(output)
    assert model.discriminator.leaky_relu_slope == pytest.approx(0.3)
    z = draw_z(3)
    pictures = run("picture", {"z": z})
    assert np.abs(pictures).std() > 0.05
    assert_equal(model.generate(z), pictures, 1e-4)
    logits = run("logit", {"images": pictures})
    assert np.ptp(logits) > 0.01
    assert_equal(model.score(pictures), logits, 1e-4)
    if norm != "folded":
        # Own statistics are kept, so that training goes on as it was.
        assert np.ptp(model.generator.norms[1].moving_mean) > 0
        in_training = model.generate(draw_z(64), training=True)
        by_batch = graph_gan(tmp_path / "batch.pb", "batch", leaky)
        assert_equal(in_training, by_batch("picture", {"z": draw_z(64)}), 0.05)


@pytest.mark.parametrize("norm", ["batch", "fused_batch"])
def test_statistics_that_a_graph_lacks_are_estimated(norm, tmp_path):
    run = graph_gan(tmp_path / "gan.pb", norm)
    lines = convert("dcgan_pb", str(tmp_path / "gan.pb"), str(tmp_path / "run"))
    assert any("estimated from 512 random z" in line for line in lines)
    model, _ = load_run(tmp_path / "run")
    z = draw_z(512)
    pictures = run("picture", {"z": z})
    spread = pictures.std()
    error = np.sqrt(np.mean((model.generate(z) - pictures) ** 2))
    assert error < 0.05 * spread
    logits = run("logit", {"images": pictures})
    error = np.sqrt(np.mean((model.score(pictures) - logits) ** 2))
    assert error < 0.1 * logits.std()
    assert_equal(model.generate(z[:3]), model.generate(z)[:3])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"kernel_size": 3}, "kernel 3x3, strides .*; a DCGAN has 5x5"),
        ({"relu": tf.nn.softplus}, "operation Softplus"),
        ({"relu": tf.nn.leaky_relu}, "activations must be relu"),
        ({"probability": tf.identity}, "ends in Sigmoid: there is no Sigmoid"),
        ({"copies": 2}, "Tanh ends several networks, Tanh, Tanh_1"),
    ],
)
def test_a_graph_that_is_no_dcgan_is_refused_with_what_was_found(
    options, message, tmp_path
):
    source = tmp_path / "gan.pb"
    graph_gan(source, **options)
    with pytest.raises(ValueError, match=message) as caught:
        convert("dcgan_pb", str(source), str(tmp_path / "run"))
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["gan.pb"]


def test_a_graph_that_only_looks_like_a_dcgan_is_refused(tmp_path):
    """Features of 2x8 have the same weights as 4x4; what they compute differs."""
    graph_gan(tmp_path / "gan.pb", first=(2, 8))
    with pytest.raises(ValueError, match="generator was read, but differs from the gr"):
        convert("dcgan_pb", str(tmp_path / "gan.pb"), str(tmp_path / "run"))
    assert os.listdir(tmp_path) == ["gan.pb"]


def test_files_that_are_no_frozen_graph_are_refused_in_one_line(tmp_path):
    path = tmp_path / "gan.pb"

    def refusal():
        with pytest.raises(ValueError) as caught:
            convert("dcgan_pb", str(path), str(tmp_path / "run"))
        assert "\n" not in str(caught.value) and "gan.pb" in str(caught.value)
        return str(caught.value)

    assert "No such file" in refusal()
    path.write_bytes(b"")
    assert "empty graph" in refusal()
    path.write_bytes(RECORDED_GAN.read_bytes()[:1000])
    assert "no frozen graph" in refusal()
    with tf.Graph().as_default() as graph:
        tf1.Variable(np.ones(3, np.float32), name="kernel", use_resource=False)
    path.write_bytes(graph.as_graph_def().SerializeToString())
    assert "not frozen: kernel is a variable" in refusal()


def test_channel_lists_that_do_not_fit_are_refused_by_name():
    for parameters, message in (
        ({"generator_widths": (8, 4, 4)}, "--generator_widths names 3 .* 64 need 4"),
        ({"generator_widths": (8, 4, 4, 0.5)}, "--generator_widths=8,4,4,0.5"),
        ({"discriminator_widths": ()}, "--discriminator_widths="),
        ({"leaky_relu_slope": 1.0}, "--leaky_relu_slope=1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            DCGAN(**{"width": 0.03125, **parameters})
    narrow = DCGAN(generator_widths=(16, 8, 6, 4), discriminator_widths=(4,), width=0.5)
    assert narrow.generator.channels == 8
    assert [e.filters for e in narrow.generator.enlargements] == [4, 3, 2, 3]
    assert [c.filters for c in narrow.discriminator.convolutions] == [2]


# ------------------------------------------------------------ program


def test_program_converts_and_refuses_with_one_line_and_status_2(tmp_path):
    def run(*flags):
        process = subprocess.run(
            [sys.executable, "-m", "baselines.released_weights", *flags],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = process.stderr.strip().splitlines()
        return process.returncode, lines

    source, output = f"--source={RECORDED_GAN}", f"--output={tmp_path / 'run'}"
    status, lines = run("--format=dcgan_pb", source, output)
    assert status == 0
    assert any(line.startswith("dcgan: 18 of 18") for line in lines)
    flags = run_folder.read_flags(tmp_path / "run")
    assert flags["method"] == "dcgan" and flags["generator_widths"] == "32,16,8,8"
    status, lines = run("--format=giica_tf1", f"--source={tmp_path}", output + "2")
    assert status == 2 and os.listdir(tmp_path) == ["run"]
    assert lines[-1] == (
        f"released_weights.py: --source={tmp_path} must be a checkpoint or a folder "
        "with one; checkpoints found in it: none"
    )
    assert "Traceback" not in "".join(lines)
