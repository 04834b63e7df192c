"""Arrays of a file that PyTorch wrote before its version 1.6, without PyTorch or pickle.

Such a file is five pickles, then the values. A pickle is a program for a machine that can
call anything; here it is only taken apart into its instructions (`pickletools`), and those
that put names, numbers, tuples and dicts together are followed. What would import or call
becomes a name in a tuple: nothing in the file is run.

Stages: the five pickles as plain values; values of every storage; arrays cut out of them.
"""

import io
import math
import os
import pickletools

import numpy as np

MAX_BYTES = 256 * 2**20
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
DTYPES = {"torch FloatStorage": np.float32, "torch LongStorage": np.int64}

_CONSTANTS = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
}
_VALUES = {"BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "GLOBAL"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read(path):
    """The arrays of a state_dict.

    Args:
      path: of the file.

    Returns:
      dict name -> read-only array, float32 or int64, of the shape that PyTorch gives it.

    Raises:
      OSError: it cannot be read.
      ValueError: it holds anything else, or claims more than it holds.
    """
    size = os.path.getsize(path)
    if size > MAX_BYTES:
        raise ValueError(f"{size:,} bytes, more than {MAX_BYTES:,}")
    with open(path, "rb") as file:
        file = io.BytesIO(file.read())
    try:
        return _read(file)
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError) as error:
        # Instructions in an order that no state_dict has.
        raise ValueError(f"no state_dict ({type(error).__name__})") from None


def _read(file):
    if (_follow(file), _follow(file)) != (MAGIC, PROTOCOL):
        raise ValueError("no file of PyTorch's before 1.6")
    _follow(file)  # Sizes of C's types where it was written.
    state, keys = _follow(file), _follow(file)
    placed = {name: _placed(value) for name, value in state.items()}
    sizes = {}
    for storage, *_ in placed.values():
        _, dtype, key, _, size, _ = storage
        sizes[key] = DTYPES[dtype], size
    storages = {}
    for key in keys:
        dtype, size = sizes[key]
        held = int.from_bytes(file.read(8), "little")
        data = file.read(size * dtype().itemsize)
        if held != size or len(data) != size * dtype().itemsize:
            raise ValueError(f"a storage of {size:,} values is cut short")
        storages[key] = np.frombuffer(data, dtype)
    return {name: _cut(storages, *place) for name, place in placed.items()}


def _placed(value):
    """(storage, offset, shape, strides) of an array, by the call that would make it."""
    function, arguments = value
    if function != "torch._utils _rebuild_tensor_v2":
        raise ValueError(f"it holds a {function}")
    return arguments[:4]


def _cut(storages, storage, offset, shape, strides):
    """An array out of its storage, where it may lie transposed."""
    values = storages[storage[2]]
    last = offset + sum(
        (length - 1) * stride for length, stride in zip(shape, strides, strict=True)
    )
    if (
        min((offset, *shape, *strides)) < 0
        or math.prod(shape) > len(values)
        or last >= len(values)
    ):
        raise ValueError(f"an array of shape {shape} is larger than its storage")
    return np.lib.stride_tricks.as_strided(
        values[offset:],
        shape,
        [stride * values.itemsize for stride in strides],
        writeable=False,
    )


def _follow(file):
    """What the next pickle of a file would make, calls as (name, arguments)."""
    stack, marks, memory = [], [], {}

    def taken(count):
        found = stack[len(stack) - count :]
        if len(found) < count:
            raise ValueError("an instruction finds no values")
        del stack[len(stack) - count :]
        return found

    def since_mark():
        return taken(len(stack) - marks.pop())

    for code, argument, _ in pickletools.genops(file):
        name = code.name
        if name == "STOP":
            (result,) = stack
            return result
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _VALUES:
            stack.append(argument)
        elif name in _TUPLES:
            stack.append(tuple(taken(_TUPLES[name])))
        elif name == "MARK":
            marks.append(len(stack))
        elif name == "TUPLE":
            stack.append(tuple(since_mark()))
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name in ("SETITEM", "SETITEMS"):
            items = taken(2) if name == "SETITEM" else since_mark()
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name in ("APPEND", "APPENDS"):
            items = taken(1) if name == "APPEND" else since_mark()
            stack[-1].extend(items)
        elif name in ("BINPUT", "LONG_BINPUT"):
            memory[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memory[argument])
        elif name == "REDUCE":
            function, arguments = taken(2)
            made = (
                {} if function == "collections OrderedDict" else (function, arguments)
            )
            stack.append(made)
        elif name == "BUILD":
            taken(1)  # Attributes of a dict, such as its version.
        elif name != "BINPERSID" and name != "PROTO":
            raise ValueError(f"instruction {name}, which no state_dict needs")
    raise ValueError("it ends before its first value")
