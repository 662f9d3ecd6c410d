"""The asyncio client for any Kubernetes API: requests, informers and work queues.

| module | what |
| --- | --- |
| `client` | the verbs, typed or plain |
| `resources`, `discovery` | which resources there are and their paths |
| `types` | views of metadata, lists and watch events |
| `errors` | everything that can be raised |
| `kubeconfig`, `transport`, `connection`, `watch` | configuration, HTTP/1.1 and its pool, decoding of watches |
| `informer` | a cache of a resource, kept up to date by a watch |
| `workqueue` | keys to be reconciled, deduplicated and with backoff |
| `events` | recording core/v1 Events |
| `leader` | leader election on a Lease |
| `tasks` | background tasks with an owner |
"""
