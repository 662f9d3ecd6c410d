"""Sources of volumes, of pods and of persistent volumes: what each must have (`validateVolumeSource`, `ValidatePersistentVolumeSpec`)."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from lakh.apis.volume_sources import PERSISTENT_SOURCES, POD_SOURCES

LABEL = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
BACKSTEPS = "must not contain '..'"
MODE = "must be a number between 0 and 0777 (octal), both inclusive"
BYTE = "must be between 0 and 255, inclusive"
NEEDED = "Required value"
FC = {"targetWWNs": ["a"], "lun": 2}
ISCSI = {"targetPortal": "127.0.0.1", "iqn": "iqn.2015-02.example.com:test", "lun": 1}
AZURE = {"diskName": "d", "diskURI": "/subscriptions/x", "kind": "Managed"}
# A valid source of each kind; what pods and persistent volumes share.
SHARED: dict[str, Any] = {
    "hostPath": {"path": "/mnt", "type": "Directory"},
    "gcePersistentDisk": {"pdName": "d", "partition": 1},
    "awsElasticBlockStore": {"volumeID": "v", "partition": 255},
    "nfs": {"server": "s", "path": "/exports"},
    "iscsi": ISCSI,
    "glusterfs": {"endpoints": "e", "path": "p"},
    "flocker": {"datasetName": "n"},
    "rbd": {"monitors": ["m"], "image": "i"},
    "cinder": {"volumeID": "v"},
    "cephfs": {"monitors": ["m"]},
    "quobyte": {"registry": "host:80,other:81", "volume": "v"},
    "fc": FC,
    "flexVolume": {"driver": "d", "options": {"example.com/k": "v"}},
    "azureFile": {"secretName": "s", "shareName": "n"},
    "vsphereVolume": {"volumePath": "p"},
    "photonPersistentDisk": {"pdID": "d"},
    "portworxVolume": {"volumeID": "v"},
    "azureDisk": AZURE,
    "storageos": {"volumeName": "v"},
    "scaleIO": {"gateway": "g", "system": "s", "volumeName": "v", "secretRef": {"name": "s"}},
}
OF_PODS: dict[str, Any] = {
    **SHARED,
    "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"},
    "gitRepo": {"repository": "r", "directory": "d"},
    "secret": {"secretName": "s", "items": [{"key": "k", "path": "p/q", "mode": 256}]},
    "persistentVolumeClaim": {"claimName": "c"},
    "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]},
    "configMap": {"name": "c", "defaultMode": 420},
    "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "c"}}]},
    "csi": {"driver": "inline.example.com"},
    "ephemeral": {
        "volumeClaimTemplate": {
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        }
    },
    "image": {"reference": "registry.example/x:1", "pullPolicy": "Always"},
}
OF_VOLUMES: dict[str, Any] = {
    **{k: v for k, v in SHARED.items() if k != "scaleIO"},
    "scaleIO": {
        "gateway": "g",
        "system": "s",
        "volumeName": "v",
        "secretRef": {"name": "s", "namespace": "n"},
    },
    "local": {"path": "/mnt/disk"},
    "csi": {"driver": "csi.example.com", "volumeHandle": "h"},
}
AFFINITY = {"required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "Exists"}]}]}}


def pod(name: str, source: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "v", name: copy.deepcopy(source)}],
        },
    }


def persistent(name: str, source: Any, **more: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "v"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            name: copy.deepcopy(source),
            **({"nodeAffinity": AFFINITY} if name == "local" else {}),
            **more,
        },
    }


def test_each_source_has_a_valid_example() -> None:
    assert set(OF_PODS) == set(POD_SOURCES)
    assert set(OF_VOLUMES) == set(PERSISTENT_SOURCES)


@pytest.mark.parametrize("name", sorted(OF_PODS))
def test_valid_in_pods(create: Any, name: str) -> None:
    assert create("Pod", pod(name, OF_PODS[name]))[1] == []


@pytest.mark.parametrize("name", sorted(OF_VOLUMES))
def test_valid_in_persistent_volumes(create: Any, name: str) -> None:
    assert create("PersistentVolume", persistent(name, OF_VOLUMES[name]))[1] == []


# What is wrong with a source wherever it is: kind, changes to the valid example (None takes a field away), path below the kind, and the rest.
WRONG: list[tuple[str, dict[str, Any], list[tuple[str, str]]]] = [
    # validateHostPathVolumeSource, validatePathNoBacksteps, validateHostPathType
    ("hostPath", {"path": None}, [(".path", NEEDED)]),
    ("hostPath", {"path": "/a/../b"}, [(".path", f'Invalid value: "/a/../b": {BACKSTEPS}')]),
    (
        "hostPath",
        {"type": "Pipe"},
        [
            (
                ".type",
                'Unsupported value: "Pipe": supported values: "", "BlockDevice", "CharDevice", "Directory", '
                '"DirectoryOrCreate", "File", "FileOrCreate", "Socket"',
            )
        ],
    ),
    # validateGCEPersistentDiskVolumeSource, validateAWSElasticBlockStoreVolumeSource
    ("awsElasticBlockStore", {"volumeID": None}, [(".volumeID", NEEDED)]),
    (
        "awsElasticBlockStore",
        {"partition": 256},
        [(".partition", "Invalid value: 256: must be between 1 and 255, inclusive")],
    ),
    # validateNFSVolumeSource
    ("nfs", {"server": None}, [(".server", NEEDED)]),
    ("nfs", {"path": "exports"}, [(".path", 'Invalid value: "exports": must be an absolute path')]),
    # validateISCSIVolumeSource, validateISCSIPersistentVolumeSource
    ("iscsi", {"targetPortal": None}, [(".targetPortal", NEEDED)]),
    ("iscsi", {"iqn": None}, [(".iqn", NEEDED)]),
    ("iscsi", {"iqn": "iqn.2015-2.x"}, [(".iqn", 'Invalid value: "iqn.2015-2.x": must be valid format')]),
    ("iscsi", {"lun": 256}, [(".lun", f"Invalid value: 256: {BYTE}")]),
    ("iscsi", {"chapAuthSession": True}, [(".secretRef", NEEDED)]),
    ("iscsi", {"iqn": "eui.0123456789abcdef"}, []),
    ("iscsi", {"iqn": "naa.62004567BA64678D0123456789ABCDEF"}, []),
    (
        "iscsi",
        {"initiatorName": "iqn.x"},
        [(".initiatorname", 'Invalid value: "iqn.x": must be valid format')],
    ),
    # validateGlusterfsVolumeSource
    ("glusterfs", {"endpoints": None, "path": None}, [(".endpoints", NEEDED), (".path", NEEDED)]),
    # validateFlockerVolumeSource
    ("flocker", {"datasetName": None}, [("", f"{NEEDED}: one of datasetName and datasetUUID is required")]),
    ("flocker", {"datasetName": "a/b"}, [(".datasetName", "Invalid value: \"a/b\": must not contain '/'")]),
    (
        "flocker",
        {"datasetUUID": "u"},
        [("", 'Invalid value: "resource": datasetName and datasetUUID can not be specified simultaneously')],
    ),
    # validateRBDVolumeSource, validateCinderVolumeSource, validateCephFSVolumeSource
    ("rbd", {"monitors": [], "image": None}, [(".monitors", NEEDED), (".image", NEEDED)]),
    ("cinder", {"volumeID": None}, [(".volumeID", NEEDED)]),
    ("cephfs", {"monitors": []}, [(".monitors", NEEDED)]),
    # validateQuobyteVolumeSource
    (
        "quobyte",
        {"registry": None},
        [(".registry", f"{NEEDED}: must be a host:port pair or multiple pairs separated by commas")],
    ),
    (
        "quobyte",
        {"registry": "a:1,b"},
        [
            (
                ".registry",
                'Invalid value: "a:1,b": must be a host:port pair or multiple pairs separated by commas',
            )
        ],
    ),
    ("quobyte", {"volume": None}, [(".volume", NEEDED)]),
    (
        "quobyte",
        {"tenant": "t" * 65},
        [(".tenant", f"{NEEDED}: must be a UUID and may not exceed a length of 64 characters")],
    ),
    # validateFCVolumeSource
    (
        "fc",
        {"targetWWNs": [], "lun": None},
        [(".targetWWNs", f"{NEEDED}: must specify either targetWWNs or wwids, but not both")],
    ),
    (
        "fc",
        {"wwids": ["w"]},
        [
            (
                ".targetWWNs",
                'Invalid value: ["a"]: targetWWNs and wwids can not be specified simultaneously',
            )
        ],
    ),
    ("fc", {"lun": None}, [(".lun", f"{NEEDED}: lun is required if targetWWNs is specified")]),
    ("fc", {"lun": 256}, [(".lun", f"Invalid value: 256: {BYTE}")]),
    # validateFlexVolumeSource
    ("flexVolume", {"driver": None}, [(".driver", NEEDED)]),
    (
        "flexVolume",
        {"options": {"x.k8s.io/k": "v"}},
        [
            (
                ".options[x.k8s.io/k]",
                'Invalid value: "x.k8s.io/k": kubernetes.io and k8s.io namespaces are reserved',
            )
        ],
    ),
    # validateAzureFile, validateAzureDisk
    ("azureFile", {"secretName": None, "shareName": None}, [(".secretName", NEEDED), (".shareName", NEEDED)]),
    (
        "azureDisk",
        {"cachingMode": "Some"},
        [(".cachingMode", 'Unsupported value: "Some": supported values: "None", "ReadOnly", "ReadWrite"')],
    ),
    (
        "azureDisk",
        {"diskURI": "https://x"},
        [
            (
                ".diskURI",
                'Unsupported value: "https://x": supported values: "/subscriptions/{sub-id}/resourcegroups/'
                '{group-name}/providers/microsoft.compute/disks/{disk-id}"',
            )
        ],
    ),
    (
        "azureDisk",
        {"kind": "Dedicated"},
        [
            (
                ".diskURI",
                'Unsupported value: "/subscriptions/x": supported values: '
                '"https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"',
            )
        ],
    ),
    # validateVsphereVolumeSource, validatePhotonPersistentDiskVolumeSource, validatePortworxVolumeSource, validateScaleIOVolumeSource
    ("vsphereVolume", {"volumePath": None}, [(".volumePath", NEEDED)]),
    ("photonPersistentDisk", {"pdID": None}, [(".pdID", NEEDED)]),
    ("portworxVolume", {"volumeID": None}, [(".volumeID", NEEDED)]),
    (
        "scaleIO",
        {"gateway": None, "system": None, "volumeName": None},
        [(".gateway", NEEDED), (".system", NEEDED), (".volumeName", NEEDED)],
    ),
    # validateStorageOSVolumeSource, validateStorageOSPersistentVolumeSource
    ("storageos", {"volumeName": None}, [(".volumeName", NEEDED)]),
    ("storageos", {"volumeName": "A"}, [(".volumeName", f'Invalid value: "A": {LABEL}')]),
    # validateCSIDriverName
    (
        "csi",
        {"driver": None},
        [(".driver", NEEDED)],
    ),
    (
        "csi",
        {"driver": "d" * 64},
        [(".driver", "Too long: may not be more than 63 bytes")],
    ),
]


def changed(source: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in {**source, **change}.items() if v is not None}


def assert_found(found: list[str], prefix: str, expected: list[tuple[str, str]]) -> None:
    """Findings begin as expected: names' long messages are checked elsewhere."""
    wanted = [f"{prefix}{path}: {text}" for path, text in expected]
    assert len(found) == len(wanted), found
    for one, other in zip(found, wanted, strict=True):
        assert one.startswith(other), (one, other)


