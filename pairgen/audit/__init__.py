"""How contrastive are these pairs, and what else is wrong with them? Any preference dataset, not only ours.

`read` streams chunks of pairs, measures turn a chunk into columns of numbers, `table` keeps those, and the
summary is computed from them column by column. Reports are drawn from the summary alone.
"""
