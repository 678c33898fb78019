"""How good is a model? Benchmarks ask it, score what it says, and keep every reply they scored.

Ground truth is read here and in pretraining only, never in a pipeline.
"""
