"""`vtr bench`: how fast this machine does a part of the work, as ratios within one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from vtr.bench import SUBJECTS, reached, run
from vtr.cli.app import app, examples, print_json, progress, refuse_idle
from vtr.cli.options import Device, Json, complete_recipe

bench = typer.Typer(
    name="bench",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Measure a part of the work on this machine; goals are ratios within one run.",
    epilog=examples("vtr bench index", "vtr bench index --repeats 9 --json"),
)
app.add_typer(bench)


NEEDS = ((("shards",), "is what a plan reads from", ("plan",)),)
# A plan takes the recipe as it is; these are of the table.
OF_THE_TABLE = {"plan": ("batch_size", "ratio", "precision", "compiled", "repeats")}
# Without a terminal, what was found is told at most once in so many seconds: all of it, when its time has come.
PLAIN_EVERY_S = 30.0
Repeats = Annotated[int, typer.Option(min=1, help="Times each is measured; the median counts.")]
Small = Annotated[bool, typer.Option("--small", help="Tiny inputs: that it works, not how fast.")]


def _verb(subject: str) -> Callable[..., None]:
    def measure(repeats: Repeats = 5, small: Small = False, as_json: Json = False) -> None:
        _measure(subject, repeats, small, as_json)

    return measure


@contextmanager
def _heard(subject: str) -> Iterator[tuple[Callable[[str], None], Callable[[str], None]]]:
    """A function for what is being done, which a terminal shows, and one for what was found: lines on stderr.

    Where there is no terminal these come together every few seconds, and when the work is broken off.
    """
    from rich.progress import SpinnerColumn, TextColumn

    waiting: list[str] = []
    last = time.monotonic()

    def show() -> None:
        nonlocal last
        last = time.monotonic()
        for line in waiting:
            bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
        waiting.clear()

    def note(text: str) -> None:
        waiting.append(text)
        if bar.console.is_terminal or time.monotonic() - last > PLAIN_EVERY_S:
            show()

    with progress(SpinnerColumn(), TextColumn("{task.description}")) as bar:
        task = bar.add_task(subject, total=None)
        try:
            yield lambda text: bar.update(task, description=text), note
        except BaseException:
            show()
            raise


def _measure(subject: str, repeats: int, small: bool, as_json: bool, **options: Any) -> None:
    with _heard(subject) as (tell, note):
        result = run(subject, repeats=repeats, small=small, tell=tell, note=note, **options)
    if as_json:
        print_json(result)
    else:
        _show(result)


@bench.command(
    "step",
    help=SUBJECTS["step"],
    epilog=examples("vtr bench step --json", "vtr bench step --recipe mac-base --plan --shards shards/train"),
)
def _step(
    ctx: typer.Context,
    recipe: Annotated[
        str, typer.Option(help="A recipe with two towers, whose sizes are measured.", autocompletion=complete_recipe)
    ] = "mac-base",
    batch_size: Annotated[int, typer.Option(min=2, help="Clips a step.")] = 2,
    ratio: Annotated[list[float] | None, typer.Option(min=0, max=0.99, help="Mask ratios of the table.")] = None,
    precision: Annotated[list[str] | None, typer.Option(help="Precisions of the table.")] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the model for the table.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Tell which batch fits, and what will be waited for.")] = False,
    shards: Annotated[Path | None, typer.Option(help="With --plan: the shards to read from.")] = None,
    device: Device = "auto",
    repeats: Repeats = 5,
    small: Small = False,
    as_json: Json = False,
) -> None:
    refuse_idle(ctx, NEEDS, OF_THE_TABLE)
    if not plan:
        given: dict[str, Any] = {"ratios": ratio} if ratio else {}
        given |= {"precisions": precision} if precision else {}
        _measure(
            "step", repeats, small, as_json, recipe=recipe, batch_size=batch_size, device=device,
            compiled=compiled, **given,
        )  # fmt: skip
        return
    from vtr.bench import fits

    found = fits.plan(recipe, shards, device=device, small=small)
    if as_json:
        print_json(found)
    else:
        _show_figures(found)


def _show(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("ratio", "value", "goal", title=f"bench {result['subject']}")
    for name, value in result["ratios"].items():
        goal = result["goals"].get(name, "")
        style = "" if not goal or value is None else "green" if reached(goal, value) else "yellow"
        table.add_row(name, "not here" if value is None else f"{value:.3g}", goal, style=style)
    console.print(table)
    _show_figures(result["figures"])
    about = result["machine"]
    console.print(f"{about['cores']} cores, {about['processor']}", style="dim", highlight=False)


def _show_figures(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    figures = Table("figure", "value", box=None)
    tables = []
    for name, value in found.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            table = Table(*value[0], title=name)
            for row in value:
                table.add_row(*map(str, row.values()))
            tables.append(table)
        else:
            figures.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
    Console().print(figures, *tables)


for name, about in SUBJECTS.items():
    if name == "step":  # it has options of its own
        continue
    bench.command(name, help=about, epilog=examples(f"vtr bench {name}", f"vtr bench {name} --json"))(_verb(name))
