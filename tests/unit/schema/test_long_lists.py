"""Long lists are made block by block, kept compressed, and answered as plain execution does, whatever has changed."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from krm.errors import CorruptData
from krm.resources import PODS
from krm.schema import blocks, parts
from krm.schema.blocks import MOST_ROWS, Shelf
from krm.schema.context import Context
from krm.schema.engine import Answer, Engine, Request
from krm.schema.plans import Plan
from krm.store.compression import Packed, Text
from krm.store.rows import Codec, Row
from tests.sources import FilledSource, pod
from tests.unit.schema.asking import engine
from tests.unit.schema.test_compiled import selection, spoiled

ROWS = 300
KNOWN = "{ pods { nodes { metadata { name uid } spec { nodeName } status { phase } } } }"
READ = "{ pods { nodes { spec { containers { name image } } status { podIP } } } }"
WITH_CURSORS = "{ pods { edges { cursor node { kind spec { containers { name } } } } } }"
WITH_OBJECTS = "{ pods { nodes { kind object } } }"


def pods(count: int = ROWS) -> list[dict[str, object]]:
    return [pod(f"p-{number:04}", number=number) for number in range(count)]


async def answered(by: Engine, source: FilledSource, query: str, *, compiled: bool = True) -> Answer:
    context = Context(source=source, is_compiled=compiled, is_streamed=compiled)
    return await by.answer(Request(query=query), context)


def pack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every text wait compressed, as in an answer of many megabytes."""
    monkeypatch.setattr(parts, "PLAIN_MOST", 0)
    monkeypatch.setattr(parts, "_SMALL", 0)


PHASES = ("Failed", "a?b", 'q"', 'x",', "\\", "", "Running", "ü")


def change(rng: random.Random, source: FilledSource, number: int) -> None:
    """Pods are changed, come, and go; now and then one becomes what no API server sends."""
    changed, gone, *others = rng.sample(source.get(PODS).rows(), 8)
    source.change("pods", pod(changed.name, number=number, phase=PHASES[number % len(PHASES)]))
    source.change("pods", None, uid=gone.uid)
    source.change("pods", pod(f"p-{rng.randrange(ROWS):04}x{number}", number=number))
    if number % 8 == 7:
        source.change("pods", spoiled(rng, pod(others[0].name)))


