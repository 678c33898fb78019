"""Iterated methods: generate, judge, train, swap the weights in, evaluate, again."""
