"""InfluxDB, where delays are kept: points go out over the write interface of version 2, which 1.8 and later have too.

The one place that knows the client library and what a server's refusals mean. It retries nothing: a point has a time
and tags of its own, so whoever is not sure writes it again, and it is there once.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.client.write.point import Point as LinePoint
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException

from krm import errors
from krm.settings import Secret

TIMEOUT_S: Final = 10.0
"""For a whole write; a server that is slower is asked again, later."""
LONGEST_WAIT_S: Final = 300.0
"""A Retry-After beyond this is not believed."""
_TOLD: Final = 200
_ABOUT_LINES: Final = re.compile(r"partial write|unable to parse|conflict|beyond retention|outside retention", re.I)
_DROPPED: Final = re.compile(r"(?:beyond|outside) retention.*?dropped[ =]+(\d+)|dropped (\d+) points? outside", re.I)


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point; equal measurement, tags and time are one point, however often it is written."""

    measurement: str
    tags: Mapping[str, str]
    fields: Mapping[str, float | int | str | None] = field(default_factory=dict)
    """None is left out."""
    at_ns: int


def line(point: Point) -> str:
    """Line protocol; whatever the texts hold, it is one line's worth of one point."""
    made = LinePoint(point.measurement).time(point.at_ns, WritePrecision.NS)  # type: ignore[no-untyped-call]
    for name, tag in point.tags.items():
        made.tag(name, tag)
    for name, value in point.fields.items():
        made.field(name, value)
    return str(made.to_line_protocol())


class Influx:
    """A bucket. Make it inside an event loop, end it with ``close``."""

    def __init__(self, url: str, token: Secret | None, *, org: str, bucket: str, timeout_s: float = TIMEOUT_S) -> None:
        self._url, self._bucket = url, bucket
        secret = "" if token is None else token.reveal()
        timeout_ms = int(timeout_s * 1000)
        self._client: Any = InfluxDBClientAsync(
            url, secret, org=org, timeout=timeout_ms, enable_gzip=True, allow_redirects=False
        )
        self._api: Any = self._client.write_api()

    async def close(self) -> None:
        """End all connections."""
        await self._client.close()

    async def write(self, points: Sequence[Point]) -> None:
        """Write ``points``; returns when the server has confirmed them all.

        Raises ``DelayStoreUnreachable`` (nobody knows what was written), ``DelayStoreThrottled``,
        ``DelayStoreRefused`` (nothing was), ``PointsRefused`` (some were not, or all).
        """
        lines = [line(point) for point in points]
        try:
            confirmed = await self._api.write(self._bucket, record=lines, write_precision=WritePrecision.NS)
        except ApiException as error:
            raise self._meant(error) from error
        except (aiohttp.ClientError, TimeoutError, OSError, InfluxDBError) as error:
            told = str(error) or type(error).__name__
            raise errors.DelayStoreUnreachable(f"InfluxDB at {self._url} cannot be reached: {_plain(told)}") from error
        if not confirmed:
            raise errors.DelayStoreRefused(
                f"what answers at {self._url} confirms no write as InfluxDB does: see KRM_INFLUX_URL"
            )

    def _meant(self, error: ApiException) -> errors.DelayStoreError:
        status, told = error.status, _told(error)
        after_s = _retry_after_s(error, time.time)
        if status == 429 or (status == 503 and after_s):
            return errors.DelayStoreThrottled(f"InfluxDB asks for patience: {told}", retry_after_s=after_s or 1.0)
        if status == 401 or status == 403:
            return errors.DelayStoreRefused(f"InfluxDB does not accept KRM_INFLUX_TOKEN ({status}): {told}")
        if status == 404:
            return errors.DelayStoreRefused(
                f"InfluxDB has no bucket {self._bucket!r} for us: create it, or set KRM_INFLUX_BUCKET and"
                f" KRM_INFLUX_ORG (404: {told})"
            )
        if status == 413:
            return errors.PointsRefused(f"the batch is too large for InfluxDB: {told}")
        if status in (400, 422) and _ABOUT_LINES.search(told):
            dropped = _DROPPED.search(told)
            return errors.PointsRefused(
                f"InfluxDB refuses points: {told}",
                dropped=int(next(filter(None, dropped.groups()))) if dropped else None,
            )
        if status is not None and status >= 500:
            return errors.DelayStoreUnreachable(f"InfluxDB failed ({status}): {told}")
        return errors.DelayStoreRefused(f"InfluxDB at {self._url} refuses ({status}): {told}")


def _told(error: ApiException) -> str:
    body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or "")
    headers: Any = error.headers or {}
    return _plain(headers.get("X-Influxdb-Error") or body or str(error.reason or ""))


def _plain(text: str) -> str:
    """One printable line."""
    return "".join(char if char.isprintable() else " " for char in text)[:_TOLD].strip()


def _retry_after_s(error: ApiException, now: Callable[[], float]) -> float | None:
    """What a Retry-After asks for: seconds, or a date."""
    headers: Any = error.headers or {}
    text = str(headers.get("Retry-After") or "").strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return min(float(text), LONGEST_WAIT_S)
    try:
        return min(max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now()), LONGEST_WAIT_S)
    except ValueError:
        return None
