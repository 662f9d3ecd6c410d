"""Replays the corpus: requests from `cases`, answers from `answers.json`.

A case is a few requests in order, on a server of its own without sockets, and names the upstream source with which its answers were compared:
the functions that decide them, and test tables where there are some. What differs from run to run (uids, times, revisions) is replaced by its kind. `python -m tests.golden.replay` writes the answers anew: read the difference
before you commit it.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from tests.server.harness import Answer, Api

from .cases import CASES, Case

ANSWERS = Path(__file__).with_name("answers.json")

_TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z\Z")
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ACCESS_VOLUME = re.compile(r"(?<=kube-api-access-)[a-z0-9]{5}\Z")
_ADDRESS = re.compile(r"10\.\d+\.\d+\.\d+")
# In messages, which may show whole objects.
_ANY_TIME = re.compile(r"202[1-9]-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_REVISION = re.compile(r'(?<=resourceVersion\\":\\")\d+|(?<=ResourceVersion in record \()\d+')
_FIXED_TIMES = "2020-"
# Of metadata: what differs, and what the request says.
ITS_OWN = ("creationTimestamp", "uid", "resourceVersion", "name", "namespace")


def settled(value: Any, name: str = "") -> Any:
    """The value with what differs from run to run replaced."""
    if isinstance(value, dict):
        return {k: settled(v, k) for k, v in value.items()}
    if isinstance(value, list):
        if name == "managedFields":
            # Of the same operation they are in the order of their times, which depends on when a second passes.
            value = sorted(value, key=_manager)
        return [settled(v, name) for v in value]
    if isinstance(value, str):
        if name == "resourceVersion":
            return "REVISION"
        if _TIME.match(value) and not value.startswith(_FIXED_TIMES):
            return "TIME"
        value = _REVISION.sub("REVISION", _UID.sub("UID", _ACCESS_VOLUME.sub("NAME", value)))
        if name in ("clusterIP", "clusterIPs"):
            return _ADDRESS.sub("ADDRESS", value)
        return _ANY_TIME.sub("TIME", value)
    return value


def _manager(entry: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(entry.get(k, "")) for k in ("operation", "manager", "apiVersion", "subresource"))


def shown(answer: Answer, case: Case) -> dict[str, Any]:
    """What of an answer is compared."""
    body = settled(answer.json)
    out: dict[str, Any] = {"status": answer.status}
    if answer.warnings:
        out["warnings"] = answer.warnings
    if answer.status >= 400:
        out["body"] = {k: body[k] for k in ("reason", "message", "details") if k in body}
        return out
    if case.only:
        body = {k: body[k] for k in case.only if k in body}
    if "metadata" in body and (case.only or case.hide):
        hidden = (*ITS_OWN, *case.hide)
        body["metadata"] = {k: v for k, v in body["metadata"].items() if k not in hidden}
    out["body"] = body
    return out


async def replay(case: Case) -> list[dict[str, Any]]:
    """The answers to a case's requests."""
    api = await Api.start()
    try:
        answers = []
        for step in case.steps:
            answer = await api.call(
                step.method, step.path, step.body, content_type=step.kind, user_agent=step.agent
            )
            answers.append(shown(answer, case))
        return answers
    finally:
        await api.stop()


def write() -> None:
    """Writes the answers of today."""
    found = {case.name: asyncio.run(replay(case)) for case in CASES}
    ANSWERS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    write()
