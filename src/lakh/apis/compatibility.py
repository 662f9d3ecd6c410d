"""The compatibility table: what of each kind is served, read off the code.

`markdown()` is docs/compatibility.md; a test compares them. "own" means that a kind has code for it, "schema" that types, unknown and required
fields are checked by Kubernetes' schema and no more.
"""

from __future__ import annotations

from lakh.apis.catalogue import registry
from lakh.apis.registry import Resource, Strategy

_HEAD = """# Compatibility

Lakh speaks the API of Kubernetes v1.36. This table is made from the code by `python -m lakh.apis.compatibility > docs/compatibility.md`.

* *defaults*, *validation*: `own` when the kind has upstream's rules beyond its schema; `schema` when types, unknown fields and required fields are
  checked, and cross-field rules are not.
* *columns*: what `kubectl get` shows; `upstream` or the plain name and age.
* Verbs are all of create, delete, deletecollection, get, list, patch, update, watch unless listed.

"""

_CUSTOM = """
## Custom resources

A `CustomResourceDefinition` is served from the moment it is `Established`, and in discovery and OpenAPI (v2, v3) with it; deleting it deletes its objects first.

| what | state |
| --- | --- |
| structural schemas | types, pruning, defaults, nullable, all value validations, `allOf`/`anyOf`/`oneOf`/`not`, formats, with upstream's messages; definitions that are not structural are refused |
| extensions | `x-kubernetes-preserve-unknown-fields`, `-embedded-resource`, `-int-or-string`, `-list-type`, `-list-map-keys`, `-map-type` |
| CEL rules | `rule`, `message`, `messageExpression`, `reason`, `fieldPath`, `optionalOldSelf`, transition rules, ratcheting with warnings; all of Kubernetes' libraries, macros with two variables. Compiled against the types of the schema when the definition is written, with upstream's messages and estimates of cost. What rules cost is counted while they run, as upstream counts it: 1,000,000 an expression, 10,000,000 an object. Not: expressions nested deeper than 32, types of lists in lists and of lists in maps (looked at when a rule runs) |
| versions | any number; conversion `None`, and `Webhook` with v1 and v1beta1 reviews, by URL or service. Managers hold fields of the version that they wrote, and conflicts are found in each version that somebody holds. Where a webhook converts, the stored version may not change while there are objects, and who writes `scale` holds fields of the stored one |
| subresources | status, scale |
| printing, selecting | additional printer columns, short names, categories, selectable fields |
| conditions | NamesAccepted, Established, Terminating, KubernetesAPIApprovalPolicyConformant |
| patterns | RE2: Go's syntax, linear time |
| tried with | 74 definitions of JobSet, LeaderWorkerSet, Kueue, Karpenter, cert-manager, the Prometheus operator, Gateway API, Argo Workflows and KubeRay: all accepted unmodified; of 568 of their projects' samples 559 are applied (437 of them tried with strict field validation), three are refused for what is wrong with them, six need the project's own defaulting webhook |
"""

