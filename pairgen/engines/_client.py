"""The `openai` client, for what is asked seldom: files, batches, models. Completions go another way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pairgen.engines._faults import Retry
from pairgen.engines._host import OPENAI, host_of

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Meaning = Callable[[int, Any, bytes], Exception]


def new_client(base_url: str, key: str | None, timeout: float) -> "AsyncOpenAI":
    """A client that never retries by itself and follows no redirect: those would carry the key along."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient, Omit

    headers: dict[str, Any] = {}
    if host_of(base_url) != OPENAI:
        headers |= {"OpenAI-Organization": Omit(), "OpenAI-Project": Omit()}
    if key is None:
        headers["Authorization"] = Omit()
    return AsyncOpenAI(
        api_key=key or "none", base_url=base_url, max_retries=0, timeout=timeout, default_headers=headers,
        http_client=DefaultAsyncHttpxClient(follow_redirects=False, timeout=timeout),
    )


@contextmanager
def translated(meaning: Meaning) -> Iterator[None]:
    """The client's errors as our own."""
    import openai

    try:
        yield
    except openai.APIStatusError as error:
        answered = error.response
        raise meaning(answered.status_code, answered.headers, answered.content) from None
    except openai.APIConnectionError as error:
        raise Retry(f"cannot be reached: {error.__cause__ or error}", kind="unreachable") from None
