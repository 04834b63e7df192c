"""One photo and its hole on the way through the methods, and what the page shows of it.

Stages: `Job.run` for each method, with news of a search while it runs; `Job.explain`,
what is worth waiting for only once the completions are there: where attention looked,
and the picture of all side by side.
"""

import dataclasses
import queue
import threading
import time

import numpy as np
import tensorflow as tf

import inpainting_tf
from inpainting_tf import completion, image_files, images, photo_figures
from inpainting_tf.tensorflow_errors import in_one_line
from web_page import attention, pictures, results

# Iterations of a search whose pictures stay on the page.
_MILESTONES = (0, 10, 25, 50, 100, 200, 400, 700, 1000, 1500)
_SECONDS_BETWEEN = 0.3  # From one change of the page to the next.
_EXPLAINED_WINDOWS = 2  # Of a photo with many holes, the first ones.


class _Stopped(Exception):
    """Whoever asked for the completion has stopped it, or gone."""


class Job:
    """Completes one photo and collects what there is to show."""

    def __init__(self, name, photo, missing, finished_files, blended=()):
        """
        Args:
          name: of the photo's file.
          photo: photos.Photo.
          missing: bool [H, W], somewhere True, somewhere False.
          finished_files: kept.KeptFiles, for what can be downloaded.
          blended: labels of the methods whose fillings are blended in, which is said.
        """
        self._stem = name.rpartition(".")[0] or name
        self._photo, self._missing = photo, missing
        self._finished, self._blended = finished_files, blended
        self._close_up = photo_figures.surroundings(missing)
        self._completed, self._seconds = {}, {}
        # Label -> first (image, mask, completed) of a network with attention.
        self._windows = {}
        grey = pictures.with_grey_hole(photo.rgb, missing)
        self._cards = [
            results.Card("photo", self._urls(grey), f"{missing.mean():.1%} missing")
        ]
        self._sections = []
        mask = image_files.encode_png(np.uint8(missing) * 255)
        self._links = [("Download the mask", *self._kept("mask", mask))]

    def html(self):
        """All that there is so far."""
        return results.page(self._cards, self._sections, self._links)

    def summary(self):
        """How long it took, and what could not be kept of the photo."""
        total = sum(self._seconds.values())
        done = f"Done in {total:.1f} s." if self._seconds else ""
        notes = "; ".join(self._photo.notes)
        return f"{done} In the files: {notes}." if notes else done

    # ------------------------------------------------------------ completing

    def run(self, method, stopped):
        """Completes by one method.

        Args:
          method: completion.PhotoMethod.
          stopped: threading.Event; once it is set a search ends, and a network before
            its next window, with no completion.

        Yields:
          (line of news, HTML of a search so far), whenever there is more to show.
        """
        if method.watch:
            yield from self._search(method, stopped)
            return
        windows = self._windows[method.label] = []

        def inpaint(image, mask):
            if stopped.is_set():
                raise _Stopped
            completed = method.inpaint(image, mask)
            if method.attend and len(windows) < _EXPLAINED_WINDOWS:
                windows.append((image, mask, completed))
            return completed

        self._complete(dataclasses.replace(method, inpaint=inpaint), stopped)

    def _complete(self, method, stopped):
        began = time.monotonic()
        try:
            completed = completion.complete(self._photo.rgb, self._missing, method)
        except _Stopped:
            return
        except (ValueError, tf.errors.OpError, MemoryError) as error:
            if not stopped.is_set():
                note = _in_words(error)
                card = results.Card(method.label, [], note, is_error=True)
                self._cards.append(card)
            return
        seconds = self._seconds[method.label] = time.monotonic() - began
        self._completed[method.label] = completed
        blended = ", blended in" if method.label in self._blended else ""
        made_by = (
            f"inpainting-tf {inpainting_tf.__version__}, completed by {method.label}"
            f"{blended}"
        )
        png = self._photo.completed_png(completed, self._missing, made_by)
        link = self._kept(method.label, png)
        urls, note = self._urls(completed), f"{seconds:.2f} s{blended}"
        self._cards.append(results.Card(method.label, urls, note, link))

    def _search(self, method, stopped):
        """Runs a search in a thread of its own and tells of it meanwhile."""
        news = queue.SimpleQueue()
        window = 0

        def inpaint(image, mask):
            nonlocal window
            window += 1
            restart, last = 0, np.inf

            def report(iteration, found, _):
                nonlocal restart, last
                if stopped.is_set():
                    raise _Stopped
                # Restarts one after the other begin from 0 each.
                restart, last = restart + (iteration <= last), iteration
                picture = images.compose(image[0], found, mask[0])
                news.put((window, restart, iteration, picture))

            return method.watch(image, mask, report)

        watched = dataclasses.replace(method, inpaint=inpaint)
        worker = threading.Thread(
            target=self._complete, args=(watched, stopped), name="search"
        )
        worker.start()
        section = results.Section(
            f"How {method.label} searched",
            "The hole is filled from a face that a network imagines. Each iteration "
            "makes it agree better with what is known of the photo.",
            [],
            small=True,
        )
        milestones, shown = [], 0.0
        while worker.is_alive() or not news.empty():
            try:
                hole, restart, iteration, picture = news.get(timeout=0.1)
            except queue.Empty:
                continue
            said = f"iteration {iteration}"
            if restart > 1:
                said = f"restart {restart}, {said}"
            if hole > 1:
                said = f"hole {hole}, {said}"
            latest = (said, pictures.float_url(picture))
            section.pictures = [*milestones, latest]
            if iteration in _MILESTONES:
                milestones.append(latest)
                section.pictures = list(milestones)
            if time.monotonic() - shown > _SECONDS_BETWEEN:
                shown = time.monotonic()
                line = f"{method.label}: {said} of {method.watch.iterations}"
                yield line, section.html()
        worker.join()
        self._sections.append(section)

    # ------------------------------------------------------------ explaining

    def explain(self, methods, stopped):
        """Adds where attention looked, and the picture of all side by side.

        Args:
          methods: list of completion.PhotoMethod, those that were run.
          stopped: threading.Event; once it is set nothing is added any more.
        """
        for method in methods:
            if stopped.is_set():
                return
            if method.attend and method.label in self._completed:
                self._explain_attention(method)
        if len(self._completed) > 1 and not stopped.is_set():
            png = photo_figures.side_by_side(
                self._photo.rgb, self._missing, self._completed
            )
            link = self._kept("side_by_side", png)
            self._links.append(("Download all side by side", *link))

    def _explain_attention(self, method):
        shown = []
        for image, mask, completed in self._windows[method.label]:
            offsets = method.attend(image, mask)
            if offsets is None:
                return
            seen = (completed[0], mask[0].numpy(), offsets[0].numpy())
            sources = attention.sources_picture(*seen)
            wheel = attention.wheel_picture(*seen)
            shown += [
                (
                    "each patch of the hole and its source in one colour",
                    pictures.data_url(sources),
                ),
                ("direction and distance to the source", pictures.png_url(wheel)),
            ]
        section = results.Section(
            f"Where {method.label} borrowed from",
            "Attention rebuilds each patch of the hole mostly from one patch elsewhere in "
            "the window of the photo that the network sees.",
            shown,
        )
        self._sections.append(section)

    # ------------------------------------------------------------ showing

    def _urls(self, rgb):
        """Of the picture, and where the hole is small of its surroundings too."""
        urls = [pictures.data_url(rgb)]
        if self._close_up is not None:
            urls.append(pictures.data_url(np.ascontiguousarray(rgb[self._close_up])))
        return urls

    def _kept(self, label, png):
        """(URL, file name) of a picture that can be downloaded."""
        name = f"{self._stem}_{label}.png"
        return f"finished/{self._finished.keep(name, png)}", name


def _in_words(error):
    """What is wrong, for somebody who has never seen a stack trace."""
    if isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError)):
        return "There is not enough memory for a photo of this size. Make it smaller."
    message = getattr(error, "message", None) or image_files.first_line(error)
    return f"This method failed: {in_one_line(message)}"
