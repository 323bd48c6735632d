"""Weights files give their tensors, and nothing that is planted in them ever runs."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from vtr.errors import DataError
from vtr.models.pth import read
from vtr.models.unpickle import Opaque

STATE = {
    "a": torch.arange(12.0).view(3, 4),
    "b.c": torch.arange(6, dtype=torch.int64).view(2, 3).t(),
    "half": torch.randn(5).half(),
    "brain": torch.randn(7).bfloat16(),
    "scalar": torch.tensor(3.5),
    "none": torch.zeros(0, 4),
    "flags": torch.tensor([True, False]),
    "weight": torch.nn.Parameter(torch.randn(2, 2)),
}


class Settings:
    """A class that the reader must not build."""

    def __init__(self) -> None:
        self.lr = 0.1
        self.tree = {"arch": {"type": "FrozenInTime"}, "sizes": [1, 2]}


def saved(path: Path, what: Any, *, legacy: bool = False) -> Path:
    torch.save(what, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kind", [torch.complex64, torch.complex128])
def test_complex_numbers_are_refused_by_name(tmp_path: Path, kind: torch.dtype, legacy: bool) -> None:
    path = saved(tmp_path / "x.pth", {"state_dict": {"w": torch.ones(2, dtype=kind)}}, legacy=legacy)
    with pytest.raises(DataError, match=r"a tensor in it is of torch\.Complex\w+Storage, and no model here has such"):
        read(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_come_back_as_they_were_saved(tmp_path: Path, legacy: bool) -> None:
    state = OrderedDict(STATE)
    state["tied"] = state["a"]
    what = {"state_dict": state, "epoch": 3, "config": Settings(), "args": argparse.Namespace(lr=1.5), "best": {1, 2}}
    root = read(saved(tmp_path / "x.pth", what, legacy=legacy))
    assert list(root["state_dict"]) == list(state)
    for name, value in state.items():
        found = root["state_dict"][name]
        assert found.dtype == value.dtype
        assert torch.equal(found, value.detach())
    assert root["epoch"] == 3
    assert root["best"] == {1, 2}
    assert isinstance(root["config"], Opaque)
    assert root["config"].kind.endswith("Settings")
    assert root["config"].state["tree"] == {"arch": {"type": "FrozenInTime"}, "sizes": [1, 2]}
    assert root["args"].state == {"lr": 1.5}
    assert "not built" in repr(root["config"])


def test_the_file_stays_as_it_is(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth", STATE)
    before = path.read_bytes()
    read(path)["a"].zero_()
    assert path.read_bytes() == before
    assert torch.equal(read(path)["a"], STATE["a"])


class Planted:
    """Pickles to a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def open_calls(path: Path) -> list[Any]:
    import builtins

    command = f"touch {path}"
    return [
        Planted(os.system, command),
        Planted(subprocess.Popen, ["touch", str(path)]),
        Planted(builtins.eval, f"open({str(path)!r}, 'w')"),
        Planted(builtins.open, str(path), "w"),
        Planted(torch.load, str(path)),
        Planted(getattr, Planted(__import__, "os"), "system"),
    ]


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("number", range(6))
def test_a_planted_call_is_not_made(tmp_path: Path, number: int, legacy: bool) -> None:
    sign = tmp_path / "ran"
    path = saved(tmp_path / "x.pth", {"state_dict": STATE, "config": open_calls(sign)[number]}, legacy=legacy)
    root = read(path)
    assert not sign.exists()
    assert isinstance(root["config"], Opaque)
    assert torch.equal(root["state_dict"]["a"], STATE["a"])


def raw(path: Path, pickled: bytes, *, legacy: bool) -> Path:
    """A file of torch's layout around a pickle of our own."""
    if legacy:
        parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
        path.write_bytes(b"".join(pickle.dumps(p, 2) for p in parts) + pickled + pickle.dumps([], 2))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x/data.pkl", pickled)
    return path


