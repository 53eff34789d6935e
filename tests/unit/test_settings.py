"""Settings: flags over environment over defaults; a wrong value names its variable, the value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from krm import settings
from krm.errors import ConfigError
from krm.resources import DEPLOYMENTS, PODS, RESOURCES, SERVICES
from krm.settings import Secret, Settings


def load(flags: dict[str, object] | None = None, **env: str) -> Settings:
    return Settings.load(flags or {}, env)


def test_defaults_are_those_of_the_contract() -> None:
    found = load()
    assert found.resources == tuple(RESOURCES.values())
    assert (found.cluster, found.verify_interval_s, found.list_page_size) == ("default", 30.0, 500)
    assert (found.events_max, found.changes_retention_s, found.namespaces) == (200_000, 900.0, None)
    assert (found.host, found.port, found.workers, found.auth) == ("127.0.0.1", 8000, 1, None)
    assert (found.max_body, found.max_tokens, found.max_depth, found.max_aliases) == (256 * 1024, 10_000, 20, 100)
    assert (found.max_fields, found.max_equal_fields, found.max_rows, found.max_response) == (4_000, 50, 200_000, 2**30)
    assert (found.query_timeout_s, found.max_in_flight, found.graphiql, found.introspection) == (30.0, 20, True, True)
    assert (found.redact, found.keep_managed_fields, found.redis_url, found.log_level) == ((), False, None, "info")


def test_flag_goes_over_environment_and_environment_over_default() -> None:
    assert load(KRM_PORT="9000").port == 9000
    assert load({"port": "9001"}, KRM_PORT="9000").port == 9001
    assert load({"port": None}, KRM_PORT="9000").port == 9000
    assert load({"insecure_no_auth": True}).insecure_no_auth


def test_values_are_read_into_their_types() -> None:
    found = load(
        KRM_REDIS_URL=" redis://h:1/0 ",
        KRM_CLUSTER="prod-1",
        KRM_RESOURCES="po, deployments.apps,SVC",
        KRM_NAMESPACES="a, b,a",
        KRM_VERIFY_INTERVAL="1m30s",
        KRM_REDACT="spec.a, spec.b ,,spec.a",
        KRM_KEEP_MANAGED_FIELDS="Yes",
        KRM_GRAPHIQL="off",
        KRM_MAX_BODY="1Mi",
        KRM_TLS_CERT_FILE="/a/b",
        KRM_AUTH="Kubernetes",
        KRM_INFLUX_TOKEN="token\n",
        KRM_LOG_FORMAT="JSON",
    )
    assert found.redis_url == Secret("redis://h:1/0")
    assert (found.cluster, found.resources, found.namespaces) == ("prod-1", (PODS, DEPLOYMENTS, SERVICES), ("a", "b"))
    assert (found.verify_interval_s, found.redact, found.keep_managed_fields) == (90.0, ("spec.a", "spec.b"), True)
    assert (found.graphiql, found.max_body, found.tls_cert_file) == (False, 2**20, Path("/a/b"))
    assert (found.auth, found.influx_token, found.log_format) == ("kubernetes", Secret("token"), "json")


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("KRM_VERIFY_INTERVAL", "0", "from 1s to 24h"),
        ("KRM_VERIFY_INTERVAL", "0s", "from 1s to 24h"),
        ("KRM_VERIFY_INTERVAL", "-5s", "a duration such as"),
        ("KRM_VERIFY_INTERVAL", "5 parsecs", "a duration such as"),
        ("KRM_VERIFY_INTERVAL", "25h", "from 1s to 24h"),
        ("KRM_LIST_PAGE_SIZE", "0", "from 1 to 10000"),
        ("KRM_LIST_PAGE_SIZE", "1e3", "a whole number"),
        ("KRM_LIST_PAGE_SIZE", "9" * 40, "a whole number"),
        ("KRM_CHANGES_RETENTION", "1s", "from 10s to 24h"),
        ("KRM_EVENTS_MAX", "10", "from 1000 to"),
        ("KRM_SHARDS", "0", "from 1 to 64"),
        ("KRM_PORT", "65536", "from 0 to 65535"),
        ("KRM_PORT", "http", "a whole number"),
        ("KRM_RESOURCES", "pods,po", "pods is named twice"),
        ("KRM_RESOURCES", "podz", "did you mean pods"),
        ("KRM_RESOURCES", "", "plurals"),
        ("KRM_NAMESPACES", "", "leave it unset for all"),
        ("KRM_NAMESPACES", "a,,b", "namespaces by name"),
        ("KRM_NAMESPACES", "../x", "namespaces by name"),
        ("KRM_CLUSTER", "Prod", "lower-case"),
        ("KRM_CLUSTER", "a{b}", "lower-case"),
        ("KRM_KEEP_MANAGED_FIELDS", "maybe", "true or false"),
        ("KRM_AUTH", "basic", "one of none, kubernetes"),
        ("KRM_MAX_BODY", "1 GB", "a size such as"),
        ("KRM_MAX_BODY", "1", "from 1Ki to 64Mi"),
        ("KRM_LOG_LEVEL", "x" * 200, "debug, info"),
    ],
)
def test_wrong_value_names_variable_value_and_what_is_allowed(variable: str, value: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Settings.load({}, {variable: value})
    message = str(caught.value)
    assert message.startswith(f"{variable}=")
    assert told in message
    assert len(message) < 400
    assert caught.value.exit_status == 2


def test_wrong_flag_is_told_as_a_flag() -> None:
    with pytest.raises(ConfigError, match="--verify-interval='x'"):
        load({"verify_interval_s": "x"})


def test_empty_variable_counts_as_not_set() -> None:
    assert load(KRM_PORT="", KRM_REDIS_URL="").port == 8000


@pytest.mark.parametrize("value", ["hunter2", "http://user:hunter2@h"])
def test_wrong_redis_url_is_not_repeated(value: str) -> None:
    with pytest.raises(ConfigError, match="KRM_REDIS_URL is not valid") as caught:
        load(KRM_REDIS_URL=value)
    assert "hunter2" not in str(caught.value)


def test_redis_is_required_where_it_is_used() -> None:
    assert load(KRM_REDIS_URL="redis://h").require_redis().reveal() == "redis://h"
    with pytest.raises(ConfigError, match="KRM_REDIS_URL"):
        load().require_redis()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_authentication(host: str) -> None:
    load(KRM_HOST=host).check_api()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.com"])
@pytest.mark.parametrize("auth", ["", "none"])
def test_cluster_is_not_shown_to_anybody_by_accident(host: str, auth: str) -> None:
    with pytest.raises(ConfigError, match="KRM_AUTH"):
        load(KRM_HOST=host, KRM_AUTH=auth).check_api()
    load(KRM_HOST=host, KRM_AUTH="kubernetes").check_api()
    load({"insecure_no_auth": True}, KRM_HOST=host, KRM_AUTH=auth).check_api()


@pytest.mark.parametrize("variable", ["KRM_TLS_CERT_FILE", "KRM_TLS_KEY_FILE"])
def test_certificate_and_key_go_together(variable: str) -> None:
    with pytest.raises(ConfigError, match="go together"):
        Settings.load({}, {variable: "/a"}).check_api()


def test_unknown_variable_is_told_with_the_nearest_one() -> None:
    found = settings.unknown({"KRM_RESOURCE": "x", "KRM_ZZZZZZ": "", "KRM_URL": "", "KRM_TEST_CASES": "1", "PATH": ""})
    assert found == [
        "KRM_RESOURCE is not a setting of KRM; did you mean KRM_RESOURCES?",
        "KRM_ZZZZZZ is not a setting of KRM",
    ]


def test_secret_is_shown_by_nothing_but_reveal() -> None:
    secret = Secret("hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]} {load(KRM_REDIS_URL='redis://:hunter2@h')}"
    assert (secret.reveal(), secret == Secret("hunter2"), secret == "hunter2") == ("hunter2", True, False)
    assert hash(secret) == hash(Secret("hunter2"))


UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


@given(st.lists(st.tuples(st.integers(0, 9_999), st.sampled_from(sorted(UNITS))), min_size=1, max_size=4))
def test_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    text = "".join(f"{number}{unit}" for number, unit in parts)
    assert settings.duration(text) == pytest.approx(sum(number * UNITS[unit] for number, unit in parts))


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    for read in (settings.duration, settings.size):
        try:
            assert read(text) >= 0
        except ValueError as error:
            assert "such as" in str(error)  # noqa: PT017 - most texts are errors, some are not


@pytest.mark.parametrize(
    ("text", "size"), [("7", 7), (" 256Ki ", 2**18), ("2Mi", 2**21), ("1Gi", 2**30), ("1Ti", 2**40)]
)
def test_sizes(text: str, size: int) -> None:
    assert settings.size(text) == size
