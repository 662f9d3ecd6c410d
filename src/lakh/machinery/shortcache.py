"""A bounded cache that keeps short texts only: what a client sends may be megabytes, and be refused, and must not stay."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")

# Names, images and amounts are seldom longer; those that are, are looked at each time.
SHORT_CHARACTERS = 128


def short_cache(entries: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`functools.lru_cache`, but a call with a longer text (or bytes) is not remembered; such are given by position."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        cached = cast("Callable[P, R]", lru_cache(entries)(function))

        @wraps(function)
        def looked_up(*arguments: P.args, **named: P.kwargs) -> R:
            for argument in arguments:
                if isinstance(argument, str | bytes) and len(argument) > SHORT_CHARACTERS:
                    return function(*arguments, **named)
            return cached(*arguments, **named)

        return looked_up

    return decorate