ATTACKS = {
    "a call by INST": b"(S'touch SIGN'\nios\nsystem\n.",
    "a call by OBJ": b"(cos\nsystem\nS'touch SIGN'\no.",
    "a state put on a name": b"ccollections\nOrderedDict\n}S'__call__'\ncos\nsystem\nsb.",
    "attributes put on a function": b"ctorch._utils\n_rebuild_tensor\n(N}S'__code__'\nNstb.",
    "the registry of extensions": b"\x82\x01.",
    "a counter that takes all memory": b"\x80\x02}r\xff\xff\xff\x7f.",
    "text longer than the file": b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b"x.",
    "bytes of a vast size": b"\x80\x02cbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x10\x85R.",
    "a path with dots": b"\x80\x04\x8c\x05torch\x8c\x0dhub.load_stateq\x00\x93.",
    "an outside reference": b"\x80\x02S'x'\nQ.",
    "no end": b"\x80\x02}q\x00",
    "nothing": b"",
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("attack", ATTACKS)
def test_handmade_pickles_do_nothing(tmp_path: Path, attack: str, legacy: bool) -> None:
    sign = tmp_path / "ran"
    path = raw(tmp_path / "x.pth", ATTACKS[attack].replace(b"SIGN", str(sign).encode()), legacy=legacy)
    try:
        root = read(path)
    except DataError as error:
        assert "is no weights file that can be read" in error.message
    else:
        assert isinstance(root, Opaque)
    assert not sign.exists()
    assert OrderedDict() == {}


def test_a_name_spoilt_by_one_file_is_whole_for_the_next(tmp_path: Path) -> None:
    spoil = b"\x80\x02cspam\nHam\nN}S'__setstate__'\nI0\nsb0cspam\nHam\n)R}b."
    with pytest.raises(DataError):
        read(raw(tmp_path / "spoilt.pth", spoil, legacy=True))
    good = b"\x80\x02cspam\nHam\n)R}S'x'\nI1\nsb."
    assert read(raw(tmp_path / "good.pth", good, legacy=True)).state == {"x": 1}


def test_long_tuples_are_no_harm(tmp_path: Path) -> None:
    sound = {"names": tuple(f"class {n}" for n in range(21_841)), "colours": tuple((n, n, n) for n in range(4096))}
    assert read(saved(tmp_path / "x.pth", sound)) == sound


def test_tensors_larger_than_the_file(tmp_path: Path) -> None:
    huge = torch.zeros(1).expand(10**6, 10**6)
    with pytest.raises(DataError, match=r"tensor of shape \(1000000, 1000000\) in it is larger than its storage"):
        read(saved(tmp_path / "x.pth", {"a": huge}))
    many = torch.zeros(10_000)
    with pytest.raises(DataError, match="its tensors are together far larger than the file"):
        read(saved(tmp_path / "y.pth", {str(i): many.view(100, 100) for i in range(300)}))


def test_compressed_parts_are_refused(tmp_path: Path) -> None:
    source = saved(tmp_path / "x.pth", {"a": torch.zeros(1000)})
    target = tmp_path / "bomb.pth"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(DataError, match="its parts are together larger than the file"):
        read(target)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            kind = zipfile.ZIP_DEFLATED if name.endswith("pkl") else zipfile.ZIP_STORED
            new.writestr(name, old.read(name), kind)
        new.writestr("x/padding", bytes(5000))
    with pytest.raises(DataError, match=r"data\.pkl is compressed or encrypted"):
        read(target)


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    deep = b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b"."
    with pytest.raises(DataError, match="nested too deep"):
        read(raw(tmp_path / "x.pth", deep, legacy=False))


def test_shared_lists_are_walked_once(tmp_path: Path) -> None:
    """40 lists, each twice in the next: 2^40 ways through, 40 lists."""
    nest: Any = [torch.ones(1)]
    for _ in range(40):
        nest = [nest, nest]
    root = read(saved(tmp_path / "x.pth", nest))
    for _ in range(40):
        root = root[1]
    assert torch.equal(root[0], torch.ones(1))


# A tuple that holds the one before it twice, forty times over: 2^40 values in 200 bytes, and in place 40 of the memo.
TWICE = b"\x80\x04)" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(40)) + b"q\x280"
ENDLESS = {
    "a key": TWICE + b"}h\x28K\x02s.",
    "one of several keys": TWICE + b"}(K\x01K\x01h\x28K\x02u.",
    "in a set": TWICE + b"\x8f(h\x28\x90.",
    "in a frozen set": TWICE + b"(h\x28\x91.",
    "in a set by a call": TWICE + b"cbuiltins\nset\n]h\x28a\x85R.",
    "by a state": TWICE + b"ccollections\nOrderedDict\n)R}h\x28K\x02sb.",
    "deep": b"\x80\x04})" + b"\x85" * 1_000_000 + b"K\x02s.",
    "often": b"\x80\x04(" + b"K\x01" * 9_000 + b"tq\x000}" + b"h\x00K\x02s" * 200_000 + b".",
    "long": b"\x80\x04\x8b"
    + struct.pack("<i", 100_000)
    + b"\x01" * 100_000
    + b"q\x000}"
    + b"h\x00K\x02s" * 900_000
    + b".",
}


