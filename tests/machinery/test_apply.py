import copy

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.definitions import schema
from lakh.machinery import apply, fieldset
from lakh.machinery.apply import (
    Applied,
    ApplyConflict,
    current_managers,
    server_side_apply,
    update_managed_fields,
)
from lakh.machinery.errors import StatusError
from lakh.machinery.tracking import Endpoint

from .strategies import deployment, deployments, json_values

DEFINITION = "io.k8s.api.apps.v1.Deployment"
NODE = schema().node(DEFINITION)
POD = schema().node("io.k8s.api.core.v1.Pod")
CONFIG_MAP = schema().node("io.k8s.api.core.v1.ConfigMap")
SERVICE = schema().node("io.k8s.api.core.v1.Service")
T1, T2, T3 = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z"


def update(old, new, managers, manager="kubectl", time=T1, node=NODE, **more):
    return update_managed_fields(old, new, managers, manager, time, Endpoint("apps/v1", node, **more))


def ssa(live, applied, managers=(), manager="m", time=T1, node=NODE, force=False, **more):
    endpoint = Endpoint("apps/v1", node, **more)
    return server_side_apply(live, applied, list(managers), manager, time, endpoint, force=force)


def owners(managers):
    return {(e["manager"], e["operation"]): e["fieldsV1"] for e in managers}


# updates


def test_what_kubectl_create_deployment_owns():
    [entry] = update(None, deployment(), [], "kubectl-create")
    assert {k: v for k, v in entry.items() if k != "fieldsV1"} == {
        "manager": "kubectl-create",
        "operation": "Update",
        "apiVersion": "apps/v1",
        "time": T1,
        "fieldsType": "FieldsV1",
    }
    assert entry["fieldsV1"] == {
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"nginx"}': {
                            ".": {},
                            "f:name": {},
                            "f:image": {},
                            "f:ports": {
                                ".": {},
                                'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}},
                            },
                        }
                    }
                },
            },
        },
    }


