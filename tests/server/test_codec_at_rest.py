"""What is cut out of objects at rest."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from lakh.apis.catalogue import registry
from lakh.server.codec import codec_of

TRICKS = st.text(alphabet='abc"\\[]{}:,', max_size=6) | st.sampled_from(
    ('"managedFields":[', '],"name":"', '"uid":"', "uid", "name", "managedFields")
)
_entries = st.lists(
    st.fixed_dictionaries(
        {"manager": TRICKS, "operation": st.just("Update"), "fieldsV1": st.dictionaries(TRICKS, st.just({}))}
    ),
    min_size=1,
    max_size=2,
)


@given(
    st.dictionaries(TRICKS, TRICKS, max_size=2),
    st.none() | _entries,
    st.none() | st.just("u"),
    st.none() | _entries,
)
def test_what_is_cut_out_of_an_object_at_rest_are_its_managers(annotations, managers, uid, inner) -> None:
    resource = registry().get("apps", "v1", "deployments")
    assert resource is not None
    codec = codec_of(resource)
    template = {"metadata": {"managedFields": inner, "name": "t"}} if inner else {}
    plain = {
        "metadata": {"annotations": annotations, "managedFields": managers, "name": "d", "uid": uid},
        "spec": {"template": template, "selector": {}},
    }
    value = codec.encode_stored(msgspec.convert(plain, codec.struct))
    whole = codec.decode_stored(value)
    obj, cut = codec.split_stored(value)
    if cut:
        assert obj.metadata.managedFields is None
        assert msgspec.json.decode(cut) == managers
        obj.metadata.managedFields = msgspec.Raw(cut)
        assert codec.encode_stored(obj) == value
    else:
        assert obj == whole
        # Only where it cannot be told: no uid, or a name like it before.
        assert not managers or not uid or "uid" in annotations


def test_a_view_of_another_resource_is_not_cut() -> None:
    resource = registry().get("events.k8s.io", "v1", "events")
    assert resource is not None
    core = registry().get("", "v1", "events")
    assert core is not None
    plain = {
        "metadata": {"managedFields": [{"manager": "m", "operation": "Update"}], "name": "e", "uid": "u"},
        "involvedObject": {},
    }
    value = codec_of(core).encode_stored(msgspec.convert(plain, codec_of(core).struct))
    obj, cut = codec_of(resource).split_stored(value)
    assert not cut
    assert obj.metadata.managedFields is not None
    assert codec_of(core).split_stored(value)[1] == b'[{"manager":"m","operation":"Update"}]'
