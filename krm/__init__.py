"""Kubernetes Resource Monitor: a cache of cluster state that says how true each answer is."""
