"""Bounds on what strangers' files may ask for that no verb has an option for: `vtr --limits 10 VERB` raises them all.

The number is kept in the environment: worker processes inherit it, and who calls vtr from Python sets it there.
"""

from __future__ import annotations

import os
from typing import TypeVar

from vtr.errors import ConfigError

NAME = "VTR_LIMITS"
MOST = 1_000_000
HINT = f"if it is meant so, raise the limits ten times: vtr --limits 10 VERB ..., or {NAME}=10"
N = TypeVar("N", int, float)


def at_most(usual: N) -> N:
    """A bound, `usual` times what VTR_LIMITS says. Raises ConfigError where that is no number from 1 to a million."""
    told = os.environ.get(NAME, "").strip() or "1"
    try:
        times = float(told)
    except ValueError:
        times = 0.0
    if not 1 <= times <= MOST:
        raise ConfigError(f"{NAME} is {told!r}, wanted a number from 1 to {MOST}", "10 raises the limits ten times")
    return type(usual)(usual * times)
