"""Names of models taken apart."""

from __future__ import annotations

import pytest

from vtr.kinds import apart, is_of


def test_a_kind_ends_in_a_colon() -> None:
    assert is_of(("clip",), "clip:a/b")
    assert not is_of(("clip",), "clip")
    assert not is_of(("clip",), "clips:a/b")
    assert not is_of(("clip",), "runs/clip:a")


@pytest.mark.parametrize(
    ("name", "commas", "wanted"),
    [
        ("clip:a/b", False, ("clip", "a/b", [])),
        ("clip:", False, ("clip", "", [])),
        ("clip:a:b,frames=8", False, ("clip", "a:b", ["frames=8"])),
        ("clip:a,b,frames=8", False, ("clip", "a", ["b", "frames=8"])),
        ("frozen:a,b,frames=8", True, ("frozen", "a,b", ["frames=8"])),
        ("frozen:a,frames=8,b,text=c=d", True, ("frozen", "a", ["frames=8", "b", "text=c=d"])),
    ],
)
def test_what_a_name_holds(name: str, commas: bool, wanted: object) -> None:
    assert apart(name, commas=commas) == wanted
