"""HorizontalPodAutoscalers: replicas follow metrics (upstream's pkg/controller/podautoscaler).

Each is looked at every 15 s: the scale of its target, what each metric asks for (`replicacount`), how fast that may come (`scalingrules`). Without a
metrics API it says so in its conditions and keeps the target within its bounds. What there is to know of an autoscaler between two looks is in memory;
after a restart the first recommendation is the number of replicas that there is.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from lakh.client.errors import ApiError, ClientError, is_conflict, is_not_found
from lakh.client.resources import HORIZONTALPODAUTOSCALERS, PODS, Resource, object_reference
from lakh.machinery import selectors
from lakh.machinery.quantity import of_milli, parse_milli, parse_nano

from . import clock, replicacount, scalingrules
from .autoscalerviews import Autoscaler, AutoscalerSpec, AutoscalerStatus, Identifier, Metric, Scale, Source
from .context import Context, Controller
from .podmetrics import PodMetrics
from .replicacount import MetricsError, Pod, Proposal, Tolerance
from .scalingrules import Behavior, History, Rules
from .statuses import plain, set_condition, status_patch
from .views import Bare, Condition

log = logging.getLogger(__name__)

SYNC_SECONDS = 15.0
"""Upstream's --horizontal-pod-autoscaler-sync-period."""


class _NoReplicas(Exception):
    """No metric says how many replicas there shall be; the conditions tell why."""


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """A label selector as Go prints it."""
    if selector is None:
        return "nil"
    labels = "".join(f"{key}: {value}," for key, value in sorted((selector.get("matchLabels") or {}).items()))
    expressions = "".join(
        f"LabelSelectorRequirement{{Key:{e.get('key')},Operator:{e.get('operator')},"
        f"Values:[{' '.join(e.get('values') or ())}],}},"
        for e in selector.get("matchExpressions") or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{labels}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )


class _Look:
    """One look at an autoscaler: what is told of it grows while it lasts."""

    def __init__(self, autoscaler: Autoscaler, now: float) -> None:
        self.autoscaler = autoscaler
        self.now = now
        self.conditions = list(autoscaler.status.conditions or ())
        # Of each metric; of one that fails nothing is known but that it is there.
        self.statuses: list[dict[str, Any]] = []

    def tell(self, type_: str, status: str, reason: str, message: str) -> None:
        """Sets a condition."""
        wanted = Condition(type=type_, status=status, reason=reason, message=message)
        self.conditions = set_condition(self.conditions, wanted, now=clock.stamp(self.now))


