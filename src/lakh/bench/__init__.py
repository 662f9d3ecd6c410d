"""Load generators and reports, against any Kubernetes API server."""
