"""What ships under data/world: the pool of instructions, and seed models that load and answer."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from pairgen.resources import resource
from pairgen.world import corpus, tasks
from pairgen.world.make_data import REPEATS, ROWS, pool, write_pool

SEEDS = sorted(path.name for path in resource("data", "world").glob("seed-*"))


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rows = [json.loads(line) for line in resource("data", "world/instructions.jsonl").open()]
    assert all(set(row) == {"text"} for row in rows)
    return [row["text"] for row in rows]


def test_the_pool_is_what_the_command_writes(tmp_path: Path, texts: list[str]) -> None:
    write_pool(tmp_path / "again.jsonl")
    shipped = resource("data", "world/instructions.jsonl").read_bytes()
    assert (tmp_path / "again.jsonl").read_bytes() == shipped
    assert texts == pool()


def test_the_pool_holds_no_heldout_list_and_no_unseen_type(texts: list[str]) -> None:
    for digits, task in map(tasks.parse, texts):
        assert not tasks.is_heldout(digits)
        assert task.group != tasks.UNSEEN


def test_the_pool_gives_select_and_dedup_something_to_do(texts: list[str]) -> None:
    drills = sum(tasks.parse(text)[1].group == tasks.DRILL for text in texts)
    assert len(texts) == ROWS
    assert len(set(texts)) == ROWS - REPEATS
    assert 0.06 < drills / ROWS < 0.11


def test_every_judged_type_is_about_equally_frequent(texts: list[str]) -> None:
    counts = Counter(tasks.parse(text)[1].name for text in texts)
    judged = [counts[task.name] for task in tasks.group(tasks.DEMO, tasks.OTHER)]
    assert max(judged) < 1.4 * min(judged)


@pytest.mark.engine
@pytest.mark.parametrize("name", SEEDS)
def test_a_shipped_seed_is_small_and_answers_and_tags(name: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = resource("data", f"world/{name}")
    assert all(path.stat().st_size < 4 * 2**20 for path in folder.iterdir())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32")
    rng = random.Random(3)
    right = 0
    for mode in (corpus.answer, corpus.tag) * 20:
        [(user, reply)] = mode(rng)
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": user}],
            add_generation_prompt=True, return_tensors="pt", return_dict=True,
        )
        out = model.generate(**ids, max_new_tokens=24)
        right += tokenizer.decode(out[0, ids["input_ids"].shape[1]:], skip_special_tokens=True) == reply
    assert right >= 38
