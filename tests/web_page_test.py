"""What the web page answers, without a browser: strokes, bad photos, completions."""

import dataclasses
import io
import itertools
import json
import re
import struct
import threading
import time
import zlib

import numpy as np
import pytest
import small_exports
from PIL import Image

import inpainting_tf
from command_line import photo_methods
from inpainting_tf import completion, photos
from web_page import attention, events, job, kept, pictures, strokes

MAX_PIXELS = 50_000


# ---------------------------------------------------------------- strokes


def drawn(*given, size=(60, 80)):
    return strokes.missing_pixels(strokes.parse(json.dumps(given)), *size)


def stroke(tool, points, width=1):
    return {"tool": tool, "width": width, "points": points}


@pytest.mark.parametrize("width", [1, 2, 5, 8.5, 20])
def test_a_brush_marks_what_lies_within_half_its_width_of_its_way(width):
    points = [(10.2, 15.7), (50.5, 20.1), (45.0, 48.3)]
    y, x = np.mgrid[:60, :80] + 0.5
    distance = np.full([60, 80], np.inf)
    for (ax, ay), (bx, by) in itertools.pairwise(points):
        along = (x - ax) * (bx - ax) + (y - ay) * (by - ay)
        share = np.clip(along / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
        away = np.hypot(x - ax - share * (bx - ax), y - ay - share * (by - ay))
        distance = np.minimum(distance, away)
    missing = drawn(stroke("brush", points, width))
    # To the pixel: the border itself may fall to either side.
    assert missing[distance <= width / 2 - 1].all()
    assert not missing[distance > width / 2 + 1].any()
    for px, py in points:
        assert missing[int(py), int(px)]


def test_boxes_are_exact_and_the_eraser_takes_away_what_came_before():
    wanted = np.zeros([60, 80], bool)
    wanted[10:25, 20:50] = True
    box = stroke("box", [(20, 10), (50, 25)])
    np.testing.assert_array_equal(drawn(box), wanted)
    # From any corner, and whatever pixel it touches.
    np.testing.assert_array_equal(
        drawn(stroke("box", [(49.2, 10), (20.9, 24.1)])), wanted
    )
    erased = drawn(box, stroke("eraser", [(0, 17), (80, 17)], 40))
    assert not erased.any()
    again = drawn(stroke("eraser", [(0, 17), (80, 17)], 40), box)
    np.testing.assert_array_equal(again, wanted)


def test_a_box_without_width_or_height_marks_nothing():
    for first, last in (
        ((5, 5), (5, 30)),
        ((10.3, 20.7), (10.3, 20.7)),  # A tap.
        ((10.3, 20.7), (10.3, 40.1)),
        ((10.3, 20.7), (40.1, 20.7)),
    ):
        assert not drawn(stroke("box", [first, last])).any()
    seen = drawn(stroke("box", [(10.3, 20.7), (10.4, 22.1)]))
    wanted = np.zeros([60, 80], bool)
    wanted[20:23, 10] = True
    np.testing.assert_array_equal(seen, wanted)


def test_strokes_far_outside_mark_nothing_and_the_widest_brush_marks_all():
    far = 1e300
    assert not drawn(stroke("brush", [(-far, -far), (-far, far)], 5)).any()
    assert drawn(stroke("brush", [(40, 30)], far)).all()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "[7]",
        '[{"tool": "brush"}]',
        '[{"tool": "spray", "width": 3, "points": [[1, 2]]}]',
        '[{"tool": "brush", "width": 3, "points": []}]',
        '[{"tool": "brush", "width": 3, "points": [[1, 2, 3]]}]',
        '[{"tool": "brush", "width": 1e999, "points": [[1, 2]]}]',
        '[{"tool": "brush", "width": 3, "points": [[NaN, 2]]}]',
        '[{"tool": "brush", "width": 3, "points": [[1%s, 2]]}]' % ("0" * 400),
        '[{"tool": "brush", "width": 1%s, "points": [[1, 2]]}]' % ("0" * 400),
        "[" * 5000,
    ],
)
def test_what_is_no_list_of_strokes_is_refused(text):
    with pytest.raises(strokes.StrokesError):
        strokes.parse(text)


