"""Pod templates: looser and stricter than pods in the few places where upstream is."""

from __future__ import annotations

from typing import Any

import msgspec

from lakh.apis import structs
from lakh.apis.podspec import default_pod_template, validate_pod_template


def template(**spec: Any) -> Any:
    plain = {"spec": {"containers": [{"name": "c", "image": "a"}], **spec}}
    obj = msgspec.convert(plain, structs.core("PodTemplateSpec"))
    default_pod_template(obj)
    return obj


def check(obj: Any, **more: Any) -> list[str]:
    return [str(f) for f in validate_pod_template(obj, "spec.template", **more)]


def test_templates_have_no_service_links_and_no_requests_from_limits() -> None:
    obj = template(containers=[{"name": "c", "image": "a", "resources": {"limits": {"cpu": "1"}}}])
    assert obj.spec.enableServiceLinks is None
    assert obj.spec.containers[0].resources.requests is None
    assert check(obj) == []


def test_host_ports_may_be_open_in_a_template() -> None:
    container = {"name": "c", "image": "a", "ports": [{"containerPort": 1}]}
    assert check(template(hostNetwork=True, containers=[container])) == []


def test_no_ephemeral_containers() -> None:
    assert check(template(ephemeralContainers=[{"name": "e", "image": "a"}])) == [
        "spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template"
    ]


def test_an_absent_spec_is_an_empty_one() -> None:
    obj = structs.core("PodTemplateSpec")()
    default_pod_template(obj)
    assert obj.spec.restartPolicy == "Always"
    assert check(obj) == ["spec.template.spec.containers: Required value"]
    assert check(None) == ["spec.template: Required value"]


def test_restart_policies_of_the_kind() -> None:
    assert check(template(restartPolicy="Never"), restart_policies=("Always",)) == [
        'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'
    ]


def test_labels_of_the_template() -> None:
    obj = template()
    obj.metadata = structs.meta("ObjectMeta")(labels={"-": "x"})
    (found,) = check(obj)
    assert found.startswith('spec.template.labels: Invalid value: "-": name part must consist of')
