"""The embedded world: a task space, a tokenizer and a seed model small enough for two CPU cores.

It is real where it matters (sampling, judging, training and evaluation are those of any model) and
tiny where it may be: an instruction is a list of digits and a question about it. `tasks` and
`heldout` know the right answers; only pretraining and evaluation import them, never a pipeline.
"""
