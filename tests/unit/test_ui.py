"""The page at ``/`` as it lies in the package."""

from __future__ import annotations

import json
import re

from tests import ui


def test_the_page_is_built_from_the_sources_that_are_here() -> None:
    assert ui.digest() == ui.DIGEST.read_text().strip(), "ui/ has changed: run make ui"


def test_the_page_loads_only_what_the_package_has() -> None:
    page = (ui.BUILT / "index.html").read_text()
    loaded = re.findall(r'(?:src|href)="(?!data:)([^"]+)"', page)
    assert sorted(loaded) == ["static/ui/page.css", "static/ui/page.js"]
    assert all((ui.BUILT / name.removeprefix("static/ui/")).is_file() for name in loaded)
    assert "<style" not in page
    assert re.search(r"<script(?![^>]*\bsrc=)", page) is None


def test_the_lock_names_no_place_that_packages_come_from() -> None:
    lock = (ui.ROOT / "ui" / "package-lock.json").read_text()
    assert "resolved" not in lock
    assert all("integrity" in one for name, one in json.loads(lock)["packages"].items() if name)


def test_the_terms_of_what_is_built_in_lie_beside_it() -> None:
    terms = (ui.BUILT / "LICENSES.txt").read_text()
    for name in json.loads((ui.ROOT / "ui" / "package.json").read_text())["dependencies"]:
        assert name in terms