@pytest.mark.parametrize(("name", "change", "expected"), WRONG)
def test_wrong_in_pods(
    create: Any, name: str, change: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    _, found = create("Pod", pod(name, changed(OF_PODS[name], change)))
    assert_found(found, f"spec.volumes[0].{name}", expected)


@pytest.mark.parametrize(("name", "change", "expected"), WRONG)
def test_wrong_in_persistent_volumes(
    create: Any, name: str, change: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    _, found = create("PersistentVolume", persistent(name, changed(OF_VOLUMES[name], change)))
    assert_found(found, f"spec.{name}", expected)


FILE = {"path": "f", "fieldRef": {"fieldPath": "metadata.name"}}
CPU = {"containerName": "c", "resource": "limits.cpu"}


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        # validateGCEPersistentDiskVolumeSource: upstream reports it under a name that the API does not have
        ("gcePersistentDisk", {}, [("persistentDisk.pdName", NEEDED)]),
        # validateEmptyDirVolumeSource
        (
            "emptyDir",
            {"sizeLimit": "-1"},
            [("emptyDir.sizeLimit", "Forbidden: SizeLimit field must be a valid resource quantity")],
        ),
        # validateGitRepoVolumeSource, validateLocalDescendingPath
        ("gitRepo", {}, [("gitRepo.repository", NEEDED)]),
        (
            "gitRepo",
            {"repository": "r", "directory": "/a"},
            [("gitRepo.directory", 'Invalid value: "/a": must be a relative path')],
        ),
        # validateSecretVolumeSource, validateConfigMapVolumeSource, validateKeyToPath
        ("secret", {}, [("secret.secretName", NEEDED)]),
        (
            "secret",
            {"secretName": "s", "defaultMode": 512},
            [("secret.defaultMode", f"Invalid value: 512: {MODE}")],
        ),
        ("configMap", {}, [("configMap.name", NEEDED)]),
        (
            "configMap",
            {"name": "c", "items": [{"key": "", "path": ""}]},
            [("configMap.items[0].key", NEEDED), ("configMap.items[0].path", NEEDED)],
        ),
        (
            "configMap",
            {"name": "c", "items": [{"key": "k", "path": "..p", "mode": -1}]},
            [
                ("configMap.items[0].path", "Invalid value: \"..p\": must not start with '..'"),
                ("configMap.items[0].mode", f"Invalid value: -1: {MODE}"),
            ],
        ),
        (
            "configMap",
            {"name": "c", "items": [{"key": "k", "path": "a/../b"}]},
            [("configMap.items[0].path", f'Invalid value: "a/../b": {BACKSTEPS}')],
        ),
        # validateDownwardAPIVolumeSource, validateDownwardAPIVolumeFile: the file's index is not in the path
        (
            "downwardAPI",
            {"items": [{"path": "f"}]},
            [("downwardAPI", f"{NEEDED}: one of fieldRef and resourceFieldRef is required")],
        ),
        (
            "downwardAPI",
            {"items": [{**FILE, "resourceFieldRef": CPU}]},
            [
                (
                    "downwardAPI",
                    'Invalid value: "resource": fieldRef and resourceFieldRef can not be specified simultaneously',
                )
            ],
        ),
        ("downwardAPI", {"items": [{**FILE, "path": ""}]}, [("downwardAPI.path", NEEDED)]),
        (
            "downwardAPI",
            {"items": [{"path": "f", "fieldRef": {"fieldPath": "status.podIP"}}]},
            [
                (
                    "downwardAPI.fieldRef.fieldPath",
                    'Unsupported value: "status.podIP": supported values: "metadata.annotations", "metadata.labels", '
                    '"metadata.name", "metadata.namespace", "metadata.uid"',
                )
            ],
        ),
        (
            "downwardAPI",
            {"items": [{"path": "f", "resourceFieldRef": {"resource": "limits.cpu"}}]},
            [("downwardAPI.resourceFieldRef.containerName", NEEDED)],
        ),
        (
            "downwardAPI",
            {"items": [{"path": "f", "resourceFieldRef": {**CPU, "divisor": "2"}}]},
            [
                (
                    "downwardAPI.resourceFieldRef.divisor",
                    'Invalid value: "limits.cpu": only divisor\'s values 1m and 1 are supported with the cpu resource',
                )
            ],
        ),
        # validateProjectedVolumeSource, validateProjectionSources
        (
            "projected",
            {"sources": [{"secret": {"name": ""}}]},
            [("projected.sources[0].secret.name", NEEDED)],
        ),
        (
            "projected",
            {
                "sources": [
                    {"secret": {"name": "s", "items": [{"key": "a", "path": "p"}]}},
                    {"configMap": {"name": "m", "items": [{"key": "b", "path": "p"}]}},
                ]
            },
            [("projected", 'Invalid value: "m": conflicting duplicate paths')],
        ),
        (
            "projected",
            {"sources": [{"secret": {"name": "s"}, "configMap": {"name": "m"}}]},
            [("projected.sources[0]", "Forbidden: may not specify more than 1 volume type per source")],
        ),
        (
            "projected",
            {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 599}}]},
            [
                (
                    "projected.sources[0].serviceAccountToken.expirationSeconds",
                    "Invalid value: 599: may not specify a duration less than 10 minutes",
                )
            ],
        ),
        (
            "projected",
            {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": (1 << 32) + 1}}]},
            [
                (
                    "projected.sources[0].serviceAccountToken.expirationSeconds",
                    "Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds",
                )
            ],
        ),
        (
            "projected",
            {"sources": [{"clusterTrustBundle": {"path": "p"}}]},
            [
                (
                    "projected.sources[0].clusterTrustBundle",
                    f"{NEEDED}: either name or signerName must be specified",
                )
            ],
        ),
        # validatePersistentClaimVolumeSource, validateCSIVolumeSource, validateImageVolumeSource
        ("persistentVolumeClaim", {"claimName": ""}, [("persistentVolumeClaim.claimName", NEEDED)]),
        (
            "csi",
            {"driver": "d", "nodePublishSecretRef": {"name": ""}},
            [("csi.nodePublishSecretRef.name", NEEDED)],
        ),
        (
            "image",
            {"reference": "r", "pullPolicy": "Sometimes"},
            [
                (
                    "image.pullPolicy",
                    'Unsupported value: "Sometimes": supported values: "Always", "IfNotPresent", "Never"',
                )
            ],
        ),
        # validateEphemeralVolumeSource, ValidatePersistentVolumeClaimTemplate
        ("ephemeral", {}, [("ephemeral.volumeClaimTemplate", NEEDED)]),
        (
            "ephemeral",
            {"volumeClaimTemplate": {"spec": {"accessModes": []}}},
            [
                (
                    "ephemeral.volumeClaimTemplate.spec.accessModes",
                    f"{NEEDED}: at least 1 access mode is required",
                ),
                ("ephemeral.volumeClaimTemplate.spec.resources[storage]", NEEDED),
            ],
        ),
        # validateStorageOSVolumeSource, validateCinderVolumeSource
        ("storageos", {"volumeName": "v", "secretRef": {}}, [("storageos.secretRef.name", NEEDED)]),
        ("cinder", {"volumeID": "v", "secretRef": {}}, [("cinder.secretRef.name", NEEDED)]),
    ],
)
def test_only_in_pods(create: Any, name: str, source: Any, expected: list[tuple[str, str]]) -> None:
    assert_found(create("Pod", pod(name, source))[1], "spec.volumes[0].", expected)


