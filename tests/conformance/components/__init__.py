"""What Kubernetes' own components ask of an API server: a table each."""
