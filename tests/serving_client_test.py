"""The client completes photos over real sockets; what goes wrong is said in a line."""

import base64
import io
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import termios
import urllib.error
import urllib.request

import mean_color_model
import numpy as np
import programs
import pytest
import serving_server
from PIL import Image

from serving import client, transport

RNG = np.random.default_rng(0)
TRANSPORTS = ["grpc", "rest"]


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Two versions of the model `mean`; the second fills 20 levels brighter."""
    folder = tmp_path_factory.mktemp("exports")
    mean_color_model.save(str(folder / "mean"), 1)
    mean_color_model.save(str(folder / "mean"), 2, shift=20)
    return folder


@pytest.fixture(scope="module")
def shared_server(exports):
    labels = {"mean": {"stable": 1, "canary": 2}}
    server = serving_server.Server(str(exports), labels)
    yield server
    server.close()


@pytest.fixture
def server(shared_server):
    shared_server.requests = shared_server.failures = 0
    return shared_server


@pytest.fixture
def run(server, capfd):
    """Runs the client's main as `python -m serving.client` does.

    Returns a function of its words that gives (exit status, lines of standard error).
    """

    def run_client(*words, transport="grpc"):
        for flag in client.FLAGS.flags_by_module_dict()["serving.client"]:
            client.FLAGS[flag.name].unparse()
        words = [
            f"--server={getattr(server, transport)}",
            f"--transport={transport}",
            "--model=mean",
            "--first_wait=0.01",
            *map(str, words),
        ]
        with pytest.raises(SystemExit) as end:
            client.main(client.parse(["client.py", *words]))
        return end.value.code, capfd.readouterr().err.splitlines()

    return run_client


def write(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def example(height=13, width=21):
    """A photo, uint8 [H, W, 3], and its mask, uint8 [H, W] of 0 and 255."""
    photo = RNG.integers(0, 256, [height, width, 3], np.uint8)
    mask = np.zeros([height, width], np.uint8)
    mask[height // 4 : height // 2, 3 : width // 2] = 255
    return photo, mask


def filled(photo, mask, shift=0):
    """What the model of the tests makes of an example, by NumPy."""
    mean = np.round(photo[mask == 0].mean(axis=0)) + shift
    return np.where(mask[..., None] > 0, mean.clip(0, 255).astype(np.uint8), photo)


def pixels_of(path):
    with Image.open(path) as picture:
        return np.array(picture)


# One photo.


@pytest.mark.parametrize("name", TRANSPORTS)
def test_completes_a_hole_and_keeps_known_pixels_bit_for_bit(run, tmp_path, name):
    photo, mask = example()
    output = tmp_path / "new" / "completed.png"
    status, lines = run(
        write(tmp_path / "photo.png", photo),
        write(tmp_path / "mask.png", mask),
        f"--output={output}",
        "--version=1",
        transport=name,
    )
    assert (status, lines) == (0, [f"completed: {output}"])
    np.testing.assert_array_equal(pixels_of(output), filled(photo, mask))
    assert os.listdir(output.parent) == ["completed.png"]


def test_both_transports_write_the_same_bytes(run, tmp_path):
    photo, mask = example()
    paths = write(tmp_path / "a.png", photo), write(tmp_path / "m.png", mask)
    for name in TRANSPORTS:
        status, _ = run(*paths, f"--output={tmp_path / name}.png", transport=name)
        assert status == 0
    written = [(tmp_path / f"{name}.png").read_bytes() for name in TRANSPORTS]
    assert written[0] == written[1]


@pytest.mark.parametrize("name", TRANSPORTS)
def test_photos_larger_than_grpcs_default_of_4_mb_pass(run, tmp_path, name):
    photo, mask = example(1400, 1400)  # Noise: 5 MB each way.
    output = tmp_path / "completed.png"
    status, _ = run(
        write(tmp_path / "photo.bmp", photo),
        write(tmp_path / "mask.png", mask),
        f"--output={output}",
        "--version=1",
        transport=name,
    )
    assert status == 0
    assert output.stat().st_size > 4 * 2**20
    np.testing.assert_array_equal(pixels_of(output), filled(photo, mask))


def test_a_photo_is_sent_upright_and_opaque(run, tmp_path):
    photo, mask = example(12, 20)
    rotated = Image.fromarray(
        np.rot90(photo)
    )  # Stored lying; orientation 6 uprights it.
    exif = Image.Exif()
    exif[0x0112] = 6
    rotated.save(tmp_path / "photo.png", exif=exif)
    status, _ = run(
        tmp_path / "photo.png",
        write(tmp_path / "mask.png", mask),
        "--version=1",
    )
    assert status == 0
    np.testing.assert_array_equal(
        pixels_of(tmp_path / "photo_mean.png"), filled(photo, mask)
    )


@pytest.mark.parametrize("name", TRANSPORTS)
@pytest.mark.parametrize(
    ("choice", "shift"),
    [
        ([], 20),
        (["--version=1"], 0),
        (["--version=2"], 20),
        (["--label=stable"], 0),
        (["--label=canary"], 20),
    ],
)
def test_version_and_label_choose_who_answers(run, tmp_path, name, choice, shift):
    photo, mask = example()
    status, _ = run(
        write(tmp_path / "photo.png", photo),
        write(tmp_path / "mask.png", mask),
        *choice,
        transport=name,
    )
    assert status == 0
    np.testing.assert_array_equal(
        pixels_of(tmp_path / "photo_mean.png"), filled(photo, mask, shift)
    )


@pytest.mark.parametrize("levels", [(0, 255), (0, 1), (100, 140)])
def test_masks_are_cut_at_127_or_hold_0_and_1(run, tmp_path, levels):
    photo, mask = example()
    status, _ = run(
        write(tmp_path / "photo.png", photo),
        write(tmp_path / "mask.png", np.where(mask > 0, *levels[::-1]).astype("uint8")),
        "--version=1",
    )
    assert status == 0
    np.testing.assert_array_equal(
        pixels_of(tmp_path / "photo_mean.png"), filled(photo, mask)
    )


# What fails is said in one line; only what may pass is repeated.


@pytest.fixture
def paths(tmp_path):
    photo, mask = example()
    return write(tmp_path / "photo.png", photo), write(tmp_path / "mask.png", mask)


@pytest.mark.parametrize("name", TRANSPORTS)
def test_a_busy_server_is_asked_again(run, server, paths, name):
    server.failures = 3
    status, lines = run(*paths, "--retries=3", transport=name)
    assert status == 0, lines
    assert server.requests == 4


@pytest.mark.parametrize("name", TRANSPORTS)
def test_a_server_that_stays_busy_is_given_up(run, server, paths, name):
    server.failures = 10
    status, lines = run(*paths, "--retries=2", transport=name)
    assert (status, server.requests) == (1, 3)
    assert lines == [
        f"client.py: {getattr(server, name)} is not available: The queue is full "
        "(a test) (3 attempts)"
    ]


def test_waits_double_and_vary():
    waits = []

    def busy():
        raise transport.RequestError("busy", retry=True)

    for _ in range(50):
        with pytest.raises(transport.RequestError, match=r"busy \(9 attempts\)"):
            transport.with_retries(busy, 8, first_wait=0.5, sleep=waits.append)
    waits = np.reshape(waits, [50, 8])
    longest = np.minimum(0.5 * 2.0 ** np.arange(8), transport.LONGEST_WAIT)
    assert (waits <= longest).all() and (waits >= longest / 2).all()
    assert (waits.std(axis=0) > 0.05 * longest).all()


@pytest.mark.parametrize("name", TRANSPORTS)
def test_a_silent_server_times_out(run, exports, server, paths, name):
    silent = serving_server.Server(str(exports))
    silent.silent = True
    address = getattr(silent, name)
    try:
        status, lines = run(
            *paths,
            f"--server={address}",
            "--timeout=0.3",
            "--retries=1",
            transport=name,
        )
    finally:
        silent.close()
    assert (status, silent.requests) == (1, 2)
    assert lines == [
        f"client.py: {paths[0]}: no answer from {address} within 0.3 s; a longer "
        "--timeout may help (2 attempts)"
    ]


@pytest.mark.parametrize("name", TRANSPORTS)
def test_a_port_where_nobody_listens_is_one_line(run, paths, name):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    status, lines = run(*paths, f"--server={address}", "--retries=1", transport=name)
    assert status == 1
    assert lines == [
        f"client.py: {address} cannot be reached: Connection refused; start TF Serving "
        "or name another --server (2 attempts)"
    ]


@pytest.mark.parametrize("name", TRANSPORTS)
def test_the_other_interfaces_port_is_noticed(run, server, paths, name):
    other = {"grpc": server.rest, "rest": server.grpc}[name]
    status, lines = run(*paths, f"--server={other}", "--retries=0", transport=name)
    assert status == 1
    (line,) = lines
    assert f"{other} cannot be reached: no " in line
    assert "8500" in line and "8501" in line


@pytest.mark.parametrize("name", TRANSPORTS)
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model=nobody"], "does not serve nobody: Servable not found for request: "),
        (["--version=7"], "does not serve mean version 7: Servable not found"),
        (
            ["--label=new"],
            "does not serve mean label new: Unrecognized servable version",
        ),
    ],
)
def test_what_is_not_served_is_named_and_not_asked_for_again(
    run, server, paths, name, words, message
):
    status, lines = run(*paths, *words, transport=name)
    assert (status, server.requests) == (1, 1)
    (line,) = lines
    assert line.startswith(f"client.py: {getattr(server, name)} {message}")


@pytest.mark.parametrize("name", TRANSPORTS)
def test_what_the_model_refuses_is_shown_and_not_repeated(server, name):
    photo, mask = example()
    model = transport.connect(name, getattr(server, name), "mean")
    stream = io.BytesIO()
    Image.fromarray(mask[:-1]).save(stream, "PNG")
    small_mask = stream.getvalue()
    stream = io.BytesIO()
    Image.fromarray(photo).save(stream, "PNG")
    with pytest.raises(transport.RequestError) as error:
        transport.with_retries(lambda: model.complete(stream.getvalue(), small_mask), 5)
    model.close()
    assert server.requests == 1
    assert str(error.value) == (
        "mean refused it: image and mask must have the same batch size, height and "
        "width"
    )
    assert not error.value.every_request


def test_sizes_that_differ_and_files_that_are_no_pictures_are_not_sent(
    run, server, tmp_path
):
    photo, mask = example(12, 20)
    good = write(tmp_path / "photo.png", photo)
    lines = []
    for other, cut in (("small", mask[:-1]), ("empty", 0 * mask)):
        status, said = run(good, write(tmp_path / f"{other}.png", cut))
        assert status == 1
        lines += said
    text = tmp_path / "text.jpg"
    text.write_bytes(b"This is no picture.")
    for pair in ((text, good), (good, text)):
        status, said = run(*pair)
        assert status == 1
        lines += said
    assert server.requests == 0
    assert [line.split(": ", 2)[2] for line in lines] == [
        f"the photo is 20x12 and the mask {tmp_path}/small.png is 20x11; they must be "
        "of one size",
        f"the mask {tmp_path}/empty.png has no missing pixel (grey above 127, or 1 "
        "beside 0)",
        f"photo {text}: not a JPEG, PNG, BMP, GIF or WebP picture",
        f"mask {text}: not a JPEG, PNG, BMP, GIF or WebP picture",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["photo.png"], "a mask or folder must be given"),
        (["photo.png", "mask.png", "more"], "'more' is not a flag"),
        (["nowhere.png", "mask.png"], "nowhere.png: no such file or folder"),
        (["photo.png", "mask.png", "--output=a.jpg"], "must end in .png"),
        (["photo.png", "mask.png", "--output=photo.png"], "would overwrite an input"),
        (["photo.png", "mask.png", "--version=1", "--label=new"], "give one"),
        (["photo.png", "mask.png", "--model="], "--model must name a model"),
        (["photo.png", "mask.png", "--server=localhost"], "must be host:port"),
        (["photo.png", "mask.png", "--timeout=0"], "--timeout must be above 0"),
        (["photo.png", "mask.png", "--check=."], "neither a SavedModel nor a folder"),
        ([".", "mask.png", "--output=completed"], "lies in ., where every picture"),
    ],
)
def test_wrong_command_lines_are_refused(
    run, server, paths, monkeypatch, words, message
):
    monkeypatch.chdir(paths[0].parent)
    for name in TRANSPORTS:
        status, lines = run(*words, transport=name)
        assert status == 2
        (line,) = lines
        assert line.startswith("client.py: ") and message in line
    assert server.requests == 0


# Folders.


@pytest.fixture
def folders(tmp_path):
    """photos/ and masks/ with three examples, one of them below a folder."""
    examples = {}
    for name, size in (("a", (9, 14)), ("b", (16, 8)), ("deep/c", (11, 11))):
        photo, mask = examples[name] = example(*size)
        write(tmp_path / "photos" / f"{name}.png", photo)
        write(tmp_path / "masks" / f"{name}.bmp", mask)
    return tmp_path, examples


@pytest.mark.parametrize("name", TRANSPORTS)
def test_a_folder_is_completed_and_a_rerun_does_only_what_is_missing(
    run, server, folders, name
):
    folder, examples = folders
    words = [folder / "photos", folder / "masks", f"--output={folder / 'completed'}"]
    status, lines = run(*words, "--version=1", transport=name)
    assert (status, lines) == (0, ["3 completed"])
    for stem, pair in examples.items():
        completed = folder / "completed" / f"{stem}.png"
        np.testing.assert_array_equal(pixels_of(completed), filled(*pair))

    (folder / "completed" / "b.png").unlink()
    server.requests = 0
    status, lines = run(*words, "--version=1", transport=name)
    assert (status, server.requests) == (0, 1)
    assert lines == ["1 completed, 2 skipped (there already; --overwrite)"]

    # A newer mask makes what was completed with the old one out of date.
    newer = (folder / "completed" / "a.png").stat().st_mtime + 5
    os.utime(folder / "masks" / "a.bmp", (newer, newer))
    status, lines = run(*words, "--version=1", transport=name)
    assert lines == ["1 completed, 2 skipped (there already; --overwrite)"]

    status, lines = run(*words, "--version=2", "--overwrite", transport=name)
    assert (status, lines) == (0, ["3 completed"])
    np.testing.assert_array_equal(
        pixels_of(folder / "completed" / "b.png"), filled(*examples["b"], 20)
    )


def test_a_folder_of_one_photo_is_skipped_too_but_a_named_photo_is_not(
    run, server, paths
):
    photos = paths[0].parent / "photos"
    photos.mkdir()
    shutil.move(paths[0], photos / "a.png")
    assert run(photos, paths[1]) == (0, ["1 completed"])
    assert run(photos, paths[1])[1] == [
        "0 completed, 1 skipped (there already; --overwrite)"
    ]
    output = f"--output={paths[0].parent / 'photos_mean'}"
    assert run(photos / "a.png", paths[1], output)[0] == 0
    assert server.requests == 2


def test_one_mask_serves_every_photo_and_the_output_is_named_after_the_model(
    run, tmp_path
):
    photos = [example(10, 12) for _ in range(3)]
    mask = write(tmp_path / "mask.png", photos[0][1])
    for i, (photo, _) in enumerate(photos):
        write(tmp_path / "photos" / f"{i}.png", photo)
    status, lines = run(f"{tmp_path}/photos/", mask, "--version=1")
    assert (status, lines) == (0, ["3 completed"])
    for i, (photo, _) in enumerate(photos):
        np.testing.assert_array_equal(
            pixels_of(tmp_path / "photos_mean" / f"{i}.png"),
            filled(photo, photos[0][1]),
        )


def test_what_fails_is_listed_at_the_end_and_the_rest_is_completed(run, folders):
    folder, _ = folders
    (folder / "masks" / "a.bmp").unlink()
    (folder / "photos" / "b.png").write_bytes(b"damaged")
    status, lines = run(folder / "photos", folder / "masks", "--output", folder / "new")
    assert status == 1
    assert lines == [
        f"client.py: {folder}/photos/a.png: no mask is named a in {folder}/masks",
        f"client.py: {folder}/photos/b.png: photo {folder}/photos/b.png: not a JPEG, "
        "PNG, BMP, GIF or WebP picture",
        "1 completed, 2 failed",
    ]
    assert sorted(os.listdir(folder / "new")) == ["deep"]


@pytest.mark.parametrize("name", TRANSPORTS)
def test_a_missing_model_ends_a_folder_at_its_first_photo(run, server, folders, name):
    folder, _ = folders
    status, lines = run(
        folder / "photos", folder / "masks", "--model=nobody", transport=name
    )
    assert (status, server.requests) == (1, 1)
    assert len(lines) == 2
    assert lines[1] == "0 completed, 3 not tried"


def test_an_output_that_cannot_be_written_is_one_line(run, folders):
    folder, _ = folders
    (folder / "new").mkdir()
    (folder / "new" / "deep").write_bytes(b"A file where a folder is needed.")
    status, lines = run(folder / "photos", folder / "masks", "--output", folder / "new")
    assert status == 1
    assert lines == [
        f"client.py: {folder}/new/deep/c.png cannot be written: File exists",
        "2 completed, 1 not tried",
    ]
    assert sorted(os.listdir(folder / "new")) == ["a.png", "b.png", "deep"]


def test_photos_that_would_share_an_output_are_refused(run, folders):
    folder, _ = folders
    shutil.copy(folder / "photos" / "a.png", folder / "photos" / "a.jpg")
    status, lines = run(folder / "photos", folder / "masks")
    assert status == 2
    assert "a.jpg and " in lines[0] and "would both become a.png" in lines[0]


@pytest.mark.parametrize("name", TRANSPORTS)
def test_the_program_shows_progress_and_rest_needs_no_tensorflow(server, folders, name):
    folder, examples = folders
    program = (
        "import runpy, sys\n"
        "try:\n"
        "    runpy.run_module('serving.client', run_name='__main__', alter_sys=True)\n"
        "finally:\n"
        f"    assert ('tensorflow' in sys.modules) == {name == 'grpc'}\n"
    )
    words = [folder / "photos", folder / "masks", "--version=1", "--model=mean"]
    words += [f"--transport={name}", f"--server={getattr(server, name)}"]
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 80))
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, words)],
        cwd=programs.ROOT,
        stderr=end,
    )
    os.close(end)
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:  # Linux's way to say that the other end is closed.
        pass
    os.close(terminal)
    assert process.wait(timeout=60) == 0, shown.decode()
    assert b"3/3" in shown and b"photo" in shown and b"3 completed" in shown
    for stem, pair in examples.items():
        np.testing.assert_array_equal(
            pixels_of(folder / "photos_mean" / f"{stem}.png"), filled(*pair)
        )


@pytest.mark.parametrize("name", TRANSPORTS)
def test_ctrl_c_ends_the_program_with_what_is_done(exports, folders, name):
    folder, _ = folders
    server = serving_server.Server(str(exports))
    server.silent = True
    words = [folder / "photos", folder / "masks", "--model=mean"]
    words += [f"--transport={name}", f"--server={getattr(server, name)}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "serving.client", *map(str, words)],
        cwd=programs.ROOT,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job, with these tests in it, ignores Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert server.asked.wait(60)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        server.close()
    assert process.returncode == 130
    # TensorFlow, which gRPC's messages import, has its own say before.
    ending = ["client.py: interrupted", "0 completed, 3 not tried"]
    assert said.splitlines()[-2:] == ending


# Comparison with the model on this machine.


@pytest.mark.parametrize("name", TRANSPORTS)
def test_check_finds_the_same_bytes(run, exports, folders, name):
    folder, _ = folders
    words = [folder / "photos", folder / "masks"]
    for path, choice in (
        (exports / "mean", []),
        (exports / "mean" / "1", ["--version=1"]),
    ):
        status, lines = run(*words, f"--check={path}", *choice, transport=name)
        newest = path if choice else path / "2"
        assert status == 0
        assert lines == [
            f"check: 3 of 3 answers are the bytes of {newest}",
            "3 completed",
        ]


def test_check_finds_the_largest_difference(run, exports, paths):
    words = [*paths, "--version=1", f"--check={exports / 'mean' / '2'}"]
    status, lines = run(*words)
    assert status == 1
    assert lines[0] == (
        f"check: 0 of 1 answers are the bytes of {exports}/mean/2; largest difference "
        f"20 of 255 ({paths[0]})"
    )
    assert run(*words, "--tolerance=19")[0] == 1
    assert run(*words, "--tolerance=20")[0] == 0


def test_check_refuses_a_version_that_is_not_there(run, exports, paths):
    status, lines = run(*paths, "--version=3", f"--check={exports / 'mean'}")
    assert status == 2
    assert lines == [f"client.py: --check={exports}/mean holds no version 3"]


# The requests of serving/README.md, as curl sends them.


def post(url, body):
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_rest_answers_rows_and_columns_of_files_and_of_pixels(server, paths):
    photo, mask = pixels_of(paths[0]), pixels_of(paths[1])
    url = f"http://{server.rest}/v1/models/mean/versions/1:predict"
    files = {
        name: {"b64": base64.b64encode(path.read_bytes()).decode()}
        for name, path in zip(("image", "mask"), paths, strict=True)
    }
    columns = {name: [file] for name, file in files.items()}
    for key, value, answered in (
        ("instances", [files], "predictions"),
        ("inputs", columns, "outputs"),
    ):
        status, answer = post(url, {"signature_name": "encoded", key: value})
        assert (status, list(answer)) == (200, [answered])
        (completed,) = answer[answered]
        data = base64.b64decode(completed["b64"])
        np.testing.assert_array_equal(pixels_of(io.BytesIO(data)), filled(photo, mask))

    row = {"image": photo.tolist(), "mask": mask[..., None].tolist()}
    status, answer = post(url, {"instances": [row]})
    assert status == 200
    np.testing.assert_array_equal(answer["predictions"][0], filled(photo, mask))


def test_rest_errors_are_json_with_the_status_of_their_kind(server):
    url = f"http://{server.rest}/v1/models"
    assert post(f"{url}/nobody:predict", {"instances": [{}]}) == (
        404,
        {"error": "Servable not found for request: Latest(nobody)"},
    )
    status, answer = post(f"{url}/mean:predict", {"signature_name": "no", "inputs": {}})
    assert (status, list(answer)) == (400, ["error"])
    server.failures = 1
    assert post(f"{url}/mean:predict", {"instances": [{}]})[0] == 503
