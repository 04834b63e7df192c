"""A recipe of search.py, opened by a program that brings its own pictures and holes."""

import dataclasses

from absl import flags

from baselines.methods import SEARCHES
from command_line import method_flags, trained, weights_along
from command_line.parsing import UsageError

# What a recipe says about pictures and holes.
PICTURE_FLAGS = (
    "dataset",
    "data_dir",
    "data_list",
    "split",
    "image_size",
    "crop",
    "max_broken_share",
    "mask",
    "hole_size",
    "mask_share",
    "mask_dir",
    "count",
    "batch_size",
    "output_dir",
    "grid_rows",
    "shown_iterations",
)


@dataclasses.dataclass(frozen=True)
class SearchRecipe:
    """What a recipe says about the search itself.

    Attributes:
      path: of the flag file.
      method: a key of `baselines.methods.SEARCHES`.
      gan, gan_checkpoint: run folder of the dcgan, and which of its checkpoints.
      seed: of the starting z.
      arguments: keyword arguments of the method's class that the recipe gives.
      effective: all parameters as text, defaults included.
    """

    path: str
    method: str
    gan: str
    gan_checkpoint: str
    seed: int
    arguments: dict
    effective: dict

    def open(self):
        """Loads the GAN and builds the search.

        Returns:
          (search, gan, step of the gan's checkpoint).

        Raises:
          UsageError: no run of a dcgan, or no such checkpoint.
          TrainingStopped: the checkpoint cannot be restored whole.
        """
        gan, recorded, step = trained.load(self.gan, self.gan_checkpoint)
        if recorded["method"] != "dcgan":
            raise UsageError(
                f"{self.path}: {self.gan} holds a run of {recorded['method']}; the "
                "searches need one of dcgan"
            )
        search = SEARCHES[self.method](gan, seed=self.seed, **self.arguments)
        return search, gan, step


def read(path, gan=None, gan_checkpoint=None):
    """Reads a flag file of search.py.

    Args:
      path: of the file.
      gan, gan_checkpoint: instead of those in the file; a run folder, or the name of
        weights that come along.

    Returns:
      SearchRecipe.

    Raises:
      UsageError: unreadable, a line that is no flag of search.py, or no method or GAN.
    """
    values = flags.FlagValues()
    flags.DEFINE_enum("method", None, list(SEARCHES), "", flag_values=values)
    flags.DEFINE_string("gan", None, "", flag_values=values)
    flags.DEFINE_string("gan_checkpoint", "newest", "", flag_values=values)
    flags.DEFINE_integer("seed", 0, "", flag_values=values)
    method_flags.define(SEARCHES, values)
    known = []
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    for line in lines:
        if not line or line.startswith("#"):
            continue
        name = line.lstrip("-").partition("=")[0]
        if not line.startswith("-") or not (
            name in PICTURE_FLAGS or name in values or name.removeprefix("no") in values
        ):
            raise UsageError(f"{path}: {line!r} is no flag of search.py")
        if name not in PICTURE_FLAGS:
            known.append(line)
    try:
        values(["", *known])
    except flags.Error as error:
        raise UsageError(f"{path}: {str(error).strip().splitlines()[0]}") from None
    gan = gan or values.gan
    if values.method is None or not gan:
        raise UsageError(
            f"{path} must be a recipe of search.py, with --method and --gan"
        )
    method_flags.check(SEARCHES, values.method, values)
    return SearchRecipe(
        path,
        values.method,
        weights_along.find(gan),
        gan_checkpoint or values.gan_checkpoint,
        values.seed,
        method_flags.arguments(SEARCHES, values.method, values),
        method_flags.effective(SEARCHES, values.method, (), values),
    )
