"""Where a model's files are: shipped with pairgen, in a local folder, or fetched from the hub."""

from pathlib import Path

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
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(config.model, revision=config.revision))
    except (OSError, ValueError, RuntimeError) as error:
        detail = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(
            f"model {config.model!r}: no such folder here, and the hub does not give it ({detail})"
        ) from error
