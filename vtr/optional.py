"""Libraries that vtr does without until somebody asks for what they do."""

from __future__ import annotations

import importlib
import shlex
from importlib import metadata
from typing import TYPE_CHECKING, Any

from vtr.errors import InputError

if TYPE_CHECKING:
    from packaging.requirements import Requirement


def library(module: str, why: str, extra: str) -> Any:
    """The module of the extra named `extra`; `why` are the words before its name in an error: "LoRA needs".

    Raises InputError when it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{why} {module}, which is not installed", install(extra)) from error


def install(extra: str, package: str = "vtr") -> str:
    """The command that installs what an extra of an installed package asks for.

    It names the extra's own packages: of this package's name the public index has another project. Where it is not
    installed (its sources stand on the path), the extra is named as in their folder.
    """
    wanted = requirements(package).get(extra)
    if not wanted:
        return f"in the folder of vtr's source: pip install '.[{extra}]'"
    return f"pip install {' '.join(shlex.quote(_named(one)) for one in wanted)}"


def _named(requirement: Requirement) -> str:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"


def requirements(package: str) -> dict[str, list[Requirement]]:
    """What each extra of an installed package asks for beside what all need; {} where it is not installed."""
    from packaging.requirements import Requirement

    try:
        found = metadata.metadata(package).get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return {}
    asked = [Requirement(line) for line in metadata.requires(package) or []]
    return {extra: [one for one in asked if _is_of(one, extra)] for extra in found}


def _is_of(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})