class HorizontalPodAutoscalerController(Controller):
    """See the module."""

    name = "horizontal-pod-autoscaler-controller"
    workers = 5

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._recorder = context.recorder("horizontal-pod-autoscaler")
        self._metrics = PodMetrics(context.client)
        self._histories: dict[str, History] = {}
        # Of which pods each autoscaler is: namespace → key → selector.
        self._selectors: dict[str, dict[str, selectors.Selector]] = {}
        self._autoscalers = context.informers.of(HORIZONTALPODAUTOSCALERS, Autoscaler)
        self._autoscalers.add_handler(on_add=self._queue, on_update=self._updated, on_delete=self._queue)

    def _queue(self, autoscaler: Autoscaler) -> None:
        self.queue.add(f"{autoscaler.metadata.namespace}/{autoscaler.metadata.name}")

    def _updated(self, old: Autoscaler, new: Autoscaler) -> None:
        if old.spec != new.spec:
            self._queue(new)

    def _forget(self, key: str) -> None:
        """Only who has the key in hand may: a look that was under way would remember it again."""
        self._histories.pop(key, None)
        namespace = key.partition("/")[0]
        of_namespace = self._selectors.get(namespace, {})
        of_namespace.pop(key, None)
        if not of_namespace:
            self._selectors.pop(namespace, None)

    def resync(self) -> None:
        """Queue every autoscaler."""
        for autoscaler in self._autoscalers.items.values():
            self._queue(autoscaler)

    def _event(self, autoscaler: Autoscaler, kind: str, reason: str, message: str) -> None:
        self._recorder.event(object_reference(HORIZONTALPODAUTOSCALERS, autoscaler), kind, reason, message)

    async def reconcile(self, key: str) -> None:
        """One autoscaler, now and in 15 s again."""
        autoscaler = self._autoscalers.items.get(key)
        if autoscaler is None:
            self._forget(key)
            return
        try:
            await self._look(key, autoscaler)
        except ClientError as error:
            if not (isinstance(error, ApiError) and (is_not_found(error) or is_conflict(error))):
                log.warning("autoscaler %s: %s", key, error)
        self.queue.add_after(key, SYNC_SECONDS)

    async def _look(self, key: str, autoscaler: Autoscaler) -> None:
        look, spec, status = _Look(autoscaler, self.now()), autoscaler.spec, autoscaler.status
        try:
            resource, scale = await self._scale(autoscaler)
        except (ApiError, MetricsError) as error:
            self._event(autoscaler, "Warning", "FailedGetScale", str(error))
            why = f"the HPA controller was unable to get the target's current scale: {error}"
            look.tell("AbleToScale", "False", "FailedGetScale", why)
            await self._write(look, status)
            return
        why = "the HPA controller was able to get the target's current scale"
        look.tell("AbleToScale", "True", "SucceededGetScale", why)
        current = scale.spec.replicas
        history = self._histories.setdefault(key, History([(current, look.now)]))
        least = 1 if spec.minReplicas is None else spec.minReplicas
        reason = ""
        if current == 0 and least != 0:
            desired = 0
            why = "scaling is disabled since the replica count of the target is zero"
            look.tell("ScalingActive", "False", "ScalingDisabled", why)
        elif current > spec.maxReplicas:
            desired, reason = spec.maxReplicas, "Current number of replicas above Spec.MaxReplicas"
        elif current < least:
            desired, reason = least, "Current number of replicas below Spec.MinReplicas"
        else:
            try:
                wanted, metric = await self._wanted(key, look, scale)
            except _NoReplicas as error:
                kept = AutoscalerStatus(current, status.desiredReplicas, status.lastScaleTime, look.statuses)
                await self._write(look, kept)
                self._event(autoscaler, "Warning", "FailedComputeMetricsReplicas", str(error))
                return
            if wanted > current:
                reason = f"{metric} above target"
            elif wanted < current:
                reason = "All metrics below target"
            decision = scalingrules.decide(
                spec.behavior, history, current, wanted, least, spec.maxReplicas, look.now
            )
            look.tell("AbleToScale", *decision.able)
            look.tell("ScalingLimited", *decision.limited)
            desired = decision.replicas
        scaled_at = status.lastScaleTime
        if desired != current:
            scale.spec.replicas = desired
            namespace, name = autoscaler.metadata.namespace, spec.scaleTargetRef.name
            body = {
                "apiVersion": "autoscaling/v1",
                "kind": "Scale",
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "resourceVersion": scale.metadata.resourceVersion,
                },
                "spec": {"replicas": desired},
            }
            try:
                await self.client.update(resource, body, namespace, name=name, subresource="scale", type=Bare)
            except ApiError as error:
                message = f"New size: {desired}; reason: {reason}; error: {error}"
                self._event(autoscaler, "Warning", "FailedRescale", message)
                why = f"the HPA controller was unable to update the target scale: {error}"
                look.tell("AbleToScale", "False", "FailedUpdateScale", why)
                kept = AutoscalerStatus(current, status.desiredReplicas, scaled_at, look.statuses)
                await self._write(look, kept)
                return
            why = f"the HPA controller was able to update the target scale to {desired}"
            look.tell("AbleToScale", "True", "SucceededRescale", why)
            message = f"New size: {desired}; reason: {reason}"
            self._event(autoscaler, "Normal", "SuccessfulRescale", message)
            history.scaled(spec.behavior, current, desired, look.now)
            scaled_at = clock.stamp(look.now)
        await self._write(look, AutoscalerStatus(current, desired, scaled_at, look.statuses))

    async def _write(self, look: _Look, status: AutoscalerStatus) -> None:
        """The status with the conditions of this look, when it says something new."""
        autoscaler = look.autoscaler
        new = plain(msgspec.structs.replace(status, conditions=look.conditions))
        # The metrics are a list of zero or more, the counters are always there.
        new = {"currentReplicas": 0, "desiredReplicas": 0, **new}
        new["currentMetrics"] = new.get("currentMetrics") or None
        old = {"currentReplicas": 0, "desiredReplicas": 0, **plain(autoscaler.status)}
        if {k: v for k, v in new.items() if v is not None} == old:
            return
        metadata = autoscaler.metadata
        try:
            await self.client.patch(
                HORIZONTALPODAUTOSCALERS,
                metadata.name,
                status_patch(new),
                metadata.namespace,
                subresource="status",
                type=Bare,
            )
        except ApiError as error:
            if not is_not_found(error):
                self._event(autoscaler, "Warning", "FailedUpdateStatus", str(error))
            raise

    async def _resource(self, group: str, kind: str) -> Resource:
        found = await self.context.discovery.of_kind(group, kind)
        if found is None:
            raise MetricsError(f'no matches for kind "{kind}" in group "{group}"')
        return found

    async def _scale(self, autoscaler: Autoscaler) -> tuple[Resource, Scale]:
        target = autoscaler.spec.scaleTargetRef
        group = target.apiVersion.rpartition("/")[0]
        resource = await self._resource(group, target.kind)
        namespace = autoscaler.metadata.namespace
        scale = await self.client.get(resource, target.name, namespace, subresource="scale", type=Scale)
        return resource, scale

    # -- metrics -------------------------------------------------------------------------------------------------------------------

    async def _wanted(self, key: str, look: _Look, scale: Scale) -> tuple[int, str]:
        """The most that a metric asks for, and which that is. Raises _NoReplicas."""
        autoscaler, current = look.autoscaler, scale.spec.replicas
        await self._check_selector(key, look, scale.status.selector)
        metrics = autoscaler.spec.metrics or ()
        replicas, name = 0, ""
        failed: list[tuple[str, MetricsError, str]] = []
        for metric in metrics:
            look.statuses.append({"type": ""})
            try:
                proposal, what = await self._ask(look, metric, scale)
            except MetricsError as error:
                reason, prefix = _failure(metric)
                self._event(autoscaler, "Warning", reason, str(error))
                failed.append((reason, error, f"{prefix}{error}"))
                continue
            if replicas == 0 or proposal.replicas > replicas:
                replicas, name = proposal.replicas, what
        if failed and (len(failed) >= len(metrics) or replicas < current):
            reason, cause, first = failed[0]
            why = f"the HPA was unable to compute the replica count: {cause}"
            look.tell("ScalingActive", "False", reason, why)
            count = f"{len(failed)} invalid out of {len(metrics)}"
            raise _NoReplicas(f"invalid metrics ({count}), first error is: {first}")
        why = f"the HPA was able to successfully calculate a replica count from {name}"
        look.tell("ScalingActive", "True", "ValidMetricFound", why)
        return replicas, name

    async def _check_selector(self, key: str, look: _Look, text: str) -> None:
        """Raises _NoReplicas for a selector that is none, or chooses pods of another autoscaler too."""
        autoscaler = look.autoscaler

        def refuse(reason: str, event: str, message: str, told: str = "") -> _NoReplicas:
            self._event(autoscaler, "Warning", event, message)
            look.tell("ScalingActive", "False", reason, told or message)
            return _NoReplicas(message)

        if not text:
            told = "the HPA target's scale is missing a selector"
            raise refuse("InvalidSelector", "SelectorRequired", "selector is required", told)
        try:
            selector = selectors.parse(text)
        except selectors.SelectorError as error:
            why = f"couldn't convert selector into a corresponding internal selector object: {error}"
            raise refuse("InvalidSelector", "InvalidSelector", why) from error
        namespace = autoscaler.metadata.namespace or ""
        of_namespace = self._selectors.setdefault(namespace, {})
        of_namespace[key] = selector
        others = {other: chosen for other, chosen in of_namespace.items() if other != key}
        if not others:
            return
        pods = await self._pods(look, text)
        both = {
            other for other, chosen in others.items() if any(chosen.matches(p.metadata.labels) for p in pods)
        }
        if both:
            named = " ".join(f"{{{one.partition('/')[2]} {namespace}}}" for one in sorted({key, *both}))
            why = f"pods by selector {text} are controlled by multiple HPAs: [{named}]"
            raise refuse("AmbiguousSelector", "AmbiguousSelector", why)

    async def _pods(self, look: _Look, selector: str) -> list[Pod]:
        listed = await self.client.list(
            PODS, look.autoscaler.metadata.namespace, label_selector=selector, type=Pod
        )
        return listed.items

    def _tolerance(self, spec: AutoscalerSpec) -> Tolerance:
        def of(rules: Rules | None) -> float:
            given = rules.tolerance if rules is not None else None
            return replicacount.TOLERANCE if given is None else parse_nano(given) / 1e9

        behavior = spec.behavior or Behavior()
        return Tolerance(of(behavior.scaleDown), of(behavior.scaleUp))

    async def _ask(self, look: _Look, metric: Metric, scale: Scale) -> tuple[Proposal, str]:
        """What a metric asks for, and what it is called; raises MetricsError."""
        match metric.type, metric:
            case ("Resource", Metric(resource=Source() as source)):
                return await self._ask_resource(look, source, "", scale)
            case ("ContainerResource", Metric(containerResource=Source() as source)):
                return await self._ask_resource(look, source, source.container, scale)
            case ("Pods", Metric(pods=Source() as source)):
                return await self._ask_pods(look, source, scale)
            case ("Object", Metric(object=Source() as source)):
                return await self._ask_object(look, source, scale)
            case ("External", Metric(external=Source() as source)):
                return await self._ask_external(look, source, scale)
        raise MetricsError(f'unknown metric source type "{metric.type}"')

    async def _ask_resource(
        self, look: _Look, source: Source, container: str, scale: Scale
    ) -> tuple[Proposal, str]:
        resource, target, selector = source.name, source.target, scale.status.selector
        kind = "container resource" if container else "resource"
        if target.averageValue is None and target.averageUtilization is None:
            raise MetricsError(
                "invalid resource metric source: neither an average utilization target "
                "nor an average value (usage) target was set"
            )
        try:
            namespace = look.autoscaler.metadata.namespace or ""
            try:
                samples = await self._metrics.of_resource(namespace, selector, resource, container)
            except MetricsError as error:
                raise MetricsError(f"unable to get metrics for resource {resource}: {error}") from error
            pods = await self._pods(look, selector)
            tolerance, current = self._tolerance(look.autoscaler.spec), scale.spec.replicas
            if target.averageValue is not None:
                wanted = parse_milli(target.averageValue)
                proposal = replicacount.of_average(
                    pods, samples, resource, wanted, current, tolerance, look.now
                )
                name = f"{resource} resource"
            else:
                proposal = replicacount.of_utilization(
                    pods,
                    samples,
                    resource,
                    target.averageUtilization or 0,
                    current,
                    tolerance,
                    look.now,
                    container,
                )
                name = f"{resource} {kind} utilization (percentage of request)"
        except MetricsError as error:
            what = "utilization" if target.averageValue is None else "usage"
            raise MetricsError(f"failed to get {resource} {what}: {error}") from error
        value: dict[str, Any] = {"averageValue": of_milli(proposal.usage)}
        if proposal.utilization is not None:
            value["averageUtilization"] = proposal.utilization
        about = {"name": resource, "current": value}
        if container:
            about["container"] = container
            look.statuses[-1] = {"type": "ContainerResource", "containerResource": about}
        else:
            look.statuses[-1] = {"type": "Resource", "resource": about}
        return proposal, name

    async def _ask_pods(self, look: _Look, source: Source, scale: Scale) -> tuple[Proposal, str]:
        metric, selector = source.metric, scale.status.selector
        namespace = look.autoscaler.metadata.namespace or ""
        try:
            samples = await self._metrics.of_pods(
                namespace, selector, metric.name, _selector(metric.selector)
            )
        except MetricsError as error:
            raise MetricsError(f"unable to get metric {metric.name}: {error}") from error
        proposal = replicacount.of_average(
            await self._pods(look, selector),
            samples,
            "",
            parse_milli(source.target.averageValue or "0"),
            scale.spec.replicas,
            self._tolerance(look.autoscaler.spec),
            look.now,
        )
        value = {"averageValue": of_milli(proposal.usage)}
        look.statuses[-1] = {"type": "Pods", "pods": {"metric": plain(metric), "current": value}}
        return proposal, f"pods metric {metric.name}"

    async def _ask_object(self, look: _Look, source: Source, scale: Scale) -> tuple[Proposal, str]:
        metric, described, target = source.metric, source.describedObject, source.target
        namespace = look.autoscaler.metadata.namespace or ""
        if target.type not in ("Value", "AverageValue"):
            raise MetricsError(
                "invalid object metric source: neither a value target nor an average value target was set"
            )
        group = described.apiVersion.rpartition("/")[0]
        try:
            resource = await self._resource(group, described.kind)
            plural = f"{resource.plural}.{group}" if group else resource.plural
            value = await self._metrics.of_object(
                namespace, plural, described.name, metric.name, _selector(metric.selector)
            )
        except MetricsError as error:
            # Upstream's words, in upstream's order.
            why = f"{described.kind} on {namespace} {described.name}/{error}"
            raise MetricsError(f"unable to get metric {metric.name}: {why}") from error
        proposal, told = await self._of_value(look, source, scale, value)
        about = {"metric": plain(metric), "current": told, "describedObject": plain(described)}
        look.statuses[-1] = {"type": "Object", "object": about}
        if target.type == "Value":
            return proposal, f"{described.kind} metric {metric.name}"
        return proposal, f"external metric {metric.name}({selector_text(metric.selector)})"

    async def _ask_external(self, look: _Look, source: Source, scale: Scale) -> tuple[Proposal, str]:
        metric, target = source.metric, source.target
        namespace = look.autoscaler.metadata.namespace or ""
        if target.value is None and target.averageValue is None:
            raise MetricsError(
                "invalid external metric source: neither a value target nor an average value target was set"
            )
        chosen = selector_text(metric.selector)
        try:
            values = await self._metrics.of_external(namespace, metric.name, _selector(metric.selector))
        except MetricsError as error:
            why = f"unable to get external metric {namespace}/{metric.name}/{chosen}: {error}"
            raise MetricsError(why) from error
        proposal, told = await self._of_value(look, source, scale, sum(values))
        look.statuses[-1] = {"type": "External", "external": {"metric": plain(metric), "current": told}}
        return proposal, f"external metric {metric.name}({chosen})"

    async def _of_value(
        self, look: _Look, source: Source, scale: Scale, value: int
    ) -> tuple[Proposal, dict[str, str]]:
        """Replicas for one value, which they share or which is that of each."""
        target, tolerance = source.target, self._tolerance(look.autoscaler.spec)
        if target.averageValue is not None:
            wanted = parse_milli(target.averageValue)
            proposal = replicacount.of_value_per_pod(value, wanted, scale.status.replicas, tolerance)
            return proposal, {"averageValue": of_milli(proposal.usage)}
        ready = None
        if scale.spec.replicas:
            pods = await self._pods(look, scale.status.selector)
            if not pods:
                raise MetricsError(
                    "unable to calculate ready pods: no pods returned by selector while calculating replica count"
                )
            ready = replicacount.ready_count(pods)
        wanted = parse_milli(target.value or "0")
        proposal = replicacount.of_value(value, wanted, scale.spec.replicas, ready, tolerance)
        return proposal, {"value": of_milli(proposal.usage)}


