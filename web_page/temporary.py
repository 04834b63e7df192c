"""A folder for whatever libraries write meanwhile, removed at the end."""

import contextlib
import os
import tempfile


@contextlib.contextmanager
def private_folder():
    """Sends all temporary files to a new folder, removed at the end.

    To be entered before Gradio is imported, which makes its folder then.
    """
    before = tempfile.tempdir, os.environ.get("GRADIO_TEMP_DIR")
    with tempfile.TemporaryDirectory(prefix="inpainting_page_") as folder:
        tempfile.tempdir = os.environ["GRADIO_TEMP_DIR"] = folder
        try:
            yield folder
        finally:
            tempfile.tempdir = before[0]
            if before[1] is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before[1]