def test_a_config_map_and_a_service():
    [entry] = update(None, {"metadata": {"name": "c"}, "data": {"a": "b"}}, [], node=CONFIG_MAP)
    assert entry["fieldsV1"] == {"f:data": {".": {}, "f:a": {}}}
    service = {
        "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 80, "protocol": "TCP"}], "selector": {"a": "b"}},
    }
    [entry] = update(None, service, [], node=SERVICE)
    assert entry["fieldsV1"] == {
        "f:spec": {
            "f:ports": {".": {}, 'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:protocol": {}}},
            "f:selector": {},
        }
    }


def test_objects_without_a_schema_have_parts_where_they_are_maps():
    obj = {"metadata": {"name": "x", "labels": {"a": "b"}}, "spec": {"a": {"b": 1}, "c": [1]}}
    [entry] = update(None, obj, [], node=None)
    assert entry["fieldsV1"] == {
        "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
        "f:spec": {".": {}, "f:a": {".": {}, "f:b": {}}, "f:c": {}},
    }
    first = ssa(None, obj, node=None)
    second = ssa(first.obj, {"spec": {"c": [2]}}, first.managers, time=T2, node=None)
    assert second.obj == {"metadata": {"name": "x"}, "spec": {"c": [2]}}


def test_structs_are_taken_as_they_are():
    struct = msgspec.convert(deployment(), schema().struct(DEFINITION))
    assert update(None, struct, []) == update(None, deployment(), [])


@given(deployments, deployments)
def test_structs_and_dicts_give_the_same(old, new):
    struct = schema().struct(DEFINITION)
    managers = update(None, old, [], "a")
    assert update(msgspec.convert(old, struct), msgspec.convert(new, struct), managers, "b", T2) == update(
        old, new, managers, "b", T2
    )


def test_the_changer_of_a_field_takes_it_from_the_others():
    managers = update(None, deployment(), [], "kubectl-create")
    after = update(deployment(), deployment(replicas=5), managers, "scaler", T2)
    assert owners(after)["scaler", "Update"] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in owners(after)["kubectl-create", "Update"]["f:spec"]
    assert [e["manager"] for e in after] == ["kubectl-create", "scaler"]


def test_nothing_changed_nothing_done():
    managers = update(None, deployment(), [])
    assert update(deployment(), deployment(), managers, "other", T2) is managers
    moved = deployment()
    moved["metadata"]["resourceVersion"] = "7"
    assert update(deployment(), moved, managers, "other", T2) is managers


def test_changing_an_own_field_again_keeps_the_set_and_moves_the_time():
    managers = update(None, deployment(), [])
    [entry] = update(deployment(), deployment(replicas=5), managers, time=T2)
    assert entry["time"] == T2
    assert fieldset.equal(entry["fieldsV1"], managers[0]["fieldsV1"])


def test_removed_fields_are_nobodys_and_empty_entries_go():
    managers = update(None, deployment(), [])
    managers = update(deployment(), deployment(paused=True), managers, "pauser", T2)
    after = update(deployment(paused=True), deployment(), managers, time=T3)
    assert [e["manager"] for e in after] == ["kubectl"]
    assert after[0]["time"] == T1


def test_subresources_have_entries_of_their_own_and_ignored_fields_nobodys():
    created = {**deployment(), "status": {"replicas": 1}}
    managers = update(None, created, [], ignored=("status",))
    assert "f:status" not in managers[0]["fieldsV1"]
    after = update(deployment(), created, managers, "kubectl", T2, subresource="status", ignored=("spec",))
    assert [(e["manager"], e.get("subresource")) for e in after] == [("kubectl", None), ("kubectl", "status")]
    assert after[1]["fieldsV1"] == {"f:status": {"f:replicas": {}}}


def test_without_entries_updates_are_not_tracked():
    assert update(deployment(), deployment(replicas=5), []) == []


def test_the_oldest_of_many_updaters_become_ancient_changes():
    obj, managers = deployment(), update(None, deployment(), [])
    for index in range(15):
        new = copy.deepcopy(obj)
        new["metadata"]["labels"][f"l{index}"] = "x"
        managers = update(obj, new, managers, f"m{index:02}", f"2026-01-01T00:01:{index:02}Z")
        obj = new
    assert len(managers) == apply.MAX_UPDATE_MANAGERS
    assert managers[0]["manager"] == "ancient-changes"
    held = {}
    for entry in managers:
        held = fieldset.union(held, entry["fieldsV1"])
    assert fieldset.contains(held, update(None, obj, [])[0]["fieldsV1"])


def test_entries_are_sorted_by_operation_time_and_manager():
    applied = ssa(None, deployment(), manager="z")
    managers = update(applied.obj, deployment(replicas=5), applied.managers, "b", T1)
    managers = update(deployment(replicas=5), deployment(replicas=5, paused=True), managers, "a", T1)
    assert [e["manager"] for e in managers] == ["z", "a", "b"]


def test_clients_may_send_entries_back_reset_or_broken():
    old = update(None, deployment(), [])
    assert current_managers(old, old) == old
    assert current_managers(old, None) == old
    assert current_managers(old, [{}]) == []
    assert current_managers(old, [{"manager": "x"}]) == old
    changed = [{**old[0], "manager": "other"}]
    assert current_managers(old, changed) == changed
    assert current_managers(old, changed, subresource="status") == old
    struct = schema().struct("io.k8s.apimachinery.pkg.apis.meta.v1.ManagedFieldsEntry")
    assert current_managers([struct(**old[0])], None) == old
    assert current_managers(old, [struct()]) == []


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "operation must be `Apply` or `Update`"),
        ({"operation": "Apply"}, "apiVersion must not be empty"),
        ({"operation": "Apply", "apiVersion": "v1"}, "missing fieldsType in managed fields entry 0"),
        (
            {"operation": "Apply", "apiVersion": "v1", "fieldsType": "V2"},
            'invalid fieldsType "V2" in managed fields entry 0',
        ),
    ],
)
def test_entries_are_checked(entry, message):
    with pytest.raises(ValueError, match=r".+") as error:
        apply.decode_entries([entry])
    assert str(error.value) == message


# server-side apply


def test_the_first_apply_creates_and_owns_what_it_states():
    applied = ssa(None, deployment())
    assert applied.obj == deployment()
    assert applied.changed
    [entry] = applied.managers
    assert (entry["manager"], entry["operation"], entry["time"]) == ("m", "Apply", T1)
    expected = fieldset.of(deployment(), NODE)
    for name in ("f:apiVersion", "f:kind"):
        del expected[name]
    expected["f:metadata"] = {"f:labels": {"f:app": {}}}
    assert entry["fieldsV1"] == expected


