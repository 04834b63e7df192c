"""The notebook runs from top to bottom, and what it computes is so."""

import json
import os

import nbclient
import nbformat
import numpy as np
import programs
import pytest
import tensorflow as tf

from inpainting_tf import masks, metrics, synthetic_faces

PATH = os.path.join(programs.ROOT, "notebooks", "walkthrough.ipynb")

# Appended to the notebook, to hear what its cells have computed.
REPORT = """
import json
print(json.dumps({
    "batch": {name: list(value.shape) for name, value in batch.items()},
    "rules": {rule: float(drawn.mean()) for rule, drawn in drawn_rules.items()},
    "attention": [attention_difference, same_offsets],
    "measures": measures,
    "export": export,
    "export_difference": export_difference,
}))
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """(the executed notebook, what REPORT says)."""
    folder = str(tmp_path_factory.mktemp("notebook"))
    read = nbformat.read(PATH, as_version=4)
    read.cells.append(nbformat.v4.new_code_cell(REPORT))
    tests_own = {name: os.environ.get(name) for name in ("TMPDIR", "PYTHONPATH")}
    os.environ["TMPDIR"] = folder
    os.environ["PYTHONPATH"] = programs.ROOT
    try:
        nbclient.NotebookClient(
            read,
            timeout=500,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
        ).execute()  # Raises what a cell raises.
    finally:
        for name, value in tests_own.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
    said = [output.text for output in read.cells[-1].outputs if output.name == "stdout"]
    return read, json.loads("".join(said))


@pytest.mark.slow
def test_every_stage_shows_and_computes_what_it_says(notebook):
    read, report = notebook
    shown = sum(
        "image/png" in output.get("data", {})
        for cell in read.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    assert shown == 6
    sizes = {"image": [6, 32, 32, 3], "mask": [6, 32, 32, 1], "box": [6, 4]}
    assert report["batch"] == sizes
    assert set(report["rules"]) == set(masks.RULES)
    assert report["rules"]["left_half"] == 0.5
    assert all(0 < share < 1 for share in report["rules"].values())
    difference, same_offsets = report["attention"]
    assert difference < 1e-4
    assert same_offsets > 0.99


@pytest.mark.slow
def test_the_toy_has_learnt_and_its_export_completes_likewise(notebook):
    _, report = notebook
    psnr = {name: measured["psnr"] for name, measured in report["measures"].items()}
    assert list(psnr) == ["mean_color", "telea", "toy"]
    assert psnr["toy"] > psnr["mean_color"] + 2
    assert report["export_difference"] < 1e-4
    # The export in this process, on the same faces: the same PSNR.
    faces, _ = synthetic_faces.render(range(64), 32, split="test")
    image = tf.cast(faces, tf.float32) / 127.5 - 1
    mask = np.zeros([64, 32, 32, 1], np.float32)
    mask[:, 8:24, 8:24] = 1
    serve = tf.saved_model.load(report["export"]).signatures["float"]
    completed = serve(image=image, mask=tf.constant(mask))["completed"]
    own = float(tf.reduce_mean(metrics.psnr(image, completed)))
    assert own == pytest.approx(psnr["toy"], abs=0.01)


def test_the_notebook_in_the_repository_is_small_and_without_errors():
    assert os.path.getsize(PATH) < 500_000
    for cell in nbformat.read(PATH, as_version=4).cells:
        if cell.cell_type == "code":
            assert all(output.output_type != "error" for output in cell.outputs)
