"""The page itself: what is where, and which function answers which button.

Input: `events.Events`. Output: gradio.Blocks, to be served by `server`. It loads nothing
from elsewhere: fonts are the reader's own.
"""

import html
import os

import gradio

from web_page import pictures, results

_FOLDER = os.path.dirname(__file__)
# What the editor holds is read once, when the button is pressed.
_WITH_EDITOR = (
    "(edited, ...others) => [document.querySelector('.hole-editor').value(), ...others]"
)
CSS_PATH = os.path.join(_FOLDER, "page.css")
TITLE = "Image inpainting"


def theme():
    """Gradio's plain theme with fonts that every computer has."""
    return gradio.themes.Default(
        font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
    )


def build(events, *, max_bytes, at_once):
    """Builds the page.

    Args:
      events: events.Events.
      max_bytes: of a photo's file.
      at_once: completions that run side by side; further visitors wait in a queue.

    Returns:
      gradio.Blocks.
    """
    labels = list(events.methods)
    quick = [label for label, method in events.methods.items() if not method.is_search]

    def complete(edited, chosen, blend, request: gradio.Request):
        for said, shown, searched in events.complete(
            edited, chosen, request.session_hash, blend
        ):
            yield said, gradio.skip() if shown is None else shown, searched

    def stop(request: gradio.Request):
        events.stop(request.session_hash)
        return results.message("Stopped.")

    def leave(request: gradio.Request):
        events.stop(request.session_hash)

    with gradio.Blocks(title=TITLE, analytics_enabled=False) as blocks:
        gradio.HTML(
            "<h1>Image inpainting</h1><p>Open a photo, paint over what shall be "
            "replaced, and compare what several methods put there. Photos are kept in "
            "memory alone, for half an hour at most.</p>"
        )
        with gradio.Row():
            with gradio.Column(scale=3, min_width=300):
                editor = gradio.HTML(
                    html_template=_read("hole_editor.html"),
                    js_on_load=_read("hole_editor.js"),
                    max_bytes=max_bytes,
                    too_large=pictures.too_large(max_bytes),
                )
            with gradio.Column(scale=2, min_width=300):
                chosen = gradio.CheckboxGroup(
                    labels, value=quick or labels[:1], label="Methods"
                )
                gradio.HTML(_about(events.methods.values()))
                blend = gradio.Checkbox(
                    events.can_blend,
                    label="Blend in what networks paint: no seam, no tint",
                    elem_id="blend",
                    visible=events.can_blend,
                )
                with gradio.Row():
                    run = gradio.Button(
                        "Complete", variant="primary", elem_id="run", min_width=120
                    )
                    halt = gradio.Button("Stop", elem_id="stop", min_width=120)
                message = gradio.HTML(elem_id="message")
        answers = gradio.HTML(elem_id="answers")
        searching = gradio.HTML(elem_id="searching")
        running = run.click(
            complete,
            [editor, chosen, blend],
            [message, answers, searching],
            js=_WITH_EDITOR,
            concurrency_limit=at_once,
            trigger_mode="once",
            show_progress="full",
            show_progress_on=message,
            api_visibility="private",
        )
        # Cancelling takes them out of the queue, too.
        halt.click(
            stop,
            None,
            message,
            cancels=running,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
        blocks.unload(leave)
    return blocks.queue(max_size=32, api_open=False)


def _about(methods):
    lines = "".join(
        f"<li><b>{html.escape(method.label)}</b>: {html.escape(method.description)}</li>"
        for method in methods
    )
    return f'<ul class="about">{lines}</ul>'


def _read(name):
    with open(os.path.join(_FOLDER, name), encoding="utf-8") as file:
        return file.read()
