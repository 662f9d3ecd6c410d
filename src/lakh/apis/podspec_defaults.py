"""Defaults of pod specs: upstream's `SetDefaults_PodSpec` and what hangs below it.

Everything here is idempotent and changes the Struct in place. It runs on every create of a pod, so the usual pod (one container, no
volumes of rare kinds) touches each field once: 3 µs. What upstream defaults in pods only, and not in templates, is `default_pod`.
"""

from __future__ import annotations

from typing import Any

from lakh.apis import structs
from lakh.apis.images import default_pull_policy
from lakh.apis.podresources import default_pod_resources
from lakh.apis.resourcelists import canonical, canonicalise, canonicalise_requirements
from lakh.apis.volumes import default_volume

_PodSecurityContext = structs.core("PodSecurityContext")
_ResourceRequirements = structs.core("ResourceRequirements")
PodSpec = structs.core("PodSpec")

TERMINATION_GRACE_PERIOD_SECONDS = 30


def default_pod_spec(spec: Any) -> None:
    """Defaults of a pod spec, in a pod or in a template."""
    if not spec.restartPolicy:
        spec.restartPolicy = "Always"
    if not spec.dnsPolicy:
        spec.dnsPolicy = "ClusterFirst"
    if not spec.schedulerName:
        spec.schedulerName = "default-scheduler"
    if spec.terminationGracePeriodSeconds is None:
        spec.terminationGracePeriodSeconds = TERMINATION_GRACE_PERIOD_SECONDS
    if spec.securityContext is None:
        spec.securityContext = _PodSecurityContext()
    # Plain booleans that are false are absent, as in Go's encoding; an update that leaves them out changes nothing.
    if spec.hostNetwork is False:
        spec.hostNetwork = None
    if spec.hostPID is False:
        spec.hostPID = None
    if spec.hostIPC is False:
        spec.hostIPC = None
    mirror_service_account(spec)
    if spec.containers:
        for container in spec.containers:
            _default_container(container)
    if spec.initContainers:
        for container in spec.initContainers:
            _default_container(container)
    if spec.ephemeralContainers:
        for container in spec.ephemeralContainers:
            _default_container(container)
    if spec.volumes:
        for volume in spec.volumes:
            default_volume(volume)
    if spec.overhead:
        canonicalise(spec.overhead)
    if spec.resources is not None:
        canonicalise_requirements(spec.resources)


def mirror_service_account(spec: Any) -> None:
    """Keeps the deprecated `serviceAccount` equal to `serviceAccountName`, which wins."""
    if spec.serviceAccountName:
        spec.serviceAccount = spec.serviceAccountName
    elif spec.serviceAccount:
        spec.serviceAccountName = spec.serviceAccount


def default_pod(pod: Any) -> None:
    """Defaults of a pod: those of its spec, requests from limits, service links, host ports."""
    spec = pod.spec
    if spec is None:
        spec = pod.spec = PodSpec()
    default_pod_spec(spec)
    if spec.enableServiceLinks is None:
        spec.enableServiceLinks = True
    for containers in (spec.containers, spec.initContainers):
        for container in containers or ():
            _default_requests(container.resources)
            if spec.hostNetwork and container.ports:
                for port in container.ports:
                    if not port.hostPort:
                        port.hostPort = port.containerPort
    if spec.resources is not None:
        default_pod_resources(spec)


def _default_requests(resources: Any) -> None:
    limits = resources.limits
    if limits:
        requests = resources.requests
        resources.requests = limits.copy() if not requests else {**limits, **requests}


def _default_container(container: Any) -> None:
    if not container.imagePullPolicy:
        container.imagePullPolicy = default_pull_policy(container.image or "")
    if not container.terminationMessagePath:
        container.terminationMessagePath = "/dev/termination-log"
    if not container.terminationMessagePolicy:
        container.terminationMessagePolicy = "File"
    resources = container.resources
    if resources is None:
        container.resources = _ResourceRequirements()
    else:
        canonicalise_requirements(resources)
    if container.stdin is False:
        container.stdin = None
    if container.stdinOnce is False:
        container.stdinOnce = None
    if container.tty is False:
        container.tty = None
    if container.volumeMounts:
        for mount in container.volumeMounts:
            if mount.readOnly is False:
                mount.readOnly = None
    if container.ports:
        for port in container.ports:
            if not port.protocol:
                port.protocol = "TCP"
    if container.env:
        for variable in container.env:
            if variable.valueFrom is not None:
                _default_env_source(variable.valueFrom)
    if container.livenessProbe is not None:
        default_probe(container.livenessProbe)
    if container.readinessProbe is not None:
        default_probe(container.readinessProbe)
    if container.startupProbe is not None:
        default_probe(container.startupProbe)
    lifecycle = container.lifecycle
    if lifecycle is not None:
        for handler in (lifecycle.postStart, lifecycle.preStop):
            if handler is not None and handler.httpGet is not None:
                _default_http_get(handler.httpGet)
    if container.securityContext is not None and container.securityContext.procMount == "":
        container.securityContext.procMount = "Default"


def _default_env_source(source: Any) -> None:
    if source.fieldRef is not None and not source.fieldRef.apiVersion:
        source.fieldRef.apiVersion = "v1"
    if source.resourceFieldRef is not None:
        # An absent divisor is a zero quantity, which upstream prints.
        divisor = source.resourceFieldRef.divisor
        source.resourceFieldRef.divisor = "0" if divisor is None else (canonical(divisor) or divisor)
    if source.fileKeyRef is not None and source.fileKeyRef.optional is None:
        source.fileKeyRef.optional = False


def default_probe(probe: Any) -> None:
    """Defaults of a probe."""
    if not probe.timeoutSeconds:
        probe.timeoutSeconds = 1
    if not probe.periodSeconds:
        probe.periodSeconds = 10
    if not probe.successThreshold:
        probe.successThreshold = 1
    if not probe.failureThreshold:
        probe.failureThreshold = 3
    if probe.httpGet is not None:
        _default_http_get(probe.httpGet)
    if probe.grpc is not None and probe.grpc.service is None:
        probe.grpc.service = ""


def _default_http_get(action: Any) -> None:
    if not action.path:
        action.path = "/"
    if not action.scheme:
        action.scheme = "HTTP"
