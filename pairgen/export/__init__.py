"""Datasets to hand on: a step's rows as JSONL, Parquet or TRL's format, with a card that says how they were made."""

from pairgen.export.write import FORMATS, Exported, Wanted, export_step

__all__ = ["FORMATS", "Exported", "Wanted", "export_step"]
