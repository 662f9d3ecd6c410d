"""Runs the controllers: one process, one client, one set of shared informers.

A controller whose `run` ends is logged and started again after a backoff, without touching the others. With `leader_elect` the controllers
work only while this process holds the lease `kube-system/kube-controller-manager`; losing it ends `run` with `LeadershipLostError`, because
work in flight cannot be called back otherwise.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from lakh.client.client import Client
from lakh.client.informer import Informer
from lakh.client.leader import LeaderElector
from lakh.client.metricserver import CHECKS
from lakh.client.tasks import TaskGuard

from .certificateauthority import CertificateAuthority
from .certificates import (
    CertificateApprovingController,
    CertificateCleaner,
    CertificateSigningController,
)
from .clusterroles import ClusterRoleAggregation
from .context import NODE_GRACE_SECONDS, Context, Controller
from .cronjob import CronJobController
from .daemonset import DaemonSetController
from .deployment import DeploymentController
from .disruption import DisruptionController
from .endpoints import EndpointsController
from .endpointslice import EndpointSliceController
from .endpointslicemirroring import EndpointSliceMirroringController
from .garbagecollector import GarbageCollector
from .horizontal import HorizontalPodAutoscalerController
from .informers import Informers
from .job import JobController
from .namespace import NamespaceController
from .nodelifecycle import NodeLifecycleController
from .persistentvolume import PersistentVolumeController
from .podgc import PodGarbageCollector
from .replicaset import ReplicaSetController, ReplicationManager
from .resourceclaim import ResourceClaimController
from .resourcequota import ResourceQuotaController
from .serviceaccount import RootCAPublisher, ServiceAccountController
from .serviceaccounttoken import ServiceAccountTokenController
from .servicecidr import ServiceCIDRController
from .statefulset import StatefulSetController
from .tainteviction import TaintEvictionController
from .ttl import TTLController
from .ttlafterfinished import TTLAfterFinishedController
from .validatingadmissionpolicystatus import ValidatingAdmissionPolicyStatusController
from .volumeprotection import ClaimProtection, EphemeralVolumeController, VolumeProtection

log = logging.getLogger(__name__)

MIN_BACKOFF_SECONDS = 1.0
MAX_BACKOFF_SECONDS = 60.0
HEALTHY_SECONDS = 300.0
"""A controller that ran this long before it failed starts with the shortest backoff again."""

CONTROLLERS: dict[str, Callable[[Context], Controller]] = {
    controller.name: controller
    for controller in (
        ReplicaSetController,
        ReplicationManager,
        DeploymentController,
        JobController,
        TTLAfterFinishedController,
        NamespaceController,
        GarbageCollector,
        NodeLifecycleController,
        TaintEvictionController,
        PodGarbageCollector,
        ServiceAccountController,
        RootCAPublisher,
        DaemonSetController,
        DisruptionController,
        EndpointSliceController,
        EndpointSliceMirroringController,
        StatefulSetController,
        EndpointsController,
        CronJobController,
        ResourceClaimController,
        PersistentVolumeController,
        ClaimProtection,
        VolumeProtection,
        EphemeralVolumeController,
        ServiceCIDRController,
        ClusterRoleAggregation,
        CertificateApprovingController,
        CertificateSigningController,
        CertificateCleaner,
        ValidatingAdmissionPolicyStatusController,
        ServiceAccountTokenController,
        TTLController,
        ResourceQuotaController,
        HorizontalPodAutoscalerController,
    )
}
"""By upstream's name."""


class UnknownControllerError(ValueError):
    """`--controllers` names a controller that does not exist."""


class LeadershipLostError(Exception):
    """Another process leads now."""


def select(controllers: Sequence[str]) -> list[str]:
    """The controllers that a `--controllers` list means: `*` for all, `-name` for all but that one."""
    wanted = set(CONTROLLERS) if "*" in controllers else set()
    for name in controllers:
        if name == "*":
            continue
        bare = name.removeprefix("-")
        if bare not in CONTROLLERS:
            raise UnknownControllerError(f'"{bare}" is not in the list of known controllers')
        if name.startswith("-"):
            wanted.discard(bare)
        else:
            wanted.add(bare)
    return [name for name in CONTROLLERS if name in wanted]


async def run(
    client: Client,
    *,
    root_ca: bytes,
    leader_elect: bool = False,
    controllers: Sequence[str] = ("*",),
    node_grace_seconds: float = NODE_GRACE_SECONDS,
    certificate_authority: CertificateAuthority | None = None,
) -> None:
    """Run controllers until cancelled.

    `root_ca` is the CA certificate (PEM) that pods get to verify the API server with; `certificate_authority` signs approved requests.
    """
    context = Context(
        client,
        Informers(client),
        root_ca=root_ca,
        certificate_authority=certificate_authority,
        node_grace_seconds=node_grace_seconds,
    )
    names = select(controllers)
    if not leader_elect:
        await run_all(context, names)
        return
    elector = LeaderElector(
        client,
        "kube-controller-manager",
        "kube-system",
        f"{socket.gethostname()}_{uuid.uuid4()}_{os.getpid()}",
        on_started=lambda: run_all(context, names),
    )
    await elector.run()
    raise LeadershipLostError("leaderelection lost")


async def run_all(context: Context, names: Sequence[str]) -> None:
    """Run these controllers until cancelled."""
    running: list[tuple[Controller, list[Informer[Any]]]] = []
    for name in names:
        controller = CONTROLLERS[name](context)
        running.append((controller, context.informers.asked()))
    try:
        async with TaskGuard("controllers") as guard:
            context.informers.start(guard)
            started: set[str] = set()
            CHECKS["controllers-started"] = lambda: started.issuperset(names)
            for controller, needed in running:
                guard.spawn(start(controller, needed, started), name=controller.name, forever=True)
            await asyncio.Event().wait()
    finally:
        await asyncio.gather(*(recorder.close() for recorder in context.recorders.values()))


async def start(controller: Controller, needed: Sequence[Informer[Any]], started: set[str]) -> None:
    """Keep `controller` running from when its informers have their first lists; then its name is among `started`.

    It waits for its own only: a resource that the server does not serve stops nobody else.
    """
    for informer in needed:
        await informer.synced.wait()
    started.add(controller.name)
    log.info("%s started", controller.name)
    await keep_running(controller)


async def keep_running(controller: Controller) -> None:
    """Run `controller`, and again whenever it ends."""
    loop = asyncio.get_running_loop()
    backoff = MIN_BACKOFF_SECONDS
    while True:
        started = loop.time()
        try:
            await controller.run()
            log.error("%s has ended; starting it again in %.0f s", controller.name, backoff)
        except Exception:
            log.exception("%s has crashed; starting it again in %.0f s", controller.name, backoff)
        if loop.time() - started > HEALTHY_SECONDS:
            backoff = MIN_BACKOFF_SECONDS
        await asyncio.sleep(backoff)
        backoff = min(backoff * 2, MAX_BACKOFF_SECONDS)
