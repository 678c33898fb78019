"""A sealed step is read back exactly or refused by name; the same rows give the same bytes."""

import hashlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pairgen import fingerprint, fs
from pairgen.errors import Damaged, StorageError, UsageError
from pairgen.failpoints import arm
from pairgen.fingerprint import JSON
from pairgen.records import Drop, Instruction, Message
from pairgen.store import (
    Manifest,
    Shard,
    StepWriter,
    Usage,
    is_done,
    read_drops,
    read_manifest,
    read_rows,
    read_shard,
    seal,
    sealed_steps,
    step_folder,
    verify_step,
)
from pairgen.store.write import ROW_CLASS

HERE = Path(__file__).resolve().parent
IDENTITY: JSON = {"use": "load", "seed": 1}


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    arm(None)


def _row(i: int, text: str = "") -> Instruction:
    complexity = i if i % 3 else None
    return Instruction(str(i), (Message("user", text or f"question {i}"),), "test", complexity=complexity)


def _manifest(output: Any, identity: JSON = IDENTITY, name: str = "load", **more: Any) -> Manifest:
    written = {f.name: getattr(output, f.name) for f in fields(output)} if output else {}
    return Manifest(
        name=name, use="load", identity=identity, digest=fingerprint.digest(identity), code_version="test",
        **{**written, **more},
    )


def _step(folder: Path, items: Sequence[Any], shard_rows: int = 1000, cls: type = Instruction) -> Manifest:
    with StepWriter(folder, cls, shard_rows) as writer:
        for item in items:
            writer.add(item)
        output = writer.close()
    seal(folder, _manifest(output))
    sealed = read_manifest(folder)
    assert sealed is not None
    return sealed


def _tree(folder: Path) -> dict[str, str]:
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_rows_come_back(tmp_path: Path) -> None:
    """Rows and drops are read back equal and in order, over several shards and batches."""
    rows = [_row(i) for i in range(2500)]
    drops = [Drop(str(i), "load", "bad" if i % 2 else "rude", failed=bool(i % 2)) for i in range(7)]
    manifest = _step(tmp_path, [*rows[:1200], *drops, *rows[1200:]])
    assert list(read_rows(tmp_path)) == rows
    assert list(read_drops(tmp_path)) == drops
    assert [s.rows for s in manifest.shards] == [1000, 1000, 500]
    assert (manifest.rows, manifest.drops, manifest.failed) == (2500, {"bad": 3, "rude": 4}, 3)
    assert verify_step(tmp_path) == manifest


def test_same_rows_same_bytes(tmp_path: Path) -> None:
    """Two writers of the same rows leave the same files, manifest included."""
    rows = [_row(i) for i in range(1100)]
    _step(tmp_path / "a", [*rows, Drop("x", "load", "bad")], 400)
    _step(tmp_path / "b", [*rows, Drop("x", "load", "bad")], 400)
    assert _tree(tmp_path / "a") == _tree(tmp_path / "b")


def test_empty_step_has_no_shard(tmp_path: Path) -> None:
    """A step without rows is a manifest and no file that some reader would choke on."""
    manifest = _step(tmp_path, [])
    assert manifest.rows == 0
    assert manifest.shards == ()
    assert list(read_rows(tmp_path)) == []
    assert [p.name for p in tmp_path.iterdir()] == ["manifest.json"]


def test_exact_shards_leave_no_empty_one(tmp_path: Path) -> None:
    """Rows that fill their shards exactly are not followed by an empty shard."""
    manifest = _step(tmp_path, [_row(i) for i in range(20)], 10)
    assert [s.rows for s in manifest.shards] == [10, 10]


