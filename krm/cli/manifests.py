"""``krm manifests``: prints what ``kubectl apply -f -`` takes. Asks nobody."""

from __future__ import annotations

from collections.abc import Mapping

from krm.cli import output


def run(profile: str, env: Mapping[str, str], *, secrets: bool, redis_tls: bool) -> int:
    """Print the objects of a profile, or its Secrets."""
    from krm.manifests import passwords, render
    from krm.manifests.options import Options, Profile

    options = Options.of(Profile(profile), env, redis_tls=redis_tls)
    output.write(render.text(passwords.objects(options) if secrets else render.objects(options)))
    return 0
