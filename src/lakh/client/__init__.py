"""The asyncio client for any Kubernetes API: requests, informers and work queues."""
