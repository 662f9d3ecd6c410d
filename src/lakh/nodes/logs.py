"""Pure: what a simulated container has written, and what of it a request for its log gets.

A simulated container runs no image. Its log says so when it starts and when it ends, and between has the lines of its pod's annotation
`lakh.dev/log`, if there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lakh.machinery import times
from lakh.nodes.pods import Container, ContainerStatus, PodView, State


class LogError(Exception):
    """There is no log to be had: an HTTP status and kubelet's text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Line(NamedTuple):
    """A line and when it was written (RFC 3339)."""

    at: str
    text: str


def find(pod: PodView, name: str) -> tuple[Container, ContainerStatus]:
    """A container and its status; raises LogError."""
    status = pod.status
    for containers, statuses in (
        (pod.spec.containers, status.containerStatuses if status is not None else None),
        (pod.spec.initContainers, status.initContainerStatuses if status is not None else None),
        (pod.spec.ephemeralContainers, status.ephemeralContainerStatuses if status is not None else None),
    ):
        for container in containers or ():
            if container.name == name:
                found = next((s for s in statuses or () if s.name == name), ContainerStatus(name))
                return container, found
    raise LogError(404, f'container "{name}" not found in pod "{pod.metadata.name}"')


def lines(pod: PodView, name: str, previous: bool = False) -> tuple[list[Line], bool]:
    """All lines, and whether more may come; raises LogError."""
    _, status = find(pod, name)
    state: State | None = status.state
    if previous:
        state = status.lastState
        if state is None or state.terminated is None:
            raise LogError(
                400, f'previous terminated container "{name}" in pod "{pod.metadata.name}" not found'
            )
    elif state is None or (state.running is None and state.terminated is None):
        if status.lastState is not None and status.lastState.terminated is not None:
            # Between two runs: the last one's.
            state = status.lastState
        else:
            reason = state.waiting.reason if state is not None and state.waiting is not None else None
            raise LogError(
                400,
                f'container "{name}" in pod "{pod.metadata.name}" is waiting to start: '
                f"{reason or 'ContainerCreating'}",
            )
    assert state is not None
    ended = state.terminated
    began = (
        ended.startedAt if ended is not None else state.running.startedAt if state.running else None
    ) or ""
    found = [Line(began, f"{name}: started on {pod.spec.nodeName} (a simulated node runs no image)")]
    annotations = pod.metadata.annotations
    if annotations is not None and annotations.log:
        found += [Line(began, text) for text in annotations.log.splitlines()]
    if ended is not None:
        found.append(Line(ended.finishedAt or began, f"{name}: exited with code {ended.exitCode}"))
    return found, ended is None


def chosen(found: list[Line], options: Mapping[str, str], now: float) -> list[Line]:
    """The lines that `sinceTime`, `sinceSeconds` and `tailLines` leave."""
    since = None
    if options.get("sinceTime"):
        since = times.parse(options["sinceTime"])
    elif options.get("sinceSeconds"):
        since = now - int(options["sinceSeconds"])
    if since is not None:
        found = [line for line in found if line.at and times.parse(line.at) >= since]
    if "tailLines" in options:
        tail = int(options["tailLines"])
        found = found[-tail:] if tail else []
    return found


def text(found: list[Line], timestamps: bool) -> bytes:
    """Lines as they are sent."""
    return "".join(f"{line.at} {line.text}\n" if timestamps else f"{line.text}\n" for line in found).encode()
