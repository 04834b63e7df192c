"""What happens when somebody opens a photo, and when they ask for its completion.

Inputs: bytes of a file; the editor's strokes as JSON and labels of methods. Outputs:
what the page shows, as HTML, again and again until all is there (`Events.complete` is a
generator). Photos go the way of inpaint.py: `photos.read`, `completion.complete`,
`Photo.completed_png` (in `job`), so that the file downloaded holds the very pixels that
inpaint.py writes for the same mask, with --blend where the page blends.

Nothing of a visitor's is written to disk.
"""

import json
import threading

import numpy as np
import tensorflow as tf

from inpainting_tf import completion
from web_page import pictures, results, strokes
from web_page.job import Job


class RequestError(ValueError):
    """A request that cannot be met; the message is for who made it."""


class Events:
    """The page's functions, on the methods that were loaded.

    Attributes:
      methods: dict: label -> completion.PhotoMethod.
      max_pixels: of a photo.
    """

    def __init__(self, methods, opened_files, finished_files, max_pixels):
        """
        Args:
          methods: list of completion.PhotoMethod.
          opened_files, finished_files: kept.KeptFiles of photos and of completions.
          max_pixels: of a photo.
        """
        self.methods = {method.label: method for method in methods}
        # Once, since each compiles its own.
        self._blended = {
            method.label: completion.blending(method) for method in methods
        }
        self.max_pixels = max_pixels
        self._opened, self._finished = opened_files, finished_files
        self._stops = {}

    def open_photo(self, data, name):
        """Opens a photo.

        Args:
          data: the bytes of its file.
          name: of the file.

        Returns:
          dict for the editor, see `pictures.opened`.

        Raises:
          pictures.PhotoError: it cannot be used.
        """
        photo = pictures.read(data, self.max_pixels)
        # The file, which is smaller than the pixels.
        return pictures.opened(photo, self._opened.keep(name, data))

    def warm_up(self):
        """Compiles what would make the first visitor wait: all but searches."""
        for method in self._blended.values():  # Each has its plain one in it.
            if method.window_size and not method.is_search:
                size = method.window_size
                image, mask = np.zeros([2, 1, size, size, 3], np.float32)
                mask[:, size // 4 : size // 2, size // 4 : size // 2] = 1
                pair = tf.constant(image), tf.constant(mask[..., :1])
                for function in filter(None, (method.inpaint, method.attend)):
                    function(*pair)

    def stop(self, session):
        """Ends what a session is waiting for."""
        if session in self._stops:
            self._stops[session].set()

    @property
    def can_blend(self):
        """Whether `blend` makes a difference to any method."""
        return any(self._blended[m.label] is not m for m in self.methods.values())

    def complete(self, edited, labels, session=None, blend=False):
        """Completes a photo by several methods.

        Args:
          edited: JSON of the editor: {"photo": token, "strokes": [...]}.
          labels: of the methods.
          session: whose request it is, for `stop`.
          blend: see `completion.blending`.

        Yields:
          (message, answers, running), HTML each: `running` is what is seen of a search
          that runs. Answers are None where nothing has changed in them: they hold many
          pictures.
        """
        stopped = self._stops[session] = threading.Event()
        try:
            yield from self._complete(edited, labels, stopped, blend)
        except (RequestError, strokes.StrokesError, pictures.PhotoError) as error:
            yield results.message(error, is_error=True), "", ""
        finally:
            stopped.set()
            if self._stops.get(session) is stopped:
                del self._stops[session]

    def _complete(self, edited, labels, stopped, blend):
        name, photo, missing = self._asked(edited)
        offered = self._blended if blend else self.methods
        methods = [m for label, m in offered.items() if label in (labels or ())]
        if not methods:
            raise RequestError("Choose at least one method.")
        blended = [m.label for m in methods if m is not self.methods[m.label]]
        job = Job(name, photo, missing, self._finished, blended)
        for method in methods:
            yield results.message(f"{method.label} is at work ..."), job.html(), ""
            for news, running in job.run(method, stopped):
                yield results.message(news), None, running
            if stopped.is_set():
                yield results.message("Stopped."), job.html(), ""
                return
        yield results.message(job.summary()), job.html(), ""
        job.explain(methods, stopped)
        yield results.message(job.summary()), job.html(), ""

    def _asked(self, edited):
        """(name of the file, Photo, missing bool [H, W]) of what the editor sent."""
        try:
            asked = json.loads(edited)
            token = asked["photo"]
            painted = json.dumps(asked["strokes"])
        except RecursionError:
            raise strokes.StrokesError(strokes.UNREADABLE) from None
        except (ValueError, TypeError, KeyError):
            raise RequestError("Open a photo first, or take a sample.") from None
        file = self._opened.get(token) if isinstance(token, str) else None
        if file is None:
            raise RequestError(
                "Open the photo again: this page does not keep photos for long. What is "
                "painted stays."
                if token
                else "Open a photo first, or take a sample."
            )
        photo = pictures.read(file.data, self.max_pixels)
        height, width = photo.rgb.shape[:2]
        missing = strokes.missing_pixels(strokes.parse(painted), height, width)
        if not missing.any():
            raise RequestError(
                "Nothing is marked yet. Paint over what shall be replaced, or draw a box "
                "around it."
            )
        if missing.all():
            raise RequestError(
                "The whole photo is marked. Leave some of it unmarked: what is filled in "
                "is made to fit its surroundings."
            )
        return file.name, photo, missing
