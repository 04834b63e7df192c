"""demo.py as its users meet it: the server's answers, refusals, and a real browser.

Needs the extra `demo`; the browser's test also Chromium, its driver and selenium.
"""

import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent import futures

import numpy as np
import programs
import pytest
import small_exports
from PIL import Image

pytest.importorskip("gradio", reason="needs the extra demo")

BYTES = {"Content-Type": "application/octet-stream"}


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


class Server:
    """demo.py in a process of its own."""

    def __init__(self, folder, *flags):
        self.temporary = os.path.join(folder, "tmp")
        os.makedirs(self.temporary)
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._log = open(os.path.join(folder, "log"), "w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "demo.py", f"--port={self.port}", *flags],
            cwd=programs.ROOT,
            env={
                **os.environ,
                "CUDA_VISIBLE_DEVICES": "",
                "TMPDIR": self.temporary,
            },
            stdout=self._log,
            stderr=self._log,
        )
        deadline = time.monotonic() + 120
        while "open http" not in self.log():
            assert self.process.poll() is None and time.monotonic() < deadline, (
                self.log()
            )
            time.sleep(0.2)

    def log(self):
        with open(self._log.name) as file:
            return file.read()

    def ask(self, path, data=None, headers=BYTES):
        """(status, headers, body) of a request; a POST if there is data."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET" if data is None else "POST", path, data, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()

    def files(self):
        """What lies on disk of its visitors."""
        return [
            os.path.join(parent, name)
            for parent, _, names in os.walk(self.temporary)
            for name in names
            # TensorFlow's translation of our code.
            if not name.startswith("__autograph_generated_file")
        ]

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        self._log.close()
        return status


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that takes photos of up to 0.3 MB and 0.1 megapixels."""
    flags = ("--methods=mean_color", "--max_megabytes=0.3", "--max_megapixels=0.1")
    server = Server(str(tmp_path_factory.mktemp("server")), *flags)
    yield server
    assert server.end() == 128 + signal.SIGTERM
    assert os.listdir(server.temporary) == []  # The folder of its own went too.


def noise(height, width, channels=3):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, [height, width, channels], np.uint8)


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


# ---------------------------------------------------------------- in a browser


def chromium(downloads):
    """A headless Chromium with a driver; skips the test where there is none."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    paths = [shutil.which("chromium"), shutil.which("chromedriver")]
    if None in paths:
        pytest.skip(
            "needs Chromium and its driver (packages chromium, chromium-driver)"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = paths[0]
    for argument in ("headless=new", "no-sandbox", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.add_argument("--window-size=1280,900")
    options.add_experimental_option("prefs", {"download.default_directory": downloads})
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    service = webdriver.ChromeService(paths[1])
    return webdriver.Chrome(options=options, service=service)


class Visitor:
    """What somebody does on the page."""

    def __init__(self, browser, downloads):
        self.browser, self.downloads = browser, downloads

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    def wait(self, condition, seconds=120):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := condition():
                return found
            time.sleep(0.1)
        raise TimeoutError(self.find("body").text)

    def text(self, selector):
        return self.browser.execute_script(
            "return document.querySelector(arguments[0])?.innerText ?? ''", selector
        )

    def open(self, path):
        self.wait(lambda: self.browser.find_elements("css selector", ".hole-editor"))
        before = self.text(".told")
        self.find(".hole-editor .file").send_keys(path)
        self.wait(lambda: self.text(".told") not in (before, "Opening ..."))
        return self.text(".told")

    def drag(self, tool, start, steps):
        """Draws by the mouse; positions are shares of the canvas's width and height."""
        from selenium.webdriver import ActionChains

        self.find(f"[data-tool={tool}]").click()
        canvas = self.find(".hole-editor canvas")
        width, height = canvas.size["width"], canvas.size["height"]

        def from_middle(x, y):
            return round((x - 0.5) * width), round((y - 0.5) * height)

        chain = ActionChains(self.browser, duration=20)
        chain.move_to_element_with_offset(canvas, *from_middle(*start))
        chain.click_and_hold()
        for step in steps:
            chain.move_to_element_with_offset(canvas, *from_middle(*step))
        chain.release().perform()

    def strokes(self):
        """Tool and points of what is painted."""
        script = "return document.querySelector('.hole-editor').value()"
        painted = json.loads(self.browser.execute_script(script))["strokes"]
        return [(stroke["tool"], stroke["points"]) for stroke in painted]

    def complete(self):
        """Presses the button; returns what the page says once all is there."""
        self.find("#run").click()

        def ended():
            has_all = "side by side" in self.text("#answers")
            message = self.text("#message")
            return has_all and message.startswith("Done") and message

        return self.wait(ended)

    def alerts(self):
        return self.browser.find_elements("css selector", "#message [role=alert]")

    def download(self, name):
        """Clicks on the link of a file; returns its path."""
        link = self.find(f"#answers a[download='{name}']")
        # A click of the mouse: a browser stops a script that downloads one after another.
        self.browser.execute_script("arguments[0].scrollIntoView()", link)
        link.click()
        path = os.path.join(self.downloads, name)
        self.wait(lambda: os.path.exists(path))
        return path

    def requests(self):
        """Addresses that the browser has asked for."""
        events = (
            json.loads(entry["message"])["message"]
            for entry in self.browser.get_log("performance")
        )
        return [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]