def _failure(metric: Metric) -> tuple[str, str]:
    """The reason of the condition, and what is said before an error among others."""
    match metric:
        case Metric(type="Resource", resource=Source(name=name)):
            return "FailedGetResourceMetric", f"failed to get {name} resource metric value: "
        case Metric(type="ContainerResource", containerResource=Source(container=container)):
            return "FailedGetContainerResourceMetric", f"failed to get {container} container metric value: "
        case Metric(type="Pods"):
            return "FailedGetPodsMetric", "failed to get pods metric value: "
        case Metric(type="Object", object=Source(metric=Identifier(name=name), target=target)):
            inner = f"failed to get {name} object metric: " if target.type == "AverageValue" else ""
            return "FailedGetObjectMetric", f"failed to get object metric value: {inner}"
        case Metric(type="External", external=Source(metric=Identifier(name=name), target=target)):
            inner = f"{name} external metric" if target.averageValue else f"external metric {name}"
            return (
                "FailedGetExternalMetric",
                f"failed to get {name} external metric value: failed to get {inner}: ",
            )
    return "InvalidMetricSourceType", ""


def _selector(selector: Mapping[str, Any] | None) -> str:
    """A metric's selector as a query has it."""
    try:
        return "" if selector is None else str(selectors.of_label_selector(selector))
    except selectors.SelectorError as error:
        raise MetricsError(str(error)) from error
