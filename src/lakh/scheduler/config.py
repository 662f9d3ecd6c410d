"""Reading a KubeSchedulerConfiguration: decode strictly, fill in defaults, validate, and compile each profile.

Defaults are those of upstream's pkg/scheduler/apis/config/v1/defaults.go and default_plugins.go, rules and wordings those of
apis/config/validation and framework/runtime. `load` gives what a file means, or raises `ConfigError` with one line that says what is wrong.

Accepted and without effect: `parallelism`, `percentageOfNodesToScore` (all nodes are scored, which costs nothing here), `clientConnection`'s qps, burst and
content types, the profiling switches, and DynamicResources' `filterTimeout`: the search for devices is bounded by steps, not seconds. Refused: extenders.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from lakh.machinery import names
from lakh.machinery.errors import (
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    not_supported,
    required,
)

from . import configtypes as v1
from . import profile as profiles
from .profile import DEFAULT_PROFILE, DEFAULT_SCHEDULER_NAME, DEFAULT_WEIGHTS, PLUGINS, Profile
from .requests import CPU, MEMORY
from .views import NodeSelectorTerm, SpreadConstraint

__all__ = ["DEFAULTS", "ConfigError", "SchedulerConfig", "load", "parse"]

MAX_WEIGHTS = 40_000
"""Of all score plugins together: more does not fit into the candidates' keys. (Upstream's limit is 92 billion.)"""
LEASES = "leases"
SCORES = (profiles.LEAST_ALLOCATED, profiles.MOST_ALLOCATED, profiles.RATIO)
ACTIONS = ("DoNotSchedule", "ScheduleAnyway")
REMOVED_PLUGINS = ("AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits")
PLUGIN_KINDS = {point: point[0].upper() + point[1:] + "Plugin" for point in v1.EXTENSION_POINTS}

Errors = Iterator[FieldError]
T = TypeVar("T")


class ConfigError(Exception):
    """The file cannot be used; the message says why in one line."""


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """What a configuration means; without one: kube-scheduler's defaults."""

    profiles: tuple[Profile, ...] = (DEFAULT_PROFILE,)
    initial_backoff_seconds: float = 1.0
    max_backoff_seconds: float = 10.0
    kubeconfig: str | None = None
    leader_elect: bool | None = None
    """None: the file does not say."""
    lease_name: str = "kube-scheduler"
    lease_namespace: str = "kube-system"
    lease_duration_seconds: float = 15.0
    renew_deadline_seconds: float = 10.0
    retry_period_seconds: float = 2.0


DEFAULTS = SchedulerConfig()


