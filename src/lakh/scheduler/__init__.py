"""The scheduler: binds pending pods to nodes with kube-scheduler's filters, scores and wordings.

Layers, from pure to impure: `views` and `requests` (what is read of pods and nodes), `podclass` and `nodeselector` (a pod's
scheduling-relevant spec, compiled), `columns` (all nodes as NumPy columns), `plugins` (filters and scores over columns),
`candidates` (a class's nodes, best first, kept up to date), `diagnosis` (why nothing fits), `core` (accounting and
decisions), `queue` (which pod is next), `shell` and `main` (informers, binds, events).
"""
