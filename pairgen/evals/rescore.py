"""Scoring what somebody's judge said: a benchmark and a file of verdicts give the numbers, with no model.

The file is one of pairgen's own (a folder or shard of evaluation rows), a published result file that the suite
knows, or rows with the columns of `evals.said`. Every verdict finds its item or is refused by its row; items that
the file says nothing of are unscored and counted.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
from pairgen.evals.items import ChoiceItem, PairItem, RatingItem
from pairgen.evals.judging import PairBenchmark
from pairgen.evals.rating import RatingBenchmark
from pairgen.evals.run import EvalResult, result_of
from pairgen.evals.said import Said, documented
from pairgen.evals.select import selected
from pairgen.records import gold_label
from pairgen.resources import resolve

AnItem = PairItem | ChoiceItem | RatingItem
Read = Callable[[AnItem, EvalReply], EvalReply]
"""Reads the text of a reply to an item again, and gives the reply with its answer and status."""


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
    _check_once(said)
    return _result(benchmark, [_row(item, said.get(item.id, []), read, verdicts) for item in asked])


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


def _check_once(said: Mapping[str, Sequence[Said]]) -> None:
    for entries in said.values():
        seen: dict[tuple[str, int], Said] = {}
        for entry in entries:
            first = seen.setdefault((entry.order, entry.sample), entry)
            if first is not entry:
                shown = f" in order {entry.order}" if entry.order else ""
                raise BadRow(
                    f"{entry.where}: item {entry.item!r}{shown} was said already, at {first.where}; number several "
                    "samples with a column `sample`, choose one of several judges with where COLUMN=VALUE"
                )


def _row(item: AnItem, said: Sequence[Said], read: Read, source: str) -> EvalItem:
    if not said:
        return item.row(error=f"no verdict in {Path(source).name}")
    scored = [entry for entry in said if entry.scores]
    if scored:
        return item.row(scores=_scores(item, scored[0]))
    modes = "sampled" if any(entry.sample for entry in said) else "greedy"
    return item.row([_reply(item, entry, modes, read) for entry in sorted(said, key=lambda entry: entry.sample)])


def _scores(item: AnItem, entry: Said) -> tuple[float | None, ...]:
    wanted = 1 if isinstance(item, RatingItem) else 2 if isinstance(item, PairItem) else len(item.answers)
    if len(entry.scores) != wanted:
        raise BadRow(f"{entry.where}: {len(entry.scores)} scores; item {item.id!r} has {wanted} answers")
    return entry.scores


def _reply(item: AnItem, entry: Said, mode: str, read: Read) -> EvalReply:
    order = _order(item, entry)
    reply = EvalReply(mode, order, entry.sample, entry.text or "", None, "none", _gold(item, order), 0)
    if entry.finish == "length":
        reply = replace(reply, status="truncated")
    if entry.text is not None:
        return read(item, reply)
    answer = _slot(item, entry, order) if entry.winner is not None else _verdict(item, entry)
    status = "ok" if answer not in (None, "tie") else "tie" if answer else "none"
    return replace(reply, answer=answer, status=entry.note or status)


def _order(item: AnItem, entry: Said) -> str:
    if isinstance(item, RatingItem):
        return entry.order or "0"
    if isinstance(item, ChoiceItem):
        shown = entry.order.split(",")
        if sorted(shown) != sorted(map(str, range(len(item.answers)))):
            raise BadRow(f"{entry.where}: order is {entry.order!r}; item {item.id!r} has {len(item.answers)} answers, "
                         "their indices in the order shown are wanted (2,0,1,3)")
        return entry.order
    if entry.order in ("file", "exchanged"):
        return "rejected_first" if item.swapped == (entry.order == "file") else "chosen_first"
    if entry.order not in ("chosen_first", "rejected_first", "both"):
        raise BadRow(f"{entry.where}: no order; without it nobody knows what was shown first (see docs/suites.md)")
    return entry.order


def _gold(item: AnItem, order: str) -> str:
    if isinstance(item, RatingItem):
        return ""
    if isinstance(item, ChoiceItem):
        return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[order.split(",").index("0")]
    if item.tie:
        return "tie"
    return gold_label("rejected_first" if order == "rejected_first" else "chosen_first")


def _slot(item: AnItem, entry: Said, order: str) -> str | None:
    """The slot of a winner that is named by its place in the file, or by being the better answer."""
    if not isinstance(item, PairItem):
        raise BadRow(f"{entry.where}: a winner is of two answers; item {item.id!r} is not a pair, give its verdict")
    if entry.winner in ("tie", ""):
        return entry.winner or None
    chosen = entry.winner == "chosen" or entry.winner == ("second" if item.swapped else "first")
    return "A" if chosen == (order != "rejected_first") else "B"


def _verdict(item: AnItem, entry: Said) -> str | None:
    found = entry.verdict or ""
    if not found:
        return None
    if isinstance(item, RatingItem):
        return _rating(item, entry)
    letters = ("A", "B") if isinstance(item, PairItem) else tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(item.answers)])
    named = "tie" if found.lower() == "tie" else found.upper()
    if named in (*letters, "tie"):
        return named
    raise BadRow(f"{entry.where}: verdict is {found!r}; it must be {', '.join(letters)} or tie, or empty")


def _rating(item: RatingItem, entry: Said) -> str:
    try:
        value = float(entry.verdict or "")
    except ValueError:
        value = float("nan")
    if not item.low <= value <= item.high:
        raise BadRow(f"{entry.where}: verdict is {entry.verdict!r}, not a rating from {item.low} to {item.high}")
    return f"{value:g}"


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
