"""Health endpoints as Kubernetes' components have them: `/healthz`, `/livez` and `/readyz`, whole or one check of them (`/readyz/NAME`)."""

from __future__ import annotations

from collections.abc import Collection

from lakh.machinery.metrics import Registry

ENDPOINTS = ("healthz", "livez", "readyz")
SLIS_PATH = "/metrics/slis"


class Health:
    """Answers health requests. Their results are service level indicators, metrics at a path of their own (KEP-3466)."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, ...], bool] = {}
        self.slis = Registry()
        """What is served at `SLIS_PATH`."""
        self._total = self.slis.counter(
            "kubernetes_healthchecks_total", "Results of health checks.", ("name", "type", "status")
        )
        self.slis.reading(
            "kubernetes_healthcheck",
            "1 for health checks that passed when they were last asked for.",
            ("name", "type"),
            lambda: self._last.items(),
        )

    def __repr__(self) -> str:
        return f"<Health, {len(self._last)} checks>"

    def answer(
        self,
        endpoint: str,
        name: str,
        checks: dict[str, bool],
        *,
        verbose: bool,
        excluded: Collection[str] = (),
    ) -> tuple[int, bytes] | None:
        """Status and body; `name` is one check's, or empty for all but those `excluded`. None when there is no such check.

        One check alone is neither verbose nor counted (apiserver's pkg/server/healthz).
        """
        if name:
            if name not in checks:
                return None
            failure = f"internal server error: {name} failed\n".encode()
            return (200, b"ok") if checks[name] else (500, failure)
        asked = {one: passed for one, passed in checks.items() if one not in excluded}
        for one, passed in asked.items():
            self._last[one, endpoint] = passed
            self._total.child(one, endpoint, "success" if passed else "error").inc()
        good = all(asked.values())
        if good and not verbose:
            return 200, b"ok"
        lines = [
            f"[+]{one} excluded: ok\n"
            if one in excluded
            else f"[+]{one} ok\n"
            if ok
            else f"[-]{one} failed: reason withheld\n"
            for one, ok in checks.items()
        ]
        if unknown := [f'"{one}"' for one in sorted(set(excluded)) if one not in checks]:
            names = ",".join(unknown)
            lines.append(f"warn: some health checks cannot be excluded: no matches for {names}\n")
        lines.append(f"{endpoint} check {'passed' if good else 'failed'}\n")
        return 200 if good else 500, "".join(lines).encode()
