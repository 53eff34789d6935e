"""The official methods as types, so that editors and type checkers know them. Nothing here is ever called.

Arguments that KRM refuses are left out. With ``_preload_content=False`` the result is a response, whatever the type
says, as with the official client.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol, TypedDict, Unpack

if TYPE_CHECKING:
    from kubernetes.client import (
        V1Deployment,
        V1DeploymentList,
        V1Ingress,
        V1IngressList,
        V1Node,
        V1NodeList,
        V1PersistentVolumeClaim,
        V1PersistentVolumeClaimList,
        V1Pod,
        V1PodList,
        V1Service,
        V1ServiceList,
    )


class ReadKeywords(TypedDict, total=False):
    """Keyword arguments of every official method."""

    pretty: str | None
    async_req: bool | None
    _preload_content: bool
    _request_timeout: float | tuple[float, float] | None
    _return_http_data_only: bool | None
    _content_type: str | None


class ListKeywords(ReadKeywords, total=False):
    """... and of those that list."""

    label_selector: str | None
    field_selector: str | None
    limit: int | None
    _continue: str | None
    resource_version: str | None
    resource_version_match: str | None
    timeout_seconds: int | None
    allow_watch_bookmarks: bool | None
    watch: bool | None


# Below: made from the registry (tests/unit/client/rendering.py).


class CoreV1(Protocol):
    """``core_v1``."""

    def list_pod_for_all_namespaces(self, **keywords: Unpack[ListKeywords]) -> V1PodList: ...
    def list_namespaced_pod(self, namespace: str, **keywords: Unpack[ListKeywords]) -> V1PodList: ...
    def read_namespaced_pod(self, name: str, namespace: str, **keywords: Unpack[ReadKeywords]) -> V1Pod: ...
    def list_persistent_volume_claim_for_all_namespaces(
        self, **keywords: Unpack[ListKeywords]
    ) -> V1PersistentVolumeClaimList: ...
    def list_namespaced_persistent_volume_claim(
        self, namespace: str, **keywords: Unpack[ListKeywords]
    ) -> V1PersistentVolumeClaimList: ...
    def read_namespaced_persistent_volume_claim(
        self, name: str, namespace: str, **keywords: Unpack[ReadKeywords]
    ) -> V1PersistentVolumeClaim: ...
    def list_service_for_all_namespaces(self, **keywords: Unpack[ListKeywords]) -> V1ServiceList: ...
    def list_namespaced_service(self, namespace: str, **keywords: Unpack[ListKeywords]) -> V1ServiceList: ...
    def read_namespaced_service(self, name: str, namespace: str, **keywords: Unpack[ReadKeywords]) -> V1Service: ...
    def list_node(self, **keywords: Unpack[ListKeywords]) -> V1NodeList: ...
    def read_node(self, name: str, **keywords: Unpack[ReadKeywords]) -> V1Node: ...


class AppsV1(Protocol):
    """``apps_v1``."""

    def list_deployment_for_all_namespaces(self, **keywords: Unpack[ListKeywords]) -> V1DeploymentList: ...
    def list_namespaced_deployment(self, namespace: str, **keywords: Unpack[ListKeywords]) -> V1DeploymentList: ...
    def read_namespaced_deployment(
        self, name: str, namespace: str, **keywords: Unpack[ReadKeywords]
    ) -> V1Deployment: ...


class NetworkingV1(Protocol):
    """``networking_v1``."""

    def list_ingress_for_all_namespaces(self, **keywords: Unpack[ListKeywords]) -> V1IngressList: ...
    def list_namespaced_ingress(self, namespace: str, **keywords: Unpack[ListKeywords]) -> V1IngressList: ...
    def read_namespaced_ingress(self, name: str, namespace: str, **keywords: Unpack[ReadKeywords]) -> V1Ingress: ...


class AsyncCoreV1(Protocol):
    """``core_v1``, awaited."""

    def list_pod_for_all_namespaces(self, **keywords: Unpack[ListKeywords]) -> Awaitable[V1PodList]: ...
    def list_namespaced_pod(self, namespace: str, **keywords: Unpack[ListKeywords]) -> Awaitable[V1PodList]: ...
    def read_namespaced_pod(self, name: str, namespace: str, **keywords: Unpack[ReadKeywords]) -> Awaitable[V1Pod]: ...
    def list_persistent_volume_claim_for_all_namespaces(
        self, **keywords: Unpack[ListKeywords]
    ) -> Awaitable[V1PersistentVolumeClaimList]: ...
    def list_namespaced_persistent_volume_claim(
        self, namespace: str, **keywords: Unpack[ListKeywords]
    ) -> Awaitable[V1PersistentVolumeClaimList]: ...
    def read_namespaced_persistent_volume_claim(
        self, name: str, namespace: str, **keywords: Unpack[ReadKeywords]
    ) -> Awaitable[V1PersistentVolumeClaim]: ...
    def list_service_for_all_namespaces(self, **keywords: Unpack[ListKeywords]) -> Awaitable[V1ServiceList]: ...
    def list_namespaced_service(self, namespace: str, **keywords: Unpack[ListKeywords]) -> Awaitable[V1ServiceList]: ...
    def read_namespaced_service(
        self, name: str, namespace: str, **keywords: Unpack[ReadKeywords]
    ) -> Awaitable[V1Service]: ...
    def list_node(self, **keywords: Unpack[ListKeywords]) -> Awaitable[V1NodeList]: ...
    def read_node(self, name: str, **keywords: Unpack[ReadKeywords]) -> Awaitable[V1Node]: ...


class AsyncAppsV1(Protocol):
    """``apps_v1``, awaited."""

    def list_deployment_for_all_namespaces(self, **keywords: Unpack[ListKeywords]) -> Awaitable[V1DeploymentList]: ...
    def list_namespaced_deployment(
        self, namespace: str, **keywords: Unpack[ListKeywords]
    ) -> Awaitable[V1DeploymentList]: ...
    def read_namespaced_deployment(
        self, name: str, namespace: str, **keywords: Unpack[ReadKeywords]
    ) -> Awaitable[V1Deployment]: ...


class AsyncNetworkingV1(Protocol):
    """``networking_v1``, awaited."""

    def list_ingress_for_all_namespaces(self, **keywords: Unpack[ListKeywords]) -> Awaitable[V1IngressList]: ...
    def list_namespaced_ingress(self, namespace: str, **keywords: Unpack[ListKeywords]) -> Awaitable[V1IngressList]: ...
    def read_namespaced_ingress(
        self, name: str, namespace: str, **keywords: Unpack[ReadKeywords]
    ) -> Awaitable[V1Ingress]: ...
