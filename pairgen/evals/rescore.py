"""Scoring what somebody's judge said: a benchmark and a file of verdicts give the numbers, with no model.

The file is one of pairgen's own (a folder or shard of evaluation rows), a published result file that the suite
knows, or rows with the columns of `evals.said`. Every verdict finds its item or is refused by its row; items that
the file says nothing of are unscored and counted.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pairgen.engine import Completion
from pairgen.errors import UsageError, nearest
from pairgen.evals import compat
from pairgen.evals.asking import JudgedBenchmark, View, read_view
from pairgen.evals.benchmark import Benchmark, EvalItem, EvalReply
from pairgen.evals.choosing import ChoiceBenchmark
from pairgen.evals.filerow import BadRow
from pairgen.evals.files import FromFile, rows_of
from pairgen.evals.items import ChoiceItem, RatingItem
from pairgen.evals.judging import PairBenchmark
from pairgen.evals.rating import RatingBenchmark
from pairgen.evals.replies import AnItem, Read, order_of, row_of
from pairgen.evals.run import EvalResult, result_of
from pairgen.evals.said import Said, documented
from pairgen.evals.select import selected
from pairgen.resources import resolve


def rescore(
    benchmark: Benchmark[AnItem], verdicts: str, parser: str = "strict", where: Mapping[str, str] | None = None,
) -> EvalResult:
    """The result of a benchmark whose replies are stored in a file.

    `parser` reads texts: strict as the benchmark's prompt says, official as its script does, or any name of
    `evals.compat`. `where` keeps rows with these values of these columns, for files that hold several judges.
    Raises UsageError naming the row: an unknown id, a verdict said twice, one outside its set.
    """
    asked = selected(benchmark)
    items = {item.id: item for item in asked}
    known = _ids(benchmark)
    read = _reader(benchmark, parser)
    own = _own_rows(verdicts)
    if own is not None:
        return _result(benchmark, _read_again(benchmark, own, items, known, read))
    said: dict[str, list[Said]] = {}
    for entry in _entries(benchmark, verdicts, where or {}):
        if entry.item not in known and entry.optional:
            continue
        if entry.item not in known:
            raise BadRow(f"{entry.where}: no item {entry.item!r} in {benchmark.use}: {_examples(entry.item, known)}")
        said.setdefault(entry.item, []).append(entry)
    told = ((item, _once(item, said.get(item.id, []))) for item in asked)
    return _result(benchmark, [row_of(item, entries, read, verdicts) for item, entries in told])


def _ids(benchmark: Benchmark[AnItem]) -> Collection[str]:
    """The ids of all items, asked or not, and of the rows that were left out."""
    if isinstance(benchmark, FromFile):
        loaded = benchmark.load()
        return {item.id for item in loaded.items} | {skipped.id for skipped in loaded.skipped}
    return {item.id for item in benchmark.items()}


def _result(benchmark: Benchmark[AnItem], rows: Sequence[EvalItem]) -> EvalResult:
    """The result without numbers about texts where the file has no texts."""
    found = result_of(benchmark, rows)
    if any(reply.text for row in rows for reply in row.replies):
        return found
    about = ("tokens", "truncated", "sampled_tokens", "sampled_truncated")
    return replace(found, metrics={name: value for name, value in found.metrics.items() if name not in about})


def _entries(benchmark: Benchmark[AnItem], verdicts: str, where: Mapping[str, str]) -> Iterator[Said]:
    """What the rows of a verdict file say, in the suite's own format or the documented one."""
    kept = 0
    for row in rows_of(verdicts):
        if lacking := next((column for column in where if column not in row.value), None):
            raise UsageError(f"{row.where}: no column {lacking!r} to choose by: {nearest(lacking, row.value)}")
        if any(str(row.value[column]) != value for column, value in where.items()):
            continue
        kept += 1
        told = benchmark.said(row) if isinstance(benchmark, FromFile) else None
        yield from [documented(row)] if told is None else told
    if not kept:
        chosen = ", ".join(f"{column}={value}" for column, value in where.items())
        raise UsageError(f"{verdicts}: no row" + (f" has {chosen}" if chosen else " in it"))


def _examples(name: str, known: Collection[str]) -> str:
    """The nearest id, or what ids look like: there are too many to list."""
    close = nearest(name, known) if len(known) <= 20_000 else ""
    return close if close.startswith("did") else f"its {len(known):,} ids are like {', '.join(sorted(known)[:3])}"