def load(path: Path) -> SchedulerConfig:
    """The configuration in a YAML or JSON file. Raises ConfigError."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise ConfigError(f"cannot read {path}: {e.strerror}") from e
    except UnicodeDecodeError as e:
        raise ConfigError(f"{path}: not UTF-8 text") from e
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}") from e


def parse(text: str) -> SchedulerConfig:
    """The configuration in a YAML or JSON text. Raises ConfigError."""
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise ConfigError(f"not YAML: {' '.join(str(e).split())}") from e
    if not isinstance(raw, dict):
        raise ConfigError("a KubeSchedulerConfiguration is expected")
    version, kind = raw.get("apiVersion"), raw.get("kind")
    if not version or not kind:
        raise ConfigError(f"Object '{'Kind' if not kind else 'apiVersion'}' is missing")
    if version != v1.API_VERSION or kind != "KubeSchedulerConfiguration":
        raise ConfigError(f'no kind "{kind}" is registered for version "{version}"')
    config = _decode(raw, v1.KubeSchedulerConfiguration)
    given = config.profiles or [v1.Profile()]
    if len(given) == 1 and given[0].schedulerName is None:
        given[0].schedulerName = DEFAULT_SCHEDULER_NAME
    arguments = [_arguments(one) for one in given]
    _refuse(_validate(config, given, arguments))
    compiled = tuple(_compile(one, args) for one, args in zip(given, arguments, strict=True))
    lease = config.leaderElection
    return SchedulerConfig(
        profiles=compiled,
        initial_backoff_seconds=_or(config.podInitialBackoffSeconds, 1),
        max_backoff_seconds=_or(config.podMaxBackoffSeconds, 10),
        kubeconfig=config.clientConnection.kubeconfig or None,
        leader_elect=lease.leaderElect,
        lease_name=lease.resourceName or "kube-scheduler",
        lease_namespace=lease.resourceNamespace or "kube-system",
        lease_duration_seconds=_seconds(lease.leaseDuration, 15.0),
        renew_deadline_seconds=_seconds(lease.renewDeadline, 10.0),
        retry_period_seconds=_seconds(lease.retryPeriod, 2.0),
    )


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


# Decoding

_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`(?: - at `\$\.?(.*)`)?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|ns)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def _decode(raw: Any, kind: type[T], what: str = "") -> T:
    try:
        return msgspec.convert(_without_nulls(raw), kind)
    except msgspec.ValidationError as e:
        unknown = _UNKNOWN.fullmatch(str(e))
        if unknown is None:
            raise ConfigError(f"{what}{e}".replace("`$.", "`")) from e
        name, at = unknown.groups()
        said = f'strict decoding error: unknown field "{at + "." if at else ""}{name}"'
        raise ConfigError(f"strict decoding error: {what}{said}" if what else said) from e


def _without_nulls(value: Any) -> Any:
    """A null says as little as no field."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _arguments(profile: v1.Profile) -> dict[str, Any]:
    """The decoded arguments by plugin. Those of unknown plugins are left alone, as upstream leaves them."""
    found: dict[str, Any] = {}
    for config in profile.pluginConfig or ():
        kind = v1.ARGS.get(config.name)
        if kind is not None:
            args = _decode(config.args or {}, kind, f"decoding args for plugin {config.name}: ")
            if args.kind not in (None, f"{config.name}Args") or args.apiVersion not in (None, v1.API_VERSION):
                raise ConfigError(
                    f"args for plugin {config.name} were not of type "
                    f"{config.name}Args.{v1.API_VERSION.partition('/')[0]}, got {args.kind}"
                )
            found[config.name] = args
    return found


def _seconds(text: str | None, default: float) -> float:
    """A duration like 15s, 1m30s or -1s. Raises ConfigError."""
    if text is None:
        return default
    bare = text[1:] if text[:1] in ("+", "-") else text
    if bare == "0":
        return 0.0
    parts = _DURATION.findall(bare)
    if not parts or "".join(number + unit for number, unit in parts) != bare:
        raise ConfigError(f'time: invalid duration "{text}"')
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return -seconds if text[0] == "-" else seconds


# Validation


def _refuse(errors: Iterable[FieldError]) -> None:
    found = list(dict.fromkeys(map(str, errors)))
    if found:
        raise ConfigError(found[0] if len(found) == 1 else f"[{', '.join(found)}]")


def _validate(
    config: v1.KubeSchedulerConfiguration, given: list[v1.Profile], arguments: list[dict[str, Any]]
) -> Errors:
    if _or(config.clientConnection.burst, 0) < 0:
        yield invalid_value("clientConnection.burst", config.clientConnection.burst, "must be non-negative")
    yield from _leader_election(config.leaderElection)
    if _or(config.parallelism, 16) <= 0:
        yield invalid_value("parallelism", config.parallelism, "should be an integer value greater than zero")
    seen: set[str] = set()
    for index, (profile, args) in enumerate(zip(given, arguments, strict=True)):
        path = f"profiles[{index}]"
        yield from _profile(path, profile, args)
        if profile.schedulerName in seen:
            # Upstream prints the path of the other one here, which comes out as an empty object.
            yield FieldError("FieldValueDuplicate", f"{path}.schedulerName", "Duplicate value: {}")
        seen.add(profile.schedulerName or "")
        if _queue_sort(profile) != _queue_sort(given[0]):
            yield invalid_value(
                f"{path}.plugins.queueSort", _queue_sort(profile), "must be the same for all profiles"
            )
    yield from _percentage("percentageOfNodesToScore", config.percentageOfNodesToScore)
    initial, most = _or(config.podInitialBackoffSeconds, 1), _or(config.podMaxBackoffSeconds, 10)
    if initial <= 0:
        yield invalid_value("podInitialBackoffSeconds", initial, "must be greater than 0")
    if most < initial:
        yield invalid_value(
            "podMaxBackoffSeconds", most, "must be greater than or equal to PodInitialBackoffSeconds"
        )
    if config.extenders:
        yield forbidden_field("extenders", "extenders are not supported by this scheduler")


