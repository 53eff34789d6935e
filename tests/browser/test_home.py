"""The page at ``/`` as a person meets it: every view, live, by keyboard, narrow, in dark, and while things go wrong."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from krm.resources import RESOURCES
from tests import servers
from tests.browser.test_pages import Seen
from tests.servers import Demo
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(180)

WAIT_MS: Final = 60_000
"""The machine may be short of everything."""
VIEWS: Final = ("overview", "list", "object")


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with servers.start_demo("--pods", "120", "--churn", "2", "--seed", "1") as running:
        yield running


@pytest.fixture
async def seen(page: Page) -> Seen:
    found = Seen()
    page.set_default_timeout(WAIT_MS)
    page.on("request", lambda request: found.addresses.append(request.url))
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("console", lambda line: found.complaints.append(line.text) if line.type == "error" else None)
    return found


async def opened(page: Page, demo: Demo, place: str = "") -> None:
    await page.goto(f"{demo.url}/{place}")
    await expect(page.locator("main h1")).to_be_visible(timeout=WAIT_MS)


async def object_place(page: Page, demo: Demo, resource: str = "pods") -> str:
    """The place of the first object of a list."""
    await opened(page, demo, f"#/{resource}")
    link = page.locator("table.rows tbody a").first
    return str(await link.get_attribute("href", timeout=WAIT_MS))


async def shown(page: Page, demo: Demo, view: str) -> None:
    place = {"overview": "", "list": "#/pods"}.get(view) or (await object_place(page, demo) if view == "object" else "")
    await opened(page, demo, place)
    ready = {"overview": "table.kinds .SYNCED", "list": "table.rows tbody a", "object": "svg.graph rect"}[view]
    await expect(page.locator(ready).first).to_be_visible(timeout=WAIT_MS)


async def test_every_kind_is_in_sync_and_counted(demo: Demo, page: Page, seen: Seen) -> None:
    await opened(page, demo)
    await expect(page.locator("table.kinds .state.SYNCED")).to_have_count(len(RESOURCES), timeout=WAIT_MS)
    for plural in RESOURCES:
        objects = await page.locator(f'tr[data-resource="{plural}"] td').nth(1).inner_text()
        assert int(objects.replace(",", "")) > 0
    await expect(page.locator(".chart canvas")).to_have_count(3)
    assert [address for address in seen.addresses if not address.startswith((demo.url, "data:"))] == []
    assert seen.complaints == []


async def test_figures_move_without_a_reload(demo: Demo, page: Page, seen: Seen) -> None:
    await opened(page, demo)
    pods = page.locator('tr[data-resource="pods"]')

    before = await pods.inner_text()

    async def moved() -> bool:
        return bool(await pods.inner_text() != before)

    await wait_until(moved, 60)
    labels = page.locator(".chart [role=img]").first
    await expect(labels).to_have_attribute("aria-label", re.compile("pods is at"), timeout=WAIT_MS)
    assert len([address for address in seen.addresses if address.endswith("/overview")]) == 1
    assert seen.complaints == []


async def test_a_list_is_filtered_sorted_and_paged_by_the_api(demo: Demo, page: Page, seen: Seen) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.post_data or "") if request.method == "POST" else None)
    await shown(page, demo, "list")
    assert "50" in _query(asked[-1])
    first = await page.locator("table.rows tbody a").first.inner_text()
    await page.get_by_role("button", name="Next").click()
    await expect(page.locator("table.rows tbody a").first).not_to_have_text(first, timeout=WAIT_MS)
    await page.get_by_role("button", name="Previous").click()
    await expect(page.get_by_role("button", name="Previous")).to_be_disabled(timeout=WAIT_MS)
    await page.get_by_role("textbox", name="Namespace").fill("team-0")
    await page.get_by_label("Where").fill("requests.cpu > 0 and !metadata.deletionTimestamp")
    await page.get_by_role("button", name="Show").click()
    await expect(page.locator(".summary")).to_contain_text("pods", timeout=WAIT_MS)
    await page.get_by_role("button", name="CPU").click()
    await expect(page.get_by_role("columnheader", name="CPU")).to_have_attribute("aria-sort", "ascending")
    await wait_until(lambda: "direction: ASC" in _query(asked[-1]), 30)
    assert 'namespace: "team-0"' in _query(asked[-1])
    assert "first: 50" in _query(asked[-1])
    await expect(page.locator("table.rows tbody tr td:first-child").first).to_have_text("team-0", timeout=WAIT_MS)
    assert seen.complaints == []


async def test_what_is_being_typed_stays_while_figures_move(demo: Demo, page: Page, seen: Seen) -> None:
    looks = 0

    def heard(_: object) -> None:
        nonlocal looks
        looks += 1

    await shown(page, demo, "list")
    await page.get_by_label("Where").fill("status.phase = Run")
    page.on("request", heard)  # the list is asked anew, so the page was drawn anew
    await wait_until(lambda: looks > 0, 60)
    await expect(page.get_by_label("Where")).to_have_value("status.phase = Run")
    assert seen.complaints == []


async def test_a_view_can_be_shared_by_its_link(demo: Demo, page: Page, seen: Seen) -> None:
    await opened(
        page,
        demo,
        "#/pods?where=status.phase+%3D+Running&sort=-metadata.name&columns=metadata.name,metadata.labels['app']",
    )
    await expect(page.locator("table.rows tbody a").first).to_be_visible(timeout=WAIT_MS)
    names = await page.locator("table.rows tbody a").all_inner_texts()
    assert names == sorted(names, reverse=True)
    assert await page.locator("table.rows tbody tr").first.locator("td").nth(1).inner_text() != ""
    await expect(page.get_by_label("Where")).to_have_value("status.phase = Running")
    await page.get_by_text("The GraphQL query behind this").click()
    await page.get_by_role("link", name="Open it in GraphiQL").click()
    await page.get_by_role("button", name="Execute query").click()
    await expect(page.locator(".graphiql-response")).to_contain_text('"totalCount"', timeout=WAIT_MS)
    assert seen.complaints == []


async def test_an_object_is_shown_with_its_relations_and_its_manifest(demo: Demo, page: Page, seen: Seen) -> None:
    await shown(page, demo, "object")
    await expect(page.locator(".yaml")).to_contain_text("kind: Pod")
    await expect(page.locator("svg.graph")).to_contain_text("Node")
    await expect(page.get_by_role("heading", name="Changes of the last 15 minutes")).to_be_visible()
    await page.get_by_role("link", name="Node node-").first.click()
    await expect(page.locator(".yaml")).to_contain_text("kind: Node", timeout=WAIT_MS)
    assert await page.evaluate("document.activeElement.tagName") == "H1"  # a new view is read from its heading on
    assert seen.complaints == []


async def test_what_is_wrong_with_a_question_is_said_in_words(demo: Demo, page: Page) -> None:
    page.set_default_timeout(WAIT_MS)
    await opened(page, demo, "#/pods?where=spec.nope+%3D+1")
    await expect(page.get_by_role("alert")).to_contain_text("spec.node", timeout=WAIT_MS)  # the nearest path
    await opened(page, demo, "#/pods?where=%3D%3D%3D")
    await expect(page.get_by_role("alert")).to_contain_text("is no term", timeout=WAIT_MS)
    await opened(page, demo, "#/pods/team-0/nobody")
    await expect(page.locator("main")).to_contain_text("There is no Pod of this name", timeout=WAIT_MS)
    await opened(page, demo, "#/widgets")
    await expect(page.locator("main")).to_contain_text("not cached here", timeout=WAIT_MS)


async def test_a_worker_that_stops_is_told_and_that_it_is_back(demo: Demo, page: Page, seen: Seen) -> None:
    await opened(page, demo)
    await expect(page.locator("table.kinds .state.SYNCED")).to_have_count(len(RESOURCES), timeout=WAIT_MS)
    with stopped(demo, "krm streamer"):
        why = page.locator('[data-why="pods"]')
        await expect(why).to_contain_text("the streamer has not been heard of", timeout=WAIT_MS)
        await expect(page.get_by_role("status")).to_contain_text("6 of 6 kinds need a look")
    await expect(page.locator("table.kinds .state.SYNCED")).to_have_count(len(RESOURCES), timeout=WAIT_MS)
    assert seen.complaints == []


async def test_a_connection_that_breaks_is_told_and_made_again(demo: Demo, page: Page) -> None:
    await opened(page, demo)
    await page.context.set_offline(True)
    with stopped(demo, "krm api"):
        await expect(page.get_by_role("alert")).to_contain_text("Not connected", timeout=WAIT_MS)
    await page.context.set_offline(False)
    await expect(page.get_by_role("alert")).to_have_count(0, timeout=WAIT_MS)


async def test_it_is_used_by_keyboard_alone(demo: Demo, page: Page, seen: Seen) -> None:
    await opened(page, demo)
    await page.keyboard.press("Tab")
    await expect(page.locator(".skip")).to_be_focused()
    await page.locator('tr[data-resource="services"] a').focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("main h1")).to_have_text("services", timeout=WAIT_MS)
    await expect(page.locator("main h1")).to_be_focused()
    await page.keyboard.press("/")
    await expect(page.get_by_label("Search")).to_be_focused()
    await page.keyboard.type("web")
    await page.keyboard.press("Enter")
    await expect(page.locator(".summary")).to_contain_text("service", timeout=WAIT_MS)
    assert "text=web" in page.url
    assert seen.complaints == []


@pytest.mark.parametrize("view", VIEWS)
async def test_it_is_accessible_in_light_and_dark_and_fits_a_phone(demo: Demo, page: Page, view: str) -> None:
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
    await page.emulate_media(color_scheme="light", reduced_motion="reduce")
    await shown(page, demo, view)
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        found = await Axe().run(page, options={"runOnly": {"type": "tag", "values": tags}})
        assert found.response["violations"] == [], f"{scheme}: {found.generate_report()}"
    await page.set_viewport_size({"width": 360, "height": 740})
    assert await page.evaluate("document.scrollingElement.scrollWidth") <= 360


@contextmanager
def stopped(demo: Demo, name: str) -> Iterator[None]:
    """A part of the demo that does nothing meanwhile."""
    children = Path(f"/proc/{demo.process.pid}/task/{demo.process.pid}/children").read_text().split()
    found = [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text().strip() == name[:15]]
    assert found, f"the demo has no part {name}"
    os.kill(found[0], signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(found[0], signal.SIGCONT)


def _query(body: str) -> str:
    return str(json.loads(body)["query"])
