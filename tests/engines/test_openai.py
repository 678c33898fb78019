"""The HTTP engine against a real server on this machine: faults, keys, odd bodies."""

import asyncio
import json
import time

import pytest
from pydantic import ValidationError

from pairgen.engines._body import samples
from pairgen.engines._faults import retry_after
from pairgen.engines.openai import ENGINE
from pairgen.errors import CredentialsError, Refused, RowError, Stopped, UsageError

KEY = "sk-canary-0123456789"


@pytest.fixture
def opened_with(server, monkeypatch):
    monkeypatch.setenv("FAKE_KEY", KEY)

    def make(**options):
        defaults = {"model": "m", "base_url": server.url, "api_key_env": "FAKE_KEY", "retries": 3}
        return ENGINE(**defaults | options).open()

    return make


def error(status, code="", message="", headers=None):
    return status, headers or {}, json.dumps({"error": {"code": code, "message": message}}).encode()


def send(engine, *requests):
    async def go():
        try:
            return await asyncio.gather(*(engine.send(r) for r in requests), return_exceptions=True)
        finally:
            await engine.close()

    return asyncio.run(go())


@pytest.mark.parametrize("fault", [
    error(401, "invalid_api_key", f"Incorrect API key provided: {KEY}"), error(403), error(402),
    error(429, "insufficient_quota", "You exceeded your current quota"),
])
def test_a_dead_key_stops_the_run_in_one_round_trip(server, opened_with, ask, fault):
    server.faults = [fault] * 50
    engine = opened_with(concurrency=4)
    told = send(engine, *(ask(str(i)) for i in range(40)))
    assert all(isinstance(e, CredentialsError) for e in told)
    assert server.calls <= 4
    assert "FAKE_KEY" in str(told[0])
    assert KEY not in "".join(map(repr, told))


def test_a_model_that_is_not_there_is_a_usage_error(server, opened_with, ask):
    server.faults = [error(404, "model_not_found", "The model `m` does not exist")]
    (told,) = send(opened_with(), ask("q"))
    assert isinstance(told, UsageError)
    assert "'m'" in str(told)


@pytest.mark.parametrize(("fault", "reason"), [
    (error(400, "context_length_exceeded", "maximum context length is 4"), "too_long"),
    (error(400, "", "This model's maximum context length is 512 tokens"), "too_long"),
    (error(400, "content_filter", "filtered"), "content_filter"),
    (error(400, "", "something else"), "bad_request"),
    (error(422, "", "cannot process"), "bad_request"),
])
def test_what_is_wrong_with_one_row_is_that_rows_error(server, opened_with, ask, fault, reason):
    server.faults = [fault]
    bad, good = send(opened_with(concurrency=1), ask("q"), ask("q2"))
    assert isinstance(bad, RowError)
    assert bad.reason == reason
    assert isinstance(good, bytes)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 503, 529])
def test_what_passes_is_tried_again(server, opened_with, ask, status):
    server.faults = [error(status, headers={"retry-after-ms": "1"})]
    (raw,) = send(opened_with(), ask("q"))
    assert len(samples(raw)) == 1
    assert server.calls == 2


def test_retries_are_bounded_and_end_in_one_line(server, opened_with, ask):
    server.faults = [error(503, "", "overloaded")] * 50
    (told,) = send(opened_with(retries=2, retry_seconds=60), ask("q"))
    assert isinstance(told, Stopped)
    assert server.calls == 3
    assert "503" in str(told)
    assert "\n" not in str(told)


def test_retry_after_is_obeyed_or_ends_the_run_when_it_is_too_long(server, opened_with, ask):
    server.faults = [error(429, headers={"retry-after": "1"})]
    started = time.perf_counter()
    send(opened_with(), ask("q"))
    assert time.perf_counter() - started >= 1
    server.faults = [error(429, "rate_limit", headers={"retry-after": "3600"})]
    (told,) = send(opened_with(retry_seconds=60), ask("q"))
    assert isinstance(told, Stopped)


def test_a_silent_server_is_noticed(server, opened_with, ask):
    server.delay = 0.5
    (told,) = send(opened_with(timeout=0.1, retries=1), ask("q"))
    assert isinstance(told, Stopped)
    assert server.calls == 2


def test_a_server_that_is_not_there_is_one_line(opened_with, ask):
    (told,) = send(opened_with(base_url="http://127.0.0.1:9/v1", retries=1), ask("q"))
    assert isinstance(told, Stopped)
    assert "127.0.0.1" in str(told)


def test_a_redirect_is_not_followed(server, opened_with, ask):
    server.faults = [(307, {"location": server.url + "/elsewhere"}, b"{}")]
    (told,) = send(opened_with(), ask("q"))
    assert isinstance(told, UsageError)
    assert server.calls == 1