async def test_they_equal_plain_execution_while_rows_change(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(11)
    source = FilledSource({"pods": pods()})
    by, packing = engine(), engine()
    queries = [
        KNOWN,
        READ,
        WITH_CURSORS,
        WITH_OBJECTS,
        f"{{ pods {{ nodes {{ {selection(rng, 'Pod', 2, top=True)} }} }} }}",
    ]
    for round_ in range(2):
        for query in queries:
            plain = await answered(by, source, query, compiled=False)
            for _ in range(2):
                found = await answered(by, source, query)
                with monkeypatch.context() as patch:
                    pack(patch)
                    packed = await answered(packing, source, query)
                assert found.body == packed.body == plain.body, query
                assert found.size == packed.size == len(plain.body)
        for number in range(8):
            change(rng, source, 1_000 * round_ + number)


async def test_what_waits_to_be_sent_is_a_fraction_of_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    pack(monkeypatch)
    source = FilledSource({"pods": pods()})
    for query in (READ, WITH_CURSORS, WITH_OBJECTS):
        answer = await answered(engine(), source, query)
        waiting = sum(parts.memory_of(part) for part in answer.parts if isinstance(part, bytes | Packed))
        assert waiting < answer.size / 3, query


async def test_what_is_not_much_waits_as_it_is() -> None:
    answer = await answered(engine(), FilledSource({"pods": pods()}), READ)
    assert all(isinstance(part, bytes) for part in answer.parts)


async def test_asked_again_only_what_has_changed_is_read(read: list[Row]) -> None:
    source = FilledSource({"pods": pods()})
    by = engine()
    await answered(by, source, READ)
    assert len(read) == ROWS
    read.clear()
    await answered(by, source, READ)
    assert not read
    source.change("pods", pod("p-0200", number=7_000))
    source.change("pods", None, uid="uid-default-p-0250")
    await answered(by, source, READ)
    assert len(read) <= 1 + 2 * MOST_ROWS  # the changed one, and at most the blocks around the one that has gone
    assert sum(row.name == "p-0200" for row in read) == 1


async def test_what_is_in_a_row_is_not_read(read: list[Row]) -> None:
    await answered(engine(), FilledSource({"pods": pods()}), KNOWN)
    assert not read


async def test_what_cannot_be_read_is_told_before_the_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = Codec.bodies

    def damaged(codec: Codec, rows: Sequence[Row]) -> list[Text]:
        if any(row.name == "p-0290" for row in rows):
            raise CorruptData("a test damaged it")
        return bodies(codec, rows)

    monkeypatch.setattr(Codec, "bodies", damaged)
    answer = await answered(engine(), FilledSource({"pods": pods()}), READ)
    assert answer.codes == ("INTERNAL",)
    assert b'"data":{"pods":null}' in answer.body


async def test_an_answer_that_is_too_large_is_told_before_the_first_byte() -> None:
    source = FilledSource({"pods": pods()})
    whole = await answered(engine(), source, READ)
    for bound, codes in ((whole.size, ()), (whole.size - 100, ("BAD_ARGUMENT",)), (whole.size // 2, ("BAD_ARGUMENT",))):
        context = Context(source=source, is_compiled=True, is_streamed=True, max_response=bound)
        answer = await engine().answer(Request(query=READ), context)
        assert answer.codes == codes
        assert (b'"data":{"pods":null}' in answer.body) is bool(codes)


def rows(count: int) -> list[Row]:
    rng = random.Random(3)
    source = FilledSource({"pods": [pod(f"p-{n:05}", uid=f"{rng.getrandbits(128):032x}") for n in range(count)]})
    return source.get(PODS).rows()


def test_a_row_that_comes_or_goes_changes_few_blocks() -> None:
    known = rows(2_000)
    before = {tuple(map(id, block)) for block in blocks.cut(known)}
    assert sum(map(len, blocks.cut(known))) == len(known)
    assert max(map(len, blocks.cut(known))) <= MOST_ROWS
    assert len(before) < len(known) / 20
    for without in random.Random(4).sample(range(len(known)), 50):
        rest = known[:without] + known[without + 1 :]
        after = {tuple(map(id, block)) for block in blocks.cut(rest)}
        assert len(after - before) <= 4


def test_a_shelf_keeps_no_more_than_it_may() -> None:
    known = rows(1_000)
    shelf = Shelf(max_bytes=20_000)
    rng = random.Random(5)
    for _ in range(3):
        for block in blocks.cut(known):
            text = rng.randbytes(2_000).hex().encode()
            assert bytes(parts.text_of(shelf.put(block, text))) == text
            found = shelf.get(block)
            assert found is None or parts.text_of(found) == text
        assert 10_000 < shelf.memory <= 20_000
    shelf.clear()
    assert not shelf.memory
    assert not shelf.rows


def test_a_packed_text_is_what_it_was() -> None:
    for text in (b"", b"a", b"abc" * 100_000):
        packed = Packed(text)
        assert (len(packed), packed.text(), b"".join(packed.pieces())) == (len(text), text, text)


async def test_rows_that_have_gone_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Plan] = []
    source = FilledSource({"pods": pods()})
    by = engine()
    block = Plan.block

    def noted(plan: Plan, *given: object) -> object:
        used.append(plan)
        return block(plan, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Plan, "block", noted)
    for number in range(8):
        source.fill("pods", [pod(f"p-{number}-{each:03}", uid=f"{number}-{each}") for each in range(300)])
        await answered(by, source, READ)
        assert used[-1].rows <= 2 * 300 + 1_000 + 300
