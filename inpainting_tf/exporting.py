"""Writes a served method as a SavedModel that TensorFlow Serving loads as it is.

    <export_dir>/<method>/<version>/saved_model.pb, variables/    the graphs and weights
    <export_dir>/<method>/<version>/assets.extra/metadata.json    what it is
    <export_dir>/<method>/<version>/assets.extra/tf_serving_warmup_requests

Input: a `serving.ServedMethod` whose networks have their weights. A version is written
beside its place, under a name that servers skip, and renamed as a whole, so that a
server that polls the folder never sees half a model.

Stages: graphs (ExportArchive); metadata; one warm-up request for each signature; rename.
"""

import json
import os
import shutil
import tempfile

import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

import inpainting_tf
from inpainting_tf import graph_codecs, image_files, masks, run_folder, serving


class ExportError(ValueError):
    """An export that cannot be made; the message says why and what to do."""


def export(served, export_dir, method, facts, version=None):
    """Writes one version of a served method, whole or not at all.

    Args:
      served: serving.ServedMethod.
      export_dir: folder for the exports of all methods.
      method: name of the model in the server and of its folder.
      facts: JSON-able dict that the metadata begins with.
      version: number, at least 1; None for the next one.

    Returns:
      path of the version's folder.

    Raises:
      ExportError: a version that exists, a folder that cannot be written, or a
        max_pixels below the method's own size.
    """
    size = served.image_size
    if size * size > served.max_pixels:
        raise ExportError(
            f"--max_pixels={served.max_pixels}: {method} was made for {size}x{size}, "
            f"{size * size} pixels; allow as many or more"
        )
    model_dir = os.path.join(export_dir, method)
    try:
        os.makedirs(model_dir, exist_ok=True)
        path = _version_path(model_dir, version)
        # Not a number, so that servers do not take it for a version. Not by
        # run_folder.written_whole, as somebody else may take the version meanwhile.
        unfinished = tempfile.mkdtemp(prefix="unfinished-", dir=model_dir)
    except OSError as error:
        raise ExportError(
            f"--export_dir={export_dir}: cannot write there ({error.strerror})"
        ) from None
    try:
        _write_graphs(served, unfinished)
        extra = os.path.join(unfinished, "assets.extra")
        os.makedirs(extra)
        _write_warmup(served, method, os.path.join(extra, "tf_serving_warmup_requests"))
        metadata = json.dumps(facts | _description(served), indent=2) + "\n"
        run_folder.write_text(os.path.join(extra, "metadata.json"), metadata)
        os.chmod(unfinished, 0o755)  # mkdtemp's folder is for its owner alone.
        while True:
            try:
                os.rename(unfinished, path)
                return path
            except OSError:
                if not os.path.exists(path):
                    raise
                path = _version_path(model_dir, version)  # Somebody else took it.
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or image_files.first_line(error)
        raise ExportError(f"{path}: cannot be written ({reason})") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _version_path(model_dir, version):
    taken = [int(name) for name in os.listdir(model_dir) if name.isdecimal()]
    if version is None:
        version = max(taken, default=0) + 1
    elif version in taken:
        raise ExportError(
            f"{model_dir} has a version {version} already; leave --version out for the "
            "next one"
        )
    return os.path.join(model_dir, str(version))


def _write_graphs(served, folder):
    archive = keras.export.ExportArchive()
    for name, (function, specs) in serving.signatures(served).items():
        archive.add_endpoint(name, function, input_signature=specs)
    archive.write_out(folder, verbose=False)


def _description(served):
    """What a user of the SavedModel has to know, as a JSON-able dict."""
    if served.size_multiple is None:
        rule = (
            f"pictures are reduced or enlarged to {served.image_size}x"
            f"{served.image_size}, completed, brought back, and composed at full size"
        )
    else:
        rule = (
            "pictures are completed at their own size, continued by their mirror image "
            f"to sides that are multiples of {served.size_multiple}, at least "
            f"{served.min_size}"
        )
    return {
        "image_size": served.image_size,
        "sizes": rule,
        "max_pixels": served.max_pixels,
        "max_side": served.max_side,
        "signatures": {
            "serving_default": {
                "image": "uint8 [B, H, W, 3], RGB, 0..255",
                "mask": "uint8 [B, H, W, 1], 0 = known, 255 = missing, from "
                f"{graph_codecs.MASK_THRESHOLD} on, or 1 where nothing is above 1",
                "completed": "uint8 [B, H, W, 3]",
            },
            "float": {
                "image": "float32 [B, H, W, 3], RGB, -1..1",
                "mask": "float32 [B, H, W, 1], 0 = known, 1 = missing, from 0.5 on",
                "completed": "float32 [B, H, W, 3]",
            },
            "encoded": {
                "image": "string [B], PNG or JPEG files, as stored (no EXIF rotation)",
                "mask": "string [B], PNG or JPEG files of the same sizes; the mean of "
                "red, green and blue as in serving_default",
                "completed_bytes": "string [B], PNG files",
            },
        },
        "known_pixels": "returned unchanged",
        "versions": {
            "inpainting_tf": inpainting_tf.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
    }


def _write_warmup(served, method, path):
    """One request for each signature, so that no user waits for the first one.

    At the trained size: other sizes run in the same graphs.
    """
    size = served.image_size
    rows, columns = np.ogrid[:size, :size]
    grey = (rows + columns) * 255 // (2 * size - 2)
    image = np.broadcast_to(grey[..., np.newaxis], [size, size, 3]).astype(np.uint8)
    mask, _ = masks.draw("center", [0, 0], size, size, hole_size=size // 2)
    mask = mask.numpy()
    levels = (mask * 255).astype(np.uint8)
    requests = {
        "serving_default": (image[None], levels[None]),
        "float": (np.float32(image[None] / 127.5 - 1.0), mask[None]),
        "encoded": tuple(
            [graph_codecs.encode_png(pixels).numpy()] for pixels in (image, levels)
        ),
    }
    with tf.io.TFRecordWriter(path) as writer:
        for signature, values in requests.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name = method
            request.model_spec.signature_name = signature
            for name, value in zip(("image", "mask"), values, strict=True):
                request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())
