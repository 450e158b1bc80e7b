"""Faults of an engine process that runs the bundled model on OpenVINO."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

import octant
from octant.adapters.huggingface.tokenizer import load_tokenizer
from octant.core.failure import Failed, FailureKind
from octant.core.stream import Completed, StreamItem, TextDelta
from tests.support.engine_parts import work
from tests.support.modelled_lm import NAN_MARK
from tests.support.supervised import Supervised, check_order, failure, supervised, text

MODEL_DIR = Path(octant.__file__).parent / "bundled" / "octant-mini"
TOKENIZER = load_tokenizer(MODEL_DIR)
ENDLESS = {"ignore_eos": True, "max_tokens": 1500}


def asking(question: str) -> tuple[int, ...]:
    turn = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    tokens = tuple(TOKENIZER.encode(turn))
    assert NAN_MARK not in tokens
    return tokens


async def test_a_killed_engine_serves_again_with_the_same_answer(tmp_path: Path) -> None:
    asked = work(asking("Hello, who are you?"), max_tokens=64)
    async with supervised(tmp_path, model="loaded", model_dir=str(MODEL_DIR)) as engine:
        before = await engine.ask(asked)
        assert isinstance(before[-1], Completed) and text(before)
        items: list[StreamItem] = []
        async with engine.client.generate(work(asking("Hi"), "req_2", **ENDLESS)) as stream:
            async for item in stream:
                items.append(item)
                if len(items) == 2:
                    os.kill(engine.pid, signal.SIGKILL)
        check_order(items)
        assert failure(items).kind is FailureKind.ENGINE_LOST
        await engine.ready_again(2)
        assert text(await engine.ask(asked)) == text(before)
        await engine.idle()


async def test_a_spoiled_sequence_changes_no_other_answer(tmp_path: Path) -> None:
    questions = ("What is 3 plus 4?", "Who are you?", "Say hello to the captain.")
    others = [work(asking(q), q, max_tokens=48, ignore_eos=True) for q in questions]
    spoiled = work((NAN_MARK, *asking("Hi")), "req_bad", n=2, **ENDLESS)
    async with supervised(tmp_path, model="loaded", model_dir=str(MODEL_DIR)) as engine:
        alone = await asyncio.gather(*map(engine.ask, others))
        *beside, bad = await asyncio.gather(*map(engine.ask, [*others, spoiled]))
        assert [text(items) for items in beside] == [text(items) for items in alone]
        assert failure(bad).kind is FailureKind.MODEL_FAILURE
        await engine.idle()


async def test_an_answer_cut_off_midway_leaves_no_block_behind(tmp_path: Path) -> None:
    async with supervised(tmp_path, model="shipped", model_dir=str(MODEL_DIR)) as engine:
        async with engine.client.generate(work(asking("Hi"), n=4, **ENDLESS)) as stream:
            async for item in stream:
                if isinstance(item, TextDelta):
                    break
        await engine.idle()


async def test_a_model_directory_without_a_model_is_refused_by_name(tmp_path: Path) -> None:
    engine = Supervised(tmp_path / "run", model="shipped", model_dir=str(tmp_path / "no-model"))
    async with asyncio.TaskGroup() as group:
        group.create_task(engine.supervisor.run())
        with pytest.raises(Failed) as raised:
            await engine.supervisor.wait_ready()
        await engine.supervisor.drain(0)
    assert raised.value.failure.kind is FailureKind.CORRUPT_ARTIFACT
    assert "no-model" in raised.value.failure.message
