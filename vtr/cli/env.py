"""`vtr env`: what to put into a bug report."""

from __future__ import annotations

from typing import Any

from vtr.cli.app import app, examples, print_json, print_text
from vtr.cli.options import Json


@app.command(epilog=examples("vtr env", "vtr env --json"))
def env(as_json: Json = False) -> None:
    """Show versions, devices, decoders and extras: for bug reports."""
    from vtr import environment

    found = environment.describe()
    if as_json:
        print_json(found)
        return
    lines = _lines(found)
    width = max(len(name) for name, _ in lines) + 2
    for name, text in lines:
        print_text(f"{name:<{width}}{text}")


def _lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    def about(device: dict[str, Any]) -> str:
        memory = f", {device['memory_gb']} GB" if device["memory_gb"] else ""
        return f"{device['name']} ({device['about']}{memory})"

    packages = [f"{name} {version or 'missing'}" for name, version in found["packages"].items()]
    memory = f", {found['memory_gb']} GB memory" if found["memory_gb"] else ""
    return [
        ("vtr", found["vtr"]),
        ("python", f"{found['python']}, {found['executable']}"),
        ("system", f"{found['system']}; {found['cores']} cores{memory}"),
        ("packages", ", ".join(packages)),
        ("devices", f"{', '.join(map(about, found['devices']))}; CUDA of torch: {found['cuda'] or 'none'}"),
        ("auto", f"device {found['device_auto']}, precision {found['precision_auto']}"),
        ("bf16", "computed by this hardware" if found["bf16"] else "not computed by this hardware"),
        *[(name, version or "not installed") for name, version in found["decoders"].items()],
        *[
            (f"[{extra}]", "installed" if not lacking else f"not installed: {', '.join(lacking)}")
            for extra, lacking in found["extras"].items()
        ],
    ]
