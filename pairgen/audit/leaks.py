"""Strings that should not be in training data: personal data, secrets, and tokens of chat templates.

Everything here goes by the shape of a string. Names, street addresses, dates of birth, user names and passwords
have no shape and are not found; neither are keys of services not listed. A shape can also be an example
("user@example.com", 127.0.0.1 and other reserved ones are let through, a made-up phone number is not).
No pattern can go back over what it has read more than a bounded number of times.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

EMAIL = re.compile(r"(?<![\w.+-])\w[\w.+-]{0,63}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
RESERVED_MAIL = re.compile(
    # RFC 2606, and what people write for "some address"
    r"@(?:[\w-]+\.)*(?:example|test|invalid|localhost)(?:\.[a-z]{2,3}){0,2}$|@(?:your|my|some)?-?(?:company|domain|email)\.com$"
    r"|^(?:git|noreply|no-reply)@",
    re.IGNORECASE,
)
PHONE = re.compile(
    # international with a plus, or North American in its usual groups; a bare run of digits is anything
    r"(?<![\w.+/-])(?:\+[1-9]\d{0,2}[ .-]?(?:\(0?\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}"
    r"|(?:1[ .-])?(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[.-])[2-9]\d{2}[.-]\d{4})(?![\w/-]|\.\d)",
    re.ASCII,
)
CARD = re.compile(r"(?<![\d.-])(?:\d[ -]?){12,18}\d(?![\d-]|\.\d)", re.ASCII)
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", re.ASCII)
IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)", re.ASCII)
SECRETS: dict[str, re.Pattern[str]] = {
    # each begins with a fixed string that a text is searched for first
    "sk-": re.compile(r"(?<![\w-])sk-(?=[A-Za-z_-]{0,99}\d)(?:ant-|proj-|or-v1-|live-|svcacct-)?[A-Za-z0-9_-]{20,}"),
    "sk_": re.compile(r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"),
    "AKIA": re.compile(r"\bAKIA[A-Z2-7]{16}\b"),
    "ASIA": re.compile(r"\bASIA[A-Z2-7]{16}\b"),
    "AIza": re.compile(r"\bAIza[\w-]{35}(?![\w-])"),
    **dict.fromkeys(("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), re.compile(r"\bgh[pousr]_[A-Za-z0-9]{36,}\b")),
    "github_pat_": re.compile(r"\bgithub_pat_\w{60,}"),
    "glpat-": re.compile(r"\bglpat-[\w-]{20,}"),
    "hf_": re.compile(r"\bhf_[A-Za-z]{34}\b"),
    "xox": re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{20,}"),
    "eyJ": re.compile(r"(?<![\w-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}"),
    "PRIVATE KEY": re.compile(r"-----BEGIN (?:[A-Z]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----\s{0,4}[A-Za-z0-9+/=]{20}"),
}
SPEAKERS: tuple[str, ...] = ("Assistant:", "Human:", "ASSISTANT:")
"""What an answer begins with when its own turn's mark was left in."""
_DIVIDED = ("sk-", "AIza", "glpat-")
TOKENS: dict[str, tuple[str, ...]] = {
    # by what they have in common: a text without that has none of them
    "<|": (
        "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|begin_of_text|>", "<|end_of_text|>",
        "<|start_header_id|>", "<|end_header_id|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>",
        "<|eom_id|>", "<|return|>", "<|channel|>", "<|start|>", "<|message|>",
    ),
    "INST]": ("[INST]", "[/INST]"),
    "_of_turn>": ("<start_of_turn>", "<end_of_turn>"),
    "SYS>>": ("<<SYS>>", "<</SYS>>"),
    "<bos>": ("<bos>",),
    "<eos>": ("<eos>",),
    "<pad>": ("<pad>",),
    "<unk>": ("<unk>",),
    "<\uff5c": ("<\uff5cend\u2581of\u2581sentence\uff5c>", "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>"),
}
"""Special tokens of ChatML, Llama 2 and 3, Gemma, Mistral, Phi, Zephyr, gpt-oss and DeepSeek, as text."""
ROLES: tuple[str, ...] = (
    "\n\nHuman:", "\n\nAssistant:", "### Response:", "### Instruction:", "### Human:", "### Assistant:", "\nUSER:",
    "\nASSISTANT:",
)
"""Marks of the next turn that an answer ran into: looked for in answers only, prompts may hold a conversation."""
_PLAIN_ROLES = tuple(mark for mark in ROLES if "#" not in mark)
STRUCK = re.compile(r"</?s>")
_HTML_STRIKE = re.compile(r"<s>[^<]{1,200}</s>")


