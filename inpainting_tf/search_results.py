"""What the searches of search.py gave: written as it comes, summed up at the end.

Input: batches and what a latent search made of them. Output, in a folder:

    completed/<n>_<name>.png    the completed pictures
    results.jsonl               one object per picture: name, file, measures, loss
    losses.npz                  losses, context_losses, prior_losses [N, iterations + 1]
                                and z [N, size], float32
    grid.png, losses.png        the first pictures; the first curves

Rows and losses go to files with temporary names, which become the results at the end:
memory does not grow with the number of pictures, beyond those that are shown.
"""

import collections
import json
import os

import numpy as np
import tensorflow as tf

from inpainting_tf import evaluation, figures, images

KEPT = ("losses", "context_losses", "prior_losses", "z")
CURVES = 256  # Pictures whose losses are drawn.


class SearchResults:
    """Grows batch by batch; `write` finishes it.

    Attributes:
      count: number of pictures so far.
    """

    def __init__(self, folder, *, method, image_size, grid_rows):
        """Opens the results of a search.

        Args:
          folder: where they go; made if need be.
          method: name of the search, for titles.
          image_size: side of the pictures.
          grid_rows: pictures shown in grid.png.
        """
        self._folder, self._method = folder, method
        self._grid_rows, self._scale = grid_rows, max(1, 128 // image_size)
        self.count = 0
        self._sums = collections.Counter()
        self._shown = {}
        self._shapes = {}  # Of one picture's losses, by name.
        os.makedirs(os.path.join(folder, "completed"), exist_ok=True)

    def add(self, names, batch, outputs):
        """Writes a batch's pictures and numbers.

        Args:
          names: list of B str, of the pictures.
          batch: dict with `image` and `mask`.
          outputs: of a latent search, see `latent_completion`.
        """
        image, completed = batch["image"], outputs["completed"]
        measures = evaluation.measure_each(image, completed)
        floor = evaluation.measure_each(
            image, evaluation.mean_color_fill(image, batch["mask"])
        )
        measures |= {f"mean_color_fill/{name}": v for name, v in floor.items()}
        measures = {name: value.numpy() for name, value in measures.items()}
        pictures = images.to_uint8(completed).numpy()
        with open(self._path("results.jsonl.tmp"), "a", encoding="utf-8") as table:
            for i, name in enumerate(names):
                stem = os.path.splitext(os.path.basename(name))[0].replace(" ", "_")
                file = os.path.join("completed", f"{self.count:05d}_{stem}.png")
                images.write_png(self._path(file), pictures[i])
                own = {key: float(value[i]) for key, value in measures.items()}
                self._sums.update(own)
                entry = {"name": name, "file": file} | own
                entry["loss"] = float(outputs["loss"][i])
                entry["steps"] = int(outputs["steps"][i])
                entry["restart"] = int(outputs["restart"][i])
                table.write(json.dumps(entry) + "\n")
                self.count += 1
        for name in KEPT:
            value = np.ascontiguousarray(outputs[name].numpy(), np.float32)
            self._shapes[name] = value.shape[1:]
            with open(self._path(f"{name}.f32.tmp"), "ab") as file:
                file.write(value.tobytes())
        self._show(batch, outputs)

    def _show(self, batch, outputs):
        image = batch["image"]
        room = self._grid_rows - len(self._shown.get("truth", ()))
        for title, pixels in (
            ("input", images.compose(image, tf.ones_like(image), batch["mask"])),
            ("found", outputs["predicted"]),
            ("completed", outputs["completed"]),
            ("truth", image),
        ):
            shown = images.to_uint8(pixels[: max(room, 0)]).numpy()
            self._shown[title] = [*self._shown.get(title, ()), *shown]

    def mean(self, name):
        """Mean over all pictures of psnr, mean_color_fill/psnr and the like."""
        return self._sums[name] / self.count

    def write(self):
        """Writes the grid, the losses and the table; at least one picture is there."""
        shown = {title: np.stack(pixels) for title, pixels in self._shown.items()}
        grid = figures.sample_grid(shown, self._scale)
        images.write_png(self._path("grid.png"), grid)
        raw = {name: self._path(f"{name}.f32.tmp") for name in KEPT}
        losses = {
            name: np.memmap(path, np.float32, "r", 0, (self.count, *self._shapes[name]))
            for name, path in raw.items()
        }
        np.savez(self._path("losses.npz.tmp.npz"), **losses)
        curves = figures.search_curves(
            losses["context_losses"][:CURVES],
            losses["prior_losses"][:CURVES],
            self._method,
        )
        images.write_png(self._path("losses.png"), curves)
        del losses
        for path in raw.values():
            os.remove(path)
        os.replace(self._path("losses.npz.tmp.npz"), self._path("losses.npz"))
        os.replace(self._path("results.jsonl.tmp"), self._path("results.jsonl"))

    def _path(self, name):
        return os.path.join(self._folder, name)
