"""A pickle taken apart without running anything in it.

A pickle is a program: it may call whatever it can name. Here it can name tensors, plain containers and dtypes; every
other name becomes an `Opaque`, which keeps the data it was saved with and does nothing. A tensor comes out as a `View`,
its place in a storage; whoever has the storages makes the tensor.
"""

from __future__ import annotations

import io
import math
import mmap
import pickle
import pickletools
from collections import OrderedDict
from typing import Any, NamedTuple

import torch

from vtr import bounds
from vtr.errors import VtrError

PICKLE_LIMIT = 256 * 2**20  # bytes of pickle, which hold names and shapes but no values
TUPLE_LIMIT = 30_000  # values in the tuples of a tuple
HASHED = 100  # values may be hashed for each opcode, on the average
DIMENSIONS = 64
STORAGES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "UntypedStorage": torch.uint8,
}  # fmt: skip
DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")


class Refused(Exception):
    """Why a file is not read; becomes a DataError with the path."""


class TooLarge(Refused):
    """It would take more than the bounds on weights let it."""


class Opaque:
    """What stands for an object of another class: `kind` is the class's name, the rest what it was saved with."""

    __slots__ = ("args", "items", "state")
    kind = ""
    args: tuple[Any, ...]
    items: list[Any]
    state: Any

    def __new__(cls, *args: Any, **_: Any) -> Opaque:
        self = super().__new__(cls)
        self.args, self.state, self.items = args, None, []
        return self

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __call__(self, *_: Any, **__: Any) -> Opaque:
        return self

    def append(self, item: Any) -> None:
        self.items.append(item)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items.append((key, value))

    def __repr__(self) -> str:
        return f"<{self.kind}, not built>"


class Storage(NamedTuple):
    key: str
    dtype: torch.dtype
    numel: int


