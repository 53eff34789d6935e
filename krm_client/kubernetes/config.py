"""``kubernetes.config``, as it is: where the API server is and who asks is the program's business, as ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from kubernetes.config import (  # noqa: F401 (the official names)
        ConfigException,
        incluster_config,
        kube_config,
        list_kube_config_contexts,
        load_kube_config_from_dict,
        new_client_from_config_dict,
    )

    # The official ones are not annotated.

    def load_kube_config(
        config_file: Any = None,
        context: str | None = None,
        client_configuration: Any = None,
        persist_config: bool = True,
        **kwargs: Any,
    ) -> None: ...

    def load_incluster_config(client_configuration: Any = None, try_refresh_token: bool = True) -> None: ...

    def load_config(**kwargs: Any) -> None: ...

    def new_client_from_config(
        config_file: Any = None, context: str | None = None, persist_config: bool = True, **kwargs: Any
    ) -> ApiClient: ...
else:
    from kubernetes.config import *  # noqa: F403
