"""Lakh: a Kubernetes control plane for clusters of 100,000 nodes."""

__version__ = "0.1.0"