@dataclass(frozen=True, slots=True)
class Found:
    """A string that should not be there, and what it looks like."""

    kind: str
    text: str


def personal(text: str, digits: bool = True) -> Iterator[Found]:
    """E-mail addresses, phone numbers, payment cards (Luhn), IBANs (mod 97) and public IPv4 addresses.

    `digits` False says that no run of digits is long enough for any but the first.
    """
    if "@" in text:
        yield from _all("e-mail", EMAIL, text, lambda found: RESERVED_MAIL.search(found) is None)
    if not digits:
        return
    yield from _all("IPv4", IPV4, text, _is_public)
    yield from _all("IBAN", IBAN, text, _is_iban)
    yield from _all("card", CARD, text, _is_card)
    yield from _all("phone", PHONE, text, _is_phone)


def secrets(text: str, long_words: bool = True) -> Iterator[Found]:
    """Strings shaped like keys of well-known services, JSON web tokens and private keys.

    A key whose characters repeat (sk-xxxxxxxx, sk-1111) is a placeholder. `long_words` False says that there
    are no 16 letters and digits in a row: then only keys that dashes may divide are looked for.
    """
    for start in SECRETS if long_words else _DIVIDED:
        if start in text:
            yield from _all("secret", SECRETS[start], text, lambda found: len(set(found)) > 9)


def template_token(prompt: str, answers: tuple[str, ...]) -> str | None:
    """The first chat-template token in a pair, or mark of a next turn in one of its answers.

    `<s>` counts unless the page is HTML that strikes something out (`<s>old</s>`).
    """
    whole = "\0".join((prompt, *answers))
    if "<" in whole or "[" in whole:  # one character is found twenty times as fast as two
        near = (tokens for common, tokens in TOKENS.items() if common in whole)
        if token := next((token for tokens in near for token in tokens if token in whole), None):
            return token
    said = "\0".join(answers)
    roles = ROLES if "#" in said else _PLAIN_ROLES
    if role := next((mark for mark in roles if mark in said), None):
        return role.strip()
    if spoken := next((name for name in SPEAKERS for answer in answers if answer.lstrip().startswith(name)), None):
        return spoken
    return _struck(whole)


def _struck(text: str) -> str | None:
    if "<" not in text or ("<s>" not in text and "</s>" not in text):
        return None
    found = STRUCK.search(_HTML_STRIKE.sub("", text))
    return found.group() if found else None


def _all(kind: str, pattern: re.Pattern[str], text: str, holds: Callable[[str], bool]) -> Iterator[Found]:
    yield from (Found(kind, match.group()) for match in pattern.finditer(text) if holds(match.group()))


def _is_phone(text: str) -> bool:
    """As many digits as numbers have (E.164), and not of the 555 exchange, which is for fiction."""
    return 8 <= sum(map(str.isdigit, text)) <= 15 and re.search(r"(?<!\d)555(?!\d)", text) is None


def _is_card(text: str) -> bool:
    """Luhn's check (ISO/IEC 7812-1, annex B), a known first digit, a length in use, and not one digit repeated."""
    digits = [int(sign) for sign in text if sign.isdigit()]
    if len(digits) not in {14, 15, 16, 19} or digits[0] not in {3, 4, 5, 6} or len(set(digits)) < 2:
        return False
    doubled = [d if k % 2 == 0 else (2 * d - 9 if d > 4 else 2 * d) for k, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _is_iban(text: str) -> bool:
    """The mod-97 check of ISO 13616: the first four signs moved to the end, letters as 10 to 35, gives 1."""
    plain = text.replace(" ", "")
    if not 15 <= len(plain) <= 34:
        return False
    return int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def _is_public(text: str) -> bool:
    """An address of the open internet: none that is private, local, reserved or for documentation (or 1.2.3.4)."""
    parts = [int(part) for part in text.split(".")]
    if max(parts) > 255 or any(len(part) > 1 and part[0] == "0" for part in text.split(".")):
        return False
    from ipaddress import IPv4Address

    # four single digits are a version or a section far more often than an address
    return IPv4Address(text).is_global and max(parts) > 9 and parts[0] < 224
