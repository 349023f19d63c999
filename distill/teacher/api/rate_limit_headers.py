"""How long a server asks to wait: the retry and rate-limit headers of its responses, in the forms of several providers."""

import email.utils
import re
import time
from collections.abc import Mapping

DAILY_LIMIT_S = 600.0
"""A longer wait means a daily limit, for which no run waits."""
EPOCH_S = 1e8
"""A larger number of seconds is a timestamp, whose unit and start differ between servers, so it is ignored."""
DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait before a retry: `retry-after-ms`, or `retry-after` in seconds or as a date, else `used_up_s`; None
    when the headers have none of these."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers.get(name, "")) / unit)
        except ValueError:
            continue
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    if date is not None:
        return max(0.0, email.utils.mktime_tz(date) - time.time())
    return used_up_s(headers) or None


def used_up_s(headers: Mapping[str, str]) -> float:
    """Seconds until `x-ratelimit-reset-*`, if `x-ratelimit-remaining-*` is 0; else 0.0."""
    return max(
        duration_s(headers.get(f"x-ratelimit-reset-{unit}", ""))
        if headers.get(f"x-ratelimit-remaining-{unit}") == "0"
        else 0.0
        for unit in ("requests", "tokens")
    )


def duration_s(text: str) -> float:
    """Seconds in `6m0s`, `120ms`, `1h2m` or `12.5`; 0.0 for anything else."""
    text = text.strip()
    if DURATION.fullmatch(text):
        return sum(float(number) * UNIT_S[unit] for number, unit in PART.findall(text))
    try:
        seconds = float(text)
    except ValueError:
        return 0.0
    return seconds if 0 <= seconds < EPOCH_S else 0.0
