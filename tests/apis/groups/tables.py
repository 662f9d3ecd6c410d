"""Tables of validation: a good object, what is changed in it, and what must be found.

A change is `{"spec.ports[0].name": value}`; `DROP` takes a field away, and an index just behind the end of a list appends.
"""

from __future__ import annotations

import copy
import itertools
import re
from typing import Any

DROP = object()
_step = re.compile(r"([^.\[\]]+)|\[(\d+)\]").finditer

Change = dict[str, Any]


def changed(plain: dict[str, Any], change: Change) -> dict[str, Any]:
    """A copy of an object with a change."""
    made: Any = copy.deepcopy(plain)
    for path, value in change.items():
        steps = [int(m.group(2)) if m.group(2) else m.group(1) for m in _step(path)]
        at = made
        for step, following in itertools.pairwise(steps):
            if isinstance(at, list):
                if step == len(at):
                    at.append([] if isinstance(following, int) else {})
            else:
                at.setdefault(step, [] if isinstance(following, int) else {})
            at = at[step]
        last = steps[-1]
        if value is DROP:
            del at[last]
        elif isinstance(at, list) and last == len(at):
            at.append(copy.deepcopy(value))
        else:
            at[last] = copy.deepcopy(value)
    return made


def findings(errors: list[Any]) -> list[str]:
    """Findings as tables have them: path, kind of finding, message."""
    return [str(e) for e in errors]


def label_message(value: str) -> str:
    """What is said of a bad DNS label."""
    return (
        f"Invalid value: \"{value}\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
        "and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for "
        "validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
    )


def subdomain_message(value: str) -> str:
    """What is said of a bad DNS subdomain."""
    return (
        f'Invalid value: "{value}": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '
        "'-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for "
        "validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    )
