"""Small networks of every method in run folders, and their exports."""

import os

import keras

from baselines.methods import METHODS, SEARCHES
from command_line import method_flags, served_methods
from inpainting_tf import exporting, run_folder
from inpainting_tf.checkpoints import Checkpoints

STEP = 7
# Each with layers as published and few channels.
NETWORKS = {
    "parallel_attention": {"image_size": 32, "width": 0.0625},
    "context_encoder": {"image_size": 32, "width": 0.0625, "region": "random"},
    "glcic": {"image_size": 32, "width": 0.0625},
    "giica": {"image_size": 32, "width": 0.125},
    "dcgan": {"image_size": 64, "width": 0.02},
}
EXPORTED = [name for name in NETWORKS if name != "dcgan"] + list(SEARCHES)


def write_run(folder, method, seed=1):
    """Writes the run folder of a method with random weights.

    Returns:
      (path of the run folder, the model).
    """
    keras.utils.set_random_seed(seed)
    model = METHODS[method](**NETWORKS[method])
    run_dir = os.path.join(folder, method)
    os.makedirs(run_dir)
    arguments = {"method": method, "dataset": "synthetic_faces", **NETWORKS[method]}
    run_folder.write_flags(
        run_dir, {name: method_flags.text(value) for name, value in arguments.items()}
    )
    Checkpoints(model, os.path.join(run_dir, "checkpoints")).save(STEP)
    return run_dir, model


def write_recipe(folder, method, gan, name=None, iterations=3, restarts=1):
    """Writes a recipe of a search, `name`.cfg; returns its path."""
    path = os.path.join(folder, f"{name or method}.cfg")
    lines = [
        f"--method={method}",
        f"--gan={gan}",
        f"--iterations={iterations}",
        f"--restarts={restarts}",
        "--mask=center",
    ]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return path


def export_method(folder, method, **limits):
    """Exports a method with random weights below `folder`.

    Returns:
      (path of the SavedModel, ServedMethod that it was made of).
    """
    if method in SEARCHES:
        gan, _ = write_run(os.path.join(folder, f"runs_of_{method}"), "dcgan")
        recipe = write_recipe(folder, method, gan)
        _, served, facts = served_methods.open_search(recipe, **limits)
    else:
        run_dir, _ = write_run(os.path.join(folder, "runs"), method)
        _, served, facts = served_methods.open_run(run_dir, **limits)
    return exporting.export(
        served, os.path.join(folder, "exports"), method, facts
    ), served
