"""An extra that is missing is named by what installs it, never by a package of somebody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from vtr.errors import InputError
from vtr.optional import install, library

METADATA = """Metadata-Version: 2.1
Name: thing
Version: 1
Provides-Extra: fast
Requires-Dist: numpy
Requires-Dist: rocket[fuel]>=2; extra == "fast"
Requires-Dist: wheels; extra == "fast"
"""


def test_an_extra_is_installed_by_its_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "thing-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(METADATA)
    monkeypatch.syspath_prepend(tmp_path)
    assert install("fast", "thing") == "pip install 'rocket[fuel]>=2' wheels"
    # Another package of the name has no such extra.
    assert install("serve", "thing") == "in the folder of vtr's source: pip install '.[serve]'"


def test_where_the_package_is_not_installed_the_folder_is_named() -> None:
    assert install("serve", "no-such-package-anywhere") == "in the folder of vtr's source: pip install '.[serve]'"


def test_a_library_that_is_missing() -> None:
    wanted = r"this needs no_such_module, which is not installed\n  hint: .*pip install '(fastapi>=.*uvicorn|\.\[serve)"
    with pytest.raises(InputError, match=wanted):
        library("no_such_module", "this needs", "serve")
