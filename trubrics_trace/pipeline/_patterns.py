"""The shapes that `redact=` knows by name: addresses, numbers, keys.

Rule 1: what is masked is said, and nothing of it: `[email]`, `[card]`. A mask has no shape
of its own, so that to redact twice is to redact once.
Rule 2: what may be something else stays: a number is a card's or an account's only where
its check digits agree, a dotted one no address where a version is spoken of.
Rule 3: the time is linear in the text: each shape begins where a word does, and is bounded
or has one way to go on.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping

from .._settings import PatternName, Redactor

_Told = Callable[[re.Match[str]], str]


def redactor_of(one: Redactor | PatternName) -> Redactor:
    """Return the function of a built-in pattern, or the app's own as it is.

    Example:
        >>> redactor_of("email")("Write to alice@example.com today")
        'Write to [email] today'
    """
    return PATTERNS[one] if isinstance(one, str) else one


_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"

# RFC 5321 4.5.3.1: at most 64 characters before the sign. An IDN is taken as it is written.
_EMAIL = re.compile(
    rf"(?<!\w)(?!git@)\w[\w.%+'-]{{0,63}}(?:@|%40)(?:{_LABEL}\.){{1,8}}"
    r"(?!(?:png|jpe?g|gif|svg|webp|css|js|py)\b)"  # icon@2x.png
    r"(?:xn--[a-z0-9-]{2,59}|[^\W\d_]{2,24})(?![\w-])",
    re.IGNORECASE,
)

_PHONE = re.compile(
    r"""
    (?<![^\W\d])(?<![+.-])
    (?:
        \+[1-9][0-9]{0,3}(?:[ ./-]?(?:\([0-9]{1,6}\)|[0-9]{1,10})){1,6}  # with its country
      | (?<![\w/])(?<![0-9][ ])(?:
            00(?=[1-9][0-9]{0,2}[ ./-])[1-9][0-9]{0,2}(?:[ ./-][0-9]{1,10}){1,6}
          | (?:1[ .-])?(?:\([2-9][0-9]{2}\)[ ]?|[2-9][0-9]{2}[.-])[2-9][0-9]{2}[ .-][0-9]{4}
          | 0[1-9](?:[ .-][0-9]{2}){4}  # in pairs, as in France
          | 020[ -][0-9]{4}[ -][0-9]{4}  # London
          | (?:\(0[1-9][0-9]{1,3}\)[ ]?|0[1-9][0-9]{1,3}[ /-])[0-9]{3,8}(?:[ -][0-9]{2,6})?
        )
    )
    (?![\w%:]|[.,-][0-9]|[ ][0-9])
    """,
    re.VERBOSE,
)

# ISO 13616: each country has one length. What follows country and check digits:
_IBAN_LENGTHS: Mapping[int, str] = {
    11: "NO",
    12: "BE",
    14: "DK FI FO GL NL SD FK",
    15: "MK SI",
    16: "AT BA EE KZ LT LU XK MN",
    17: "CH CR HR LI LV",
    18: "BG BH DE GB GE IE ME RS VA",
    19: "AE GI IL IQ TL OM SO",
    20: "AD CZ ES MD PK RO SA SE SK TN VG LY DJ BI",
    21: "PT ST",
    22: "IS TR",
    23: "FR GR IT MC MR SM",
    24: "AL AZ BY CY DO GT HU LB NI PL SV",
    25: "BR EG PS QA UA",
    26: "JO KW MU YE",
    27: "MT SC",
    28: "LC",
    29: "RU",
}
_IBAN = re.compile(
    r"(?<![^\W_])(?=[A-Z]{2}[0-9]{2})(?:"
    + "|".join(
        rf"(?:{countries.replace(' ', '|')})[0-9]{{2}}(?:[ \u00a0-]?[A-Z0-9]){{{length}}}"
        for length, countries in _IBAN_LENGTHS.items()
    )
    + r")(?!\w)",
    re.IGNORECASE,
)

# ISO/IEC 7812 and the networks' own tables: Visa, Mastercard, American Express, Diners
# Club, Discover, JCB, UnionPay. In the groups that are printed on it, or in none.
_CARD = re.compile(
    r"""
    (?<![\w.])(?:
        3[47][0-9]{2}(?P<amex>[ -]?)[0-9]{6}(?P=amex)[0-9]{5}
      | 3(?:0[0-5]|[689][0-9])[0-9](?P<diners>[ -]?)[0-9]{6}(?P=diners)[0-9]{4}
      | (?:4[0-9]{3}|5[1-5][0-9]{2}|2[2-7][0-9]{2}|6011|6[245][0-9]{2}|35[0-9]{2})
        (?P<four>[ -]?)[0-9]{4}(?P=four)[0-9]{4}(?P=four)[0-9]{4}
        (?:(?P=four)[0-9]{3})?
      | 4[0-9]{12}
    )(?!\w|\.[0-9]|-[0-9])
    """,
    re.VERBOSE,
)

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IP = re.compile(
    rf"""
    (?P<version>
        (?<!\w)(?:v|ver|versions?|releases?|revision|build|sections?|chapter|clause|figure|§)
        [.:=\ ]{{0,3}}
    )?
    (?:
        (?<![\w.§])(?P<four>(?:{_OCTET}\.){{3}}{_OCTET})(?!\w|\.[0-9]|-[a-z]|-[0-9]{{1,9}}(?![0-9.]))
      | (?<![\w:.])(?P<six>[0-9a-f]{{0,4}}(?::[0-9a-f]{{0,4}}){{2,7}})(?![\w:.])
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NOBODYS_IP = ("0.0.0.0", "127.0.0.1", "255.255.255.255")  # noqa: S104 - not bound to
_LEAST_GROUPS = 3  # of the sixth version: `a::b` and `x[1::2]` are code

_JWT = re.compile(
    r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){2,4}(?![A-Za-z0-9_-])"
)

