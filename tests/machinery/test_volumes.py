from __future__ import annotations

import pytest

from lakh.machinery.volumes import ClaimView, Meta, Reference, VolumeSpec, VolumeView, claim_patch


@pytest.mark.parametrize("reserved", [False, True])
def test_setting_a_volume_aside_for_a_claim(reserved: bool) -> None:
    """Conditional on the volume's version; a claim that somebody named before was not found by a controller."""
    claim = ClaimView(metadata=Meta(name="c", namespace="n", uid="u", resourceVersion="7"))
    volume = VolumeView(metadata=Meta(name="v", resourceVersion="3"))
    if reserved:
        volume.spec = VolumeSpec(claimRef=Reference(name="c", namespace="n"))
    patch = claim_patch(claim, volume)
    annotations = {} if reserved else {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}}
    assert patch["metadata"] == {"resourceVersion": "3", **annotations}
    assert patch["spec"]["claimRef"] == {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": "n",
        "name": "c",
        "uid": "u",
        "resourceVersion": "7",
    }
