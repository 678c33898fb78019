"""Where a model's files are: shipped with pairgen, in a local folder, or fetched from the hub."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError

from pairgen.engine import EngineConfig
from pairgen.errors import UsageError
from pairgen.resources import resolve


def model_folder(config: EngineConfig) -> Path:
    """The local folder of an engine's model, fetched from the hub when it is not here.

    Raises UsageError when the model is nowhere to be had.
    """
    folder = resolve(config.model)
    if folder.is_dir():
        return folder
    if config.model.startswith(("/", ".", "~")) or config.model.count("/") > 1:  # never a name on the hub
        raise UsageError(f"model {config.model!r}: no such folder here")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(config.model, revision=config.revision))
    except (OSError, ValueError, RuntimeError) as error:
        detail = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"model {config.model!r}: no such folder here, and the hub does not give it ({detail})"
        ) from error


@contextmanager
def readable(folder: Path, what: str = "weights") -> Iterator[None]:
    """Around what loads a model: files that are damaged or of an unknown kind raise UsageError in one line."""
    from safetensors import SafetensorError
    from torch import OutOfMemoryError

    try:
        yield
    except OutOfMemoryError:  # a RuntimeError too, but the files are well
        raise
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, UnpicklingError, SafetensorError) as error:
        detail = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise UsageError(f"{folder}: its {what} cannot be read ({detail})") from error
