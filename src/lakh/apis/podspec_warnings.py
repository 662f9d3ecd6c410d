"""Warnings about pod specs: what is legal and most likely a mistake. Texts are upstream's."""

from __future__ import annotations

from typing import Any

from lakh.machinery import quantity

_DEPRECATED_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
}


def pod_spec_warnings(spec: Any, path: str) -> list[str]:
    """All warnings about a pod spec; next to nothing for one that gives no cause."""
    found: list[str] = []
    for key in spec.nodeSelector or ():
        if key in _DEPRECATED_LABELS:
            found.append(f"{path}.nodeSelector[{key}]: {_DEPRECATED_LABELS[key]}")
    if spec.terminationGracePeriodSeconds is not None and spec.terminationGracePeriodSeconds < 0:
        found.append(
            f"{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        )
    for name in ("initContainers", "containers"):
        for index, container in enumerate(getattr(spec, name) or ()):
            if container.env and len(container.env) > 1:
                _repeated_variables(container.env, f"{path}.{name}[{index}]", found)
            if container.ports and len(container.ports) > 1:
                _repeated_ports(container.ports, f"{path}.{name}[{index}]", found)
            if container.resources is not None:
                _fractions(container.resources, f"{path}.{name}[{index}].resources", found)
    return found


def _repeated_variables(env: list[Any], path: str, found: list[str]) -> None:
    if len({variable.name for variable in env}) == len(env):
        return
    seen: set[str] = set()
    for index, variable in enumerate(env):
        if variable.name in seen:
            found.append(
                f'{path}.env[{index}]: hides previous definition of "{variable.name}", which may be dropped when using apply'
            )
        seen.add(variable.name)


def _repeated_ports(ports: list[Any], path: str, found: list[str]) -> None:
    first: dict[tuple[Any, ...], int] = {}
    for index, port in enumerate(ports):
        key = (port.containerPort, port.hostPort, port.hostIP, port.protocol)
        if key in first:
            found.append(f"{path}.ports[{index}]: duplicate port definition with {path}.ports[{first[key]}]")
        else:
            first[key] = index


def _fractions(resources: Any, path: str, found: list[str]) -> None:
    for side in ("limits", "requests"):
        amounts = getattr(resources, side)
        for name in ("memory", "ephemeral-storage") if amounts else ():
            value = amounts.get(name)
            # A whole number of bytes never needs thousandths.
            if isinstance(value, str) and value.endswith("m") and not quantity.is_integer(value):
                found.append(
                    f'{path}.{side}[{name}]: fractional byte value "{value}" is invalid, must be an integer'
                )
