"""The exported model itself, on this machine, to compare a server's answers with."""

import os

from inpainting_tf import image_files
from inpainting_tf.tensorflow_errors import in_one_line
from serving.transport import OUTPUT, SIGNATURE


class LocalModelError(ValueError):
    """A folder that holds no such model; the message is one line."""


def find(folder, version=None):
    """Finds a SavedModel.

    Args:
      folder: a SavedModel, or a method's folder of versions, as export.py writes it.
      version: int, or None for the newest.

    Returns:
      path of the SavedModel.

    Raises:
      LocalModelError: there is none.
    """
    if os.path.isfile(os.path.join(folder, "saved_model.pb")):
        return folder
    versions = {}
    for name in os.listdir(folder) if os.path.isdir(folder) else []:
        path = os.path.join(folder, name)
        if name.isdigit() and os.path.isfile(os.path.join(path, "saved_model.pb")):
            versions[int(name)] = path
    if not versions:
        raise LocalModelError(
            f"--check={folder} is neither a SavedModel nor a folder of versions; "
            "name <export_dir>/<method>"
        )
    if version is not None and version not in versions:
        raise LocalModelError(f"--check={folder} holds no version {version}")
    return versions[max(versions) if version is None else version]


class LocalModel:
    """A SavedModel in this process.

    Args:
      path: folder of the SavedModel.

    Raises:
      LocalModelError: it cannot be loaded or has no signature `encoded`.
    """

    def __init__(self, path):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import tensorflow as tf  # Takes seconds; only --check needs it.

        from inpainting_tf import untrusted

        self._tf = tf
        try:
            self._model = untrusted.load_saved_model(path, tags=["serve"])
        except (OSError, ValueError, RuntimeError, tf.errors.OpError) as error:
            raise LocalModelError(
                f"--check={path} cannot be loaded: {in_one_line(error)}"
            ) from None
        if SIGNATURE not in self._model.signatures:
            raise LocalModelError(f"--check={path} has no signature {SIGNATURE}")
        self._signature = self._model.signatures[SIGNATURE]

    def largest_difference(self, photo_png, mask_png, answer):
        """Completes a photo here and compares.

        Args:
          photo_png, mask_png: bytes that the server was sent.
          answer: PNG bytes that it sent back.

        Returns:
          None where the bytes are the same, else the largest difference of two pixels'
          levels, an int in 0..255.

        Raises:
          LocalModelError: the model refuses here what it completed there.
        """
        tf = self._tf
        try:
            outputs = self._signature(
                image=tf.constant([photo_png]), mask=tf.constant([mask_png])
            )
        except tf.errors.OpError as error:
            raise LocalModelError(
                f"the model of --check refuses it: {in_one_line(error.message)}"
            ) from None
        (completed,) = outputs[OUTPUT].numpy()
        if completed == answer:
            return None
        here, there = image_files.decode(completed), image_files.decode(answer)
        return int(abs(here.astype(int) - there.astype(int)).max())