def test_too_many_strokes_are_refused():
    points = [(1, 2)] * strokes.MAX_POINTS
    strokes.parse(json.dumps([stroke("brush", points)]))
    for text in (
        json.dumps([stroke("brush", points), stroke("box", [(1, 2)])]),
        " " * (strokes.MAX_BYTES + 1),
    ):
        with pytest.raises(strokes.StrokesError, match="Too many"):
            strokes.parse(text)


def test_strokes_that_would_take_minutes_to_draw_are_refused_in_no_time():
    generator = np.random.default_rng(0)
    points = generator.uniform(0, 6000, [strokes.MAX_POINTS, 2]).tolist()
    for tool, width in (("brush", 3000), ("eraser", 1e300), ("brush", 1000)):
        given = strokes.parse(json.dumps([stroke(tool, points, width)]))
        began = time.process_time()
        with pytest.raises(strokes.StrokesError, match="Too many"):
            strokes.missing_pixels(given, 6000, 8000)
        assert time.process_time() - began < 1
    # Minutes of painting, a pixel of the screen after the other, are drawn.
    way = np.cumsum(generator.normal(0, 2, [strokes.MAX_POINTS, 2]), axis=0) + 300
    assert drawn(stroke("brush", way.tolist(), 30), size=(600, 600)).any()


# ---------------------------------------------------------------- memory


def test_kept_files_give_way_by_size_and_by_age():
    files = kept.KeptFiles(max_bytes=10, max_seconds=60)
    tokens = [files.keep(f"{i}", b"1234") for i in range(3)]
    assert files.get(tokens[0]) is None
    assert [files.get(token).name for token in tokens[1:]] == ["1", "2"]
    large = files.keep("large", b"x" * 100)  # What was just made can be fetched.
    assert len(files) == 1 and files.get(large).data == b"x" * 100


def test_kept_files_go_in_time_though_nobody_asks_for_them():
    files = kept.KeptFiles(max_seconds=0.4)
    first = files.keep("a", b"1")
    time.sleep(0.2)
    second = files.keep("b", b"2")
    assert files.get(first).data == b"1" and files.get(second).data == b"2"
    lengths = []
    deadline = time.monotonic() + 20
    while len(files) and time.monotonic() < deadline:
        lengths.append(len(files))
        time.sleep(0.01)
    assert len(files) == 0
    # One after the other, each at its own time.
    assert lengths == sorted(lengths, reverse=True) and set(lengths) == {1, 2}
    third = files.keep("c", b"3")  # And so again after all had gone.
    assert files.get(third).name == "c"
    time.sleep(0.6)
    assert len(files) == 0


# ---------------------------------------------------------------- completions


def file_of(pixels, kind="PNG", **options):
    stream = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(stream, kind, **options)
    return stream.getvalue()


def noise(height, width, channels=3):
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, [height, width, channels], np.uint8)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("runs"))
    paths = {
        name: small_exports.write_run(folder, name)[0]
        for name in ("parallel_attention", "dcgan")
    }
    for name, options in (
        ("siidgm", {}),
        ("endless", {"iterations": 100_000}),
        ("again", {"iterations": 11, "restarts": 2}),
    ):
        paths[name] = small_exports.write_recipe(
            folder, "siidgm", paths["dcgan"], name, **options
        )
    return paths


@pytest.fixture(scope="module")
def page(runs):
    """(Events, the KeptFiles of its completions)."""
    methods = photo_methods.open_all(
        ["mean_color"],
        [runs[name] for name in ("parallel_attention", "siidgm", "endless", "again")],
    )
    finished = kept.KeptFiles()
    return events.Events(methods, kept.KeptFiles(), finished, MAX_PIXELS), finished