def _leader_election(lease: v1.LeaderElection) -> Errors:
    if lease.leaderElect is False:
        return
    path = "leaderElection"
    duration = _seconds(lease.leaseDuration, 15.0)
    deadline, retry = _seconds(lease.renewDeadline, 10.0), _seconds(lease.retryPeriod, 2.0)
    for name, seconds, text in (
        ("leaseDuration", duration, lease.leaseDuration),
        ("renewDeadline", deadline, lease.renewDeadline),
        ("retryPeriod", retry, lease.retryPeriod),
    ):
        if seconds <= 0:
            yield invalid_value(f"{path}.{name}", text, "must be greater than zero")
    if duration <= deadline:
        yield invalid_value(
            f"{path}.leaseDuration",
            lease.renewDeadline or "10s",
            "LeaseDuration must be greater than RenewDeadline",
        )
    if deadline <= 1.2 * retry:
        yield invalid_value(
            f"{path}.renewDeadline",
            lease.renewDeadline or "10s",
            "renewDeadline must be greater than retryPeriod*JitterFactor",
        )
    if lease.resourceLock not in (None, "", LEASES):
        yield invalid_value(
            f"{path}.resourceLock", lease.resourceLock, f'resourceLock value must be "{LEASES}"'
        )


def _percentage(path: str, value: int | None) -> Errors:
    if value is not None and not 0 <= value <= 100:
        yield invalid_value(path, value, "not in valid range [0-100]")


def _queue_sort(profile: v1.Profile) -> Any:
    return msgspec.to_builtins(profile.plugins.queueSort if profile.plugins else None)


def _profile(path: str, profile: v1.Profile, args: dict[str, Any]) -> Errors:
    if not profile.schedulerName:
        yield required(f"{path}.schedulerName")
    yield from _percentage(f"{path}.percentageOfNodesToScore", profile.percentageOfNodesToScore)
    removed = f'was invalid in version "{v1.API_VERSION}" (KubeSchedulerConfiguration is version "{v1.API_VERSION}")'
    for point in v1.EXTENSION_POINTS:
        for index, plugin in enumerate(_set(profile, point).enabled or ()):
            if plugin.name in REMOVED_PLUGINS:
                yield invalid_value(f"{path}.plugins.{point}.enabled[{index}]", plugin.name, removed)
    seen: set[str] = set()
    for index, config in enumerate(profile.pluginConfig or ()):
        at = f"{path}.pluginConfig[{index}]"
        if config.name in seen:
            yield duplicate(at, config.name)
        elif config.name in REMOVED_PLUGINS:
            yield invalid_value(at, config.name, removed)
        elif config.name in RULES:
            yield from RULES[config.name](f"{at}.args", args[config.name])
        seen.add(config.name)


def _preemption_args(path: str, args: v1.DefaultPreemptionArgs) -> Errors:
    percentage, absolute = (
        _or(args.minCandidateNodesPercentage, 10),
        _or(args.minCandidateNodesAbsolute, 100),
    )
    if not 0 <= percentage <= 100:
        yield invalid_value(f"{path}.minCandidateNodesPercentage", percentage, "not in valid range [0, 100]")
    if absolute < 0:
        yield invalid_value(f"{path}.minCandidateNodesAbsolute", absolute, "not in valid range [0, inf)")
    if percentage == absolute == 0:
        for one, other in (("Percentage", "Absolute"), ("Absolute", "Percentage")):
            yield invalid_value(
                f"{path}.minCandidateNodes{one}",
                0,
                f"cannot be zero at the same time as minCandidateNodes{other}",
            )


