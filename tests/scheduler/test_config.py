"""Reading a KubeSchedulerConfiguration: what it means, and what is refused in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lakh.scheduler.config import DEFAULTS, ConfigError, load, parse
from lakh.scheduler.profile import DEFAULT_WEIGHTS, PLUGINS, Profile, SpreadDefault, Strategy

Json = dict[str, Any]
HEAD = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}


def config(**fields: Any) -> str:
    return yaml.safe_dump({**HEAD, **fields})


def one(**profile: Any) -> Profile:
    [found] = parse(config(profiles=[profile])).profiles
    return found


def with_args(plugin: str, **args: Any) -> Profile:
    return one(pluginConfig=[{"name": plugin, "args": args}])


def test_an_empty_file_means_the_defaults() -> None:
    found = parse(config())
    assert (found.initial_backoff_seconds, found.max_backoff_seconds) == (1, 10)
    [profile] = found.profiles
    default = DEFAULTS.profiles[0]
    fields = [name for name in Profile.__dataclass_fields__ if name != "filters"]
    assert {name: getattr(profile, name) for name in fields} == {
        name: getattr(default, name) for name in fields
    }
    assert profile.filters == default.filters
    assert profile.plain
    assert profile.max_total == 1400


def test_default_weights_are_upstreams() -> None:
    assert one().weights == DEFAULT_WEIGHTS
    assert set(DEFAULT_WEIGHTS) == {name for name, points in PLUGINS.items() if "score" in points}


def test_several_profiles() -> None:
    text = config(
        profiles=[
            {"schedulerName": "default-scheduler"},
            {
                "schedulerName": "packer",
                "plugins": {
                    "score": {
                        "disabled": [{"name": "*"}],
                        "enabled": [{"name": "NodeResourcesFit", "weight": 5}],
                    },
                    "filter": {"disabled": [{"name": "NodePorts"}]},
                },
                "pluginConfig": [
                    {"name": "NodeResourcesFit", "args": {"scoringStrategy": {"type": "MostAllocated"}}}
                ],
            },
        ]
    )
    spread, pack = parse(text).profiles
    assert spread.plain and "NodePorts" in spread.filters
    assert (pack.name, dict(pack.weights)) == ("packer", {"NodeResourcesFit": 5})
    assert "NodePorts" not in pack.filters and "NodeResourcesFit" in pack.filters
    assert pack.strategy == Strategy("MostAllocated")
    assert (pack.fit_weight, pack.taint_weight, pack.max_base, pack.plain) == (5, 0, 500, False)


@pytest.mark.parametrize(
    ("plugins", "weight"),
    [
        ({"multiPoint": {"enabled": [{"name": "NodeAffinity", "weight": 7}]}}, 7),
        ({"multiPoint": {"enabled": [{"name": "NodeAffinity"}]}}, 1),
        ({"score": {"enabled": [{"name": "NodeAffinity", "weight": 9}]}}, 9),
        (
            {
                "multiPoint": {"enabled": [{"name": "NodeAffinity", "weight": 7}]},
                "score": {"enabled": [{"name": "NodeAffinity", "weight": 4}]},
            },
            4,
        ),
        ({"multiPoint": {"disabled": [{"name": "NodeAffinity"}]}}, None),
        ({"score": {"disabled": [{"name": "NodeAffinity"}]}}, None),
        (
            {
                "multiPoint": {"disabled": [{"name": "NodeAffinity"}]},
                "score": {"enabled": [{"name": "NodeAffinity", "weight": 2}]},
            },
            2,
        ),
        ({"filter": {"disabled": [{"name": "*"}]}}, 2),
    ],
)
def test_where_a_weight_comes_from(plugins: Json, weight: int | None) -> None:
    assert one(plugins=plugins).weights.get("NodeAffinity") == weight


def test_disabled_everywhere_is_disabled_at_each_point() -> None:
    profile = one(
        plugins={"multiPoint": {"disabled": [{"name": "DefaultPreemption"}, {"name": "SchedulingGates"}]}}
    )
    assert not profile.preempts and not profile.gates
    profile = one(plugins={"filter": {"disabled": [{"name": "*"}], "enabled": [{"name": "NodeName"}]}})
    assert profile.filters == {"NodeName"} and not profile.binds


@pytest.mark.parametrize(
    ("plugins", "said"),
    [
        ({}, (True, True, {"VolumeBinding", "DynamicResources"})),
        ({"multiPoint": {"disabled": [{"name": "DynamicResources"}]}}, (False, False, {"VolumeBinding"})),
        ({"preBind": {"disabled": [{"name": "DynamicResources"}]}}, (True, True, {"VolumeBinding"})),
        ({"filter": {"disabled": [{"name": "VolumeBinding"}]}}, (True, True, {"DynamicResources"})),
        (
            {"postFilter": {"disabled": [{"name": "*"}]}, "preEnqueue": {"disabled": [{"name": "*"}]}},
            (False, False, {"VolumeBinding", "DynamicResources"}),
        ),
    ],
)
def test_what_is_done_about_claims(plugins: Json, said: tuple[bool, bool, set[str]]) -> None:
    profile = one(plugins=plugins)
    assert (profile.awaits_claims, profile.deallocates, profile.binds) == said


def test_arguments() -> None:
    fit = with_args(
        "NodeResourcesFit",
        ignoredResources=["example.com/a"],
        ignoredResourceGroups=["example.org"],
        scoringStrategy={
            "type": "RequestedToCapacityRatio",
            "resources": [{"name": "cpu", "weight": 3}, {"name": "nvidia.com/gpu"}],
            "requestedToCapacityRatio": {
                "shape": [
                    {"utilization": 0, "score": 0},
                    {"utilization": 50, "score": 10},
                    {"utilization": 100, "score": 3},
                ]
            },
        },
    )
    assert fit.strategy.resources == (("cpu", 3), ("nvidia.com/gpu", 1))
    table = fit.strategy.table()
    assert [table[percent] for percent in (0, 1, 25, 50, 75, 99, 100)] == [0, 2, 50, 100, 65, 32, 30]
    assert fit.ignores("example.com/a") and fit.ignores("example.org/b") and not fit.ignores("example.com/b")
    assert with_args("NodeResourcesBalancedAllocation", resources=[{"name": "cpu"}]).balanced == ("cpu",)
    spread = with_args(
        "PodTopologySpread",
        defaultingType="List",
        defaultConstraints=[{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}],
    )
    assert spread.spread_defaults == (SpreadDefault("rack", 2, hard=True),) and not spread.system_defaulted
    assert with_args("PodTopologySpread", defaultingType="List").spread_defaults == ()
    interpod = with_args("InterPodAffinity", hardPodAffinityWeight=0, ignorePreferredTermsOfExistingPods=True)
    assert (interpod.hard_affinity_weight, interpod.ignore_preferred_of_existing) == (0, True)
    preemption = with_args("DefaultPreemption", minCandidateNodesPercentage=0, minCandidateNodesAbsolute=7)
    assert (preemption.min_candidates_percentage, preemption.min_candidates_absolute) == (0, 7)
    affinity = with_args(
        "NodeAffinity",
        addedAffinity={
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["x"]}]}
                ]
            }
        },
    )
    assert affinity.added_required is not None and len(affinity.added_required) == 1
    volumes = with_args("VolumeBinding", bindTimeoutSeconds=5)
    assert volumes.bind_timeout_seconds == 5 and with_args("VolumeBinding").bind_timeout_seconds == 600
    assert with_args("DynamicResources", filterTimeout="0s", bindingTimeout="1s").binds == volumes.binds
    assert one(pluginConfig=[{"name": "SomebodyElses", "args": {"a": 1}}]).plain


def test_general_fields() -> None:
    found = parse(
        config(
            parallelism=8,
            percentageOfNodesToScore=50,
            podInitialBackoffSeconds=2,
            podMaxBackoffSeconds=60,
            clientConnection={
                "kubeconfig": "/etc/k",
                "qps": 5,
                "burst": 10,
                "contentType": "application/json",
            },
            leaderElection={
                "leaderElect": True,
                "leaseDuration": "1m30s",
                "renewDeadline": "60s",
                "retryPeriod": "500ms",
                "resourceName": "mine",
                "resourceNamespace": "there",
                "resourceLock": "leases",
            },
            enableProfiling=None,
        )
    )
    assert (found.initial_backoff_seconds, found.max_backoff_seconds, found.kubeconfig) == (2, 60, "/etc/k")
    assert (found.leader_elect, found.lease_name, found.lease_namespace) == (True, "mine", "there")
    assert (found.lease_duration_seconds, found.renew_deadline_seconds, found.retry_period_seconds) == (
        90,
        60,
        0.5,
    )


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"percentageOfNodeToScore": 100}, 'strict decoding error: unknown field "percentageOfNodeToScore"'),
        ({"profiles": [{"plugin": {}}]}, 'strict decoding error: unknown field "profiles[0].plugin"'),
        ({"parallelism": 0}, "parallelism: Invalid value: 0: should be an integer value greater than zero"),
        (
            {"percentageOfNodesToScore": 101},
            "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]",
        ),
        (
            {"podInitialBackoffSeconds": 0},
            "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            {"podInitialBackoffSeconds": 20},
            "podMaxBackoffSeconds: Invalid value: 10: must be greater than or equal to PodInitialBackoffSeconds",
        ),
        (
            {"profiles": [{"schedulerName": "a"}, {"schedulerName": "a"}]},
            "profiles[1].schedulerName: Duplicate value: {}",
        ),
        ({"profiles": [{"schedulerName": "a"}, {}]}, "profiles[1].schedulerName: Required value"),
        (
            {"clientConnection": {"burst": -1}},
            "clientConnection.burst: Invalid value: -1: must be non-negative",
        ),
        (
            {"leaderElection": {"leaderElect": True, "resourceLock": "endpoints"}},
            'leaderElection.resourceLock: Invalid value: "endpoints": resourceLock value must be "leases"',
        ),
        (
            {"leaderElection": {"leaseDuration": "5s"}},
            'leaderElection.leaseDuration: Invalid value: "10s": LeaseDuration must be greater than RenewDeadline',
        ),
        ({"leaderElection": {"leaseDuration": "soon"}}, 'time: invalid duration "soon"'),
        ({"extenders": [{}]}, "extenders: Forbidden: extenders are not supported by this scheduler"),
        (
            {"podInitialBackoffSeconds": 0, "percentageOfNodesToScore": -1},
            "[percentageOfNodesToScore: Invalid value: -1: not in valid range [0-100], "
            "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0]",
        ),
    ],
)
def test_what_is_wrong_is_said_in_upstreams_words(fields: Json, says: str) -> None:
    assert refused(config(**fields)) == says


@pytest.mark.parametrize(
    ("plugins", "says"),
    [
        ({"score": {"enabled": [{"name": "Best"}]}}, 'ScorePlugin "Best" does not exist'),
        ({"multiPoint": {"enabled": [{"name": "Best"}]}}, 'plugin "Best" does not exist'),
        (
            {"score": {"enabled": [{"name": "NodePorts"}]}},
            'plugin "NodePorts" does not extend ScorePlugin plugin',
        ),
        (
            {"score": {"enabled": [{"name": "NodeAffinity"}, {"name": "NodeAffinity"}]}},
            'plugin "NodeAffinity" already registered as "ScorePlugin"',
        ),
        (
            {"queueSort": {"disabled": [{"name": "*"}]}},
            'only one queue sort plugin required for profile with scheduler name "default-scheduler", but got 0',
        ),
        (
            {"bind": {"disabled": [{"name": "DefaultBinder"}]}},
            'at least one bind plugin is needed for profile with scheduler name "default-scheduler"',
        ),
        (
            {"score": {"enabled": [{"name": "NodeAffinity", "weight": 2**31 - 1}]}},
            "total score of Score plugins could overflow",
        ),
        (
            {"filter": {"enabled": [{"name": "EBSLimits"}]}},
            'profiles[0].plugins.filter.enabled[0]: Invalid value: "EBSLimits": was invalid in version '
            '"kubescheduler.config.k8s.io/v1" (KubeSchedulerConfiguration is version "kubescheduler.config.k8s.io/v1")',
        ),
    ],
)
def test_wrong_plugins(plugins: Json, says: str) -> None:
    assert refused(config(profiles=[{"plugins": plugins}])) == says


def strategy(**fields: Any) -> Json:
    return {"scoringStrategy": fields}


ARGS = "profiles[0].pluginConfig[0].args"
POINT = {"utilization": 0, "score": 5}


@pytest.mark.parametrize(
    ("plugin", "args", "says"),
    [
        (
            "NodeResourcesFit",
            strategy(type="LeastAllocated", resourcess=[]),
            "strict decoding error: decoding args for plugin NodeResourcesFit: strict decoding error: "
            'unknown field "scoringStrategy.resourcess"',
        ),
        (
            "NodeResourcesFit",
            strategy(type="Tetris"),
            f'{ARGS}.scoringStrategy.type: Unsupported value: "Tetris": supported values: "LeastAllocated", '
            '"MostAllocated", "RequestedToCapacityRatio"',
        ),
        (
            "NodeResourcesFit",
            strategy(type="LeastAllocated", resources=[{"name": "cpu", "weight": 101}]),
            f"{ARGS}.scoringStrategy.resources[0].weight: Invalid value: 101: resource weight of cpu not in valid range (0, 100]",
        ),
        (
            "NodeResourcesFit",
            strategy(type="RequestedToCapacityRatio"),
            f"{ARGS}.scoringStrategy.requestedToCapacityRatio: Required value: must be specified when type is RequestedToCapacityRatio",
        ),
        (
            "NodeResourcesFit",
            strategy(type="MostAllocated", requestedToCapacityRatio={"shape": [POINT]}),
            f"{ARGS}.scoringStrategy.requestedToCapacityRatio: Forbidden: must be nil when type is not RequestedToCapacityRatio",
        ),
        (
            "NodeResourcesFit",
            strategy(type="RequestedToCapacityRatio", requestedToCapacityRatio={"shape": [POINT, POINT]}),
            f"{ARGS}.scoringStrategy.requestedToCapacityRatio.shape[1].utilization: Invalid value: 0: values must be sorted in increasing order",
        ),
        (
            "NodeResourcesFit",
            strategy(
                type="RequestedToCapacityRatio",
                requestedToCapacityRatio={"shape": [{"utilization": 1, "score": 11}]},
            ),
            f"{ARGS}.scoringStrategy.requestedToCapacityRatio.shape[0].score: Invalid value: 11: not in valid range [0, 10]",
        ),
        (
            "NodeResourcesFit",
            {"ignoredResourceGroups": ["a/b"]},
            f"{ARGS}.ignoredResourceGroups[0]: Invalid value: \"a/b\": resource group name can't contain '/'",
        ),
        (
            "NodeResourcesBalancedAllocation",
            {"resources": [{"name": "cpu", "weight": 2}]},
            f"{ARGS}.resources[0].weight: Invalid value: 2: must be 1",
        ),
        (
            "NodeResourcesBalancedAllocation",
            {"resources": [{"name": "cpu"}, {"name": "cpu"}]},
            f'{ARGS}.resources[1].name: Duplicate value: "cpu"',
        ),
        (
            "InterPodAffinity",
            {"hardPodAffinityWeight": 101},
            f"{ARGS}.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]",
        ),
        (
            "DefaultPreemption",
            {"minCandidateNodesPercentage": 0, "minCandidateNodesAbsolute": 0},
            f"[{ARGS}.minCandidateNodesPercentage: Invalid value: 0: cannot be zero at the same time as minCandidateNodesAbsolute, "
            f"{ARGS}.minCandidateNodesAbsolute: Invalid value: 0: cannot be zero at the same time as minCandidateNodesPercentage]",
        ),
        (
            "PodTopologySpread",
            {
                "defaultConstraints": [
                    {"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "ScheduleAnyway"}
                ]
            },
            f'{ARGS}.defaultingType: Invalid value: "System": when .defaultConstraints are not empty',
        ),
        (
            "PodTopologySpread",
            {
                "defaultingType": "List",
                "defaultConstraints": [
                    {"maxSkew": 0, "topologyKey": "a", "whenUnsatisfiable": "Never", "labelSelector": {}}
                ],
            },
            f"[{ARGS}.defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf), "
            f'{ARGS}.defaultConstraints[0].whenUnsatisfiable: Unsupported value: "Never": supported values: "DoNotSchedule", "ScheduleAnyway", '
            f"{ARGS}.defaultConstraints[0].labelSelector: Forbidden: constraint must not define a selector, as they deduced for each pod]",
        ),
        (
            "VolumeBinding",
            {"bindTimeoutSeconds": -1},
            f"{ARGS}.bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds, should not be a negative value",
        ),
        (
            "DynamicResources",
            {"filterTimeout": "-1s", "bindingTimeout": "999ms"},
            f'[{ARGS}.filterTimeout: Invalid value: "-1s": must be zero or positive, '
            f'{ARGS}.bindingTimeout: Invalid value: "999ms": must be at least 1 second]',
        ),
        (
            "NodeAffinity",
            {
                "addedAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Gt"}]}]
                    }
                }
            },
            f"{ARGS}.addedAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values: "
            "Invalid value: []: for 'Gt', 'Lt' operators, exactly one value is required",
        ),
    ],
)
def test_wrong_arguments(plugin: str, args: Json, says: str) -> None:
    assert refused(config(profiles=[{"pluginConfig": [{"name": plugin, "args": args}]}])) == says


def test_no_configuration_at_all(tmp_path: Path) -> None:
    assert refused("[]") == "a KubeSchedulerConfiguration is expected"
    assert refused("apiVersion: v1\nkind: Pod") == 'no kind "Pod" is registered for version "v1"'
    assert refused("apiVersion: v1") == "Object 'Kind' is missing"
    assert refused("{").startswith("not YAML: ")
    assert refused(config(parallelism="many")).startswith("Expected `int | null`, got `str`")
    with pytest.raises(ConfigError, match=r"cannot read .*: No such file or directory"):
        load(tmp_path / "none")
    path = tmp_path / "bad"
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(path)
    path.write_text(config(parallelism=0))
    with pytest.raises(ConfigError, match="bad: parallelism: Invalid value: 0"):
        load(path)
