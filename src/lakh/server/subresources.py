"""Subresources that speak a kind of their own: scale, binding, eviction, token. What is passed on to nodes is in `connect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from lakh.apis.custom import CustomResource, Unstructured
from lakh.apis.definitions import schema
from lakh.apis.registry import Resource
from lakh.machinery import dynamic, errors, selectors
from lakh.server import negotiate, ownership, podbindings, tables, tokenrequests
from lakh.server.authn import User
from lakh.server.cluster import Cluster
from lakh.server.codec import (
    Codec,
    FieldValidation,
    applied_object,
    encode_json,
    load_json,
    read_apply,
)
from lakh.server.connect import Connect
from lakh.server.context import Context, boolean
from lakh.server.deleteoptions import check_delete_options
from lakh.server.patches import APPLY_PATCH, content_type, parse_patch
from lakh.server.routing import RequestInfo
from lakh.server.storage import DeleteOptions, ResourceStore
from lakh.server.tokens import TokenIssuer
from lakh.server.transport import Request, Response
from lakh.store.state import Item

if TYPE_CHECKING:
    from lakh.server.handlers import Handlers
    from lakh.server.rendering import Answer
    from lakh.server.replication import Replication

# Resources whose codecs serve subresources only; they have no table.
SCALES = Resource("autoscaling", "v1", "scales", "Scale", True, "io.k8s.api.autoscaling.v1.Scale")
BINDINGS = Resource("", "v1", "bindings", "Binding", True, "io.k8s.api.core.v1.Binding")
EVICTIONS = Resource("policy", "v1", "evictions", "Eviction", True, "io.k8s.api.policy.v1.Eviction")
# Pods that run nothing any more are evicted whatever their budget says.
FINISHED = frozenset(("Succeeded", "Failed"))
# Upstream's limit of pods in a budget's disruptedPods; beyond it the budget's controller lags.
DISRUPTED_PODS_MAX = 2000
# Upstream's retries of an eviction whose budget was written by others meanwhile.
BUDGET_TRIES = 20

SUCCESS_CREATED = encode_json(
    {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
)


class Subresources:
    """Serves them on one cluster."""

    def __init__(self, cluster: Cluster, issuer: TokenIssuer) -> None:
        self.cluster = cluster
        self.tokens = tokenrequests.TokenRequests(cluster, issuer)
        self.connect = Connect(cluster)
        self.replication: Replication | None = None
        """Where several servers write the cluster's partitions."""
        self._scales = Codec(SCALES)
        self._bindings = Codec(BINDINGS)
        self._evictions = Codec(EVICTIONS)
        core = "io.k8s.api.core.v1."
        self._condition = schema().struct(core + "PodCondition")
        self._pod_status = schema().struct(core + "PodStatus")

    def handle(
        self,
        handlers: Handlers,
        request: Request,
        info: RequestInfo,
        query: dict[str, str],
        user: User,
        store: ResourceStore,
    ) -> Answer:
        """Answers a request for a subresource that `info` names; raises StatusError."""
        match info.subresource:
            case "scale":
                if info.verb == "get":
                    item = store.get(info.namespace, info.name)
                    return self._get_scale(request, query, self._scale_of(store, item))
                return self._write_scale(handlers, request, info, query, user, store)
            case "binding":
                return self._bind(handlers, request, info, query, user, info.name)
            case "eviction":
                return self._evict(handlers, request, info, query, user, store)
            case "token":
                return self._token(handlers, request, info, query, user)
            case "attach" | "exec" | "log" | "portforward" | "proxy":
                return self.connect.handle(request, info, query, store)
            case _:
                raise errors.StatusError(
                    501,
                    "NotImplemented",
                    f"{info.resource.plural}/{info.subresource} is not served by this API server",
                    {"group": info.resource.group, "kind": info.resource.plural},
                )

    # -- scale -----------------------------------------------------------------------------------------------------------------

    def _get_scale(self, request: Request, query: dict[str, str], scale: dict[str, Any]) -> Response:
        accepted = negotiate.accepted(request.headers.get("accept", ""), many=False)
        shape, meta = accepted.shape, accepted.meta
        if shape == "table":
            return Response(200, tables.of_scale(scale, tables.include_object(query), meta))
        return Response(200, encode_json(tables.metadata_of(scale, meta) if shape == "metadata" else scale))

    def _scale_of(self, store: ResourceStore, item: Item) -> dict[str, Any]:
        """The Scale of an object, as plain JSON."""
        where = store.resource.scale
        assert where is not None
        plain = load_json(item.value)
        meta = plain["metadata"]
        selector = (dynamic.get(plain, where.selector) or {}) if where.selector else {}
        if isinstance(store.resource, CustomResource) and dynamic.get(plain, where.spec_replicas) is None:
            raise errors.internal(f'the spec replicas field ".{where.spec_replicas}" does not exist')
        scale: dict[str, Any] = {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": {k: meta[k] for k in ("name", "namespace", "uid", "creationTimestamp") if k in meta},
            "spec": {"replicas": dynamic.get(plain, where.spec_replicas) or 0},
            "status": {"replicas": dynamic.get(plain, where.status_replicas) or 0},
        }
        scale["metadata"]["resourceVersion"] = str(item.revision)
        if isinstance(selector, str):
            scale["status"]["selector"] = selector
            return scale
        # ReplicationControllers have a plain map as selector.
        if "matchLabels" not in selector and "matchExpressions" not in selector:
            selector = {"matchLabels": selector}
        text = str(selectors.of_label_selector(selector))
        if text:
            scale["status"]["selector"] = text
        return scale

    async def _write_scale(
        self,
        handlers: Handlers,
        request: Request,
        info: RequestInfo,
        query: dict[str, str],
        user: User,
        store: ResourceStore,
    ) -> Response:
        context = handlers.context(request, query, user)
        scale_store = ScaleView(self._scales)
        if info.verb == "update":
            wanted = self._scales.decode(handlers.body(request), context.validation, context.warnings)
            change = None
        else:
            kind = content_type(request)
            if kind == APPLY_PATCH:
                return await self._apply_scale(handlers, request, info, query, user, store)
            change = parse_patch(kind, request.body, scale_store, strategic_too=store.codec.strategic)  # type: ignore[arg-type]

        def mutate(item: Item, old: Any) -> Any:
            scale = wanted if change is None else None
            if scale is None:
                assert change is not None
                scale = self._scales.convert(
                    change(self._scale_of(store, item)), context.validation, context.warnings
                )
            name = scale.metadata.name or info.name
            if name != info.name:
                raise errors.bad_request(
                    f"the name of the object ({name}) does not match the name on the URL ({info.name})"
                )
            replicas = (scale.spec.replicas if scale.spec is not None else None) or 0
            self._check_replicas(replicas, info.name)
            new = store.decode(item)
            new.metadata.resourceVersion = scale.metadata.resourceVersion or new.metadata.resourceVersion
            new.metadata.uid = scale.metadata.uid or new.metadata.uid
            if isinstance(new, Unstructured):
                assert store.resource.scale is not None
                dynamic.put(new.content, store.resource.scale.spec_replicas, replicas)
            else:
                new.spec.replicas = replicas
            return new

        item, _ = await store.update(context, info.namespace, info.name, mutate, subresource="scale")
        return self._scale_response(store, item, context)

    def _scale_response(self, store: ResourceStore, item: Item | bytes, context: Context) -> Response:
        """The Scale of an object that was written, or (bytes) would have been."""
        if isinstance(item, bytes):
            plain = load_json(item)
            revision = int(plain["metadata"]["resourceVersion"])
            item = Item(
                "",
                store.codec.encode_stored(store.codec.convert(plain, FieldValidation.IGNORE, [])),
                (),
                0,
                revision,
            )
        return Response(
            200, encode_json(self._scale_of(store, item)), b"application/json", context.warning_headers()
        )

    async def _apply_scale(
        self,
        handlers: Handlers,
        request: Request,
        info: RequestInfo,
        query: dict[str, str],
        user: User,
        store: ResourceStore,
    ) -> Response:
        """Server-side apply of a Scale: its manager owns the object's number of replicas, through the subresource."""
        where = store.resource.scale
        assert where is not None
        context = handlers.context(request, query, user)
        scale = applied_object(load_json(read_apply(request.body)))
        if scale.get("apiVersion") != self._scales.api_version or scale.get("kind") != self._scales.kind:
            raise errors.bad_request("apiVersion and kind must be set and match the request for apply patch")
        wanted = self._scales.convert(scale, FieldValidation.STRICT, context.warnings)
        replicas = wanted.spec.replicas if wanted.spec is not None else None
        config: dict[str, Any] = {
            "apiVersion": store.codec.api_version,
            "kind": store.codec.kind,
            "metadata": {"name": wanted.metadata.name or info.name},
        }
        if wanted.metadata.resourceVersion:
            config["metadata"]["resourceVersion"] = wanted.metadata.resourceVersion
        if replicas is not None:
            self._check_replicas(replicas, info.name)
            dynamic.put(config, where.spec_replicas, replicas)

        def mutate(item: Item, old: Any) -> Any:
            merged = ownership.apply(
                store.codec,
                load_json(store.serve(item)),
                config,
                context,
                "scale",
                boolean(query, "force"),
                info.namespace,
                info.name,
            )
            return store.codec.convert(merged, FieldValidation.IGNORE, context.warnings)

        item, _ = await store.update(context, info.namespace, info.name, mutate, subresource="scale")
        return self._scale_response(store, item, context)

    def _check_replicas(self, replicas: int, name: str) -> None:
        if replicas < 0:
            finding = errors.invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
            raise errors.invalid("autoscaling", "Scale", name, [finding])

    # -- binding ---------------------------------------------------------------------------------------------------------------

    async def _bind(
        self,
        handlers: Handlers,
        request: Request,
        info: RequestInfo,
        query: dict[str, str],
        user: User,
        name: str,
    ) -> Response:
        context = handlers.context(request, query, user)
        binding = self._bindings.decode(handlers.body(request), context.validation, context.warnings)
        return await self.bind(context, info.namespace, name or binding.metadata.name or "", binding)

    async def bind(self, context: Context, namespace: str, name: str, binding: Any) -> Response:
        """Assigns a pod to a node, once. Raises 404, 409, 422."""
        target = binding.target
        if target is None or not target.name:
            raise errors.invalid("", "Binding", name, [errors.required("target.name")])
        if target.kind not in (None, "", "Node"):
            raise errors.invalid(
                "", "Binding", name, [errors.not_supported("target.kind", target.kind, ("Node", "<empty>"))]
            )
        store = self.cluster.named("", "v1", "pods")
        key = store.key(namespace, name)
        item = store.partition.head(key)
        if item is None:
            raise await store.missing(namespace, name)
        sent = binding.metadata
        if not sent.annotations and not context.dry_run:
            value = podbindings.bound(item.value, sent.uid, target.name, context.now)
            if value is not None:
                terms = (f"spec.nodeName={target.name}",)
                await store.partition.put(key, value, expect=item.revision, terms=terms)
                return Response(201, SUCCESS_CREATED)
        pod, managers = store.codec.split_stored(item.value)
        metadata, why = pod.metadata, ""
        if binding.metadata.uid and binding.metadata.uid != metadata.uid:
            why = f"Precondition failed: UID in precondition: {binding.metadata.uid}, UID in object meta: {metadata.uid}"
        elif metadata.deletionTimestamp is not None:
            why = f"pod {name} is being deleted, cannot be assigned to a host"
        elif pod.spec.nodeName:
            why = f'pod {name} is already assigned to node "{pod.spec.nodeName}"'
        elif pod.spec.schedulingGates:
            why = f"pod {name} has non-empty .spec.schedulingGates"
        if why:
            await store.partition.settle(item.revision)
            raise errors.conflict("", "pods/binding", name, why)
        pod.spec.nodeName = target.name
        if binding.metadata.annotations:
            metadata.annotations = {**(metadata.annotations or {}), **binding.metadata.annotations}
        if pod.status is None:
            pod.status = self._pod_status()
        conditions = [c for c in pod.status.conditions or () if c.type != "PodScheduled"]
        scheduled = next((c for c in pod.status.conditions or () if c.type == "PodScheduled"), None)
        if scheduled is None or scheduled.status != "True":
            scheduled = self._condition(type="PodScheduled", status="True", lastTransitionTime=context.now)
        pod.status.conditions = [*conditions, scheduled]
        if managers:
            metadata.managedFields = msgspec.Raw(managers)
        if not context.dry_run:
            await store.partition.put(
                key, store.codec.encode_stored(pod), expect=item.revision, terms=store.strategy.terms(pod)
            )
        return Response(201, SUCCESS_CREATED)

    # -- eviction --------------------------------------------------------------------------------------------------------------

    async def _evict(
        self,
        handlers: Handlers,
        request: Request,
        info: RequestInfo,
        query: dict[str, str],
        user: User,
        store: ResourceStore,
    ) -> Response:
        context = handlers.context(request, query, user)
        body = handlers.body(request)
        # Clients of an older time say v1beta1, and mean the same.
        body = body.replace(b'"policy/v1beta1"', b'"policy/v1"', 1)
        eviction = self._evictions.decode(body, context.validation, context.warnings)
        if (eviction.metadata.name or "") != info.name:
            raise errors.bad_request("name in URL does not match name in Eviction object")
        options = DeleteOptions()
        if eviction.deleteOptions is not None:
            options = msgspec.convert(msgspec.to_builtins(eviction.deleteOptions), DeleteOptions)
            check_delete_options(options)
            if options.dryRun:
                context.dry_run = True
        if self.replication is not None:
            await self.replication.barrier("default")  # where the budgets are
        item = store.partition.head(store.key(info.namespace, info.name))
        if item is None:
            raise await store.missing(info.namespace, info.name)
        pod = store.decode(item)
        phase = (pod.status.phase if pod.status is not None else None) or "Pending"
        if phase not in (*FINISHED, "Pending") and pod.metadata.deletionTimestamp is None:
            for _ in range(BUDGET_TRIES):
                if await self._spend_budget(context, pod):
                    break
            else:
                raise errors.timeout("couldn't update PodDisruptionBudget due to conflicts")
        await store.delete(context, info.namespace, info.name, options)
        return Response(201, SUCCESS_CREATED)

    async def _spend_budget(self, context: Context, pod: Any) -> bool:
        """Takes one disruption from the pod's budget; raises 429 when there is none left. False: it changed meanwhile."""
        budgets = self.cluster.named("policy", "v1", "poddisruptionbudgets")
        namespace, labels = pod.metadata.namespace, pod.metadata.labels or {}
        matching: list[tuple[Item, Any]] = []
        for item in budgets.partition.range(budgets.table, namespace).items:
            head = budgets.partition.head(item.key)
            if head is None:
                continue
            budget = budgets.decode(head)
            selector = budget.spec.selector if budget.spec is not None else None
            if selector is not None and selectors.of_label_selector(selector).matches(labels):
                matching.append((head, budget))
        if not matching:
            return True
        if len(matching) > 1:
            text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            raise errors.StatusError(500, "", text)
        item, budget = matching[0]
        name, status = budget.metadata.name, budget.status
        ready = any(
            c.type == "Ready" and c.status == "True"
            for c in (pod.status.conditions or () if pod.status is not None else ())
        )
        healthy = (status.currentHealthy or 0) if status is not None else 0
        desired = (status.desiredHealthy or 0) if status is not None else 0
        policy = budget.spec.unhealthyPodEvictionPolicy or "IfHealthyBudget"
        if not ready and (policy == "AlwaysAllow" or (healthy >= desired > 0)):
            return True
        refusal = "Cannot evict pod as it would violate the pod's disruption budget."
        if status is None or (status.observedGeneration or 0) < (budget.metadata.generation or 0):
            raise errors.too_many_requests(
                refusal,
                10,
                [
                    {
                        "reason": "DisruptionBudget",
                        "message": f"The disruption budget {name} is still being processed by the server.",
                    }
                ],
            )
        disrupted = status.disruptedPods or {}
        if len(disrupted) > DISRUPTED_PODS_MAX:
            raise errors.forbidden(
                "policy",
                "poddisruptionbudget",
                name,
                "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
            )
        if (status.disruptionsAllowed or 0) <= 0:
            raise errors.too_many_requests(
                refusal,
                0,
                [
                    {
                        "reason": "DisruptionBudget",
                        "message": f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently",
                    }
                ],
            )
        if context.dry_run:
            return True
        status.disruptionsAllowed -= 1
        status.disruptedPods = {**disrupted, pod.metadata.name: context.now}
        value = budgets.codec.encode_stored(budget)
        if budgets.partition.is_writer or self.replication is None:
            await budgets.partition.put(
                item.key, value, expect=item.revision, terms=item.terms, essential=True
            )  # part of a deletion
            return True
        answer = await self.replication.call(
            "PUT",
            f"/apis/policy/v1/namespaces/{namespace}/poddisruptionbudgets/{name}/status",
            budgets.codec.serve(value, item.revision),
        )
        if answer.status == 409:
            await self.replication.barrier("default")
            return False
        if answer.status != 200:
            raise errors.internal(f"the disruption budget {name} cannot be written: code {answer.status}")
        return True

    # -- token -----------------------------------------------------------------------------------------------------------------

    async def _token(
        self,
        handlers: Handlers,
        request: Request,
        info: RequestInfo,
        query: dict[str, str],
        user: User,
    ) -> Response:
        context = handlers.context(request, query, user)
        body = handlers.body(request)
        if self.replication is not None:
            await self.replication.barrier(*tokenrequests.PARTITIONS)
        return self.tokens.create(context, body, info.namespace, info.name)


class ScaleView:
    """What patching needs of a store, for Scale."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.resource = codec.resource
