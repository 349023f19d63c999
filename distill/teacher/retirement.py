"""A word in time: models are switched off, and the list of models says when."""

from datetime import UTC, date, datetime

from distill.teacher.errors import ApiError
from distill.teacher.http import Http

WITHIN_DAYS = 120


async def shutdown_warning(http: Http, model: str) -> str | None:
    """A line about the day on which the server will switch `model` off; None if that is far off, unknown or not told."""
    try:
        listed = (await http.get("/models")).content["data"]
        days = {entry["id"]: entry.get("shutdown_date") for entry in listed}
        last = date.fromisoformat(str(days.get(model))[:10])
    except (ApiError, KeyError, TypeError, ValueError):
        return None
    left = (last - datetime.now(UTC).date()).days
    return (
        f"{model} shuts down on {last.isoformat()}, in {left} days: choose its successor"
        if left <= WITHIN_DAYS
        else None
    )
