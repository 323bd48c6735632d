"""`vtr recipes`: the recipes that come with vtr, and the text of one."""

from __future__ import annotations

from typing import Annotated

import typer

from vtr.cli.app import app, examples, print_json, print_text
from vtr.cli.options import Json, complete_recipe


@app.command(epilog=examples("vtr recipes", "vtr recipes mac-tiny > my.toml"))
def recipes(
    name: Annotated[
        str | None, typer.Argument(help="A recipe to print, comments and all.", autocompletion=complete_recipe)
    ] = None,
    as_json: Json = False,
) -> None:
    """List the recipes, or print one as TOML to begin your own with."""
    from vtr import recipe

    if name is None:
        found = {each: recipe.about(each) for each in recipe.recipe_names()}
        if as_json:
            print_json(found)
            return
        for each, about in found.items():
            print_text(f"{each:<18}{about}")
        return
    text = recipe.text(name)
    if as_json:
        print_json({"name": name, "config": recipe.to_dict(recipe.load(name)), "text": text})
    else:
        print_text(text.rstrip("\n"))
