"""What the operating system refuses is told in words: which file, why, what to do."""

import errno
import os

import pytest

from supervisor.cli.common.exits import in_words


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/backup/x.db"),
            (
                "/backup/x.db: Permission denied. Be the user whom it belongs to, or choose another"
                " place."
            ),
        ),
        (
            OSError(errno.EADDRINUSE, "127.0.0.1:4001 is taken"),
            (
                "127.0.0.1:4001 is taken. Something else listens there (`ss -ltnp` says what): end"
                " it, or set WHATSAPP_API_PORT to another port."
            ),
        ),
        (
            IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), b"/data"),
            "/data: Is a directory.",
        ),
        (OSError("The supervisor needs Linux."), "The supervisor needs Linux."),
    ],
)
def test_an_error_of_the_system_is_a_sentence_without_a_number(error: OSError, told: str) -> None:
    assert in_words(error) == told
    assert "Errno" not in told