def test_shards_open_elsewhere(tmp_path: Path) -> None:
    """`datasets`, pyarrow and pandas open the shards directly, all-null columns included."""
    from datasets import load_dataset

    manifest = _step(tmp_path / "step", [_row(i) for i in range(30)], 10)
    files = [str(tmp_path / "step" / s.name) for s in manifest.shards]
    dataset = load_dataset("arrow", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert dataset.num_rows == manifest.rows
    assert dataset[4]["messages"] == [{"role": "user", "content": "question 4"}]
    assert dataset[0]["category"] is None
    frame = pa.ipc.open_file(files[0]).read_pandas()
    assert list(frame["id"]) == [str(i) for i in range(10)]


def test_unsealed_is_not_done_and_is_cleared(tmp_path: Path) -> None:
    """What an unfinished run left is not read, and goes when its step runs again; other files stay."""
    writer = StepWriter(tmp_path, Instruction, 10)
    for i in range(25):
        writer.add(_row(i))
    writer.add(Drop("x", "load", "bad"))
    fs.write_atomic(tmp_path / "checkpoint.json", b"{}")
    assert read_manifest(tmp_path) is None
    assert not is_done(tmp_path, IDENTITY)
    with pytest.raises(UsageError, match="no finished step"):
        next(read_rows(tmp_path))
    StepWriter(tmp_path, Instruction, 10)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.json"]


def test_failed_block_leaves_no_half_shard(tmp_path: Path) -> None:
    """A stage that raises leaves committed shards and no temporary file."""

    def fail() -> None:
        with StepWriter(tmp_path, Instruction, 600) as writer:
            for i in range(1200 + 520):
                writer.add(_row(i))
            raise ValueError("stage")

    with pytest.raises(ValueError, match="stage"):
        fail()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["part-00000.arrow", "part-00001.arrow"]


def test_sealed_step_is_never_rewritten(tmp_path: Path) -> None:
    """Opening a writer on a finished step is refused before anything is deleted."""
    _step(tmp_path, [_row(1)])
    before = _tree(tmp_path)
    with pytest.raises(ValueError, match="sealed"):
        StepWriter(tmp_path, Instruction, 10)
    assert _tree(tmp_path) == before


def test_wrong_row_class_is_refused(tmp_path: Path) -> None:
    """A stage that yields rows of another class than it says is told so."""
    writer = StepWriter(tmp_path, Instruction, 10)
    with pytest.raises(TypeError, match="Instruction rows, not Message"):
        writer.add(Message("user", "hi"))


def test_memory_is_bounded(tmp_path: Path) -> None:
    """Writing and reading 120 MB of rows takes a few batches of memory, not the whole step."""
    code = """
import resource, sys
from pathlib import Path
import random
from tests.test_store import _row, _manifest
from pairgen.store import StepWriter, seal, read_rows
folder, rng = Path(sys.argv[1]), random.Random(1)
texts = [rng.randbytes(10_000).hex() for _ in range(50)]
low = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with StepWriter(folder, type(_row(1)), 5_000) as writer:
    for i in range(6_000):
        writer.add(_row(i, texts[i % 50]))
    seal(folder, _manifest(writer.close()))
assert sum(1 for _ in read_rows(folder)) == 6_000
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - low) // 1024)
"""
    run = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, check=True, cwd=HERE.parent)
    assert int(done.stdout) < 80


@dataclass(frozen=True, slots=True)
class Foreign:
    """A row class that is not pairgen's."""

    id: str


def test_class_is_found_by_name(tmp_path: Path) -> None:
    """A shard names its row class; classes outside pairgen are never imported."""
    _step(tmp_path / "a", [_row(1)])
    assert list(read_shard(tmp_path / "a" / "part-00000.arrow")) == [_row(1)]
    _step(tmp_path / "b", [Foreign("x")], cls=Foreign)
    with pytest.raises(UsageError, match="Foreign"):
        next(read_rows(tmp_path / "b"))
    assert list(read_rows(tmp_path / "b", Foreign)) == [Foreign("x")]
    with pytest.raises(Damaged, match="columns"):
        next(read_rows(tmp_path / "a", Foreign))


