"""What is planted at doors, and how."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vtr.errors import VtrError

CPU = {"device": "cpu", "precision": "fp32"}
CODE = "from pathlib import Path\nPath({!r}).touch()\nclass Evil:\n    pass\n"
HTML = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


class Trap:
    """What it is unpickled from makes the file `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def shell(mark: Path) -> str:
    return f"touch {mark}"


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file below `folder` with its bytes; folders without."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def array(mark: Path) -> bytes:
    """An npy file that np.load opens with the trap in it, where pickles are allowed."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([[Trap(mark)]], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def payloads(mark: Path) -> dict[str, bytes]:
    """What may stand in the place of any file: what a careless reader would run, and pages."""
    kinds = {kind: pickled(mark, kind) for kind in ("pickle", "zip", "legacy")}
    return {**kinds, "npy": array(mark), "html": f"<!doctype html>{HTML}".encode(), "code": CODE.format(mark).encode()}


def tar_of(path: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)


def forged(checkpoint: Path, name: str, data: bytes) -> None:
    """Puts `data` into a checkpoint, with a hash that is right."""
    (checkpoint / name).write_bytes(data)
    hashes = json.loads((checkpoint / "sha256.json").read_text())
    hashes[name] = hashlib.sha256(data).hexdigest()
    (checkpoint / "sha256.json").write_text(json.dumps(hashes))


def pickled(mark: Path, kind: str) -> bytes:
    """A file that torch.load would open with the trap in it."""
    import torch

    if kind == "pickle":
        return pickle.dumps({"state_dict": Trap(mark)})
    buffer = io.BytesIO()
    torch.save({"state_dict": Trap(mark)}, buffer, _use_new_zipfile_serialization=kind == "zip")
    return buffer.getvalue()


def tried(act: Callable[[], object]) -> bool:
    """Whether it came to a result; if not, it was refused in words of ours."""
    try:
        act()
    except VtrError as error:
        assert error.message
        return False
    return True


def changed(path: Path, meta: dict[bytes, Any] | None = None, **columns: Any) -> None:
    """The Parquet file `path` with other values in whole columns, and with other metadata."""
    table = pq.read_table(path)
    for name, value in columns.items():
        place = table.column_names.index(name)
        field = table.schema.field(name)
        table = table.set_column(place, field, pa.array([value] * len(table), field.type))
    if meta:
        kept = {key: json.loads(table.schema.metadata[key]) | more for key, more in meta.items()}
        table = table.replace_schema_metadata({key: json.dumps(value) for key, value in kept.items()})
    pq.write_table(table, path)