_API_KEY = re.compile(
    r"""
    (?<![A-Za-z0-9_-])(?:
        sk-(?=[A-Za-z_-]{0,100}[0-9])[A-Za-z0-9_-]{20,}  # OpenAI, Anthropic, Langfuse
      | pk-lf-[0-9a-f-]{36}
      | (?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{16,}  # Stripe
      | whsec_[A-Za-z0-9]{24,}
      | gh[pousr]_[A-Za-z0-9]{36,} | github_pat_[A-Za-z0-9_]{22,}
      | glpat-[A-Za-z0-9_-]{20,}
      | xox[abeoprs]-(?=[A-Za-z-]{0,40}[0-9])[A-Za-z0-9-]{10,}  # Slack
      | AIza[A-Za-z0-9_-]{35} | ya29\.[A-Za-z0-9_-]{20,}  # Google
      | (?:AKIA|ASIA)[A-Z0-9]{16}  # AWS
      | hf_[A-Za-z0-9]{30,} | gsk_[A-Za-z0-9]{40,} | r8_[A-Za-z0-9]{37}
      | npm_[A-Za-z0-9]{36} | pypi-[A-Za-z0-9_-]{50,}
      | SG\.[A-Za-z0-9_-]{20,24}\.[A-Za-z0-9_-]{39,50}  # SendGrid
      | lsv2_(?:pt|sk)_[0-9a-f]{32}_[0-9a-f]{10}  # LangSmith
      | do[opr]_v1_[0-9a-f]{64}
    )(?![A-Za-z0-9_-])
    | (?<![A-Za-z0-9_-])(?P<bearer>[Bb]earer[ ])(?=[A-Za-z._~+/-]{0,100}[0-9])
      [A-Za-z0-9._~+/-]{20,}={0,2}
    | -----BEGIN[ ](?:[A-Z]{2,10}[ ]){0,2}PRIVATE[ ]KEY-----[A-Za-z0-9+/=\s\\]*
      (?:-----END[ ](?:[A-Z]{2,10}[ ]){0,2}PRIVATE[ ]KEY-----)?
    """,
    re.VERBOSE,
)