def test_an_error_reported_with_status_200_is_an_error(server, opened_with, ask):
    server.faults = [(200, {}, json.dumps({"error": {"code": 401, "message": "no"}}).encode())]
    (told,) = send(opened_with(), ask("q"))
    assert isinstance(told, CredentialsError)


def test_samples_come_at_once_one_by_one_or_as_the_server_can(server, opened_with, ask):
    (at_once,) = send(opened_with(), ask("q", n=4))
    assert (server.calls, server.last["n"]) == (1, 4)
    (singly,) = send(opened_with(native_n=False), ask("q", n=4))
    assert server.calls == 5
    server.knows_n = False
    (completed,) = send(opened_with(), ask("q", n=4))
    assert [s.text for s in samples(at_once)] == [s.text for s in samples(singly)]
    assert [s.text for s in samples(completed)] == [s.text for s in samples(at_once)]
    assert sum(s.completion_tokens for s in samples(at_once)) == 48


def test_sampling_reaches_the_server(server, opened_with, ask):
    send(opened_with(), ask("q", seed=5, first=3, temperature=0.5, top_p=0.9, max_tokens=7, stop=("x",)))
    sent = {"seed": 8, "temperature": 0.5, "top_p": 0.9, "max_tokens": 7, "stop": ["x"], "model": "m"}
    assert server.last | sent == server.last
    assert server.headers["Authorization"] == f"Bearer {KEY}"
    send(opened_with(token_limit="max_completion_tokens"), ask("q", max_tokens=7))
    assert server.last["max_completion_tokens"] == 7


def test_the_raw_reply_is_the_body_as_received(server, opened_with, ask):
    server.body = b'{ "choices" : [{"message":{"content":"a"}, "odd": 1}]  }\n'
    (raw,) = send(opened_with(), ask("q"))
    assert raw == server.body


@pytest.mark.parametrize(("raw", "text", "finish", "tokens"), [
    (b'{"choices":[{"message":{"content":"a\\ud800b"},"finish_reason":"eos"}]}', "a�b", "stop", 0),
    (b'{"choices":[{"message":{"content":"a"},"finish_reason":"length"}],"usage":null}', "a", "length", 0),
    (b'{"choices":[{"message":{"refusal":"no"}}],"usage":{"completion_tokens":3}}', "no", "stop", 3),
    (b'{"choices":[{"message":{"content":"\\u0000"},"finish_reason":"stop"}]}', "\0", "stop", 0),
    (b'{"choices":[{"finish_reason":"content_filter"}]}', "", "content_filter", 0),
    (b'{"choices":[{"message":{"content":"\xff"}}]}', "�", "stop", 0),
    (b'{"choices":[{"message":{"content":[{"type":"text","text":"part"}]}}]}', "part", "stop", 0),
    (b'{"choices":[{"message":null}]}', "", "stop", 0),
])
def test_odd_bodies_are_read(raw, text, finish, tokens):
    (sample,) = samples(raw)
    assert (sample.text, sample.finish, sample.completion_tokens) == (text, finish, tokens)


@pytest.mark.parametrize(("raw", "reason"), [
    (b'{"choices":[]}', "empty_reply"), (b"<html>", "bad_reply"), (b"{}", "bad_reply"), (b"3", "bad_reply"),
    (b'{"choices":[3]}', "bad_reply"), (b"[" * 100_000, "bad_reply"), (b"", "bad_reply"),
])
def test_bodies_without_a_sample_are_row_errors(raw, reason):
    with pytest.raises(RowError) as told:
        samples(raw)
    assert told.value.reason == reason


@pytest.mark.parametrize(("base_url", "key_env", "error"), [
    ("https://api.openai.com/v1", None, CredentialsError),
    ("https://other.example/v1", None, UsageError),
    ("https://other.example/v1", "OPENAI_API_KEY", UsageError),
    ("http://127.0.0.1:8000/v1", "OPENAI_API_KEY", UsageError),
    ("http://other.example/v1", "FAKE_KEY", UsageError),
    ("http://169.254.169.254/v1", None, UsageError),
    ("https://user:secret@other.example/v1", "FAKE_KEY", UsageError),
    ("other.example", "FAKE_KEY", UsageError),
])
def test_a_key_goes_to_its_own_host_only(monkeypatch, base_url, key_env, error):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("FAKE_KEY", KEY)
    with pytest.raises(error) as told:
        ENGINE(model="m", base_url=base_url, api_key_env=key_env).open()
    assert "secret" not in str(told.value)
    assert KEY not in str(told.value)


def test_a_missing_key_is_named(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(CredentialsError, match="set OPENAI_API_KEY"):
        ENGINE(model="m").open()


def test_a_server_on_this_machine_needs_no_key_and_gets_none(server, monkeypatch, ask):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.example/v1")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-canary")
    send(ENGINE(model="m", base_url=server.url).open(), ask("q"))
    assert "Authorization" not in server.headers
    assert "org-canary" not in str(server.headers)


