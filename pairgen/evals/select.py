"""Which items of a benchmark are asked: those of some groups, and no more than so many of them."""

from collections import Counter
from collections.abc import Sequence

from pairgen.errors import UsageError, nearest
from pairgen.evals.benchmark import Benchmark, I
from pairgen.stage import row_seed


def selected(benchmark: Benchmark[I]) -> Sequence[I]:
    """The items of the groups in `subset`, and `limit` of them, drawn by id, in the benchmark's own order.

    The same items are drawn whatever else the benchmark holds. Raises UsageError for a group that is not
    there, and for two items of one id: replies could not be told apart.
    """
    items = benchmark.items()
    _check_ids(benchmark, items)
    if benchmark.subset:
        groups = sorted({item.group for item in items})
        for name in benchmark.subset:
            if name not in groups:
                raise UsageError(f"{benchmark.use}: no subset {name!r}: {nearest(name, groups)}")
        items = [item for item in items if item.group in benchmark.subset]
    if benchmark.limit is None or len(items) <= benchmark.limit:
        return items
    drawn = sorted(items, key=lambda item: row_seed(0, item.id))[: benchmark.limit]
    kept = {item.id for item in drawn}
    return [item for item in items if item.id in kept]


def _check_ids(benchmark: Benchmark[I], items: Sequence[I]) -> None:
    ident, count = next(iter(Counter(item.id for item in items).most_common(1)), ("", 0))
    if count > 1:
        raise UsageError(f"{benchmark.use}: {count} items have the id {ident!r}; give each its own")
