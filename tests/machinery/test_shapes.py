import pytest

from lakh.apis.definitions import schema
from lakh.machinery.shapes import LEAF_SHAPE, KeyMissingError, shape_of

POD_SPEC = schema().node("io.k8s.api.core.v1.PodSpec")


def test_kinds():
    shape = shape_of(POD_SPEC)
    kinds = {
        name: shape.field(name)[1].kind
        for name in (
            "containers",
            "nodeSelector",
            "tolerations",
            "securityContext",
            "hostname",
            "overhead",
            "nothing",
        )
    }
    assert kinds == {
        "containers": "list-map",
        "nodeSelector": "leaf",
        "tolerations": "leaf",
        "securityContext": "struct",
        "hostname": "leaf",
        "overhead": "map",
        "nothing": "leaf",
    }
    assert shape.field("nothing") == ("f:nothing", LEAF_SHAPE)
    assert not shape.declares("nothing")
    assert shape_of(POD_SPEC) is shape


def test_undeclared_fields_are_not_kept():
    shape = shape_of(POD_SPEC)
    before = len(shape.known)
    for index in range(100):
        shape.field(f"made-up-{index}")
    assert len(shape.known) == before


def test_keys_of_items():
    ports = shape_of(schema().node("io.k8s.api.core.v1.Container").field("ports"))
    assert ports.item_key({"containerPort": 80}) == 'k:{"containerPort":80,"protocol":"TCP"}'
    assert (
        ports.item_key({"protocol": "UDP", "containerPort": 80}) == 'k:{"containerPort":80,"protocol":"UDP"}'
    )
    containers = shape_of(POD_SPEC).field("containers")[1]
    assert containers.item_key({"name": 'a"b'}) == 'k:{"name":"a\\"b"}'
    assert containers.item_key({"name": 1}) != containers.item_key({"name": True})
    for item in ({}, {"name": None}, {"name": []}, "x", None):
        with pytest.raises(KeyMissingError):
            containers.item_key(item)


def test_recursive_definitions_end():
    node = schema().node("io.k8s.api.core.v1.PodTemplateSpec")
    assert shape_of(node).child("f:spec").child("f:containers").child('k:{"name":"a"}').kind == "struct"
    assert shape_of(None).child("f:anything").kind == "map"