class View(NamedTuple):
    """A tensor that is not made yet: nothing that a pickle does to this can reach torch."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def unpickle(data: mmap.mmap, start: int, storages: dict[str, Storage] | None = None) -> tuple[Any, int]:
    """(object, where the pickle ends). The opcodes are looked through first: sizes and counters must be honest."""
    data.seek(start)
    count, handled, tuples, pickled = 0, 0, _Tuples(), bounds.at_most(PICKLE_LIMIT)
    try:
        for opcode, argument, _ in pickletools.genops(data):  # type: ignore[arg-type]
            count += 1
            if "PUT" in opcode.name and int(argument or 0) > count:
                raise Refused("a counter in it is far too high")
            if opcode.name.startswith("EXT"):
                raise Refused("it holds other things than weights")
            if data.tell() - start > pickled:
                raise TooLarge(f"more than {pickled >> 20} MB of it are names and shapes")
            handled += tuples.after(opcode, argument)
            if handled > HASHED * (count + tuples.most):
                raise TooLarge("its tuples, written out in full, are far larger than the file")
        end = data.tell()
        unpickler = _Unpickler(io.BytesIO(data[start:end]), storages if storages is not None else {})
        return unpickler.load(), end
    except (Refused, VtrError):
        raise
    except Exception as error:  # whatever a torn or hostile pickle leads to; it can call nothing but the names below
        raise Refused(f"torn or no pickle ({error})"[:200]) from error


class _Tuples:
    """How many values there are in each thing on a pickle's stack, and in its memo, tuples in tuples counted in full.

    A tuple that holds another one twice, forty times over, is short in a file and takes for ever to hash or to print.
    Lists and dicts count as one value: nobody hashes them.
    """

    def __init__(self) -> None:
        self.stack: list[int] = []  # 0 is a mark
        self.memo: dict[int, int] = {}
        self.most = bounds.at_most(TUPLE_LIMIT)

    def after(self, opcode: pickletools.OpcodeInfo, argument: Any) -> int:
        """Follows an opcode and returns how many values it takes from the stack. Raises TooLarge: a vast tuple."""
        name, before, stack = opcode.name, opcode.stack_before, self.stack
        if "PUT" in name or name == "MEMOIZE":
            self.memo[len(self.memo) if name == "MEMOIZE" else int(argument)] = stack[-1]
            return 0
        if "GET" in name or name == "DUP":
            stack.append(stack[-1] if name == "DUP" else self.memo[int(argument)])
            return 0
        taken, fixed, several = 0, len(before), 0
        if pickletools.markobject in before:
            fixed = before.index(pickletools.markobject)
            while value := stack.pop():
                taken, several = taken + value, several + 1
        kept = stack[-fixed] if fixed else 1
        for _ in range(fixed):
            taken += stack.pop()
        if name in ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"):
            stack.append(kept)
            return taken
        if taken - several - fixed > self.most and "LIST" not in name and "DICT" not in name:
            raise TooLarge("a tuple in it, written out in full, is far larger than the file")
        long = argument.bit_length() // 64 if isinstance(argument, int) else 0  # the hash of a number takes its length
        one = 1 if name in ("LIST", "DICT") else 1 + taken + long
        stack.extend(0 if kind is pickletools.markobject else one for kind in opcode.stack_after)
        return taken


class _Unpickler(pickle.Unpickler):
    """Every global a pickle can name comes from `find_class`, hence from the few lines of `_known`."""

    def __init__(self, file: io.BytesIO, storages: dict[str, Storage]) -> None:
        super().__init__(file, encoding="latin1")
        self.storages = storages
        self.known = _known()  # made anew for each file: what a pickle does to a name ends with it

    def find_class(self, module: str, name: str) -> Any:
        known = self.known.get(f"{module}.{name}")
        if known is None:
            known = type("Opaque", (Opaque,), {"__slots__": (), "kind": f"{module}.{name}"})
            self.known[f"{module}.{name}"] = known
        return known

    def persistent_load(self, pid: Any) -> Any:
        match pid:
            case ("storage", torch.dtype() as dtype, str() as key, _, int() as numel, *rest) if numel >= 0:
                if any(part is not None for part in rest):
                    raise Refused("its storages are views, as torch wrote them before 0.4")
                storage = self.storages.setdefault(key, Storage(key, dtype, numel))
                if storage != Storage(key, dtype, numel):
                    raise Refused(f"storage {key} is claimed twice")
                return storage
            case ("storage", type() as kind, *_) if issubclass(kind, Opaque):
                raise Refused(f"a tensor in it is of {kind.kind}, and no model here has such weights")
            case ("module", model, *_):
                return model
        raise Refused("it refers to something outside itself")


def _known() -> dict[str, Any]:
    def view(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> View:
        shape, steps = tuple(size), tuple(stride)
        numbers = (offset, *shape, *steps)
        if not isinstance(storage, Storage) or len(shape) != len(steps):
            raise Refused("a tensor in it has no storage")
        if len(shape) > DIMENSIONS or not all(isinstance(number, int) and 0 <= number < 2**62 for number in numbers):
            raise Refused("a tensor in it has an impossible shape")
        reach = offset + sum((n - 1) * step for n, step in zip(shape, steps, strict=True)) + 1
        if math.prod(shape) > storage.numel or (math.prod(shape) and reach > storage.numel):
            raise Refused(f"a tensor of shape {shape} in it is larger than its storage")
        return View(storage, offset, shape, steps)

    def view_of_type(storage: Any, offset: Any, size: Any, stride: Any, _: Any, __: Any, dtype: Any, *___: Any) -> Any:
        typed = Storage(storage.key, dtype, storage.numel // dtype.itemsize)
        return view(typed, offset, size, stride)

    def first(value: Any, *_: Any) -> Any:
        return value

    def rebuilt(rebuild: Any, _: Any, arguments: Any, *__: Any) -> Any:
        return rebuild(*arguments)

    def encode(text: str, codec: str = "latin1") -> bytes:
        if codec not in ("latin1", "latin-1"):
            raise Refused("it holds other things than weights")
        return text.encode("latin1")

    known: dict[str, Any] = {f"torch.{name}": dtype for name, dtype in STORAGES.items()}
    known |= {f"torch.storage.{name}": dtype for name, dtype in STORAGES.items()}
    known |= {f"torch.{name}": getattr(torch, name) for name in DTYPES}
    sets = {f"{module}.{kind.__name__}": kind for module in ("builtins", "__builtin__") for kind in (set, frozenset)}
    return known | sets | {
        "collections.OrderedDict": OrderedDict,
        "torch.Size": tuple,
        "torch._utils._rebuild_tensor": view,
        "torch._utils._rebuild_tensor_v2": view,
        "torch._utils._rebuild_tensor_v3": view_of_type,
        "torch._utils._rebuild_parameter": first,
        "torch._utils._rebuild_parameter_with_state": first,
        "torch._tensor._rebuild_from_type_v2": rebuilt,
        "_codecs.encode": encode,
    }  # fmt: skip