def test_applying_again_is_a_no_op():
    first = ssa(None, deployment())
    assert ssa(first.obj, deployment(), first.managers, time=T2) == Applied(first.obj, first.managers, False)


def test_what_is_no_longer_applied_is_removed():
    first = ssa(None, deployment())
    config = deployment()
    del config["spec"]["replicas"], config["metadata"]["labels"]
    del config["spec"]["template"]["spec"]["containers"][0]["ports"]
    config["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "x"})
    second = ssa(first.obj, config, first.managers, time=T2)
    assert second.obj == config
    third = ssa(second.obj, deployment(), second.managers, time=T3)
    assert third.obj == deployment()


def test_server_made_fields_survive_what_is_removed():
    live = deployment()
    live["metadata"] |= {"uid": "u", "creationTimestamp": T1, "annotations": {"controller": "x"}}
    live["status"] = {"replicas": 3}
    live["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "Always"
    first = ssa(None, deployment())
    config = deployment()
    del config["metadata"]["labels"]
    second = ssa(live, config, first.managers, time=T2)
    del live["metadata"]["labels"]
    assert second.obj == live


def test_what_somebody_else_holds_stays():
    first = ssa(None, deployment(), manager="a")
    both = ssa(first.obj, deployment(), first.managers, manager="b", time=T2)
    assert [e["manager"] for e in both.managers] == ["a", "b"]
    config = deployment()
    del config["spec"]["replicas"]
    after = ssa(both.obj, config, both.managers, manager="a", time=T3)
    assert after.obj["spec"]["replicas"] == 3
    assert "f:replicas" not in owners(after.managers)["a", "Apply"]["f:spec"]
    gone = ssa(after.obj, config, after.managers, manager="b", time=T3)
    assert "replicas" not in gone.obj["spec"]


def test_a_conflict_with_client_side_apply():
    managers = update(None, deployment(), [], "kubectl-client-side-apply")
    with pytest.raises(ApplyConflict) as error:
        ssa(deployment(), deployment(replicas=5), managers, "m")
    assert error.value.status() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "code": 409,
        "reason": "Conflict",
        "message": 'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using apps/v1: .spec.replicas',
        "details": {
            "causes": [
                {
                    "reason": "FieldManagerConflict",
                    "message": 'conflict with "kubectl-client-side-apply" using apps/v1',
                    "field": ".spec.replicas",
                }
            ]
        },
    }


def test_conflicts_with_several_managers_and_a_subresource():
    managers = ssa(None, deployment(), manager="a").managers
    managers = update(deployment(), deployment(replicas=4), managers, "b", T2, subresource="scale")
    config = deployment(replicas=5)
    config["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
    config["metadata"]["labels"]["app"] = "other"
    with pytest.raises(ApplyConflict) as error:
        ssa(deployment(replicas=4), config, managers, "c")
    assert error.value.message == (
        'Apply failed with 3 conflicts: conflicts with "a":\n'
        "- .metadata.labels.app\n"
        '- .spec.template.spec.containers[name="nginx"].image\n'
        'conflicts with "b" with subresource "scale" using apps/v1:\n'
        "- .spec.replicas"
    )


def test_force_takes_what_conflicts():
    first = ssa(None, deployment(), manager="a")
    forced = ssa(first.obj, deployment(replicas=5), first.managers, manager="b", time=T2, force=True)
    assert forced.obj["spec"]["replicas"] == 5
    assert "f:replicas" not in owners(forced.managers)["a", "Apply"]["f:spec"]
    assert "f:replicas" in owners(forced.managers)["b", "Apply"]["f:spec"]
    with pytest.raises(ApplyConflict):
        ssa(forced.obj, deployment(), forced.managers, manager="a", time=T3)


def test_objects_from_before_the_first_apply():
    live = deployment()
    applied = ssa(live, deployment(), [])
    assert [(e["manager"], e["operation"]) for e in applied.managers] == [
        ("m", "Apply"),
        ("before-first-apply", "Update"),
    ]


def test_kubectl_may_overwrite_what_its_client_side_apply_held():
    config = deployment()
    annotated = deployment()
    annotated["metadata"]["annotations"] = {apply.LAST_APPLIED: msgspec.json.encode(config).decode()}
    managers = update(None, annotated, [], "kubectl-client-side-apply")
    applied = ssa(annotated, deployment(replicas=5), managers, "kubectl", T2)
    assert applied.obj["spec"]["replicas"] == 5
    text = applied.obj["metadata"]["annotations"][apply.LAST_APPLIED]
    assert msgspec.json.decode(text) == deployment(replicas=5)
    # what was changed since is not client-side apply's any more
    scaled = copy.deepcopy(annotated)
    scaled["spec"]["replicas"] = 7
    managers = update(annotated, scaled, managers, "scaler", T2)
    with pytest.raises(ApplyConflict, match='conflict with "scaler"'):
        ssa(scaled, deployment(replicas=5), managers, "kubectl", T3)


def test_configurations_that_cannot_be_merged_are_refused():
    for change, text in [
        ({"spec": {"foo": 1}}, ".spec.foo: field not declared in schema"),
        ({"apiVersion": "apps/v2"}, "Specified patch version: apps/v2, expected: apps/v1"),
        ({"metadata": {"managedFields": []}}, "metadata.managedFields must be nil"),
    ]:
        with pytest.raises(StatusError) as error:
            ssa(None, {**deployment(), **change})
        assert error.value.code == 400
        assert text in error.value.message
    config = deployment()
    config["spec"]["template"]["spec"]["containers"] *= 2
    with pytest.raises(StatusError) as error:
        ssa(None, config)
    assert error.value.message == (
        "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): "
        '.spec.template.spec.containers: duplicate entries for key [name="nginx"]'
    )


def test_depth_is_a_client_error():
    config = deep = {}
    for _ in range(100_000):
        deep["a"] = deep = {}
    for live in (None, config):
        with pytest.raises(StatusError) as error:
            ssa(live, config, node=None)
        assert error.value.code == 400
    while config:
        config = config.pop("a")


# invariants


@given(deployments, deployments)
def test_updates_account_for_every_field(old, new):
    managers = update(None, old, [], "a")
    managers = update(old, new, managers, "b", T2)
    held = {}
    for entry in managers:
        held = fieldset.union(held, entry["fieldsV1"])
    assert fieldset.equal(held, fieldset.intersection(held, update(None, new, [])[0]["fieldsV1"]))
    managed = {k: v for k, v in new.items() if k != "metadata"}
    assert fieldset.contains(held, fieldset.of(managed, NODE))


@given(deployments, deployments)
def test_an_applier_gets_what_it_states_and_drops_what_it_does_not(first, second):
    once = ssa(None, first)
    twice = ssa(once.obj, second, once.managers, time=T2)
    assert ssa(twice.obj, second, twice.managers, time=T3) == Applied(twice.obj, twice.managers, False)
    # a sole applier's object is just what it states, but for the order of what was there before
    assert fieldset.equal(fieldset.of(twice.obj, NODE), fieldset.of(second, NODE))


@given(deployments, deployments)
def test_two_appliers(first, second):
    before = copy.deepcopy((first, second))
    one = ssa(None, first, manager="a")
    try:
        two = ssa(one.obj, second, one.managers, manager="b", time=T2)
    except ApplyConflict as conflict:
        two = ssa(one.obj, second, one.managers, manager="b", time=T2, force=True)
        fields = owners(two.managers)
        for _, path in conflict.conflicts:
            assert fieldset.has(fields["b", "Apply"], path) or not fieldset.has(
                fields.get(("a", "Apply"), {}), path
            )
    # with force or without, b's values are there, and applying them again changes nothing
    again = ssa(two.obj, second, two.managers, manager="b", time=T3)
    assert (again.obj, again.changed) == (two.obj, False)
    assert (first, second) == before


@given(deployments)
def test_equal_values_are_shared(obj):
    one = ssa(None, obj, manager="a")
    two = ssa(one.obj, obj, one.managers, manager="b", time=T2)
    assert two.obj == one.obj
    fields = owners(two.managers)
    assert fields["a", "Apply"] == fields["b", "Apply"]


managers_of_any_shape = st.lists(json_values, max_size=3)


@given(json_values, json_values, managers_of_any_shape)
def test_any_input_is_applied_or_a_status_error(live, config, entries):
    try:
        managers = apply.decode_entries(entries)
    except ValueError:
        managers = []
    current_managers([], entries)
    try:
        ssa(live, config, managers)
    except StatusError:
        pass
    try:
        update(live, config, managers)
        update(None, config, managers)
    except StatusError:
        pass