def _interpod_args(path: str, args: v1.InterPodAffinityArgs) -> Errors:
    weight = _or(args.hardPodAffinityWeight, 1)
    if not 0 <= weight <= 100:
        yield invalid_value(f"{path}.hardPodAffinityWeight", weight, "not in valid range [0, 100]")


def _spread_args(path: str, args: v1.PodTopologySpreadArgs) -> Errors:
    constraints = args.defaultConstraints or []
    if args.defaultingType not in ("", "System", "List"):
        yield not_supported(f"{path}.defaultingType", args.defaultingType, ("System", "List"))
    elif args.defaultingType != "List" and constraints:
        yield invalid_value(
            f"{path}.defaultingType",
            args.defaultingType or "System",
            "when .defaultConstraints are not empty",
        )
    seen: set[tuple[str, str | None]] = set()
    for index, constraint in enumerate(constraints):
        at = f"{path}.defaultConstraints[{index}]"
        if constraint.maxSkew <= 0:
            yield invalid_value(f"{at}.maxSkew", constraint.maxSkew, "not in valid range (0, inf)")
        if not constraint.topologyKey:
            yield required(f"{at}.topologyKey", "can not be empty")
        for message in names.qualified_name(constraint.topologyKey) if constraint.topologyKey else ():
            yield invalid_value(f"{at}.topologyKey", constraint.topologyKey, message)
        if not constraint.whenUnsatisfiable:
            yield required(f"{at}.whenUnsatisfiable", "can not be empty")
        elif constraint.whenUnsatisfiable not in ACTIONS:
            yield not_supported(f"{at}.whenUnsatisfiable", constraint.whenUnsatisfiable, ACTIONS)
        if constraint.labelSelector is not None:
            yield forbidden_field(
                f"{at}.labelSelector",
                "constraint must not define a selector, as they deduced for each pod",
            )
        pair = constraint.topologyKey, constraint.whenUnsatisfiable
        if pair in seen:
            yield duplicate(at, "{%s, %s}" % pair)
        seen.add(pair)


def _shape(path: str, shape: list[v1.ShapePoint]) -> Errors:
    if not shape:
        yield required(path, "at least one point must be specified")
    for index in range(1, len(shape)):
        if shape[index - 1].utilization >= shape[index].utilization:
            yield invalid_value(
                f"{path}[{index}].utilization",
                shape[index].utilization,
                "values must be sorted in increasing order",
            )
            break
    for index, point in enumerate(shape):
        if not 0 <= point.utilization <= 100:
            yield invalid_value(
                f"{path}[{index}].utilization", point.utilization, "not in valid range [0, 100]"
            )
        if not 0 <= point.score <= 10:
            yield invalid_value(f"{path}[{index}].score", point.score, "not in valid range [0, 10]")


def _balanced_args(path: str, args: v1.NodeResourcesBalancedAllocationArgs) -> Errors:
    seen: set[str] = set()
    for index, resource in enumerate(args.resources or ()):
        at = f"{path}.resources[{index}]"
        if resource.name in seen:
            yield duplicate(f"{at}.name", resource.name)
        seen.add(resource.name)
        if (resource.weight or 1) != 1:
            yield invalid_value(f"{at}.weight", resource.weight, "must be 1")


def _affinity_args(path: str, args: v1.NodeAffinityArgs) -> Errors:
    affinity = args.addedAffinity
    if affinity is None:
        return
    path = f"{path}.addedAffinity"
    if (needed := affinity.requiredDuringSchedulingIgnoredDuringExecution) is not None:
        for index, term in enumerate(needed.nodeSelectorTerms or ()):
            at = f"{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[{index}]"
            yield from _node_term(at, term)
    for index, one in enumerate(affinity.preferredDuringSchedulingIgnoredDuringExecution or ()):
        at = f"{path}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        if one.preference is not None and one.weight:
            yield from _node_term(at, one.preference)


