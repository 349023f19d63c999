"""Warns of models that the provider will soon switch off, by the dates in its list of models."""

from datetime import UTC, date, datetime

from distill.project.terminal import say
from distill.teacher.api.http import Http
from distill.teacher.errors import ApiError

WITHIN_DAYS = 120
"""A later shutdown is not mentioned."""


async def warn_of_shutdown(http: Http, model: str) -> None:
    """Says the day on which the server will switch `model` off; nothing if that is far off or unknown."""
    try:
        listed = (await http.get("/models")).content["data"]
        dates = {entry["id"]: entry.get("shutdown_date") for entry in listed}
        shutdown = date.fromisoformat(str(dates.get(model))[:10])
    except (ApiError, KeyError, TypeError, ValueError):
        return
    days_left = (shutdown - datetime.now(UTC).date()).days
    if days_left <= WITHIN_DAYS:
        say(f"warning: {model} shuts down on {shutdown.isoformat()}, in {days_left} days: choose its successor")
