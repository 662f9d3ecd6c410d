"""The store: journals, partitions, MVCC state and the watch hub. It knows no Kubernetes."""
