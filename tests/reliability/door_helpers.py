"""What is planted at doors, and how."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

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
