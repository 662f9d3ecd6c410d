import msgspec
import pytest

from lakh.apis.definitions import schema
from lakh.machinery.schema import attribute_name


def node(name):
    return schema().node(name)


def test_nodes_know_how_lists_merge():
    containers = node("io.k8s.api.core.v1.PodSpec").field("containers")
    assert (containers.type, containers.list_type, containers.map_keys) == ("list", "map", ("name",))
    assert (containers.merge_key, containers.patch_strategy) == ("name", ("merge",))
    volumes = node("io.k8s.api.core.v1.PodSpec").field("volumes")
    assert volumes.patch_strategy == ("merge", "retainKeys")
    assert node("io.k8s.api.core.v1.Container").field("args").list_type == "atomic"
    assert node("io.k8s.api.core.v1.PodSpec").field("nodeSelector").map_type == "atomic"
    assert node("io.k8s.api.apps.v1.DeploymentSpec").field("selector").map_type == "atomic"


def test_special_definitions_have_types_of_their_own():
    requests = node("io.k8s.api.core.v1.ResourceRequirements").field("requests")
    assert (requests.type, requests.element.type) == ("map", "quantity")
    assert node("io.k8s.api.core.v1.ServicePort").field("targetPort").type == "int-or-string"
    assert node("io.k8s.apimachinery.pkg.apis.meta.v1.ManagedFieldsEntry").field("fieldsV1").type == "any"


def test_fields_are_resolved_once_and_unknown_ones_are_none():
    pod = node("io.k8s.api.core.v1.Pod")
    assert pod.field("spec") is pod.field("spec")
    assert pod.field("spce") is None
    assert {name for name, _ in pod.fields()} == {"apiVersion", "kind", "metadata", "spec", "status"}
    with pytest.raises(KeyError):
        node("io.k8s.api.core.v1.Nothing")


def test_structs_check_types_and_keep_metadata_first():
    deployment = schema().struct("io.k8s.api.apps.v1.Deployment")
    raw = b'{"spec":{"replicas":3},"metadata":{"name":"web","labels":null}}'
    decoded = msgspec.json.decode(raw, type=deployment)
    assert decoded.metadata.labels is None
    assert msgspec.json.encode(decoded) == b'{"metadata":{"name":"web"},"spec":{"replicas":3}}'
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"spec":{"replicas":"3"}}', type=deployment)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"spec":{"replicsa":3}}', type=deployment)


def test_attribute_names():
    assert [attribute_name(n) for n in ("from", "$ref", "x-a", "spec")] == ["from_", "ref", "x_a", "spec"]
