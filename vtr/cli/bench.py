"""`vtr bench`: how fast this machine does a part of the work, as ratios within one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from vtr.bench import SUBJECTS, reached, run
from vtr.cli.app import app, examples, print_json, progress
from vtr.cli.options import Json

bench = typer.Typer(
    name="bench",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Measure a part of the work on this machine; goals are ratios within one run.",
    epilog=examples("vtr bench index", "vtr bench index --repeats 9 --json"),
)
app.add_typer(bench)


def _verb(subject: str) -> Callable[..., None]:
    def measure(
        repeats: Annotated[int, typer.Option(min=1, help="Times each is measured; the median counts.")] = 5,
        small: Annotated[bool, typer.Option("--small", help="Tiny inputs: that it works, not how fast.")] = False,
        as_json: Json = False,
    ) -> None:
        from rich.progress import SpinnerColumn, TextColumn

        with progress(SpinnerColumn(), TextColumn("{task.description}")) as bar:
            task = bar.add_task(subject, total=None)
            result = run(subject, repeats=repeats, small=small, tell=lambda text: bar.update(task, description=text))
        if as_json:
            print_json(result)
        else:
            _show(result)

    return measure


def _show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("ratio", "value", "goal", title=f"bench {result['subject']}")
    for name, value in result["ratios"].items():
        goal = result["goals"].get(name, "")
        style = "" if not goal else "green" if reached(goal, value) else "yellow"
        table.add_row(name, f"{value:.3g}", goal, style=style)
    console.print(table)
    figures = Table("figure", "value", box=None)
    for name, value in result["figures"].items():
        figures.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
    console.print(figures)
    about = result["machine"]
    console.print(f"{about['cores']} cores, {about['processor']}", style="dim", highlight=False)


for name, about in SUBJECTS.items():
    bench.command(name, help=about, epilog=examples(f"vtr bench {name}", f"vtr bench {name} --json"))(_verb(name))
