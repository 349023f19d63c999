"""The program behind distill/teacher/writer.py: reads files from standard input, writes each in its turn, and replies on
standard output when it is on disk, or with the error.

It imports only Python's own library, so that it starts at once. It ends with its input, after the last file, so that files
that were handed over are written even if the run is killed.
"""

import os
import struct
from contextlib import suppress

HEAD = struct.Struct("<IQ")
"""Before each file: the lengths of its path and of its content, in bytes."""
REPLY = struct.Struct("<i")
"""0, or the errno of the error."""
READ_BYTES = 1 << 20
"""The most that is read at once."""
FILES_PER_SYNC = 16
"""Files that are synced and replied to together: that hardly takes longer than for one, but all wait for the last."""


def write_file(path: str, content: bytes | memoryview) -> int:
    """Writes a file, which gets its name when it is complete, and returns its handle. The caller makes content and name
    durable with `os.fsync`, and closes the handle. Raises OSError, and leaves nothing behind, if that fails."""
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name}.{os.getpid()}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        file = os.open(temporary, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
        file = os.open(temporary, flags, 0o666)
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
    while chunk := os.read(0, READ_BYTES):
        pending += chunk
        start = 0
        while len(pending) >= start + HEAD.size:
            path_bytes, content_bytes = HEAD.unpack_from(pending, start)
            middle = start + HEAD.size + path_bytes
            end = middle + content_bytes
            if len(pending) < end:
                break
            files.append(
                _try_to_write(os.fsdecode(bytes(pending[start + HEAD.size : middle])), bytes(pending[middle:end]))
            )
            start = end
            if len(files) == FILES_PER_SYNC:
                _sync_and_reply(files)
        del pending[:start]
        _sync_and_reply(files)


def _try_to_write(path: str, content: bytes) -> int:
    """The handle of the file that is written, or a negative errno."""
    try:
        return write_file(path, content)
    except OSError as error:
        return -(error.errno or 5)


def _sync_and_reply(files: list[int]) -> None:
    """Makes the files durable, sends a reply for each, and empties the list."""
    replies = b"".join(REPLY.pack(_sync(file)) for file in files)
    files.clear()
    with suppress(BrokenPipeError):  # the run is gone; the files that it handed over are still written
        while replies:
            replies = replies[os.write(1, replies) :]


def _sync(file: int) -> int:
    """Makes a file durable and closes it; 0 or the errno, also for what is an errno already."""
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
