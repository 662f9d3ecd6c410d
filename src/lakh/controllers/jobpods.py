"""The pods that a Job creates.

The template is parsed once per burst; each pod costs one small encode and a concatenation. Pods of an Indexed Job get their index as
annotation, label, hostname and environment variable.
"""

from __future__ import annotations

from typing import Any

import msgspec

from .jobtracker import (
    FAILURE_COUNT_ANNOTATION,
    FINALIZER,
    IGNORED_COUNT_ANNOTATION,
    INDEX_ANNOTATION,
)
from .pods import PodMaker, controller_reference, decode_template
from .views import Job

MAX_GENERATE_NAME = 58
"""Longest `generateName` that leaves room for the random suffix, by upstream's count."""
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"

_encode = msgspec.json.Encoder().encode


class JobPods:
    """Makes the pods of one Job."""

    def __init__(self, job: Job) -> None:
        self._name = job.metadata.name
        self._indexed = job.spec.completionMode == "Indexed"
        self._per_index = job.spec.backoffLimitPerIndex is not None
        spec: bytes | None = None
        if self._indexed:
            decoded = msgspec.json.decode(decode_template(job.spec.template).spec)
            decoded.pop("hostname", None)
            for container in (*decoded.get("initContainers", ()), *decoded.get("containers", ())):
                _add_index_variable(container)
            spec = _encode(decoded)
        self._spec = spec
        self._maker = PodMaker(
            job.spec.template,
            owner=controller_reference("batch/v1", "Job", job.metadata),
            prefix=_generate_name(self._name, "-"),
            finalizers=(FINALIZER,),
            spec=spec,
        )
        self._plain = None if self._indexed else self._maker.make()

    def make(self, index: int | None, failures: int = 0, ignored: int = 0) -> bytes:
        """One pod, encoded. `failures` is how often this index has failed, `ignored` how often in a way that is ignored."""
        if self._plain is not None or index is None or self._spec is None:
            return self._plain or self._maker.make()
        text = str(index)
        notes = {INDEX_ANNOTATION: text}
        if self._per_index:
            notes[FAILURE_COUNT_ANNOTATION] = str(failures)
            if ignored:
                notes[IGNORED_COUNT_ANNOTATION] = str(ignored)
        separator = b"," if len(self._spec) > 2 else b""
        return self._maker.make(
            generate_name=_generate_name(self._name, f"-{text}-"),
            labels={INDEX_ANNOTATION: text},
            annotations=notes,
            spec=b'{"hostname":%b%b%b' % (_encode(f"{self._name}-{text}"), separator, self._spec[1:]),
        )


def _generate_name(name: str, suffix: str) -> str:
    return name[: MAX_GENERATE_NAME - len(suffix)] + suffix


def _add_index_variable(container: dict[str, Any]) -> None:
    variables = container.setdefault("env", [])
    if any(variable.get("name") == INDEX_VARIABLE for variable in variables):
        return
    source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX_ANNOTATION}']"}}
    variables.append({"name": INDEX_VARIABLE, "valueFrom": source})
