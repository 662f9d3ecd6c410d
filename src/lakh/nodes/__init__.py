"""The simulated fleet: kubelets that speak the real API."""
