"""Trained methods and searches as what a server runs, with what is known about them."""

import os

from command_line import search_recipes, trained
from command_line.parsing import UsageError
from inpainting_tf.serving import ServedMethod

# Largest pictures by default. At their own size, contextual attention takes memory with
# the square of the pixels: some 5 GB for a square of these.
MAX_PIXELS = 2**20
MAX_PIXELS_REDUCED = 2**24


def open_run(run_dir, checkpoint=None, *, max_pixels=None, terms=None):
    """Opens a trained network.

    Args:
      run_dir: run folder.
      checkpoint: "newest", "best" or a step; None for the best where there is one.
      max_pixels: of pictures to be accepted; None for the default.
      terms: licence or terms of the weights; None names the data that made them.

    Returns:
      (name of the method, ServedMethod, facts for the metadata).

    Raises:
      UsageError: no run of a method that completes, or no such checkpoint.
      TrainingStopped: the checkpoint cannot be restored whole.
    """
    checkpoint = checkpoint or trained.best_or_newest(run_dir)
    model, recorded, step = trained.load(run_dir, checkpoint)
    name = recorded["method"]
    if not hasattr(model, "size_multiple"):
        raise UsageError(
            f"{run_dir} holds a run of {name}, which completes nothing itself; add "
            "--search=<recipe of search.py>"
        )
    multiple = model.size_multiple

    def inpaint(image, mask):
        return model.call(image, mask)["completed"]

    def attend(image, mask):
        return model.call(image, mask).get("attention_offsets")

    served = ServedMethod(
        inpaint,
        model.image_size,
        multiple,
        attend=attend,
        min_size=getattr(model, "min_size", 1),
        max_pixels=max_pixels or (MAX_PIXELS if multiple else MAX_PIXELS_REDUCED),
    )
    facts = _facts(name, run_dir, step, recorded, terms)
    if getattr(model, "region", "") == "center":
        facts["holes"] = (
            "within the central half of height and width; others are refused"
        )
    return name, served, facts


def open_search(recipe, run_dir=None, checkpoint=None, *, max_pixels=None, terms=None):
    """Opens a search of a trained dcgan.

    Args:
      recipe: path of a recipe of search.py.
      run_dir: run folder of the dcgan, instead of the recipe's.
      checkpoint: "newest" or a step of it, instead of the recipe's.
      max_pixels, terms: as of `open_run`.

    Returns, raises: as `open_run`; UsageError also for a file that is no recipe.
    """
    recipe = search_recipes.read(recipe, run_dir, checkpoint)
    search, gan, step = recipe.open()

    def inpaint(image, mask):
        return search.complete(image, mask)["completed"]

    served = ServedMethod(
        inpaint,
        gan.image_size,
        None,
        max_pixels=max_pixels or MAX_PIXELS_REDUCED,
        # Searches keep the examples of a batch apart themselves, unless by groups.
        whole_batches=recipe.effective["group_size"] == "1",
    )
    recorded = trained.recorded_flags(recipe.gan)
    facts = _facts(recipe.method, recipe.gan, step, recorded, terms)
    return recipe.method, served, facts | {"search": recipe.effective}


def _facts(method, run_dir, step, recorded, terms):
    dataset = recorded.get("dataset", "pictures that the run folder does not name")
    return {
        "method": method,
        "run": os.path.basename(os.path.abspath(run_dir)),
        "step": step,
        "width": float(recorded.get("width", 1)),
        "terms_of_weights": terms
        or f"trained on {dataset}; its terms apply, see --weights_terms of export.py",
    }
