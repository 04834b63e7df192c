"""demo.py as its users meet it: the server's answers and refusals.

Needs the extra `demo`.
"""

import io
import json
import os
import signal
import socket
from concurrent import futures

import programs
import pytest
from demo_server import Server, free_port, noise
from PIL import Image

pytest.importorskip("gradio", reason="needs the extra demo")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that takes photos of up to 0.3 MB and 0.1 megapixels."""
    flags = ("--methods=mean_color", "--max_megabytes=0.3", "--max_megapixels=0.1")
    server = Server(str(tmp_path_factory.mktemp("server")), *flags)
    yield server
    assert server.end() == 128 + signal.SIGTERM
    assert os.listdir(server.temporary) == []  # The folder of its own went too.


def test_photos_are_opened_or_refused_in_plain_words(server, tmp_path):
    path = f"{tmp_path}/photo.png"
    Image.fromarray(noise(40, 50)).save(path)
    with open(path, "rb") as file:
        status, headers, body = server.ask("/photos?name=photo.png", file.read())
    shown = json.loads(body)
    assert status == 200 and headers["cache-control"] == "no-store"
    assert (shown["width"], shown["height"], shown["notes"]) == (50, 40, [])
    for query, size in (("photo", 512), ("face", 128)):
        status, _, body = server.ask(f"/photos?sample={query}", b"")
        # The photo's 262,144 pixels are more than this server takes.
        assert status == (200 if size == 128 else 422)
        if size == 128:
            assert json.loads(body)["width"] == size
        else:
            assert "this page takes up to 0.1" in json.loads(body)["error"]
    for data, expected, sentence in (
        (b"Dear Sir or Madam", 422, "not a JPEG, PNG, BMP, GIF or WebP picture"),
        (b"x" * 300_001, 413, "larger than 0.3 MB"),
    ):
        status, _, body = server.ask("/photos?name=a", data)
        assert status == expected and sentence in json.loads(body)["error"]
    assert server.ask("/photos?sample=../etc", b"")[0] == 404
    assert server.files() == []


def test_other_sites_cannot_send_photos_and_gradio_writes_none(server):
    # What a form of another site can send without a question of the browser before.
    assert server.ask("/photos", b"x", {"Content-Type": "text/plain"})[0] == 415
    boundary = "x"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; '
        f'filename="a.png"\r\n\r\nabc\r\n--{boundary}--\r\n'
    ).encode()
    form = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    for path in ("/gradio_api/upload", "//gradio_api/upload", "/gradio_api/./upload"):
        assert server.ask(path, body, form)[0] in (404, 405)
    assert server.files() == []


def test_requests_of_unknown_or_too_great_length_are_refused(server):
    def said(*lines, body=b""):
        head = "\r\n".join(["POST /photos HTTP/1.1", "Host: localhost", *lines])
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sent:
            sent.sendall(head.encode() + b"\r\n\r\n" + body)
            return sent.recv(100).split()[1]

    kind = "Content-Type: application/octet-stream"
    chunk = b"5\r\nhello\r\n0\r\n\r\n"
    chunked = "Transfer-Encoding: chunked"
    assert said(kind) == b"411"
    assert said(kind, chunked, body=chunk) == b"411"
    # Of the two the server would believe the second.
    assert said(kind, "Content-Length: 5", chunked, body=chunk) == b"411"
    assert said(kind, "Content-Length: 5", body=b"hello") == b"422"
    assert said(kind, "Content-Length: 300001") == b"413"
    # Strokes somewhat over their limit arrive, and are refused on the page.
    json_text = {"Content-Type": "application/json"}
    for size, expected in ((2_100_000, 422), (4_000_001, 413)):
        status, _, body = server.ask("/gradio_api/queue/join", b"x" * size, json_text)
        assert status == expected, body[:200]
    assert "Too many strokes" in json.loads(body)["error"]


def test_another_sites_name_for_this_machine_is_not_answered(server):
    port = server.port
    for host, expected in (
        ("localhost", 200),
        (f"127.0.0.1:{port}", 200),
        (f"[::1]:{port}", 200),
        (f"example.org:{port}", 400),
        # Of this a URL would be made with another path.
        (f"localhost:{port}/gradio_api/upload?", 400),
    ):
        assert server.ask("/", headers={"Host": host})[0] == expected, host


def test_who_listens_beyond_this_machine_is_reached_by_any_name():
    from web_page import server

    for name in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        assert {"localhost", name} <= set(server.hosts_of(name))
    for name in ("0.0.0.0", "::", "192.168.1.7", "photos.local"):
        assert server.hosts_of(name) is None
    assert server.address("::1", 7860) == "http://[::1]:7860"
    assert server.address("127.0.0.1", 80) == "http://127.0.0.1:80"


def test_photos_that_come_all_at_once_are_all_opened(server):
    stream = io.BytesIO()
    Image.fromarray(noise(40, 50)).save(stream, "PNG")
    with futures.ThreadPoolExecutor(24) as visitors:
        answers = visitors.map(
            lambda i: server.ask(f"/photos?name={i}", stream.getvalue()), range(24)
        )
        assert [status for status, *_ in answers] == [200] * 24


def test_the_page_asks_nobody_else_for_anything(server):
    status, headers, page = server.ask("/")
    assert status == 200 and b"Image inpainting" in page
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert server.ask("/finished/guessed")[0] == 404
    status, _, style = server.ask("/gradio_api/theme.css")
    assert status == 200
    assert b"http" not in style.replace(b"http://www.w3.org", b"")


def test_only_this_machine_is_answered_and_a_port_in_use_is_said(server):
    asked = {
        f"--port={server.port}: Address already in use": [
            f"--port={server.port}",
            "--methods=mean_color",
        ],
        "--weights=absent: there is no file or folder absent": ["--weights=absent"],
        "giica needs weights": ["--methods=giica"],
        "--server_name=nowhere.invalid": ["--server_name=nowhere.invalid"],
        "'photo.png' is not a flag": ["photo.png"],
    }
    port = f"--port={free_port()}"
    lines = programs.refusals("demo", [[port, *line] for line in asked.values()])
    for expected, line in zip(asked, lines, strict=True):
        assert expected in line
    with socket.create_connection(("127.0.0.1", server.port), timeout=5):
        pass
    # Who listens at every address is reached here too.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", server.port), timeout=5)


def test_without_flags_it_offers_what_needs_no_training(tmp_path):
    server = Server(str(tmp_path))
    offered = {line.partition(": ")[0] for line in server.log().splitlines()}
    assert offered >= {"mean_color", "telea", "siidgm", "symmetric_search", "celeba128"}
    assert "celeba64" not in offered  # A dcgan completes nothing itself.
    assert server.end() == 128 + signal.SIGTERM