_URL_CREDENTIALS = re.compile(
    r"""
    (?P<scheme>(?<![A-Za-z0-9+.-])[a-z][a-z0-9+.-]{1,20}://)
    (?![^\s/]{0,20}[{<$])[^\s/@:?\#\[]{0,256}:[^\s/\[]{0,256}@(?=[\w\[])
    | (?P<query>[?&](?:api[_-]?key|access[_-]?token|auth[_-]?token|refresh[_-]?token|token
      |client[_-]?secret|secret|password|passwd|pwd|sig|signature|x-amz-signature)=)
      (?![{<$])[^\s&\#"'<>\[]{3,}[^\s&\#"'<>\[.,;:!?)]
    """,
    re.VERBOSE | re.IGNORECASE,
)


def _masking(pattern: re.Pattern[str], needed: str, told: str | _Told) -> Redactor:
    """Return what masks a pattern in texts that have a character needed."""
    if needed:
        is_worth_it = re.compile(f"[{re.escape(needed)}]").search

        def mask(text: str) -> str:
            return pattern.sub(told, text) if is_worth_it(text) else text

        return mask

    return lambda text: pattern.sub(told, text)


def _phone(found: re.Match[str]) -> str:
    digits = "".join(filter(str.isdigit, found[0]))
    if found[0].startswith("+1"):  # the North American plan: ten digits after it
        return "[phone]" if len(digits) == 11 and digits[1] > "1" else found[0]
    return "[phone]" if 9 <= len(digits) <= 17 else found[0]


def _iban(found: re.Match[str]) -> str:
    letters = re.sub(r"[ \u00a0-]", "", found[0]).upper()
    number = "".join(str(int(one, 36)) for one in letters[4:] + letters[:4])
    return "[iban]" if int(number) % 97 == 1 else found[0]


def _card(found: re.Match[str]) -> str:
    digits = [int(one) for one in found[0] if one.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]  # Luhn
    is_varied = len(set(digits)) > 1
    agrees = (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
    return "[card]" if agrees and is_varied else found[0]


def _ip(found: re.Match[str]) -> str:
    six = found["six"]
    if six is None:
        is_kept = found["version"] or found["four"] in _NOBODYS_IP
        return found[0] if is_kept else "[ip]"
    try:
        ipaddress.IPv6Address(six)
    except ValueError:  # a time, or the address of a network card
        return found[0]
    groups = len(list(filter(None, six.split(":"))))
    is_told = groups >= _LEAST_GROUPS or six.lower().startswith("fe80::")
    return f"{found['version'] or ''}[ip]" if is_told else found[0]


def _api_key(found: re.Match[str]) -> str:
    return f"{found['bearer'] or ''}[api key]"


def _url_credentials(found: re.Match[str]) -> str:
    scheme, query = found["scheme"], found["query"]
    return f"{query}[credentials]" if query else f"{scheme}[credentials]@"


# In the order in which all of them are applied: the longest shapes first, in which those
# that come later might find a shape of their own.
PATTERNS: Mapping[PatternName, Redactor] = {
    "url_credentials": _masking(_URL_CREDENTIALS, "/?&", _url_credentials),
    "jwt": _masking(_JWT, "", "[jwt]"),
    "api_key": _masking(_API_KEY, "", _api_key),
    "email": _masking(_EMAIL, "@%", "[email]"),
    "iban": _masking(_IBAN, "", _iban),
    "card": _masking(_CARD, "23456", _card),
    "ip": _masking(_IP, ".:", _ip),
    "phone": _masking(_PHONE, "0123456789", _phone),
}
