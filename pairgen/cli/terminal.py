"""The terminal is ours while a run works: what libraries print goes to a file beside the run.

Progress bars, loader messages and warnings of a dozen libraries come from Python and from C alike, so
the file descriptors themselves are moved, and Python's own streams with them.
"""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TextIO

ENVIRONMENT = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "true",
}
"""Set before the libraries are imported, unless the user has set them."""


@contextmanager
def only_ours(log: Path) -> Iterator[TextIO]:
    """The real stderr to write to, while whatever else is printed goes to the file `log`."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.dup2(file, 1)
        os.dup2(file, 2)
        ours = os.fdopen(os.dup(kept[1]), "w", encoding="utf-8", errors="replace")
        noise = os.fdopen(os.dup(file), "w", encoding="utf-8", errors="replace")
        with warnings.catch_warnings(), ours as terminal, noise, redirect_stdout(noise), redirect_stderr(noise):
            warnings.simplefilter("ignore")
            yield terminal
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        for handle in (*kept, file):
            os.close(handle)