BOX = stroke("box", [(8, 5), (21, 20)])


def asked(page, data, *given, name="me.and.my.cat.jpg"):
    token = page[0].open_photo(data, name)["photo"]
    return json.dumps({"photo": token, "strokes": given})


def downloads(page, answers):
    """File name -> bytes, of all links of the page."""
    links = re.findall(r'href="finished/([^"]+)" download="([^"]+)"', answers)
    return {name: page[1].get(token).data for token, name in links}


def test_what_is_downloaded_is_the_librarys_own_completion(page, runs):
    # Transparent in part, as a PNG may be.
    pixels = noise(45, 60, 4)
    request = asked(page, file_of(pixels), BOX)
    said = list(page[0].complete(request, ["mean_color", "parallel_attention"]))
    assert re.search(r"Done in [\d.]+ s\.", said[-1][0])
    files = downloads(page, said[-1][1])
    assert sorted(files) == [
        f"me.and.my.cat_{end}.png"
        for end in ("mask", "mean_color", "parallel_attention", "side_by_side")
    ]
    mask = np.array(Image.open(io.BytesIO(files["me.and.my.cat_mask.png"])))
    missing = np.zeros([45, 60], bool)
    missing[5:20, 8:21] = True
    np.testing.assert_array_equal(mask, np.uint8(missing) * 255)
    photo = photos.read(file_of(pixels))
    for label, source in (
        ("mean_color", "mean_color"),
        ("parallel_attention", runs["parallel_attention"]),
    ):
        wanted = photo.completed_pixels(
            inpainting_tf.load(source)(photo.rgb, missing), missing
        )
        found = np.array(Image.open(io.BytesIO(files[f"me.and.my.cat_{label}.png"])))
        np.testing.assert_array_equal(found, wanted)
        assert f'data-title="{label}"' in said[-1][1]
    assert "Where parallel_attention borrowed from" in said[-1][1]


def test_what_networks_paint_is_blended_in_where_that_is_asked_for(page, runs):
    pixels = noise(45, 60)
    request = asked(page, file_of(pixels), BOX)
    labels = ["mean_color", "parallel_attention", "siidgm"]
    files = {}
    for blend in (False, True):
        *_, (_, answers, _) = page[0].complete(request, labels, blend=blend)
        files[blend] = downloads(page, answers)
    for label in ("mean_color", "siidgm"):  # A fill, and a search with its own way.
        name = f"me.and.my.cat_{label}.png"
        assert files[False][name] == files[True][name]
    assert answers.count("s, blended in<") == 1
    missing = np.zeros([45, 60], bool)
    missing[5:20, 8:21] = True
    (method,) = photo_methods.open_all([], [runs["parallel_attention"]])
    blended = completion.blending(method)
    wanted = completion.complete(pixels, missing, blended)
    data = files[True]["me.and.my.cat_parallel_attention.png"]
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(data))), wanted)
    assert data != files[False]["me.and.my.cat_parallel_attention.png"]
    assert page[0].can_blend
    plain = photo_methods.open_all(["mean_color"], [runs["siidgm"]])
    nothing = events.Events(plain, kept.KeptFiles(), kept.KeptFiles(), MAX_PIXELS)
    assert not nothing.can_blend


def test_a_search_tells_of_its_iterations_and_finds_what_it_finds_unwatched(page):
    request = asked(page, file_of(noise(64, 64)), BOX)
    said = list(page[0].complete(request, ["mean_color", "siidgm"]))
    (told,) = (i for i, line in enumerate(said) if "siidgm: iteration 0" in line[0])
    # While it runs, the completions that are there already are not sent again.
    message, answers, running = said[told]
    assert "of 3" in message and answers is None and "iteration 0" in running
    assert 'data-title="mean_color"' in said[told - 1][1]
    assert all(running == "" for _, _, running in said[told + 1 :])
    assert "iteration 0" in said[-1][1]
    (found,) = (
        data for name, data in downloads(page, said[-1][1]).items() if "siidgm" in name
    )
    missing = np.zeros([64, 64], bool)
    missing[5:20, 8:21] = True
    wanted = page[0].methods["siidgm"](noise(64, 64), missing)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(found))), wanted)


