"""An exception as part of a line for a person."""


def one_line(error: BaseException, most: int = 300) -> str:
    """The first line of an exception's message, at most `most` characters; its class where it has no message.

    Of a group, the first exception counts.
    """
    error = innermost(error)
    lines = message(error).strip().splitlines()
    return lines[0][:most] if lines else type(error).__name__


def innermost(error: BaseException) -> BaseException:
    """The first exception of a group, however deep it lies; any other exception itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def message(error: BaseException) -> str:
    """The message of an exception; empty when it has none."""
    try:
        return str(error)
    except Exception:  # an exception class of the user's may fail even at that
        return ""