@pytest.mark.parametrize("fields", [
    {"api_key_env": KEY}, {"extra": {"api_key": KEY}}, {"extra": {"headers": 1, "X-Api-Key": KEY}},
    {"extra": {"Authorization": f"Bearer {KEY}"}},
])
def test_a_key_in_a_config_is_refused_and_not_repeated(fields):
    """A config is kept with its run, so a key has no place in it."""
    with pytest.raises(ValidationError) as caught:
        ENGINE(model="m", base_url="http://127.0.0.1:9/v1", **fields)
    assert KEY not in caught.value.errors()[0]["msg"]
    assert "api_key_env" in caught.value.errors()[0]["msg"]


@pytest.mark.parametrize("fields", [{"model": KEY}, {"extra": {"user": f"me {KEY}"}}, {"prices": f"/tmp/{KEY}.yaml"}])
def test_the_key_itself_is_found_wherever_it_stands_in_a_config(monkeypatch, fields):
    """Nothing is written before the engine is checked."""
    monkeypatch.setenv("FAKE_KEY", KEY)
    config = ENGINE(**{"model": "m", "base_url": "http://127.0.0.1:9/v1", "api_key_env": "FAKE_KEY", **fields})
    with pytest.raises(UsageError, match="holds the key of FAKE_KEY") as caught:
        config.check()
    assert KEY not in str(caught.value)


def test_the_key_is_in_no_text_of_the_engine(opened_with):
    engine = opened_with()
    assert KEY not in repr(engine) + repr(engine.identity) + repr(ENGINE(model="m", api_key_env="FAKE_KEY"))


def test_a_revision_is_refused():
    with pytest.raises(ValidationError, match="revision"):
        ENGINE(model="m", revision="x")


def test_retry_after_is_read_in_all_its_forms():
    assert retry_after({"retry-after-ms": "250"}) == 0.25
    assert retry_after({"retry-after": "2"}) == 2
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None


def test_a_refusal_says_what_it_means_when_all_are_refused(server, opened_with, ask):
    server.faults = [error(400, "", "Unknown name 'seed'")]
    (told,) = send(opened_with(), ask("q"))
    assert isinstance(told, Refused)
    assert "every request" in told.everyone
    assert "omit" in told.everyone


def test_extra_fields_are_sent_and_are_identity_and_others_can_be_left_out(server, opened_with, ask):
    form = {"type": "json_object"}
    engine = opened_with(extra={"reasoning_effort": "low"}, response_format=form, omit=["top_p"])
    send(engine, ask("q"))
    assert server.last["reasoning_effort"] == "low"
    assert server.last["response_format"] == form
    assert "top_p" not in server.last
    assert engine.identity != opened_with().identity
    assert opened_with(timeout=5, requests_per_minute=100, batch=False).identity == opened_with().identity
    with pytest.raises(ValidationError, match="'n' is not an extra"):
        opened_with(extra={"n": 3})


def test_limits_given_are_kept(server, opened_with, ask):
    started = time.perf_counter()
    send(opened_with(requests_per_minute=600), *(ask(str(i)) for i in range(30)))
    assert 1.8 < time.perf_counter() - started < 6
    assert server.calls == 30


def test_engines_with_one_key_share_their_limits(server, opened_with, ask):
    one, two = opened_with(requests_per_minute=600, model="a"), opened_with(model="b")

    async def go():
        started = time.perf_counter()
        await asyncio.gather(*(e.send(ask(str(i))) for i in range(15) for e in (one, two)))
        await one.close()
        await two.close()
        return time.perf_counter() - started

    assert asyncio.run(go()) > 1.8


def test_a_web_page_is_a_wrong_address_until_something_was_answered(server, opened_with, ask):
    page = (200, {}, b"<!DOCTYPE html><html>...")
    server.faults = [page] * 3
    (told,) = send(opened_with(), ask("q"))
    assert isinstance(told, UsageError)
    assert "base_url" in str(told)
    server.faults = [page] * 2
    (told,) = send(opened_with(), ask("q"))
    assert isinstance(told, bytes)
    engine = opened_with(concurrency=1)
    server.faults = [(200, {}, json.dumps({"choices": [{"message": {"content": "a"}}]}).encode()), page]
    first, second = send(engine, ask("q"), ask("r"))
    assert isinstance(first, bytes)
    assert len(samples(second)) == 1


def test_a_reply_that_fills_the_memory_costs_its_row(server, opened_with, ask, monkeypatch):
    from pairgen.engines import _http

    monkeypatch.setattr(_http, "MAX_BODY", 10_000)
    server.body = b'{"choices": [], "x": "' + b"y" * 20_000 + b'"}'
    (told,) = send(opened_with(), ask("q"))
    assert isinstance(told, RowError)
    assert told.reason == "reply_too_big"