def _node_term(path: str, term: NodeSelectorTerm) -> Errors:
    """What upstream's component-helpers/scheduling/corev1/nodeaffinity cannot parse."""
    for index, requirement in enumerate(term.matchExpressions or ()):
        at = f"{path}.matchExpressions[{index}]"
        count = len(requirement.values or ())
        match requirement.operator:
            case "In" | "NotIn" if not count:
                yield invalid_value(
                    f"{at}.values", [], "for 'in', 'notin' operators, values set can't be empty"
                )
            case "Exists" | "DoesNotExist" if count:
                yield invalid_value(
                    f"{at}.values",
                    requirement.values,
                    "values set must be empty for exists and does not exist",
                )
            case "Gt" | "Lt" if count != 1:
                yield invalid_value(
                    f"{at}.values",
                    requirement.values or [],
                    "for 'Gt', 'Lt' operators, exactly one value is required",
                )
            case "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt":
                pass
            case operator:
                yield not_supported(
                    f"{at}.operator", operator, ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
                )
        for message in names.qualified_name(requirement.key):
            yield invalid_value(f"{at}.key", requirement.key, message)
    for index, requirement in enumerate(term.matchFields or ()):
        at = f"{path}.matchFields[{index}]"
        if requirement.operator not in ("In", "NotIn"):
            yield not_supported(f"{at}.operator", requirement.operator, ("In", "NotIn"))
        elif len(requirement.values or ()) != 1:
            yield required(f"{at}.values", "must have one element")


def _volume_args(path: str, args: v1.VolumeBindingArgs) -> Errors:
    if _or(args.bindTimeoutSeconds, 600) < 0:
        yield invalid_value(
            f"{path}.bindTimeoutSeconds",
            args.bindTimeoutSeconds,
            "invalid BindTimeoutSeconds, should not be a negative value",
        )
    if args.shape is not None:
        yield invalid_value(
            f"{path}.shape",
            msgspec.to_builtins(args.shape),
            "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring",
        )


def _device_args(path: str, args: v1.DynamicResourcesArgs) -> Errors:
    if _seconds(args.filterTimeout, 10.0) < 0:
        yield invalid_value(f"{path}.filterTimeout", args.filterTimeout, "must be zero or positive")
    if _seconds(args.bindingTimeout, 600.0) < 1:
        yield invalid_value(f"{path}.bindingTimeout", args.bindingTimeout, "must be at least 1 second")


def _fit_args(path: str, args: v1.NodeResourcesFitArgs) -> Errors:
    for index, name in enumerate(args.ignoredResources or ()):
        for message in names.qualified_name(name):
            yield invalid_value(f"{path}.ignoredResources[{index}]", name, message)
    for index, group in enumerate(args.ignoredResourceGroups or ()):
        at = f"{path}.ignoredResourceGroups[{index}]"
        if "/" in group:
            yield invalid_value(at, group, "resource group name can't contain '/'")
        for message in names.qualified_name(group):
            yield invalid_value(at, group, message)
    strategy = args.scoringStrategy
    if strategy is None:
        return
    path = f"{path}.scoringStrategy"
    if strategy.type not in SCORES:
        yield not_supported(f"{path}.type", strategy.type, SCORES)
    for index, resource in enumerate(strategy.resources or ()):
        if resource.weight and not 0 < resource.weight <= 100:
            yield invalid_value(
                f"{path}.resources[{index}].weight",
                resource.weight,
                f"resource weight of {resource.name} not in valid range (0, 100]",
            )
    ratio = strategy.requestedToCapacityRatio
    if strategy.type == profiles.RATIO:
        if ratio is None:
            yield required(
                f"{path}.requestedToCapacityRatio",
                "must be specified when type is RequestedToCapacityRatio",
            )
        else:
            yield from _shape(f"{path}.requestedToCapacityRatio.shape", ratio.shape or [])
    elif ratio is not None:
        yield forbidden_field(
            f"{path}.requestedToCapacityRatio", "must be nil when type is not RequestedToCapacityRatio"
        )


