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
        self._shapes = {}  # Of one picture's losses, by name.
        # All that a batch adds, replaced at once: count, sums, shown, length of files.
        self._state = (0, collections.Counter(), {}, {})
        os.makedirs(os.path.join(folder, "completed"), exist_ok=True)

    @property
    def count(self):
        return self._state[0]

    def add(self, names, batch, outputs):
        """Writes a batch's pictures and numbers, all of them or, interrupted, none.

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
        count, sums, shown, lengths = self._state
        sums, entries = sums.copy(), []
        for i, name in enumerate(names):
            stem = os.path.splitext(os.path.basename(name))[0].replace(" ", "_")
            file = os.path.join("completed", f"{count + i:05d}_{stem}.png")
            own = {key: float(value[i]) for key, value in measures.items()}
            sums.update(own)
            entry = {"name": name, "file": file} | own
            entry["loss"] = float(outputs["loss"][i])
            entry["steps"] = int(outputs["steps"][i])
            entry["restart"] = int(outputs["restart"][i])
            entries.append(entry)
        table = "".join(json.dumps(entry) + "\n" for entry in entries)
        added = {"results.jsonl.tmp": table.encode()}
        for name in KEPT:
            value = np.ascontiguousarray(outputs[name].numpy(), np.float32)
            self._shapes[name] = value.shape[1:]
            added[f"{name}.f32.tmp"] = value.tobytes()
        longer = {n: lengths.get(n, 0) + len(data) for n, data in added.items()}
        files = [entry["file"] for entry in entries]
        shown = self._also_shown(shown, batch, outputs)
        try:
            for file, pixels in zip(files, pictures, strict=True):
                images.write_png(self._path(file), pixels)
            for name, data in added.items():
                with open(self._path(name), "ab") as file:
                    file.write(data)
            self._state = (count + len(names), sums, shown, longer)
        except BaseException:
            if self.count == count:
                self._take_back(files, added, lengths)
            raise

    def _take_back(self, files, added, lengths):
        """Undoes what of a batch has been written."""
        for file in files:
            for path in (self._path(file), self._path(f"{file}.tmp")):
                if os.path.exists(path):
                    os.remove(path)
        for name in added:
            if os.path.exists(self._path(name)):
                os.truncate(self._path(name), lengths.get(name, 0))

    def _also_shown(self, shown, batch, outputs):
        """What the grid shows, title -> list of pictures, with those of a batch."""
        image = batch["image"]
        room = max(self._grid_rows - len(shown.get("truth", ())), 0)
        pictures = {
            "input": images.compose(image, tf.ones_like(image), batch["mask"]),
            "found": outputs["predicted"],
            "completed": outputs["completed"],
            "truth": image,
        }
        return {
            title: [*shown.get(title, ()), *images.to_uint8(pixels[:room]).numpy()]
            for title, pixels in pictures.items()
        }

    def mean(self, name):
        """Mean over all pictures of psnr, mean_color_fill/psnr and the like."""
        count, sums, _, _ = self._state
        return sums[name] / count

    def write(self):
        """Writes the grid, the losses and the table; at least one picture is there."""
        shown = {title: np.stack(pixels) for title, pixels in self._state[2].items()}
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
