"""What `vtr env` knows of this machine."""

from __future__ import annotations

import os
from importlib import metadata

import torch

from vtr import compute, environment


def test_it_tells_what_runs_here() -> None:
    found = environment.describe()
    assert found["packages"]["torch"] == metadata.version("torch")
    assert found["cores"] <= (os.cpu_count() or 1)
    assert found["devices"][-1]["name"] == "cpu"
    assert len(found["devices"]) == 1 + torch.cuda.device_count()
    assert found["device_auto"] == str(compute.device("auto"))
    assert found["bf16"] is (compute.precision("auto", compute.device("auto")) == "bf16")
    assert "FFmpeg" in found["decoders"]["pyav"]


def test_a_missing_package_has_no_version() -> None:
    assert environment.version("no-such-package-anywhere") is None
    assert environment.extras("no-such-package-anywhere") == {}


def test_extras_name_what_they_lack(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "thing-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: thing\nVersion: 1\nProvides-Extra: fast\nProvides-Extra: whole\n"
        "Requires-Dist: numpy\n"
        'Requires-Dist: no-such-package-anywhere>=2; extra == "fast"\n'
        'Requires-Dist: torch>=1; extra == "whole"\n'
        'Requires-Dist: numpy>=999; extra == "whole"\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert environment.extras("thing") == {"fast": ["no-such-package-anywhere>=2"], "whole": ["numpy>=999"]}
