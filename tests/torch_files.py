"""Files as PyTorch wrote them before its version 1.6, made without it."""

import collections
import io
import pickle

import numpy as np

from command_line import torch_arrays


def array(shape=(2, 3), strides=(3, 1), offset=0, size=6, storage="FloatStorage"):
    """What a state_dict holds in place of an array."""
    return Named("torch._utils", "_rebuild_tensor_v2"), (
        (Named("torch", storage), "7", size),
        offset,
        shape,
        strides,
        False,
        collections.OrderedDict(),
    )


class Named:
    """A name that is pickled without a module that would have it."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    """Is pickled as the call of a name."""

    def __init__(self, function, arguments):
        self.call = function, arguments


class _Pickler(pickle._Pickler):
    def save(self, thing, **kwargs):
        if isinstance(thing, Named):
            self.write(f"c{thing.module}\n{thing.name}\n".encode())
        elif isinstance(thing, Call):
            function, arguments = thing.call
            self.save(function)
            self.save(arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(thing, **kwargs)

    def persistent_id(self, thing):
        if isinstance(thing, tuple) and len(thing) == 3 and isinstance(thing[0], Named):
            storage, key, size = thing
            return "storage", storage, key, "cpu", size, None
        return None


def dumps(thing):
    file = io.BytesIO()
    _Pickler(file, protocol=2).dump(thing)
    return file.getvalue()


def file(state, values=range(6), dtype=np.float32, replaced=None):
    """Bytes of a file.

    Args:
      state: dict name -> `array`.
      values: of the storage "7", which all arrays share.
      dtype: of the values.
      replaced: dict from 0..4 to the bytes that stand for that pickle.
    """
    state = {name: Call(*value) for name, value in state.items()}
    parts = [torch_arrays.MAGIC, torch_arrays.PROTOCOL, {"little_endian": True}]
    parts = [dumps(part) for part in [*parts, state, ["7"]]]
    for place, other in (replaced or {}).items():
        parts[place] = other
    values = np.array(values, dtype)
    return b"".join(parts) + len(values).to_bytes(8, "little") + values.tobytes()