def _once(item: AnItem, entries: Sequence[Said]) -> Sequence[Said]:
    """The entries of an item, each order and sample told once. Raises BadRow naming both rows."""
    seen: dict[tuple[str, int], Said] = {}
    for entry in entries:
        order = "" if entry.scores else order_of(item, entry)
        first = seen.setdefault((order, entry.sample), entry)
        if first is not entry:
            shown = f" in order {entry.order}" if entry.order else ""
            raise BadRow(
                f"{entry.where}: item {entry.item!r}{shown} was said already, at {first.where}; number several "
                "samples with a column `sample`, choose one of several judges with where COLUMN=VALUE"
            )
    return entries


def _reader(benchmark: Benchmark[AnItem], name: str) -> Read:
    """How texts are read again, by the name of a parser."""
    if name == "strict":
        return lambda item, reply: _strict(benchmark, item, reply)
    official = getattr(benchmark, "PARSER", None) if name == "official" else name
    if official is None:
        raise UsageError(f"{benchmark.use} has no official parser; have: strict, {', '.join(compat.PARSERS)}")
    parse = compat.parser(official)

    def read(_: AnItem, reply: EvalReply) -> EvalReply:
        answer = parse(reply.text)
        return replace(reply, answer=answer, status="tie" if answer == "tie" else "ok" if answer else "none")

    return read


def _strict(benchmark: Benchmark[AnItem], item: AnItem, reply: EvalReply) -> EvalReply:
    finish = "length" if reply.status == "truncated" else "stop"
    found = read_view(_view(benchmark, item, reply), Completion(reply.text, finish, 0, 0))
    return replace(reply, answer=found.answer, status=found.status)


def _view(benchmark: Benchmark[AnItem], item: AnItem, reply: EvalReply) -> View:
    """How a reply is to be read. Nothing is rendered: what was shown is not known, and need not be."""
    order = reply.order or ""
    if isinstance(benchmark, RatingBenchmark) and isinstance(item, RatingItem):
        return View(order, (), "", benchmark.prompt, "ratings", item.low, item.high)
    if isinstance(benchmark, ChoiceBenchmark) and isinstance(item, ChoiceItem) and benchmark.rated(item):
        return View(order, (), "", benchmark.rater(item), "ratings", benchmark.low, benchmark.high)
    if isinstance(benchmark, PairBenchmark) and benchmark.verdict == "ratings":
        return View(order, (), "", benchmark.prompt, "ratings", benchmark.low, benchmark.high)
    if not isinstance(benchmark, JudgedBenchmark):
        raise UsageError(f"{benchmark.use} reads no texts of judges")
    return View(order, (), reply.gold, benchmark.prompt)


def _own_rows(verdicts: str) -> list[EvalItem] | None:
    """The evaluation rows of a folder or a shard of one; None for any other file."""
    path = resolve(verdicts)
    if path.is_dir():
        return _sealed_rows(path)
    if path.suffix != ".arrow" or not path.is_file():
        return None
    import pyarrow as pa

    from pairgen.store.read import read_shard

    with pa.OSFile(str(path), "rb") as opened:
        try:
            names = pa.ipc.open_file(opened).schema.names
        except pa.ArrowInvalid:
            return None
    return list(read_shard(path, EvalItem)) if "replies" in names else None


def _sealed_rows(folder: Path) -> list[EvalItem]:
    """The rows of a finished evaluation: a step's folder, or a folder that holds one such step."""
    from pairgen.store import read_manifest, read_rows, sealed_steps

    if read_manifest(folder) is not None:
        return list(read_rows(folder, EvalItem))
    kind = EvalItem.__name__
    found = [step for step, sealed in sealed_steps(folder) if (sealed.row_class or "").endswith(kind)]
    if len(found) != 1:
        what = f"{len(found)} evaluations: name one, {found[0].name} or another" if found else "no finished evaluation"
        raise UsageError(f"{folder}: holds {what}")
    return list(read_rows(found[0], EvalItem))


def _read_again(
    benchmark: Benchmark[AnItem], rows: Iterable[EvalItem], items: Mapping[str, AnItem], known: Collection[str],
    read: Read,
) -> list[EvalItem]:
    """Stored rows with their texts read again; scores, bare verdicts and odds of letters stay as they are."""
    again = []
    for row in rows:
        if row.id not in known:
            raise UsageError(f"stored row {row.id!r} is no item of this benchmark: {_examples(row.id, known)}")
        if (item := items.get(row.id)) is None:
            continue
        odds = any(reply.confidence is not None for reply in row.replies)
        replies = tuple(read(item, reply) if reply.text and not odds else reply for reply in row.replies)
        anew = benchmark.row(item, replies) if replies and isinstance(benchmark, JudgedBenchmark) else row
        again.append(replace(anew, error=row.error))
    return again
