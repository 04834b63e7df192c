"""The page's answers as HTML: completions side by side, attention, a search's way.

Inputs: finished pictures as data URLs, labels, seconds. Outputs: HTML without scripts.
"""

import dataclasses
import html


@dataclasses.dataclass
class Card:
    """One picture of those side by side.

    Attributes:
      title: the method's label.
      pictures: data URLs, the whole one and perhaps a close-up.
      note: seconds, or what went wrong.
      link: where its file is downloaded, and under which name; or None.
      is_error: whether the note says what went wrong.
    """

    title: str
    pictures: list
    note: str = ""
    link: tuple | None = None
    is_error: bool = False

    def html(self):
        pictures = "".join(
            _picture(url, f"{self.title}{', close up' if i else ''}")
            for i, url in enumerate(self.pictures)
        )
        return (
            f'<figure class="card" data-title="{_text(self.title)}">{pictures}'
            f"<figcaption><strong>{_text(self.title)}</strong>"
            f'<span class="{"bad" if self.is_error else "note"}">{_text(self.note)}</span>'
            f"{_link(*self.link) if self.link else ''}</figcaption></figure>"
        )


@dataclasses.dataclass
class Section:
    """Pictures below the completions: `title`, a sentence, (caption, data URL) pairs.

    `small` says that the pictures are small ones, shown many in a row.
    """

    title: str
    text: str
    pictures: list
    small: bool = False

    def html(self):
        figures = "".join(
            f"<figure>{_picture(url, caption)}"
            f"<figcaption>{_text(caption)}</figcaption></figure>"
            for caption, url in self.pictures
        )
        return (
            f'<section class="explained"><h3>{_text(self.title)}</h3>'
            f"<p>{_text(self.text)}</p>"
            f'<div class="{"strip" if self.small else "pair"}">{figures}</div></section>'
        )


def page(cards, sections=(), links=()):
    """All answers.

    Args:
      cards, sections: lists of Card and Section.
      links: (text, URL, file name) of further downloads.

    Returns:
      HTML.
    """
    further = "".join(f"<li>{_link(url, name, text)}</li>" for text, url, name in links)
    return (
        f'<div class="cards">{"".join(card.html() for card in cards)}</div>'
        + (f'<ul class="links">{further}</ul>' if further else "")
        + "".join(section.html() for section in sections)
    )


def message(text, is_error=False):
    """A line about what is going on, or what is wrong."""
    if not text:
        return ""
    role = "alert" if is_error else "status"
    return f'<p class="{"bad" if is_error else "note"}" role="{role}">{_text(text)}</p>'


def _text(value):
    return html.escape(str(value))


def _picture(url, alt):
    return f'<img src="{url}" alt="{_text(alt)}">'


def _link(url, name, text="Download"):
    return f'<a href="{_text(url)}" download="{_text(name)}">{_text(text)}</a>'