def test_restarts_one_after_the_other_are_told_apart(page):
    holes = [stroke("box", [(2, 2), (12, 12)]), stroke("box", [(180, 2), (190, 12)])]
    request = asked(page, file_of(noise(64, 200)), *holes)
    *_, (_, answers, _) = page[0].complete(request, ["again"])
    captions = re.findall(r"<figcaption>([^<]*)</figcaption>", answers)
    assert captions == [
        f"{hole}{restart}iteration {iteration}"
        for hole in ("", "hole 2, ")
        for restart in ("", "restart 2, ")
        for iteration in (0, 10)
    ]


def search_threads():
    return [thread for thread in threading.enumerate() if thread.name == "search"]


def begin_endless_search(page):
    """The answers of a search of hours, which is under way, and its thread."""
    request = asked(page, file_of(noise(64, 64)), BOX)
    answers = page[0].complete(request, ["endless"], "somebody")
    while "iteration" not in next(answers)[0]:
        pass
    (thread,) = search_threads()
    return answers, thread


def test_a_stopped_search_ends_and_leaves_no_completion(page):
    answers, thread = begin_endless_search(page)
    page[0].stop("somebody")
    said = list(answers)
    assert not thread.is_alive()
    assert "Stopped." in said[-1][0]
    assert 'data-title="endless"' not in said[-1][1]
    page[0].stop("nobody")


def test_whoever_leaves_ends_their_search(page):
    answers, thread = begin_endless_search(page)
    answers.close()
    thread.join(60)
    assert not thread.is_alive()


def test_stopping_ends_a_network_between_two_of_its_holes(page):
    stopped = threading.Event()
    method = page[0].methods["parallel_attention"]
    seen = []

    def stops_at_the_third(image, mask):
        seen.append(image)
        if len(seen) == 3:
            stopped.set()
        return method.inpaint(image, mask)

    photo, missing = photos.read(file_of(noise(40, 400))), np.zeros([40, 400], bool)
    missing[10:14, 10::40] = True  # Ten holes far from each other.
    work = job.Job("a.png", photo, missing, page[1])
    counting = dataclasses.replace(method, inpaint=stops_at_the_third)
    assert list(work.run(counting, stopped)) == []
    assert len(seen) == 3
    before = work.html()
    assert 'data-title="parallel_attention"' not in before
    work.explain([method], stopped)
    assert work.html() == before
    # Nor is anything explained that is complete but no longer waited for.
    stopped.clear()
    list(work.run(method, stopped))
    stopped.set()
    work.explain([method], stopped)
    assert "borrowed from" not in work.html()
    stopped.clear()
    work.explain([method], stopped)
    assert work.html().count("to the source</figcaption>") == 2  # Of ten windows.


