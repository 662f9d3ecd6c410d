"""Kubernetes mechanics without I/O: schemas, patches, field ownership, selectors, quantities."""
