from lakh.machinery import dynamic


def test_paths():
    obj = {"spec": {"replicas": 1}, "status": 5}
    assert dynamic.get(obj, "spec.replicas") == 1
    assert dynamic.get(obj, "spec.nothing.more") is None
    assert dynamic.get(obj, "status.replicas") is None
    dynamic.put(obj, "spec.template.x", 2)
    dynamic.put(obj, "status.replicas", 3)
    assert obj == {"spec": {"replicas": 1, "template": {"x": 2}}, "status": {"replicas": 3}}
    dynamic.remove(obj, "spec.template.x")
    dynamic.remove(obj, "none.at.all")
    dynamic.remove(obj, "spec.template.x")
    assert obj["spec"] == {"replicas": 1, "template": {}}


def test_json_equality_tells_true_from_one():
    assert not dynamic.equal({"a": [1]}, {"a": [True]})
    assert not dynamic.equal(0, False)
    assert dynamic.equal({"a": [1, {"b": None}]}, {"a": [1.0, {"b": None}]})
    assert not dynamic.equal([1], [1, 2])
    assert not dynamic.equal({"a": 1}, {"b": 1})


def test_clones_share_nothing():
    obj = {"a": [{"b": 1}]}
    copy = dynamic.clone(obj)
    copy["a"][0]["b"] = 2
    assert obj == {"a": [{"b": 1}]}
