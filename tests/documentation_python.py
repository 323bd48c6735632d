"""Python of the documentation: what it imports and calls is looked up, with the names of its arguments."""

from __future__ import annotations

import ast
import inspect
import typing
from typing import Any


def look_up(code: str) -> None:
    """Raises where code calls what there is not, or with other arguments; of values the methods, by their types."""
    nodes, known = list(ast.walk(ast.parse(code))), {}
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            exec(ast.unparse(node), known)

    def called(call: ast.Call) -> Any:
        return eval(ast.unparse(call.func), known) if ast.unparse(call.func).split(".")[0] in known else None

    values = set()
    for node in nodes:  # model = load_model(...): what it returns has methods
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name):
            made = made_by(called(node.value))
            if inspect.isclass(made):
                known[node.targets[0].id] = made
                values.add(node.targets[0].id)
    for node in nodes:
        if isinstance(node, ast.Call) and (function := called(node)) is not None:
            of_value = isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) in values
            words = {str(word.arg): 0 for word in node.keywords}
            inspect.signature(function).bind(*([0] if of_value else []), *node.args, **words)


def made_by(maker: Any) -> Any:
    """What a class or a function of vtr makes; None where it does not say."""
    if inspect.isclass(maker):
        return maker
    try:
        return typing.get_type_hints(maker).get("return")
    except (NameError, TypeError):  # it names what is imported for type checkers alone
        return None
