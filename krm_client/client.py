"""The two clients: `KrmClient` blocks, `AsyncKrmClient` is awaited. Both only hand operations to their driver."""

from __future__ import annotations

import abc
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar, Unpack, overload

from krm_client.call_arguments import FrameArguments, ListArguments, WatchArguments
from krm_client.errors import KrmUsageError
from krm_client.facade import FACADES, Facade, FacadeMethod
from krm_client.operations import Following, Operation, Operations
from krm_client.rehydration import rehydrate
from krm_client.sessions import AwaitedDriver, BlockingDriver
from krm_client.settings import ClientSettings
from krm_client.watches import AsyncWatch, Watch

if TYPE_CHECKING:
    import pandas as pd

    from krm_client import facade_types
    from krm_client.freshness import Freshness
    from krm_client.subscriptions import Told

T = TypeVar("T")
_Objects = list[Any]
_Freshnesses = list["Freshness"]


class Explanation(NamedTuple):
    """The GraphQL that a call sends first, and its variables."""

    query: str
    variables: dict[str, Any]


class _Client(abc.ABC):
    """What both clients share: settings, the official methods, and building calls without running them."""

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout: float = 10.0,
        cluster: str | None = None,
        partial: bool = False,
        eager: bool = False,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Make a client; nothing is sent before the first call.

        ``url``: where KRM is, else ``KRM_URL``, else ``http://127.0.0.1:8000``. ``token``: else ``KRM_TOKEN``,
        ``KRM_TOKEN_FILE`` or the pod's service account. ``timeout``: seconds. ``cluster``: of which cluster to
        ask, where KRM holds several. ``partial``: lists of all namespaces give the part that the caller may
        see, instead of a 403. ``eager``: build whole objects at once instead of when they are touched.
        ``env``: instead of the process's environment.
        """
        self._settings = ClientSettings.of(url, token=token, timeout=timeout, cluster=cluster, partial=partial, env=env)
        self._operations = Operations(self._settings, eager=eager)
        self._connect_with(self._settings)
        for name in FACADES:
            setattr(self, name, Facade(name, self._operations, self._run))

    @property
    def url(self) -> str:
        """Where questions are sent."""
        return self._settings.url

    @property
    def settings(self) -> ClientSettings:
        """What the client was made with."""
        return self._settings

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings.url!r})"

    @abc.abstractmethod
    def _connect_with(self, settings: ClientSettings) -> None:
        """Make the driver."""

    @abc.abstractmethod
    def _run(self, operation: Operation[Any]) -> Any:
        """Run a call: its result, or what to await for it."""

    def explain(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Explanation:
        """The GraphQL that ``method(*args, **kwargs)`` would send, without sending it."""
        if isinstance(method, FacadeMethod):
            document = method.operation(*args, **kwargs).document
        else:
            name = getattr(method, "__name__", "")
            builders: dict[str, Callable[..., Operation[Any] | Following]] = {
                "list": self._operations.objects,
                "frame": self._operations.frame,
                "query": self._operations.query,
                "freshness": self._operations.freshness,
                "watch": self._operations.watching,
            }
            if getattr(method, "__self__", None) is not self or name not in builders:
                raise KrmUsageError("explain: takes a method of this client, like krm.core_v1.list_namespaced_pod")
            document = builders[name](*args, **kwargs).document
        return Explanation(document.text, dict(document.variables))

    def _begin(self, following: Following) -> Callable[[], AsyncGenerator[Told]]:
        """How a watch begins; loading what it needs takes a moment."""
        from krm_client.subscriptions import Subscribed, events

        subscribed = Subscribed(document=following.document, settings=self._settings, patience_s=following.patience_s)
        return lambda: events(subscribed, following.resume_token)

    @staticmethod
    def rehydrate(model: str, manifest: Mapping[str, Any] | bytes | str) -> Any:
        """`krm_client.rehydrate`."""
        return rehydrate(model, manifest)


class KrmClient(_Client):
    """A client that blocks. Threads may share one; after a fork it connects anew."""

    core_v1: facade_types.CoreV1
    apps_v1: facade_types.AppsV1
    networking_v1: facade_types.NetworkingV1

    def _connect_with(self, settings: ClientSettings) -> None:
        self._driver = BlockingDriver(settings)
        # For those who neither close it nor use ``with``: connections end with the client, or with the process.
        weakref.finalize(self, self._driver.close)
        self._watches: weakref.WeakSet[Watch] = weakref.WeakSet()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections and end the watches. The client cannot be used afterwards."""
        for watch in list(self._watches):
            watch.close()
        self._driver.close()

    def _run(self, operation: Operation[T]) -> T:
        return self.run(operation)

    def run(self, operation: Operation[T]) -> T:
        """Run a call that was built elsewhere."""
        return self._driver.run(operation.start())

    def query(self, text: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Run a GraphQL query and give its data. Any error raises; `KrmQueryError.partial` has what was answered."""
        return self._run(self._operations.query(text, variables))

    def list(self, resource: str, **arguments: Unpack[ListArguments]) -> _Objects:
        """Official objects of a kind, e.g. ``V1Pod``: whole, or with ``fields`` only what these paths name.

        Objects with some fields are real ones whose other attributes read None; `krm_client.fields_of` tells
        which they hold.
        """
        return self._run(self._operations.objects(resource, **arguments))

    def frame(self, resource: str, **arguments: Unpack[FrameArguments]) -> pd.DataFrame:
        """A list as a pandas DataFrame: a column for each path of ``columns``, or the kind's own ones.

        Text that repeats is a category, times are UTC, CPU is in cores, memory in bytes; whole numbers are ``Int64``
        and stay exact where some are missing. ``frame.attrs["krm"]`` has ``freshness``, ``scope`` and ``page``.
        """
        frame: pd.DataFrame = self._run(self._operations.frame(resource, **arguments))
        return frame

    def watch(self, resource: str, **arguments: Unpack[WatchArguments]) -> Watch:
        """Follow a kind: an ADDED for each object that is there, then each change. See `krm_client.watches.Event`.

        A connection that breaks is made anew and goes on where it was. What cannot be told for certain begins with an
        event of type RESYNC: forget what you have, an ADDED for each object follows.
        """
        following = self._operations.watching(resource, **arguments)
        watch = Watch(following.kind, self._begin(following), following.timeout_s, following.silence_s)
        self._watches.add(watch)
        return watch

    @overload
    def freshness(self, resource: str) -> Freshness: ...
    @overload
    def freshness(self, resource: None = None) -> _Freshnesses: ...
    def freshness(self, resource: str | None = None) -> Any:
        """How true answers about a resource are now; about all resources for None."""
        return self._run(self._operations.freshness(resource))


class AsyncKrmClient(_Client):
    """`KrmClient`, awaited. One may be used on several event loops, one after another."""

    core_v1: facade_types.AsyncCoreV1
    apps_v1: facade_types.AsyncAppsV1
    networking_v1: facade_types.AsyncNetworkingV1

    def _connect_with(self, settings: ClientSettings) -> None:
        self._driver = AwaitedDriver(settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. The client cannot be used afterwards."""
        await self._driver.close()

    def _run(self, operation: Operation[T]) -> Coroutine[Any, Any, T]:
        return self._driver.run(operation.start())

    async def query(self, text: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """As `KrmClient.query`."""
        return await self._run(self._operations.query(text, variables))

    async def list(self, resource: str, **arguments: Unpack[ListArguments]) -> _Objects:
        """As `KrmClient.list`."""
        return await self._run(self._operations.objects(resource, **arguments))

    async def frame(self, resource: str, **arguments: Unpack[FrameArguments]) -> pd.DataFrame:
        """As `KrmClient.frame`."""
        frame: pd.DataFrame = await self._run(self._operations.frame(resource, **arguments))
        return frame

    def watch(self, resource: str, **arguments: Unpack[WatchArguments]) -> AsyncWatch:
        """As `KrmClient.watch`, for ``async for``."""
        following = self._operations.watching(resource, **arguments)
        return AsyncWatch(following.kind, self._begin(following), following.timeout_s, following.silence_s)

    @overload
    async def freshness(self, resource: str) -> Freshness: ...
    @overload
    async def freshness(self, resource: None = None) -> _Freshnesses: ...
    async def freshness(self, resource: str | None = None) -> Any:
        """As `KrmClient.freshness`."""
        return await self._run(self._operations.freshness(resource))