@pytest.mark.parametrize("name", ["pairgen.nosuch:Foo", "pairgen.records:Foo", "Foo", "pairgen.:Foo", ""])
def test_a_class_this_version_does_not_have(tmp_path: Path, name: str) -> None:
    """A shard of another version of pairgen is one clear line."""
    shard = tmp_path / "x.arrow"
    batch = pa.RecordBatch.from_pylist([{"a": 1}]).replace_schema_metadata({ROW_CLASS: name.encode()})
    with pa.OSFile(str(shard), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(UsageError, match=rf"x\.arrow: holds rows of {name or 'no class'}, which pairgen does not know"):
        next(read_shard(shard))


def test_class_of_another_module_of_pairgen(tmp_path: Path) -> None:
    """Row classes that live elsewhere in the package are found too."""
    from pairgen.engine import Completion

    _step(tmp_path, [Completion("a", "stop", 1, 2)], cls=Completion)
    assert list(read_rows(tmp_path)) == [Completion("a", "stop", 1, 2)]


# --- damage


def _damage_is_named(folder: Path, file: Path, original: bytes, altered: bytes) -> None:
    file.write_bytes(altered)
    with pytest.raises(Damaged, match=r"part-00000\.arrow") as caught:
        list(read_rows(folder))
    assert str(file) in str(caught.value)
    file.write_bytes(original)


def test_truncated_or_flipped_shard_is_refused(tmp_path: Path) -> None:
    """A shard cut at any of 200 places or with any of 200 bytes flipped is refused with both checksums."""
    _step(tmp_path, [_row(i) for i in range(1500)], 1500)
    file = tmp_path / "part-00000.arrow"
    original, rng = file.read_bytes(), random.Random(7)
    for _ in range(200):
        _damage_is_named(tmp_path, file, original, original[: rng.randrange(len(original))])
        at = rng.randrange(len(original))
        flipped = bytes([original[at] ^ (1 << rng.randrange(8))])
        _damage_is_named(tmp_path, file, original, original[:at] + flipped + original[at + 1 :])
    assert len(list(read_rows(tmp_path))) == 1500


def test_damage_message(tmp_path: Path) -> None:
    """The message names the file, what was expected and found, and what to do."""
    shard = _step(tmp_path, [_row(1)]).shards[0]
    (tmp_path / shard.name).write_bytes(b"junk")
    with pytest.raises(Damaged, match=f"expected sha256 {shard.sha256}, got .*delete .* and run again"):
        list(read_rows(tmp_path))
    (tmp_path / shard.name).unlink()
    with pytest.raises(Damaged, match="missing"):
        list(read_rows(tmp_path))


def test_unverified_reading_still_refuses_a_cut(tmp_path: Path) -> None:
    """Without checksums a cut shard is refused by its format: a file has a footer, a stream has none."""
    _step(tmp_path, [_row(i) for i in range(2000)], 2000)
    file = tmp_path / "part-00000.arrow"
    file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(Damaged, match="cannot be read"):
        list(read_rows(tmp_path, verify=False))
    with pytest.raises(Damaged, match="cannot be read"):
        list(read_shard(file))


def test_row_count_is_checked(tmp_path: Path) -> None:
    """A shard with other rows than its manifest says is refused even where checksums are skipped."""
    _step(tmp_path, [_row(1), _row(2)])
    other = tmp_path / "other"
    _step(other, [_row(1)])
    (tmp_path / "part-00000.arrow").write_bytes((other / "part-00000.arrow").read_bytes())
    with pytest.raises(Damaged, match="expected 2 rows, got 1"):
        list(read_rows(tmp_path, verify=False))


def test_any_altered_manifest_byte_is_refused(tmp_path: Path) -> None:
    """Whatever byte of a manifest is changed or cut off, it is refused by name."""
    _step(tmp_path, [_row(1)])
    path = tmp_path / "manifest.json"
    original = path.read_bytes()
    for at in range(len(original)):
        for altered in (original[:at], original[:at] + bytes([original[at] ^ 1]) + original[at + 1 :]):
            path.write_bytes(altered)
            with pytest.raises(Damaged, match=r"manifest\.json"):
                read_manifest(tmp_path)


def test_manifest_of_another_format_is_refused(tmp_path: Path) -> None:
    """A manifest of a later format is refused, not misread."""
    _step(tmp_path, [_row(1)])
    path = tmp_path / "manifest.json"
    body = {**json.loads(path.read_text()), "format": 2}
    path.write_text(json.dumps(body, indent=1, sort_keys=True) + "\n")
    with pytest.raises(Damaged, match="format 2"):
        read_manifest(tmp_path)


def test_verify_step_covers_drops_and_files(tmp_path: Path) -> None:
    """Verification reads the drops and the other files of a step as well."""
    with StepWriter(tmp_path, Instruction, 10) as writer:
        writer.add(Drop("x", "load", "bad"))
        output = writer.close()
    fs.write_atomic(tmp_path / "model.bin", b"weights")
    seal(tmp_path, _manifest(output, files={"model.bin": hashlib.sha256(b"weights").hexdigest()}))
    verify_step(tmp_path)
    (tmp_path / "model.bin").write_bytes(b"weightz")
    with pytest.raises(Damaged, match=r"model\.bin"):
        verify_step(tmp_path)
    (tmp_path / "drops" / "part-00000.arrow").write_bytes(b"")
    with pytest.raises(Damaged, match="drops/part-00000"):
        verify_step(tmp_path)


# --- identity


def test_whole_identity_counts(tmp_path: Path) -> None:
    """A folder is done only for the identity it was made of."""
    _step(tmp_path, [_row(1)])
    assert is_done(tmp_path, IDENTITY)
    assert not is_done(tmp_path, {**IDENTITY, "seed": 2})
    assert not is_done(tmp_path, {**IDENTITY, "seed": 1.0})


def test_digest_prefix_collision(tmp_path: Path) -> None:
    """Two identities whose digests begin alike get two folders and never each other's rows."""
    mine, other = fingerprint.digest(IDENTITY), fingerprint.digest(IDENTITY)[:8] + "0" * 56
    folder = step_folder(tmp_path, "load", mine)
    assert folder.name == f"load@{mine[:8]}"
    _step(folder, [_row(1)])
    assert step_folder(tmp_path, "load", mine) == folder
    assert step_folder(tmp_path, "load", other) == tmp_path / f"load@{other[:16]}"


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a\0b"])
def test_step_names_are_never_paths(tmp_path: Path, name: str) -> None:
    """A step name that would leave the run folder is refused."""
    with pytest.raises(UsageError, match="cannot name"):
        step_folder(tmp_path, name, "0" * 64)


def test_sealed_steps(tmp_path: Path) -> None:
    """Only sealed steps of a run are listed, by name."""
    cases: list[tuple[str, JSON]] = [("b", {"x": 1}), ("a", {"x": 2})]
    for name, identity in cases:
        folder = step_folder(tmp_path, name, fingerprint.digest(identity))
        with StepWriter(folder, Instruction, 10) as writer:
            seal(folder, _manifest(writer.close(), identity=identity, name=name))
    StepWriter(tmp_path / "c@00000000", Instruction, 10)
    assert [manifest.name for _, manifest in sealed_steps(tmp_path)] == ["a", "b"]
    assert sealed_steps(tmp_path / "nowhere") == []


def test_seal_refuses_a_foreign_digest(tmp_path: Path) -> None:
    """A manifest whose digest is not that of its identity is never written."""
    with pytest.raises(ValueError, match="digest"):
        seal(tmp_path, Manifest(name="a", use="a", identity={}, digest="0", code_version="1"))


@pytest.mark.parametrize("bad", [float("nan"), {1: 2}, Path("x"), object()])
def test_manifest_holds_json_only(bad: object) -> None:
    """What has no exact JSON form does not enter a manifest."""
    with pytest.raises((TypeError, ValueError)):
        Manifest(name="a", use="a", identity={}, digest="0", code_version="1", metrics={"x": bad})


def test_usage_adds() -> None:
    """Usage of two runs is the sum of each count."""
    assert Usage(1, 2, 3, 4, 0.5) + Usage(10, 20, 30, 40, 0.25) == Usage(11, 22, 33, 44, 0.75)


def test_shard_is_a_plain_value() -> None:
    """A shard survives the manifest's JSON."""
    shard = Shard("part-00000.arrow", 3, "ab")
    manifest = _manifest(None, shards=(shard,))
    assert Manifest.model_validate_json(manifest.model_dump_json()).shards == (shard,)


# --- crashes and hostile text

def _write_in_a_child(folder: Path, items: Sequence[Any], failpoint: str) -> int:
    """The exit code of a process that writes a step and is struck at a failpoint."""
    child = os.fork()
    if child == 0:
        arm(failpoint)
        _step(folder, items, 10)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_kill_at_every_failpoint(tmp_path: Path) -> None:
    """Killed at any point of writing a step, it is not sealed or whole; run again, it is the same."""
    items = [_row(0), Drop("x", "load", "bad"), *[_row(i) for i in range(1, 25)]]
    _step(tmp_path / "calm", items, 10)
    calm = _tree(tmp_path / "calm")
    for k in range(1, 100):
        folder = tmp_path / f"k{k}"
        code = _write_in_a_child(folder, items, f"*:{k}")
        assert code in (0, -signal.SIGKILL)
        if read_manifest(folder) is None:
            _step(folder, items, 10)
        assert _tree(folder) == calm
        if code == 0:
            break
    assert 20 < k < 99


@pytest.mark.parametrize("action", ["enospc", "eio"])
@pytest.mark.parametrize("onwards", ["", "+"])
def test_error_at_every_failpoint(tmp_path: Path, action: str, onwards: str) -> None:
    """Refused at any point of writing, once or from then on, it says so and is whole when run again."""
    items = [_row(0), Drop("x", "load", "bad"), *[_row(i) for i in range(1, 25)]]
    _step(tmp_path / "calm", items, 10)
    calm = _tree(tmp_path / "calm")
    for k in range(1, 100):
        folder = tmp_path / f"k{k}"
        arm(f"*:{k}{onwards}:{action}")
        with suppress(StorageError, OSError):
            _step(folder, items, 10)
            break
        arm(None)
        if read_manifest(folder) is None:
            _step(folder, items, 10)
        assert _tree(folder) == calm
    assert 20 < k < 99


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(codec=None)), min_size=1, max_size=5))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    """Any text a model can send is stored; only lone surrogates come back as U+FFFD."""
    folder = tmp_path_factory.mktemp("any")
    _step(folder, [Instruction(str(i), (Message("user", t),), "s") for i, t in enumerate(texts)])
    back = [row.messages[0].content for row in read_rows(folder, Instruction)]
    assert back == [t.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for t in texts]


def test_file_descriptors_are_freed(tmp_path: Path) -> None:
    """Readers that are dropped half-way do not leak open files."""
    _step(tmp_path, [_row(i) for i in range(1000)], 100)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limit[1]))
    try:
        for _ in range(200):
            next(read_rows(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
