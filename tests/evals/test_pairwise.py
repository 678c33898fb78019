"""Models that see both answers: what a classifier says is its own softmax; a command is held to its lines."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "train"))

import torch
from tiny_model import build_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pairgen.errors import UsageError
from pairgen.evals.items import PairItem
from pairgen.evals.pairwise import Command, PairClassifier, Shown, compare_rows
from pairgen.prompts import parse_prompt
from pairgen.records import Message
from pairgen.resources import ROOT

PROMPT = parse_prompt(
    "---\nvars: [instruction, answer_a, answer_b]\n---\n# user\n{{instruction}}\nA: {{answer_a}}\nB: {{answer_b}}\n",
    "short",
)
ITEMS = [
    PairItem("0", "g", "12: first", "=1", "no idea"),
    PairItem("1", "g", "987: last", "=7", "=9"),
    PairItem("2", "g", "5: all", "=5", "=5, I think", tie=True),
]


def classifier(folder: Path, labels: int) -> Path:
    build_model(folder)
    torch.manual_seed(3)
    AutoModelForSequenceClassification.from_pretrained(folder, num_labels=labels).save_pretrained(folder)
    return folder


def test_a_classifier_says_its_own_softmax_in_both_orders(tmp_path: Path) -> None:
    """The first label is for A; each pair is shown in both orders, by the prompt and in the chat template."""
    folder = classifier(tmp_path, 2)
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    rows = list(compare_rows(ITEMS, PairClassifier(folder, PROMPT)))
    for item, row in zip(ITEMS, rows, strict=True):
        golds = ["tie", "tie"] if item.tie else ["A", "B"]
        for reply, (a, b), gold in zip(
            row.replies, [(item.chosen, item.rejected), (item.rejected, item.chosen)], golds, strict=True
        ):
            turn = {"role": "user", "content": f"{item.instruction}\nA: {a}\nB: {b}"}
            ids = tokenizer.apply_chat_template([turn], tokenize=True, return_tensors="pt")["input_ids"]
            odds = model(ids).logits[0].softmax(0).tolist()
            assert (reply.answer, reply.gold) == ("A" if odds[0] > odds[1] else "B", gold)
            assert reply.confidence == pytest.approx(max(odds), abs=1e-5)
    assert [reply.order for reply in rows[0].replies] == ["chosen_first", "rejected_first"]


def test_a_classifier_of_other_labels_is_refused_and_a_long_pair_is_not_cut(tmp_path: Path) -> None:
    shown = Shown((Message("user", "q"),), "a" * 300, "b")
    with pytest.raises(UsageError, match="a classifier of 3 labels; of pairs it has two"):
        PairClassifier(classifier(tmp_path / "three", 3), PROMPT).compare([shown])
    with pytest.raises(UsageError, match="not a classifier but LlamaForCausalLM; a causal model is a judge"):
        PairClassifier(ROOT / "data" / "world" / "seed-a", PROMPT).compare([shown])
    (said,) = PairClassifier(classifier(tmp_path / "two", 2), PROMPT).compare([shown])
    assert (said.answer, said.status) == (None, "too-long")


SCRIPTS = {
    "sys.exit('no model here')": "left with code 1 (no model here)",
    "print('{}')": "wrote 1 lines for 6 pairs",
    "while True: print('{}')": "wrote more than 6 lines for 6 pairs",
    "while True: print('x' * (1 << 20), end='')": "wrote more than 6 lines",
    "[print('{}') for _ in sys.stdin]": "line 1 of its output names no winner: '{}'",
    "[print('A') for _ in sys.stdin]": "line 1 of its output is no JSON object: 'A'",
    "[print('{\"winner\": \"C\"}') for _ in sys.stdin]": "line 1: winner 'C'; A, B, tie or null",
}


@pytest.mark.parametrize("body", SCRIPTS)
def test_a_command_that_says_something_else_is_one_error(tmp_path: Path, body: str) -> None:
    script = tmp_path / "judge.py"
    script.write_text(f"import sys\n{body}\n")
    with pytest.raises(UsageError, match=r"^--command ") as error:
        list(compare_rows(ITEMS, Command(f"{sys.executable} {script}")))
    assert SCRIPTS[body] in str(error.value)


def test_a_command_that_cannot_be_split_is_one_error() -> None:
    with pytest.raises(UsageError, match=r"--command \"'judge\": cannot be read \(no closing quotation\)"):
        list(compare_rows(ITEMS, Command("'judge")))


def test_nothing_said_is_nothing_read(tmp_path: Path) -> None:
    script = tmp_path / "judge.py"
    script.write_text("import sys\nfor _ in sys.stdin:\n    print('{\"winner\": null}')\n")
    row = next(compare_rows(ITEMS, Command(f"{sys.executable} {script}")))
    assert [(reply.answer, reply.status) for reply in row.replies] == [(None, "none")] * 2
