"""What answers cost: hand-worked dollars, the table's form, and what is not known is never zero."""

import json
from datetime import date

import pytest

from pairgen.engine import Request, Sampling
from pairgen.engines._prices import Price, Tokens, price_of, read_table
from pairgen.engines.openai import ENGINE
from pairgen.errors import UsageError
from pairgen.records import Message
from pairgen.resources import resource


def body(prompt=1000, written=200, cached=None):
    usage = {"prompt_tokens": prompt, "completion_tokens": written}
    if cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    return {"choices": [], "usage": usage}


def test_a_cost_worked_by_hand():
    tariff = Tokens(Price(input=2.5, output=10, cached=1.25))
    assert tariff.cost(json.dumps(body()).encode()) == pytest.approx(1000 * 2.5e-6 + 200 * 10e-6)
    cached = json.dumps(body(cached=400)).encode()
    assert tariff.cost(cached) == pytest.approx(600 * 2.5e-6 + 400 * 1.25e-6 + 200 * 10e-6)
    several = json.dumps([body(), body()]).encode()
    assert tariff.cost(several) == pytest.approx(2 * 0.0045)
    assert Tokens(Price(input=2.5, output=10), 0.5).cost(json.dumps(body()).encode()) == pytest.approx(0.00225)


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"usage": null}', b"<html>", b'{"usage": {"prompt_tokens": 3}}'])
def test_what_tells_no_usage_has_no_known_cost(raw):
    assert Tokens(Price(input=1, output=1)).cost(raw) is None


def test_the_most_is_never_less_than_what_it_comes_to():
    tariff = Tokens(Price(input=1, output=2))
    request = Request((Message("user", "déjà vu " * 50),), Sampling(max_tokens=100), 0, n=3)
    worst = body(prompt=3 * len(request.messages[0].content.encode()), written=300)
    assert tariff.most(request) >= tariff.cost(json.dumps(worst).encode())


@pytest.mark.parametrize(("name", "dollars"), [
    ("gpt-4o", 2.5), ("gpt-4o-2024-08-06", 2.5), ("openai/gpt-4o-mini", 0.15), ("claude-sonnet-4-5-20250929", 3),
])
def test_a_model_is_found_with_a_date_or_a_provider_in_its_name(name, dollars):
    assert price_of(name, None).input == dollars


def test_every_price_that_ships_has_a_source_and_a_date():
    for name, price in read_table(resource("data", "prices.yaml")).models.items():
        assert price.source.startswith("https://"), name
        assert date(2025, 1, 1) < price.date, name


def test_a_table_of_the_users_goes_first(tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text("batch: 0.4\nmodels: {gpt-4o: {input: 1, output: 2}, mine: {input: 3, output: 4, batch: 1}}\n")
    assert price_of("gpt-4o", str(file)) == Price(input=1, output=2, batch=0.4)
    assert price_of("mine", str(file)).batch == 1
    assert price_of("gpt-4o-mini", str(file)).input == 0.15
    assert price_of("unheard-of", str(file)) is None


@pytest.mark.parametrize(("text", "word"), [
    ("models: {m: {input: 1, output: 2, outptu: 3}}", "output"), ("models: {m: {input: -1, output: 2}}", "input"),
    ("models: [", "price table"), ("3", "write it as"),
])
def test_a_table_that_is_wrong_is_one_line(tmp_path, text, word):
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=word) as told:
        price_of("m", str(file))
    assert "\n" not in str(told.value)
    assert str(file) in str(told.value)


def test_a_keyless_server_here_is_paid_by_nobody_and_others_have_a_price_or_none(monkeypatch):
    here = "http://127.0.0.1:8000/v1"
    assert ENGINE(model="m", base_url=here).tariff() is None
    assert ENGINE(model="m", base_url=here, price=Price(input=1, output=1)).tariff().expected(10**6, 0) == 1
    assert ENGINE(model="m").tariff().expected(1, 1) is None
    assert ENGINE(model="gpt-4o").tariff().expected(10**6, 0) == 2.5
    assert ENGINE(model="gpt-4o", batch=True).tariff().expected(10**6, 0) == 1.25
