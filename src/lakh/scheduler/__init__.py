"""The scheduler: nodes as columns, pods as classes."""
