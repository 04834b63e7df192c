"""Figures as PNG and PDF files; equal figures give equal bytes.

Input: `matplotlib.figure.Figure`s from `figure_grids` and `figure_charts`. In order:
`png_bytes`, `save`.
"""

import io

import matplotlib

from inpainting_tf import image_files
from inpainting_tf.figure_style import DOTS_PER_INCH


def png_bytes(figure):
    """The figure as a PNG file's bytes, at its own resolution."""
    return _file_bytes(figure, "png")


def save(figure, stem):
    """Writes `<stem>.png` and `<stem>.pdf`; equal figures give equal bytes.

    Each file is whole or not there. The PNG has the figure's resolution; in the PDF
    lines and letters are vectors, and pictures have 300 dpi in print size, their own
    pixels in screen size.

    Args:
      figure: Figure.
      stem: path without extension; its folder is made.

    Returns:
      The two paths.
    """
    paths = []
    for kind in ("png", "pdf"):
        data = _file_bytes(figure, kind)
        # Panels stay where they are from the first file on: placing them takes as long
        # as drawing them.
        figure.set_layout_engine("none")
        path = f"{stem}.{kind}"
        image_files.write_bytes(path, data)
        paths.append(path)
    return paths


# Neither dates nor versions in files, or every run would give other bytes.
_NO_METADATA = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}


def _file_bytes(figure, kind):
    file = io.BytesIO()
    # Publishers refuse PDF files with matplotlib's default, bitmap-like type 3 fonts.
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        figure.savefig(
            file,
            format=kind,
            dpi=figure.dpi if kind == "png" else DOTS_PER_INCH["print"],
            metadata=_NO_METADATA[kind],
        )
    return file.getvalue()
