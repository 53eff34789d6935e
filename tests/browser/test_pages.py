"""The pages as a person meets them: in a real browser, in front of a running demo."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests import servers
from tests.servers import Demo
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with servers.start_demo("--pods", "60", "--churn", "5", "--seed", "1") as running:
        yield running


@dataclass
class Seen:
    """What the browser had to ask for and to complain about."""

    addresses: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture
def seen(page: Page) -> Seen:
    found = Seen()
    page.on("request", lambda request: found.addresses.append(request.url))
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("console", lambda line: found.complaints.append(line.text) if line.type == "error" else None)
    page.on("requestfailed", lambda request: found.complaints.append(f"{request.url}: {request.failure}"))
    return found


async def test_graphiql_answers_without_asking_any_other_host(demo: Demo, page: Page, seen: Seen) -> None:
    await page.goto(f"{demo.url}/graphql")
    await page.get_by_role("button", name="Execute query").click()
    await expect(page.locator(".graphiql-response")).to_contain_text('"freshness"', timeout=20_000)
    await expect(page.locator(".graphiql-response")).not_to_contain_text('"errors"')
    assert [address for address in seen.addresses if not address.startswith((demo.url, "data:"))] == []
    assert seen.complaints == []


async def test_every_example_of_graphiql_is_answered(demo: Demo, page: Page) -> None:
    await page.goto(f"{demo.url}/graphql")
    tabs = page.get_by_role("tab")
    await expect(tabs.first).to_be_visible()
    count = await tabs.count()
    assert count > 1
    for number in range(count):
        await tabs.nth(number).click()
        # The editor learns the name of another tab's operation a moment after it shows its text.
        answer = await wait_until(lambda: _executed(page), 20)
        assert "errors" not in answer
        assert answer["data"]


async def _executed(page: Page) -> dict[str, Any] | None:
    """The answer to the query that is shown; None where its operation was sent under another's name."""
    async with page.expect_response(lambda response: response.request.method == "POST") as answered:
        await page.get_by_role("button", name="Execute query").click()
    response = await answered.value
    asked = response.request.post_data_json or {}
    return await response.json() if f"query {asked['operationName']} " in asked["query"] else None


async def test_a_shared_link_opens_its_query(demo: Demo, page: Page, seen: Seen) -> None:
    await page.goto(f"{demo.url}/graphql#query=%7B%20nodes%20%7B%20totalCount%20%7D%20%7D")
    await page.get_by_role("button", name="Execute query").click()
    await expect(page.locator(".graphiql-response")).to_contain_text('"totalCount"', timeout=20_000)
    assert seen.complaints == []


async def test_schema_documentation_is_offered(demo: Demo, page: Page, seen: Seen) -> None:
    await page.goto(f"{demo.url}/graphql")
    await page.get_by_role("button", name="Show Documentation Explorer").click()
    await expect(page.locator(".graphiql-doc-explorer")).to_contain_text("Query", timeout=20_000)
    assert seen.complaints == []