def test_tuples_that_take_for_ever_to_hash_or_to_print(tmp_path: Path) -> None:
    """In a process of its own: before, each of these hung or crashed it."""
    for n, pickled in enumerate(ENDLESS.values()):
        raw(tmp_path / f"{n}.pth", pickled, legacy=n % 2 == 1)
    parts = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {})
    keys = TWICE + b"]h\x28a."
    (tmp_path / f"{len(ENDLESS)}.pth").write_bytes(b"".join(pickle.dumps(p, 2) for p in parts) + keys)
    code = """
import sys
from pathlib import Path
from vtr.errors import DataError
from vtr.models.pth import read
for path in sys.argv[1:]:
    try:
        read(Path(path))
        print("read")
    except DataError as error:
        print(error.message)
"""
    paths = [str(tmp_path / f"{n}.pth") for n in range(len(ENDLESS) + 1)]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, timeout=120, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(paths)
    assert all("far larger than the file" in line for line in lines), lines


def test_tuples_as_torch_and_others_write_them(tmp_path: Path) -> None:
    betas = (0.9, 0.999)
    what = {("a", (1, 2)): 1, "groups": [{"betas": betas} for _ in range(5000)], "names": tuple(map(str, range(5000)))}
    assert read(saved(tmp_path / "x.pth", what)) == what
    assert len(read(saved(tmp_path / "y.pth", {str(n): torch.zeros(1) for n in range(2000)}))) == 2000


def test_tensors_of_too_many_dimensions(tmp_path: Path) -> None:
    """A product of so many lengths is a number without end."""
    storage = b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nK\x01tQ"
    shape = b"(" + b"\x8a\x08" + b"\xff" * 7 + b"\x1f" + b"2" * 500 + b"t"
    pickled = b"\x80\x02ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\x00" + shape + shape + b"tR."
    path = raw(tmp_path / "x.pth", pickled, legacy=False)
    with pytest.raises(DataError, match="impossible shape"):
        read(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_every_truncation_is_told(tmp_path: Path, legacy: bool) -> None:
    whole = saved(tmp_path / "x.pth", {"state_dict": STATE}, legacy=legacy).read_bytes()
    torn = tmp_path / "torn.pth"
    for length in [*range(0, len(whole) - 1, 97), len(whole) - 1]:
        torn.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"torn\.pth is no weights file that can be read(?s:.*)download it again"):
            read(torn)


def test_a_changed_byte_is_told(tmp_path: Path) -> None:
    path = saved(tmp_path / "x.pth", {"a": torch.zeros(1000)})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="data/0 is not what was written"):
        read(path)


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.pth cannot be read: No such file(?s:.*)path of a \.pth file"):
        read(tmp_path / "nowhere.pth")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read(tmp_path)
    (tmp_path / "text.pth").write_text("<html>404</html>")
    with pytest.raises(DataError, match="no weights file that can be read"):
        read(tmp_path / "text.pth")
    with zipfile.ZipFile(tmp_path / "zip.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match=r"a zip file that torch\.save did not write"):
        read(tmp_path / "zip.pth")
    buffer = io.BytesIO()
    pickle.dump({"a": 1}, buffer)
    (tmp_path / "plain.pth").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match=r"torch\.save did not write it"):
        read(tmp_path / "plain.pth")