RULES: dict[str, Any] = {
    "DefaultPreemption": _preemption_args,
    "DynamicResources": _device_args,
    "InterPodAffinity": _interpod_args,
    "NodeAffinity": _affinity_args,
    "NodeResourcesBalancedAllocation": _balanced_args,
    "NodeResourcesFit": _fit_args,
    "PodTopologySpread": _spread_args,
    "VolumeBinding": _volume_args,
}


# Compiling


def _set(profile: v1.Profile, point: str) -> v1.PluginSet:
    found: v1.PluginSet | None = getattr(profile.plugins, point) if profile.plugins else None
    return found or v1.PluginSet()


def _multipoint(given: v1.PluginSet) -> dict[str, int | None]:
    """Plugins enabled at all their points, in order, with their weights: upstream's mergePluginSet."""
    disabled = {plugin.name for plugin in given.disabled or ()}
    custom = {plugin.name: plugin.weight for plugin in given.enabled or ()}
    if len(custom) != len(given.enabled or ()):
        doubled = next(p.name for i, p in enumerate(given.enabled or ()) if p in (given.enabled or ())[:i])
        raise ConfigError(f'plugin "{doubled}" already registered')
    found: dict[str, int | None] = {}
    if "*" not in disabled:
        for name in PLUGINS:
            if name not in disabled:
                found[name] = custom[name] if name in custom else DEFAULT_WEIGHTS.get(name)
    for name, weight in custom.items():
        found.setdefault(name, weight)
    return found


def _enabled(profile: v1.Profile, point: str, everywhere: dict[str, int | None]) -> dict[str, int | None]:
    """Plugins enabled at one point: upstream's updatePluginList and expandMultiPointPlugins."""
    given = _set(profile, point)
    kind = PLUGIN_KINDS[point]
    found: dict[str, int | None] = {}
    for plugin in given.enabled or ():
        if plugin.name not in PLUGINS:
            raise ConfigError(f'{kind} "{plugin.name}" does not exist')
        if point not in PLUGINS[plugin.name]:
            raise ConfigError(f'plugin "{plugin.name}" does not extend {kind} plugin')
        if plugin.name in found:
            raise ConfigError(f'plugin "{plugin.name}" already registered as "{kind}"')
        found[plugin.name] = plugin.weight
    disabled = {plugin.name for plugin in given.disabled or ()}
    if "*" not in disabled:
        for name, weight in everywhere.items():
            if name not in PLUGINS:
                raise ConfigError(f'plugin "{name}" does not exist')
            if point in PLUGINS[name] and name not in disabled:
                found.setdefault(name, weight)
    return found


