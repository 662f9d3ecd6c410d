"""The asyncio client for any Kubernetes API: requests, informers and work queues.

| module | what |
| --- | --- |
| `client` | the verbs, typed or plain |
| `resources`, `discovery` | which resources there are and their paths |
| `types` | views of metadata, lists and watch events |
| `errors` | everything that can be raised |
| `kubeconfig`, `request`, `watch` | configuration, what is sent, decoding of watches |
| `transport`, `exchange`, `connection`, `http2` | who gets which connection, a request under way, on HTTP/1.1 and on HTTP/2 |
| `informer` | a cache of a resource, kept up to date by a watch |
| `workqueue` | keys to be reconciled, deduplicated and with backoff |
| `events` | recording core/v1 Events |
| `leader` | leader election on a Lease |
| `tasks` | background tasks with an owner |
"""
