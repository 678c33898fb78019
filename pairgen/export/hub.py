"""An export to the Hugging Face hub: one commit, so that nobody sees half of it."""

import os
from pathlib import Path

from pairgen.errors import CredentialsError, Stopped, UsageError


def push(folder: Path, repo: str, *, private: bool) -> str:
    """Create the dataset repository if it is missing and commit the folder; its URL.

    The token is the hub's own (`hf auth login` or HF_TOKEN). Raises CredentialsError, UsageError or
    Stopped in one line; the export stays on disk.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    api, kept = HfApi(endpoint=os.environ.get("HF_ENDPOINT")), f"the export is in {folder}"
    unreachable: tuple[type[Exception], ...] = (*_transport(HfHubHTTPError), OSError)
    try:
        url = api.create_repo(repo, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(
            repo_id=url.repo_id, folder_path=folder, repo_type="dataset", commit_message="Data exported by pairgen",
        )
    except LocalTokenNotFoundError as error:
        raise CredentialsError(f"{repo}: no token for the hub: `hf auth login` or set HF_TOKEN; {kept}") from error
    except HFValidationError as error:
        raise UsageError(f"--push-to-hub {repo}: {_first(error)}; {kept}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            raise CredentialsError(f"{repo}: the hub refuses this token ({status}); {kept}") from error
        kind = UsageError if 400 <= status < 500 and status != 429 else Stopped
        raise kind(f"{repo}: the hub answers {status} ({_first(error)}); {kept}") from error
    except unreachable as error:
        raise Stopped(f"{repo}: the hub cannot be reached ({_first(error)}); {kept}, push again later") from error
    return str(url)


def _transport(refused: type[Exception]) -> tuple[type[Exception], ...]:
    """The base error of whichever HTTP library this version of the hub's client uses (httpx, httpx2, requests)."""
    return tuple(c for c in refused.__mro__ if c.__module__.startswith(("httpx", "requests")) and c is not refused)


def _first(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:200]
