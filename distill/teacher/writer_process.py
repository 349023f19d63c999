"""The program behind distill/teacher/writer.py: writes the files that come through standard input, in the order in which
they come, and says of each on standard output when it is on disk, or why it is not.

Python's own library only, so that it starts at once. It ends with its input, after the last file: who is killed need not
wait for what was handed over.
"""

import os
import struct
from contextlib import suppress

HEAD = struct.Struct("<IQ")
"""Before each file: the bytes of its path and of its content."""
REPLY = struct.Struct("<i")
"""0, or the errno of what went wrong."""
AT_ONCE = 1 << 20
TOGETHER = 16
"""Files that share a wait for the disk: many hardly take longer than one, but all of them wait for the last."""


def place(path: str, content: bytes | memoryview) -> int:
    """Puts a file in its place, whole, and returns its handle: what is left is `os.fsync`, which makes the name durable,
    too, and `os.close`. Raises OSError, and leaves nothing, where it cannot."""
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name}.{os.getpid()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        file = os.open(temporary, flags, 0o644)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        file = os.open(temporary, flags, 0o644)
    try:
        while content:
            content = content[os.write(file, content) :]
        os.replace(temporary, path)
    except BaseException:
        os.close(file)
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return file


def main() -> None:
    """Writes until the input ends."""
    pending = bytearray()
    files: list[int] = []
    while chunk := os.read(0, AT_ONCE):
        pending += chunk
        begin = 0
        while len(pending) >= begin + HEAD.size:
            path_bytes, content_bytes = HEAD.unpack_from(pending, begin)
            middle = begin + HEAD.size + path_bytes
            end = middle + content_bytes
            if len(pending) < end:
                break
            files.append(_placed(os.fsdecode(bytes(pending[begin + HEAD.size : middle])), bytes(pending[middle:end])))
            begin = end
            if len(files) == TOGETHER:
                _settle(files)
        del pending[:begin]
        _settle(files)


def _placed(path: str, content: bytes) -> int:
    """The handle of a file, or its errno below zero."""
    try:
        return place(path, content)
    except OSError as error:
        return -(error.errno or 5)


def _settle(files: list[int]) -> None:
    """Waits for the disk, says how it went, and empties the list."""
    replies = b"".join(REPLY.pack(_on_disk(file)) for file in files)
    files.clear()
    with suppress(BrokenPipeError):  # who asked is gone; the rest of what it said is still to be written
        while replies:
            replies = replies[os.write(1, replies) :]


def _on_disk(file: int) -> int:
    if file < 0:
        return -file
    try:
        os.fsync(file)
    except OSError as error:
        return error.errno or 5
    finally:
        os.close(file)
    return 0


if __name__ == "__main__":
    main()