def _compile(given: v1.Profile, args: dict[str, Any]) -> Profile:
    name = given.schedulerName or ""
    everywhere = _multipoint(_set(given, "multiPoint"))
    points = {point: _enabled(given, point, everywhere) for point in v1.EXTENSION_POINTS}
    if len(points["queueSort"]) != 1:
        raise ConfigError(
            f'only one queue sort plugin required for profile with scheduler name "{name}", '
            f"but got {len(points['queueSort'])}"
        )
    if not points["bind"]:
        raise ConfigError(f'at least one bind plugin is needed for profile with scheduler name "{name}"')
    weights = {plugin: weight or 1 for plugin, weight in points["score"].items()}
    for plugin, weight in weights.items():
        if weight < 0:
            raise ConfigError(f'score plugin "{plugin}" has a negative weight')
    if sum(weights.values()) > MAX_WEIGHTS:
        raise ConfigError("total score of Score plugins could overflow")
    fit: v1.NodeResourcesFitArgs = args.get("NodeResourcesFit") or v1.NodeResourcesFitArgs()
    balanced: v1.NodeResourcesBalancedAllocationArgs | None = args.get("NodeResourcesBalancedAllocation")
    spread: v1.PodTopologySpreadArgs = args.get("PodTopologySpread") or v1.PodTopologySpreadArgs()
    interpod: v1.InterPodAffinityArgs = args.get("InterPodAffinity") or v1.InterPodAffinityArgs()
    preemption: v1.DefaultPreemptionArgs = args.get("DefaultPreemption") or v1.DefaultPreemptionArgs()
    affinity: v1.NodeAffinityArgs = args.get("NodeAffinity") or v1.NodeAffinityArgs()
    volumes: v1.VolumeBindingArgs = args.get("VolumeBinding") or v1.VolumeBindingArgs()
    devices: v1.DynamicResourcesArgs = args.get("DynamicResources") or v1.DynamicResourcesArgs()
    added = affinity.addedAffinity
    needed = added.requiredDuringSchedulingIgnoredDuringExecution if added else None
    preferred = added.preferredDuringSchedulingIgnoredDuringExecution if added else None
    listed = spread.defaultingType == "List"
    return Profile(
        name=name,
        filters=frozenset(points["filter"]),
        weights=weights,
        gates="SchedulingGates" in points["preEnqueue"],
        preempts="DefaultPreemption" in points["postFilter"],
        awaits_claims="DynamicResources" in points["preEnqueue"],
        deallocates="DynamicResources" in points["postFilter"],
        # what was not filtered has nothing set aside that could be written
        binds=profiles.CLAIM_BINDERS & points["preBind"].keys() & points["filter"].keys(),
        bind_timeout_seconds=_or(volumes.bindTimeoutSeconds, 600),
        device_timeout_seconds=_seconds(devices.bindingTimeout, 600.0),
        strategy=_strategy(fit.scoringStrategy),
        ignored_resources=frozenset(fit.ignoredResources or ()),
        ignored_groups=frozenset(fit.ignoredResourceGroups or ()),
        balanced=tuple(r.name for r in balanced.resources)
        if balanced is not None and balanced.resources
        else (CPU, MEMORY),
        spread_defaults=tuple(map(_spread_default, spread.defaultConstraints or ()))
        if listed
        else profiles.SYSTEM_DEFAULTS,
        system_defaulted=not listed,
        hard_affinity_weight=_or(interpod.hardPodAffinityWeight, 1),
        ignore_preferred_of_existing=interpod.ignorePreferredTermsOfExistingPods,
        added_required=None if needed is None else tuple(needed.nodeSelectorTerms or ()),
        added_preferred=tuple(
            (one.weight, one.preference)
            for one in preferred or ()
            if one.weight
            and one.preference
            and (one.preference.matchExpressions or one.preference.matchFields)
        ),
        min_candidates_percentage=_or(preemption.minCandidateNodesPercentage, 10),
        min_candidates_absolute=_or(preemption.minCandidateNodesAbsolute, 100),
    )


def _strategy(given: v1.ScoringStrategy | None) -> profiles.Strategy:
    if given is None:
        return profiles.Strategy()
    ratio = given.requestedToCapacityRatio
    return profiles.Strategy(
        given.type,
        tuple((r.name, r.weight or 1) for r in given.resources or ()) or profiles.CPU_AND_MEMORY,
        tuple((point.utilization, 10 * point.score) for point in (ratio.shape or ()) if ratio is not None)
        if ratio is not None
        else (),
    )


def _spread_default(given: SpreadConstraint) -> profiles.SpreadDefault:
    return profiles.SpreadDefault(
        given.topologyKey,
        given.maxSkew,
        given.whenUnsatisfiable == "DoNotSchedule",
        _or(given.minDomains, 1),
        given.nodeAffinityPolicy != "Ignore",
        given.nodeTaintsPolicy == "Honor",
    )
