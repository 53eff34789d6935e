"""From the options of a serving command to what runs."""

from __future__ import annotations

import dataclasses
import functools
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ParamSpec
from urllib.parse import urlsplit

from krm.cli import output
from krm.cli.serving import roles, together
from krm.cli.serving.roles import ClusterChoice, Role, Simulated
from krm.cli.serving.together import Together
from krm.errors import ConfigError
from krm.settings import Secret, is_loopback

Flags = Mapping[str, object]
P = ParamSpec("P")


def _long_running(command: Callable[P, int]) -> Callable[P, int]:
    """A command for which a signal is a regular end, from its first moment on."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> int:
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            return 0
        finally:
            signal.signal(signal.SIGTERM, before)

    return run


@_long_running
def demo(
    flags: Flags,
    env: Mapping[str, str],
    *,
    pods: int,
    churn: float,
    seed: int,
    duration_s: float | None,
    with_delay: bool = False,
) -> int:
    """``krm demo``. On a terminal the log shows warnings and errors only, unless it is asked for more."""
    if sys.stderr.isatty() and not flags.get("log_level") and not env.get("KRM_LOG_LEVEL"):
        flags = {**flags, "log_level": "warning"}
    settings = dataclasses.replace(roles.settings_from(flags, env), auth=_auth_of_demo(env))
    _warn_of_password(flags)
    if settings.redis_url is not None:
        from krm.cli.serving import preflight

        _warn(preflight.check_redis(settings))
    return together.run(
        Together(
            settings=settings,
            cluster=ClusterChoice(),
            simulated=Simulated(pods=pods, churn_per_s=churn, seed=seed),
            duration_s=duration_s,
            title=f"KRM shows a simulated cluster of {pods} pods with {churn:g} changes a second",
            with_delay=with_delay,
        )
    )


@_long_running
def run(
    flags: Flags, env: Mapping[str, str], *, kubeconfig: Path | None, context: str | None, duration_s: float | None
) -> int:
    """``krm run``: the same against a cluster, which is asked first whether it will have us."""
    from krm.cli.serving import preflight

    settings = roles.settings_from(flags, env)
    _warn_of_password(flags)
    cluster = ClusterChoice(kubeconfig=kubeconfig, context=context)
    seen = preflight.check(settings, cluster)
    _warn(seen.warnings)
    title = f"KRM shows the cluster at {seen.server}"
    return together.run(Together(settings=settings, cluster=cluster, duration_s=duration_s, title=title))


@_long_running
def work(
    role: Role,
    flags: Flags,
    env: Mapping[str, str],
    kubeconfig: Path | None,
    context: str | None,
    alive_file: Path | None,
) -> int:
    """``krm stream``, ``krm verify``, ``krm aggregate``."""
    settings = roles.settings_from(flags, env)
    _warn_of_password(flags)
    _warn(unprotected(settings.require_redis()))
    cluster = ClusterChoice(kubeconfig=kubeconfig, context=context)
    return roles.work(role, settings, settings.resources, cluster, alive_file)


@_long_running
def collect(flags: Flags, env: Mapping[str, str], alive_file: Path | None) -> int:
    """``krm collect``"""
    settings = roles.settings_from(flags, env)
    _warn_of_password(flags)
    _warn(unprotected(settings.require_redis()))
    if settings.influx_url is None:
        raise ConfigError("KRM_INFLUX_URL is not set: give it, or --influx-url, e.g. http://127.0.0.1:8086")
    return roles.work("collector", settings, settings.resources, ClusterChoice(), alive_file)


@_long_running
def serve(flags: Flags, env: Mapping[str, str], kubeconfig: Path | None, context: str | None) -> int:
    """``krm serve``"""
    settings = roles.settings_from(flags, env)
    _warn_of_password(flags)
    _warn(unprotected(settings.require_redis()))
    settings.check_api()
    return roles.serve(settings, None, ClusterChoice(kubeconfig=kubeconfig, context=context))


def _auth_of_demo(env: Mapping[str, str]) -> str:
    """A simulated cluster holds no secrets and has no users, even inside a real one. Raises ``ConfigError``."""
    if env.get("KRM_AUTH", "").strip().lower() == "kubernetes":
        raise ConfigError("KRM_AUTH=kubernetes: the simulated cluster of krm demo has no users; krm run has")
    return "none"


def _warn_of_password(flags: Flags) -> None:
    url = flags.get("redis_url")
    if isinstance(url, str) and urlsplit(url).password:
        output.say("warning: others on this machine can read the password in --redis-url; KRM_REDIS_URL hides it")


def unprotected(redis_url: Secret) -> list[str]:
    """A word on a Redis that others can reach and that asks nobody for a password; it holds what the cluster does."""
    url = redis_url.reveal()
    if url.startswith("unix://") or "password=" in url or "@" in url:
        return []
    hosts = [part.rpartition(":")[0] or part for part in urlsplit(url).netloc.split(",")]
    if all(is_loopback(host.strip("[]")) for host in hosts):
        return []
    return ["KRM_REDIS_URL has no password: whoever reaches that Redis reads the whole cluster"]


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        output.say(f"warning: {warning}")
