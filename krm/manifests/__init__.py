"""The Kubernetes manifests of KRM, made from the registry of resources and from what is configured.

``render`` gives the objects of a profile and the Kustomize folders of ``deploy/``; ``passwords`` the Secrets.
"""