@pytest.mark.slow
def test_a_visitor_uploads_brushes_and_downloads_what_inpaint_py_completes(tmp_path):
    downloads = str(tmp_path / "downloads")
    browser = chromium(downloads)
    try:
        runs = str(tmp_path / "runs")
        net, _ = small_exports.write_run(runs, "parallel_attention")
        gan, _ = small_exports.write_run(runs, "dcgan")
        recipe = small_exports.write_recipe(runs, "siidgm", gan)
        weights = f"--weights={net},{recipe}"
        server = Server(str(tmp_path), "--methods=mean_color", weights)
        visit(Visitor(browser, downloads), server, tmp_path, weights)
        assert server.files() == []
        assert server.end() == 128 + signal.SIGTERM
        assert os.listdir(server.temporary) == []
    finally:
        browser.quit()


# The answer to the first photo comes last; and a pointer is taken away by the browser.
_LATE = """
const own = window.fetch;
let isFirst = true;
window.fetch = async (...given) => {
  const answer = await own(...given);
  if (isFirst && String(given[0]).startsWith("photos")) {
    isFirst = false;
    await new Promise((done) => setTimeout(done, 1500));
  }
  return answer;
};
"""
_CANCELLED = """
const canvas = document.querySelector(".hole-editor canvas");
canvas.addEventListener("pointermove", (event) => canvas.dispatchEvent(
  new PointerEvent("pointercancel", { pointerId: event.pointerId })), { once: true });
"""


def edit(visitor, folder):
    """The editor beside painting: on cat.png, which is open and unmarked again then."""
    visitor.drag("box", (0.5, 0.5), [])  # A tap.
    assert visitor.strokes() == []
    visitor.browser.execute_script(_CANCELLED)
    visitor.drag("brush", (0.3, 0.3), [(0.4, 0.4)])
    assert visitor.strokes() == []

    visitor.find(".hole-editor summary").click()
    for name, value in (("left", 10), ("top", 20), ("width", 30), ("height", 40)):
        visitor.find(f".hole-editor [name={name}]").send_keys(str(value))
    visitor.find(".hole-editor form button").click()
    box = [("box", [[10, 20], [40, 60]])]
    assert visitor.strokes() == box
    visitor.find(".clear").click()
    assert visitor.strokes() == []
    visitor.find(".undo").click()
    assert visitor.strokes() == box

    Image.fromarray(noise(96, 120)).save(f"{folder}/dog.png")
    assert "marks kept" in visitor.open(f"{folder}/cat.png")
    assert visitor.strokes() == box
    visitor.browser.execute_script(_LATE)
    visitor.find(".hole-editor .file").send_keys(f"{folder}/dog.png")
    visitor.find(".hole-editor .file").send_keys(f"{folder}/letter.png")
    visitor.wait(lambda: "not a JPEG, PNG" in visitor.text(".told"))
    time.sleep(2)
    assert "not a JPEG, PNG" in visitor.text(".told")
    assert visitor.strokes() == box
    # Another photo, though of the same size, and then the one to go on with.
    assert "marks kept" not in visitor.open(f"{folder}/dog.png")
    assert visitor.strokes() == []
    visitor.open(f"{folder}/cat.png")


def visit(visitor, server, folder, weights):
    pixels = noise(96, 120, 4)  # With transparency, which shall come back.
    Image.fromarray(pixels).save(f"{folder}/cat.png")
    (folder / "letter.png").write_text("Dear Sir or Madam")
    visitor.browser.get(server.address)

    # What cannot be meant is said, and nothing breaks.
    assert "not a JPEG, PNG" in visitor.open(f"{folder}/letter.png")
    visitor.find("#run").click()
    visitor.wait(visitor.alerts)
    assert "Open a photo first" in visitor.text("#message")
    assert "cat.png: 120 x 96 pixels" in visitor.open(f"{folder}/cat.png")
    visitor.find("#run").click()
    visitor.wait(lambda: "Nothing is marked yet" in visitor.text("#message"))

    edit(visitor, folder)

    visitor.drag("brush", (0.2, 0.3), [(0.3, 0.35), (0.4, 0.3), (0.4, 0.6)])
    visitor.drag("box", (0.7, 0.5), [(0.8, 0.6), (0.9, 0.75)])
    visitor.drag("eraser", (0.8, 0.4), [(0.8, 0.9)])
    for label in visitor.browser.find_elements("css selector", "label"):
        if label.text.strip() == "siidgm":
            label.click()
    assert re.match(r"Done in [\d.]+ s\.", visitor.complete())
    assert "How siidgm searched" in visitor.text("#answers")
    assert visitor.text("#searching") == ""  # What was seen of it while it ran.
    assert "Where parallel_attention borrowed from" in visitor.text("#answers")

    mask_path = visitor.download("cat_mask.png")
    mask = np.array(Image.open(mask_path)) > 0
    painted = {(0.3, 0.35), (0.4, 0.45), (0.72, 0.6), (0.88, 0.6)}
    untouched = {(0.1, 0.1), (0.8, 0.6), (0.6, 0.6), (0.95, 0.6)}
    for places, wanted in ((painted, True), (untouched, False)):
        for x, y in places:
            assert mask[int(y * 96), int(x * 120)] == wanted, (x, y)

    # The library's own way, in a process of its own, with the mask downloaded.
    status, errors = programs.run(
        "inpaint.py",
        f"--image={folder}/cat.png",
        f"--mask={mask_path}",
        f"--output={folder}/own.png",
        "--methods=mean_color",
        weights,
    )
    assert status == 0, errors
    for label in ("mean_color", "parallel_attention", "siidgm"):
        found = np.array(Image.open(visitor.download(f"cat_{label}.png")))
        own = np.array(Image.open(f"{folder}/own_{label}.png"))
        np.testing.assert_array_equal(found, own)
        assert (found[mask] != pixels[mask]).any()
        np.testing.assert_array_equal(found[~mask], pixels[~mask])
    elsewhere = [
        url
        for url in visitor.requests()
        if not url.startswith((server.address, "data:", "blob:"))
    ]
    assert elsewhere == []
