"""demo.py in a real browser, from the photo opened to the completion downloaded.

Needs the extra `demo`, Chromium, its driver and selenium.
"""

import json
import os
import re
import shutil
import signal
import time

import numpy as np
import programs
import pytest
import small_exports
from demo_server import Server, noise
from PIL import Image

pytest.importorskip("gradio", reason="needs the extra demo")


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
        before = self.text("#message")
        self.find("#run").click()
        if before.startswith("Done"):  # Of the time before.
            self.wait(lambda: self.text("#message") != before)

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
const cancel = (event) => canvas.dispatchEvent(
  new PointerEvent("pointercancel", { pointerId: event.pointerId }));
canvas.addEventListener("pointerdown",
  () => canvas.addEventListener("pointermove", cancel, { once: true }), { once: true });
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

    # The library's own way, in a process of its own, with the mask downloaded; first as
    # the page proposes, then not blended.
    for is_blended in (True, False):
        if not is_blended:
            visitor.find("#blend input").click()
            visitor.complete()
        status, errors = programs.run(
            "inpaint.py",
            f"--image={folder}/cat.png",
            f"--mask={mask_path}",
            f"--output={folder}/own.png",
            "--methods=mean_color",
            weights,
            f"--blend={is_blended}",
        )
        assert status == 0, errors
        said = visitor.text("#answers")
        assert ("blended in" in said) == is_blended
        for label in ("mean_color", "parallel_attention", "siidgm"):
            path = visitor.download(f"cat_{label}.png")
            found = np.array(Image.open(path))
            os.remove(path)
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
