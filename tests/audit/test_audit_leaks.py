"""Personal data, secrets and template tokens: what is found, what is let through, and nothing takes long."""

import json
import random
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pairgen.audit.leaks import ROLES, SECRETS, TOKENS, personal, secrets, template_token

_RANDOM = random.Random(5)


def key(prefix: str, length: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    """A made-up key: made here so that no file holds anything like one."""
    return prefix + "".join(_RANDOM.choices(alphabet, k=length)) + ("7" if alphabet[-1] == "9" else "")


def kinds(text: str) -> list[str]:
    return [found.kind for found in personal(text)]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Write to kathy.bates@gmail.com!", "e-mail"), ("a.b+tag@mail.uni-x.co.uk", "e-mail"),
        ("Call (202) 456-1111.", "phone"), ("+1 917-444-6321", "phone"), ("323-856-7866", "phone"),
        ("+49 30 901820", "phone"), ("+44 (0)20 7946 0958", "phone"), ("1-800-273-8255", "phone"),
        ("4111 1111 1111 1111", "card"), ("378282246310005", "card"), ("5555-5555-5555-4444", "card"),
        ("GB82 WEST 1234 5698 7654 32", "IBAN"), ("DE89370400440532013000", "IBAN"),
        ("FR14 2004 1010 0505 0001 3M02 606", "IBAN"), ("NO93 8601 1117 947", "IBAN"),
        ("ping 93.184.216.34 now", "IPv4"),
    ],
)
def test_personal_data(text: str, kind: str) -> None:
    """Examples of the ISO standards and card networks' own test numbers, and numbers as people write them."""
    assert kinds(text) == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "user@example.com", "me@mail.example.co.uk", "your-name@company.com", "git@github.com:x/y.git", "a @ b.c",
        "@param x", "4111 1111 1111 1112", "1234567890123456", "GB82 WEST 1234 5698 7654 33", "127.0.0.1",
        "192.168.1.20", "10.0.0.1", "version 1.2.3.4", "256.1.1.1", "(415) 555-0123", "2024-01-02 10:30",
        "3.141592653589793", "1,000,000,000", "ISBN 978-3-16-148410-0", "tel: 12", "1 2 3 4 5 6 7 8 9 10 11 12",
        "x = 1000000007", "2001:db8::1", "1.2.3.4.5", "0000 0000 0000 0000",
    ],
)
def test_what_is_not_personal_data(text: str) -> None:
    """Reserved names, failed check digits, private addresses, dates, versions and plain numbers."""
    assert kinds(text) == []


@given(st.text(st.one_of(st.sampled_from(list("0123456789.- +()@aZ\n٣१²½sk_:")), st.characters()), max_size=80))
def test_any_text_can_be_looked_at(text: str) -> None:
    """Digits of other scripts, half surrogates, nulls: whatever is found is in the text."""
    for found in (*personal(text), *secrets(text)):
        assert found.text in text
    for digits in (True, False):
        assert set(personal(text, digits)) <= set(personal(text))


def test_secrets_by_shape() -> None:
    """Each service's keys; a key that is not divided is found too when only long words are looked at."""
    upper = string.ascii_uppercase + "234567"
    made = [
        key("sk-", 48), key("sk-proj-", 40), key("sk-ant-api03-", 60), key("sk_live_", 24), key("AKIA", 16, upper),
        key("ASIA", 16, upper), key("AIza", 34), key("ghp_", 36), key("gho_", 36), key("github_pat_", 70),
        key("glpat-", 20), key("hf_", 34, string.ascii_letters), key("xoxb-1234567890-", 24),
        f"eyJ{key('', 20)}.eyJ{key('', 30)}.{key('', 43)}",
        "-----BEGIN RSA PRIVATE KEY-----\n" + key("MIIE", 60),
        "-----BEGIN OPENSSH PRIVATE KEY-----\n" + key("b3Bl", 60),
    ]
    for secret in made:
        assert any(secrets(f"the key is {secret} ok")), secret[:12]
    assert sum(any(start in secret for secret in made) for start in SECRETS) >= len(SECRETS) - 3


@pytest.mark.parametrize(
    "text",
    [
        "sk-" + "x" * 48, "sk-your-openai-api-key-goes-here", "sk-learn", "task-12345678901234567890",
        "ghp_" + "x" * 36, "AKIAIOSFODNN", "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A",
        "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----", "eyJhbGciOi", "the hf_hub_download function",
    ],
)
def test_placeholders_are_no_secrets(text: str) -> None:
    """Repeated characters, names of things, public keys and headers without a key."""
    assert not any(secrets(text))


@pytest.mark.parametrize("token", [token for tokens in TOKENS.values() for token in tokens])
def test_template_tokens_are_found_on_every_side(token: str) -> None:
    """In the prompt and in either answer."""
    assert template_token(f"x{token}y", ("a", "b")) == token
    assert template_token("p", ("a", f"b {token}")) == token


def test_marks_of_the_next_turn_count_in_answers_only() -> None:
    """A prompt may be a transcript; an answer that goes on into the next turn ran away."""
    for role in ROLES:
        assert template_token("p", ("Fine.", f"Yes.{role} and?")) == role.strip()
        assert template_token(f"p{role} x", ("a", "b")) is None
    assert template_token("p", ("Man, Human: and machine", "a|b <div> [x]: 1 > 0")) is None
    assert template_token("p", ("a", " Assistant: Sure.")) == "Assistant:"


def test_struck_out_html_is_no_token() -> None:
    """`<s>` alone is a token, around text it is HTML."""
    assert template_token("p", ("<s>old</s> new", "b")) is None
    assert template_token("p", ("<s> Hello", "b")) == "<s>"
    assert template_token("p", ("Bye</s>", "b")) == "</s>"


HOSTILE = [
    "a", "1", "1 ", "1.", "1-", "+1", "+1234567890123456", "a@", "a.", "a@a.", "@", "A1", "AB12 ", "AB12", "(2", "eyJ",
    "eyJaaaaaaaaaa.", "eyJaaaaaaaaaa-", "sk-", "sk-aaaaaaaaaaaaaaaaaaaaaaaa ", "sk_live_", "ghp_", "xoxb-", "AIza",
    "glpat-", "-----BEGIN RSA PRIVATE KEY-----", "-----BEGIN ", "<s>", "</s", "<|", "[INST", "<s>a", "hf_a", "4 ",
    "999.", "212-", "(212) ", "+1 (",
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_texts_of_a_million_characters(unit: str) -> None:
    """Repeated beginnings of every pattern, whole and broken off: seconds at the very worst, never minutes."""
    text = unit * (1_000_000 // len(unit)) + "!"
    assert len(list(personal(text))) >= 0
    assert len(list(secrets(text))) >= 0
    template_token("p", (text, "b"))


def test_llmbar(real_data: Path) -> None:
    """The one telephone number in it, a hotline, is found, and nothing else."""
    found = []
    for name in ("natural", "neighbor", "gptinst", "gptout", "manual", "case_normal"):
        for row in json.loads((real_data / "llmbar" / f"{name}.json").read_text()):
            for text in (row["input"], row["output_1"], row["output_2"]):
                found += [f.text for f in (*personal(text), *secrets(text))]
    assert found == ["(888) 426-4435"]