_MISSING = """
## Not served, or not yet as upstream does

| what | state |
| --- | --- |
| aggregated API servers | `APIService`s are stored, those of what is served here are made; requests are not passed on, so HorizontalPodAutoscalers get no metrics and only keep their bounds |
| admission webhooks, admission policies | stored and checked, their expressions against upstream's types; not called |
| RBAC | stored, not enforced: every credential that the cluster issued may do everything, in anybody's name (`kubectl --as`) too |
| API priority and fairness | enforced by upstream's schemas, levels and queues; reads of one object take no seat, and writes only when many are under way |
| `log`, `exec`, `attach`, `portforward`, proxies | passed on to the kubelet, pod or endpoint, upgraded connections (WebSocket, SPDY) as pipes of bytes. Upstream translates WebSocket's `v5.channel.k8s.io` and tunnelled port forwarding into SPDY for kubelets that do not know them; here the kubelet refuses the upgrade, and kubectl goes on with SPDY by itself. Simulated kubelets answer `log`, `/pods`, `/healthz`, `/metrics`, and refuse the rest, for they run no images |
| `pods/resize` | the simulated kubelet refuses what its node can never hold and actuates the rest; it defers nothing |
| LimitRanger, ResourceQuota, PodSecurity, NodeRestriction admission | not enforced; quotas are counted (`status.used`), but for devices of classes |
| service account token volumes | projected into pods as upstream does (`kube-api-access-…`); the simulated kubelet writes no files |
| volumes and devices | controllers for both, a simulated CSI driver and DRA driver: [claims](claims.md) |
| certificates | requests for `kubernetes.io/kube-apiserver-client`, `kube-apiserver-client-kubelet` and `kubelet-serving` are approved, signed with the cluster's CA and removed as kube-controller-manager does; `approve` and `sign` on signers are not asked for, and a kubelet's client certificate is approved for every authenticated user, as all else (RBAC). `ClusterTrustBundle`s are not published |
| service account tokens | bound to pods, nodes and secrets; no limit on their life time can be set. Secrets of type `kubernetes.io/service-account-token` get one that is bound to them, for 136 years, where upstream's has no end |
| values in messages | a structured value that upstream prints in Go's way (a security context, a node selector term, a diff of two pod specs) is shown by its JSON names |
| older invalid objects | an object that an earlier version accepted and today's rules refuse cannot be updated unless it is put right; upstream lets some such values pass |
| alpha annotations | those of `scheduler.alpha.kubernetes.io` are not read |
| request line and headers | 1 MiB together, as upstream, in 4,096 lines at most; a server reads 64 that are larger than 64 KiB at a time |
| `MutatingAdmissionPolicy` | some texts of its findings may differ from upstream's |
| `IPAddress`, `ServiceCIDR` | as upstream's allocator has them, for IPv4: services get no IPv6 addresses |
| CBOR | refused (406, 415), as upstream's v1.36 does: its gate `CBORServingAndStorage` is alpha and off, and clients ask for CBOR only where a server offers it |
| malformed strategic merge patches | an unknown `$patch`, a missing merge key and the like are 400, where upstream answers 500 |
| beta and alpha groups | not served, `scheduling.k8s.io/v1alpha2` aside |
"""


def _is_own(resource: Resource, *methods: str) -> bool:
    for method in methods:
        found = getattr(type(resource.strategy), method)
        if found.__module__.rsplit(".", 1)[1] not in ("registry", "base"):
            return True
    return False


def _row(resource: Resource) -> list[str]:
    standard = {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
    verbs = "all" if set(resource.verbs) == standard else ", ".join(resource.verbs)
    virtual = set(resource.verbs) <= {"create"}
    return [
        resource.kind,
        resource.plural,
        verbs,
        ", ".join(sorted(resource.subresources)),
        "" if virtual else ("own" if _is_own(resource, "default") else "schema"),
        "" if virtual else ("own" if _is_own(resource, "validate", "validate_update") else "schema"),
        ""
        if virtual
        else ("upstream" if resource.strategy.columns is not Strategy.columns else "name, created"),
    ]


def markdown() -> str:
    """The whole page."""
    parts = [_HEAD]
    groups: dict[str, list[Resource]] = {}
    for resource in registry().all():
        groups.setdefault(resource.api_version, []).append(resource)
    for version, resources in groups.items():
        parts.append(f"## {version}\n\n")
        parts.append("| kind | resource | verbs | subresources | defaults | validation | columns |\n")
        parts.append("| --- | --- | --- | --- | --- | --- | --- |\n")
        parts += ["| " + " | ".join(_row(r)) + " |\n" for r in sorted(resources, key=lambda r: r.kind)]
        parts.append("\n")
    return "".join(parts).rstrip() + "\n" + _CUSTOM + _MISSING


if __name__ == "__main__":
    print(markdown(), end="")
