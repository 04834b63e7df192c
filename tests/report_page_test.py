"""The page parses, escapes everything, needs no network, and fits a size."""

import html.parser
import re

from sample_results import NASTY, make_pictures, make_summary

from inpainting_tf import report_page


class Page(html.parser.HTMLParser):
    """Checks nesting and collects attributes and text."""

    VOID = ("meta", "img", "wbr", "path", "use")

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.words, self.cells = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, *pair) for pair in attributes]
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag, attributes):
        self.attributes += [(tag, *pair) for pair in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if {"td", "th"} & {*self.open} and self.cells:
            self.cells[-1] += data


def test_page_parses_escapes_everything_and_needs_no_network():
    text = report_page.html_report(make_summary(), make_pictures())
    page = Page(text)
    tags = {tag for tag, *_ in page.attributes}
    assert "script" not in text.replace("&lt;script", "").replace("&lt;/script", "")
    links = [v for _, name, v in page.attributes if name in ("src", "href")]
    assert links
    assert all(v.startswith(("data:image/", "#")) for v in links)
    assert not re.search(r"https?:|url\(|@import|//[a-z]", text.split("<body>")[0])
    targets = {v for _, name, v in page.attributes if name == "id"}
    assert {v[1:] for v in links if v.startswith("#")} <= targets
    assert {"img", "svg", "path", "use"} <= tags
    words = "".join(page.words)
    for shown in (NASTY, "<face> 2", "Grid & <caption>", "<script>alert(1)</script>"):
        assert shown in words
    for section in ("Results", "By pose", "Pairs of methods", "How to reproduce"):
        assert section in words
    assert make_summary().protocol_hash in words
    assert "sum |x - y| / (255 n)" in words
    assert "21.23[20.50, 22.00]" in page.cells
    assert re.search(r"<b>24.70</b>", text)
    assert not re.search(r"<b>21.23</b>", text)


def test_page_shows_as_many_examples_as_fit_and_at_least_one():
    pictures = make_pictures(count=6, size=100)
    whole = report_page.html_report(make_summary(), pictures)
    assert whole.count('<tr class="name">') == 6
    limit = len(whole) - 2 * 100 * 100 * 3
    some = report_page.html_report(make_summary(), pictures, max_bytes=limit)
    shown = some.count('<tr class="name">')
    assert 1 <= shown < 6
    assert len(some) <= limit
    assert f"{shown} of 6 examples" in some
    least = report_page.html_report(make_summary(), pictures, max_bytes=0)
    assert least.count('<tr class="name">') == 1


def test_page_without_pictures_groups_and_pairs_leaves_their_sections_out():
    text = report_page.html_report(make_summary(groups=[], comparisons=[]))
    Page(text)
    for name in ("examples", "figures", "pairs", "groups"):
        assert f'id="{name}"' not in text