@pytest.mark.parametrize(
    ("volumes", "expected"),
    [
        # ValidateVolumes
        ([{"name": "v", "emptyDir": {}}] * 2, [("[1].name", 'Duplicate value: "v"')]),
        ([{"name": "", "emptyDir": {}}], [("[0].name", NEEDED)]),
        ([{"name": "a.b", "emptyDir": {}}], [("[0].name", 'Invalid value: "a.b": must not contain dots')]),
        (
            [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/a"}}],
            [("[0].hostPath", "Forbidden: may not specify more than 1 volume type")],
        ),
        # validateVolumeSource: an ephemeral volume's claim is named after pod and volume
        (
            [{"name": "v" * 63, "ephemeral": OF_PODS["ephemeral"]}],
            [],
        ),
        (
            [{"name": "v" * 60, "iscsi": {**ISCSI, "initiatorName": "iqn.2015-02.example.com:init"}}],
            [
                (
                    "[0].name",
                    f'Invalid value: "{"v" * 60}": Total length of <volume name>:<iscsi.targetPortal> must be under 64 '
                    "characters if iscsi.initiatorName is specified.",
                )
            ],
        ),
    ],
)
def test_lists_of_volumes(create: Any, volumes: list[Any], expected: list[tuple[str, str]]) -> None:
    obj = pod("emptyDir", {})
    obj["spec"]["volumes"] = volumes
    assert_found(create("Pod", obj)[1], "spec.volumes", expected)


# ValidatePersistentVolumeSpec
@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (persistent("gcePersistentDisk", {}), [("spec.persistentDisk.pdName", NEEDED)]),
        (
            {"metadata": {"name": "v"}, "spec": {"capacity": {"storage": "1"}, "accessModes": ["ReadWriteOnce"]}},
            [("spec", f"{NEEDED}: must specify a volume type")],
        ),
        (
            persistent("nfs", OF_VOLUMES["nfs"], hostPath={"path": "/a"}),
            [("spec.nfs", "Forbidden: may not specify more than 1 volume type")],
        ),
        (persistent("local", {"path": ""}), [("spec.local.path", NEEDED)]),
        (
            persistent("local", {"path": "/a"}, nodeAffinity=None),
            [("spec.nodeAffinity", f"{NEEDED}: Local volume requires node affinity")],
        ),
        (
            persistent("csi", {"driver": "d"}),
            [("spec.csi.volumeHandle", NEEDED)],
        ),
        (
            persistent("csi", {"driver": "d", "volumeHandle": "h", "nodeStageSecretRef": {"name": "n"}}),
            [],
        ),
        (
            persistent("csi", {"driver": "d", "volumeHandle": "h", "controllerExpandSecretRef": {"name": "n"}}),
            [("spec.csi.controllerExpandSecretRef.namespace", NEEDED)],
        ),
        (
            persistent("azureFile", {"secretName": "s", "shareName": "n", "secretNamespace": ""}),
            [("spec.azureFile.secretNamespace", NEEDED)],
        ),
        (
            persistent("glusterfs", {"endpoints": "e", "path": "p", "endpointsNamespace": ""}),
            [
                (
                    "spec.glusterfs.endpointsNamespace",
                    'Invalid value: "": if the endpointnamespace is set, it must be a valid namespace name',
                )
            ],
        ),
        (
            persistent("cinder", {"volumeID": "v", "secretRef": {"name": "s"}}),
            [("spec.cinder.secretRef.namespace", NEEDED)],
        ),
        (
            persistent("hostPath", {"path": "/"}, persistentVolumeReclaimPolicy="Recycle"),
            [
                (
                    "spec.persistentVolumeReclaimPolicy",
                    "Forbidden: may not be 'recycle' for a hostPath mount of '/'",
                )
            ],
        ),
        (persistent("nfs", OF_VOLUMES["nfs"], accessModes=[]), [("spec.accessModes", NEEDED)]),
        (
            persistent("nfs", OF_VOLUMES["nfs"], accessModes=["ReadWriteOncePod", "ReadOnlyMany"]),
            [
                (
                    "spec.accessModes",
                    "Forbidden: may not use ReadWriteOncePod with other access modes",
                )
            ],
        ),
        (
            persistent("nfs", OF_VOLUMES["nfs"], capacity=None),
            [("spec.capacity", NEEDED), ("spec.capacity", 'Unsupported value: null: supported values: "storage"')],
        ),
        (
            persistent("nfs", OF_VOLUMES["nfs"], capacity={"storage": "0"}),
            [("spec.capacity[storage]", 'Invalid value: "0": must be greater than zero')],
        ),
        (
            persistent("nfs", OF_VOLUMES["nfs"], capacity={"cpu": "1"}),
            [("spec.capacity", 'Unsupported value: {"cpu":"1"}: supported values: "storage"')],
        ),
        (
            persistent("nfs", OF_VOLUMES["nfs"], volumeMode="Tape"),
            [("spec.volumeMode", 'Unsupported value: "Tape": supported values: "Block", "Filesystem"')],
        ),
    ],
)  # fmt: skip
def test_persistent_volumes(create: Any, obj: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    obj = copy.deepcopy(obj)
    obj["spec"] = {k: v for k, v in obj["spec"].items() if v is not None}
    assert_found(create("PersistentVolume", obj)[1], "", expected)


def test_certificates_of_pods_are_dropped(create: Any) -> None:
    """dropDisabledFields: the gate PodCertificateRequest is off in v1.36."""
    certificate = {"signerName": "example.com/s", "keyType": "ED25519", "credentialBundlePath": "b"}
    sources = [{"podCertificate": certificate}, {"configMap": {"name": "c"}}]
    new, found = create("Pod", pod("projected", {"sources": sources}))
    assert found == []
    assert [s.podCertificate for s in new.spec.volumes[0].projected.sources] == [None, None]
