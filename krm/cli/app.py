"""The commands and their options. Bodies only hand over: each imports what it needs when it runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from krm.cli.choices import Form, LogLevel, ProfileChoice, StatusForm, complete_kinds

if TYPE_CHECKING:
    from krm.cli.serving.roles import Role


CONTEXT: Final[dict[str, Any]] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
"""Of every command, however it is reached."""


def _typer(*, has_completion: bool) -> typer.Typer:
    return typer.Typer(
        name="krm",
        help="Kubernetes Resource Monitor: the state of a cluster, cached, and how true it is.",
        add_completion=has_completion,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=CONTEXT,
    )


app = _typer(has_completion=False)


def with_completion() -> typer.Typer:
    """`app` with ``--install-completion`` and ``--show-completion``, whose mere presence doubles the start-up time."""
    whole = _typer(has_completion=True)
    whole.registered_callback, whole.registered_commands = app.registered_callback, app.registered_commands
    return whole


Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="Where KRM is; else KRM_URL, else http://127.0.0.1:8000.")
]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="TIME", help="How long to wait for an answer: 10s, 500ms; 0 is no limit.")
]
Host = Annotated[str | None, typer.Option("--host", metavar="HOST", help="Address to listen on (KRM_HOST).")]
Port = Annotated[str | None, typer.Option("--port", metavar="PORT", help="Port of the API (KRM_PORT); 0 picks one.")]
RedisUrl = Annotated[
    str | None,
    typer.Option("--redis-url", metavar="URL", help="Where Redis is (KRM_REDIS_URL, which shows no password in ps)."),
]
Kubeconfig = Annotated[
    Path | None, typer.Option("--kubeconfig", metavar="FILE", help="Instead of KUBECONFIG and ~/.kube/config.")
]
Context = Annotated[str | None, typer.Option("--context", metavar="NAME", help="Context of the kubeconfig.")]
Resources = Annotated[
    str | None,
    typer.Option(
        "--resources", metavar="A,B", help="The kinds to cache (KRM_RESOURCES).", autocompletion=complete_kinds
    ),
]
OneResource = Annotated[
    str | None,
    typer.Option(
        "--resource",
        metavar="RESOURCE",
        help="The kind, e.g. pods; all of KRM_RESOURCES when left out.",
        autocompletion=complete_kinds,
    ),
]
NoAuth = Annotated[
    bool, typer.Option("--insecure-no-auth", help="Answer anybody, beyond this machine too, with KRM_AUTH=none.")
]
AliveFile = Annotated[
    Path | None, typer.Option("--alive-file", metavar="FILE", help="Touch it all the time, for a liveness probe.")
]
Level = Annotated[LogLevel | None, typer.Option("--log-level", help="The least that is logged (KRM_LOG_LEVEL).")]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        from krm.cli import output

        output.write(f"krm {metadata.version('kubernetes-resource-monitor')}\n")
        raise typer.Exit


@app.callback()
def _krm(
    _version_wanted: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    port: Port = None,
    pods: Annotated[int, typer.Option(metavar="N", min=1, max=1_000_000, help="Pods of the cluster.")] = 500,
    churn: Annotated[float, typer.Option(metavar="N", min=0, max=100_000, help="Changes a second.")] = 20,
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed gives the same cluster.")] = 1,
    duration: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="End by itself after this time.")
    ] = None,
    with_delay: Annotated[
        bool, typer.Option("--with-delay", help="Keep delays in an InfluxDB too (needs influxd 1.x).")
    ] = False,
    redis_url: RedisUrl = None,
    insecure_no_auth: NoAuth = False,
    log_level: Level = None,
) -> int:
    """A simulated cluster, Redis, all workers and the API; needs no cluster and leaves nothing behind."""
    from krm.cli.serving import commands

    flags = {
        "port": port,
        "redis_url": redis_url,
        "insecure_no_auth": insecure_no_auth or None,
        "log_level": log_level,
    }
    return commands.demo(
        flags, os.environ, pods=pods, churn=churn, seed=seed, duration_s=duration, with_delay=with_delay
    )


@app.command()
def run(
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    redis_url: RedisUrl = None,
    resources: Resources = None,
    port: Port = None,
    duration: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=0, help="End by itself after this time.")
    ] = None,
    insecure_no_auth: NoAuth = False,
    log_level: Level = None,
) -> int:
    """All workers and the API against a real cluster, in one terminal; its own Redis unless one is given."""
    from krm.cli.serving import commands

    flags = {
        "port": port,
        "redis_url": redis_url,
        "resources": resources,
        "insecure_no_auth": insecure_no_auth or None,
        "log_level": log_level,
    }
    return commands.run(flags, os.environ, kubeconfig=kubeconfig, context=context, duration_s=duration)


WORKERS: Final[dict[str, tuple[Role, str]]] = {
    "stream": ("streamer", "The streamer of a kind: follows its watch and logs each event in Redis."),
    "verify": ("verifier", "The verifier of a kind: lists it again and again, which proves what is there."),
    "aggregate": ("aggregator", "The aggregator of a kind: makes one table out of what streamer and verifier found."),
}
"""By the name of the command: which worker it starts, and its help."""


def _add_worker(command: str, role: Role, told: str) -> None:
    @app.command(command, help=told)
    def work(
        resource: OneResource = None,
        kubeconfig: Kubeconfig = None,
        context: Context = None,
        redis_url: RedisUrl = None,
        log_level: Level = None,
        alive_file: AliveFile = None,
    ) -> int:
        from krm.cli.serving import commands

        flags = _worker(redis_url, log_level, resource)
        return commands.work(role, flags, os.environ, kubeconfig, context, alive_file)


for _command, (_role, _told) in WORKERS.items():
    _add_worker(_command, _role, _told)


@app.command()
def collect(
    resources: Resources = None,
    redis_url: RedisUrl = None,
    influx_url: Annotated[
        str | None, typer.Option("--influx-url", metavar="URL", help="Where InfluxDB is (KRM_INFLUX_URL).")
    ] = None,
    log_level: Level = None,
    alive_file: AliveFile = None,
) -> int:
    """The delay collector: keeps in InfluxDB how late events came; one process for all kinds."""
    from krm.cli.serving import commands

    flags = {**_worker(redis_url, log_level, resources), "influx_url": influx_url}
    return commands.collect(flags, os.environ, alive_file)


def _worker(redis_url: str | None, log_level: LogLevel | None, resource: str | None) -> dict[str, object]:
    return {"redis_url": redis_url, "log_level": log_level, "resources": resource}


@app.command()
def serve(
    host: Host = None,
    port: Port = None,
    redis_url: RedisUrl = None,
    resources: Resources = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    insecure_no_auth: NoAuth = False,
    log_level: Level = None,
) -> int:
    """The API: GraphQL over HTTP, and GraphiQL in the browser."""
    from krm.cli.serving import commands

    flags = {
        "host": host,
        "port": port,
        "redis_url": redis_url,
        "resources": resources,
        "insecure_no_auth": insecure_no_auth or None,
        "log_level": log_level,
    }
    return commands.serve(flags, os.environ, kubeconfig, context)


@app.command()
def get(
    resource: Annotated[
        str,
        typer.Argument(
            metavar="RESOURCE",
            help="pods or po, deploy, pvc, svc, ing, no; po,svc; po/web.",
            autocompletion=complete_kinds,
        ),
    ],
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Only these objects.")] = None,
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", metavar="NAMESPACE", help="The namespace.")
    ] = "default",
    all_namespaces: Annotated[bool, typer.Option("-A", "--all-namespaces", help="All namespaces.")] = False,
    selector: Annotated[
        str | None, typer.Option("-l", "--selector", metavar="SELECTOR", help="Labels: app=web,tier!=db.")
    ] = None,
    field_selector: Annotated[
        str | None, typer.Option("--field-selector", metavar="SELECTOR", help="Fields: status.phase=Running.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--where",
            metavar="CONDITION",
            help="'PATH OP VALUE' with = != < <= > >= ~ *=, PATH, !PATH, or a Filter as JSON; several: all must hold.",
        ),
    ] = None,
    sort_by: Annotated[
        list[str] | None, typer.Option("--sort-by", metavar="PATH", help="Order by a path; -PATH: the greatest first.")
    ] = None,
    form: Annotated[Form, typer.Option("-o", "--output", help="How to print them.")] = Form.TABLE,
    no_headers: Annotated[bool, typer.Option("--no-headers", help="Without the line of headings.")] = False,
    watch: Annotated[
        bool, typer.Option("-w", "--watch", help="Go on with a line for each change, until Ctrl-C.")
    ] = False,
    url: Url = None,
    timeout: Timeout = "10s",
) -> int:
    """Objects, as kubectl shows them: krm get pods -A, krm get deploy web -o yaml, krm get po,svc -l app=web."""
    from krm.cli.reading import conditions, targets
    from krm.cli.reading import get as getting

    wanted = getting.Wanted(
        targets=targets.parse([resource, *(names or [])]),
        namespace=None if all_namespaces else namespace,
        label_selector=selector,
        field_selector=field_selector,
        where=conditions.where(where or []),
        order=conditions.order(sort_by or []),
    )
    if watch:
        from krm.cli.reading import watch as watching

        return watching.run(wanted, form=form, has_headings=not no_headers, url=url, timeout=timeout)
    return getting.run(wanted, form=form, has_headings=not no_headers, url=url, timeout=timeout)


@app.command()
def query(
    source: Annotated[
        str | None, typer.Argument(metavar="FILE|-", help="A file with the query; - is standard input.")
    ] = None,
    variables: Annotated[
        list[str] | None,
        typer.Option("--var", metavar="NAME=VALUE", help="A variable; its value is JSON if it parses, else text."),
    ] = None,
    url: Url = None,
    timeout: Timeout = "10s",
) -> int:
    """A GraphQL query; its answer as JSON. Exit status 1 when the answer has errors."""
    from krm.cli.reading import query as asking

    return asking.run(source, variables or [], url=url, timeout=timeout)


@app.command()
def status(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(metavar="RESOURCE", help="All when left out.", autocompletion=complete_kinds),
    ] = None,
    form: Annotated[StatusForm, typer.Option("-o", "--output", help="How to print it.")] = StatusForm.TABLE,
    url: Url = None,
    timeout: Timeout = "10s",
) -> int:
    """How true answers are at this moment, kind by kind."""
    from krm import resources as registry
    from krm.cli.reading import status as telling

    return telling.run([registry.find(kind) for kind in kinds or ()], form, url=url, timeout=timeout)


@app.command()
def drift(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="RESOURCE", help="All when left out.", autocompletion=complete_kinds),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1_000_000, help="At most so many.")] = 100,
    form: Annotated[StatusForm, typer.Option("-o", "--output", help="How to print it.")] = StatusForm.TABLE,
    url: Url = None,
    timeout: Timeout = "10s",
) -> int:
    """What the stream had missed and verification found, newest first."""
    from krm import resources as registry
    from krm.cli.reading import drift as telling

    resource = registry.find(kind) if kind else None
    return telling.run(resource, form, limit=limit, url=url, timeout=timeout)


@app.command()
def schema() -> int:
    """The GraphQL schema (SDL)."""
    from krm.cli.reading import schema as showing

    return showing.run()


@app.command()
def manifests(
    profile: Annotated[
        ProfileChoice, typer.Option("--profile", help="What is set up beside KRM: one Redis, everything twice, delays.")
    ] = ProfileChoice.SMALL,
    secrets: Annotated[
        bool, typer.Option("--secrets", help="The Secrets, with new passwords, instead of everything else.")
    ] = False,
    redis_tls: Annotated[
        bool, typer.Option("--redis-tls", help="Redis over TLS, with the certificate in the Secret krm-redis-tls.")
    ] = False,
) -> int:
    """The Kubernetes manifests for the configured resources: krm manifests | kubectl apply -f -"""
    from krm.cli import manifests as printing

    return printing.run(str(profile), os.environ, secrets=secrets, redis_tls=redis_tls)