def test_files_that_are_no_usable_photo_are_refused_in_plain_words(page):
    whole = file_of(noise(40, 50), "JPEG")
    header = b"IHDR" + struct.pack(">II", 30_000, 30_000) + bytes([8, 2, 0, 0, 0])
    small = file_of(noise(4, 4))
    endless = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    wrong = {
        "This photo is too large: over 100,000,000 pixels.": endless,
        "This file is empty.": b"",
        "This file is not a JPEG, PNG, BMP, GIF or WebP picture.": b"Dear Sir or Madam",
        "This file is damaged and cannot be opened": whole[: len(whole) // 2],
        "This photo has 300 x 200 pixels, 0.06 megapixels; this page takes up to 0.05.": (
            file_of(np.zeros([200, 300, 3], np.uint8))
        ),
    }
    for sentence, data in wrong.items():
        with pytest.raises(pictures.PhotoError) as error:
            page[0].open_photo(data, "a.jpg")
        assert str(error.value).startswith(sentence)


def test_a_cmyk_jpeg_is_taken_and_its_change_is_said(page):
    request = asked(
        page, file_of(Image.new("CMYK", (40, 40), (9, 99, 30, 5)), "JPEG"), BOX
    )
    *_, (message, answers, _) = page[0].complete(request, ["mean_color"])
    assert "CMYK becomes RGB, without its colour profile" in message
    assert 'data-title="mean_color"' in answers


def test_requests_that_cannot_be_met_are_answered_in_plain_words(page):
    tiny, usual = file_of(noise(1, 1)), file_of(noise(30, 30))
    everything = stroke("box", [(0, 0), (30, 30)])
    wrong = [
        ("Nothing is marked yet.", asked(page, usual), ["mean_color"]),
        ("The whole photo is marked.", asked(page, usual, everything), ["mean_color"]),
        ("The whole photo is marked.", asked(page, tiny, everything), ["mean_color"]),
        ("Choose at least one method.", asked(page, usual, BOX), []),
        ("Choose at least one method.", asked(page, usual, BOX), ["absent"]),
        (
            "Open a photo first",
            json.dumps({"photo": None, "strokes": []}),
            ["mean_color"],
        ),
        ("Open a photo first", None, ["mean_color"]),
        (
            "Open the photo again",
            json.dumps({"photo": "x", "strokes": []}),
            ["mean_color"],
        ),
        ("What was painted cannot be read", asked(page, usual, 7), ["mean_color"]),
        ("What was painted cannot be read", "[" * 100_000, ["mean_color"]),
    ]
    for sentence, request, labels in wrong:
        ((message, *answers),) = page[0].complete(request, labels)
        assert sentence in message and 'role="alert"' in message
        assert answers == ["", ""]


def test_names_of_files_cannot_bring_markup_into_the_page(page):
    name = '"><img src=x onerror=alert(1)>.png'
    request = asked(page, file_of(noise(30, 30)), BOX, name=name)
    *_, (_, answers, _) = page[0].complete(request, ["mean_color"])
    assert "<img src=x" not in answers


# ---------------------------------------------------------------- attention


def test_the_patches_of_a_hole_and_their_sources_have_one_colour():
    window, mask = np.zeros([64, 64, 3], np.float32), np.zeros([64, 64, 1], np.float32)
    mask[16:32, 32:48] = 1  # Positions (2..3, 4..5) of 8x8.
    offsets = np.zeros([8, 8, 2], np.int32)
    offsets[2, 4], offsets[2, 5], offsets[3, 4] = (3, -4), (5, 2), (-3, 0)
    offsets[3, 5] = (-3, -1)  # The source of (3, 4) too.
    own, attended = attention.hole_positions(mask, offsets)
    assert own.tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]
    assert attended.tolist() == [[5, 0], [7, 7], [0, 4], [0, 4]]
    picture = attention.sources_picture(window, mask, offsets)

    def color(row, column):
        scale = picture.shape[0] // 8
        return picture[row * scale + scale // 2, column * scale + scale // 2].astype(
            int
        )

    np.testing.assert_array_equal(color(2, 4), color(5, 0))
    np.testing.assert_array_equal(color(2, 5), color(7, 7))
    np.testing.assert_array_equal(color(3, 4), color(0, 4))
    np.testing.assert_array_equal(color(3, 5), color(0, 4))
    sources = {tuple(color(*place)) for place in [(5, 0), (7, 7), (0, 4)]}
    assert len(sources) == 3
    # Elsewhere there is no colour.
    assert np.ptp(color(2, 4)) > 50 and np.ptp(color(1, 1)) == 0
