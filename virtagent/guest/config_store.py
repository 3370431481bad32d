"""What is remembered of pieces of configuration: a file each, replaced as a whole."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator

import msgspec
from msgspec import structs

from virtagent.api.config import LARGEST_OUTPUT, ConfigPiece
from virtagent.errors import FailedPrecondition, ResourceExhausted
from virtagent.guest.os_errors import call_error

__all__ = ["MOST_PIECES", "ConfigStore"]

MOST_PIECES = 4096

LARGEST_RECORD = 64 * 1024


class ConfigStore:
    """A directory, made when there is something to remember. Its methods block.

    Args:
        directory: where.

    Files are named after the SHA-256 of the key: ``.json`` is the piece, ``.output`` the end of its output, ``.lock``
    is locked while it runs, ``.content`` is what runs.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory

    def path(self, key: str, suffix: str) -> str:
        """One of a piece's files."""
        return os.path.join(self.directory, hashlib.sha256(key.encode()).hexdigest() + suffix)

    def find(self, key: str) -> ConfigPiece | None:
        """A piece, if it is remembered. One that was running when its agent ended is "interrupted"."""
        return self._load(self.path(key, ".json"))

    def all(self) -> list[ConfigPiece]:
        """All pieces, by key."""
        try:
            names = [name for name in os.listdir(self.directory) if name.endswith(".json")][: 2 * MOST_PIECES]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise call_error(self.directory, error) from None
        found = (self._load(os.path.join(self.directory, name)) for name in names)
        return sorted((each for each in found if each is not None), key=lambda each: each.key)

    def _load(self, path: str) -> ConfigPiece | None:
        try:
            with open(path, "rb") as file:
                piece = msgspec.json.decode(file.read(LARGEST_RECORD), type=ConfigPiece)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise call_error(path, error) from None
        except msgspec.DecodeError:
            return None  # the disk's fault; the piece is run again, which it is made for
        if piece.outcome == "running" and not self._is_locked(piece.key):
            return structs.replace(piece, outcome="interrupted")
        return piece

    def _is_locked(self, key: str) -> bool:
        try:
            with open(self.path(key, ".lock"), "rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def save(self, piece: ConfigPiece, output: bytes) -> None:
        """Remember a piece, and the end of its output.

        Raises:
            ResourceExhausted: there are too many.
            CallError: what the system says.
        """
        self._make_directory()
        if not os.path.exists(self.path(piece.key, ".json")) and self._count() >= MOST_PIECES:
            raise ResourceExhausted(f"{MOST_PIECES} pieces of configuration are remembered; forget some")
        self._replace(self.path(piece.key, ".output"), output[-LARGEST_OUTPUT:])
        self._replace(self.path(piece.key, ".json"), msgspec.json.encode(piece))

    def _count(self) -> int:
        return sum(name.endswith(".json") for name in os.listdir(self.directory))

    def output(self, key: str) -> bytes:
        """The end of a piece's output; b"" if there is none."""
        try:
            with open(self.path(key, ".output"), "rb") as file:
                return file.read(LARGEST_OUTPUT)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise call_error(self.directory, error) from None

    def write_content(self, key: str, content: str) -> str:
        """Put what is to be run into a file that only the agent's user can read; its path."""
        self._make_directory()
        path = self.path(key, ".content")
        self._replace(path, content.encode(errors="surrogateescape"))
        return path

    def remove_content(self, key: str) -> None:
        """It has been run."""
        with contextlib.suppress(OSError):
            os.unlink(self.path(key, ".content"))

    def forget(self, key: str) -> bool:
        """Remove a piece; whether there was one.

        Raises:
            CallError: what the system says.
        """
        known = os.path.exists(self.path(key, ".json"))
        for suffix in (".json", ".output", ".content", ".lock"):
            try:
                os.unlink(self.path(key, suffix))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise call_error(self.directory, error) from None
        return known

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Keep other agents on this machine from running or forgetting a piece; the kernel ends it with the agent.

        Raises:
            FailedPrecondition: another one does.
        """
        self._make_directory()
        try:
            file = os.open(self.path(key, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise call_error(self.directory, error) from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise FailedPrecondition(f"{key} is being applied by another agent on this machine") from None
        finally:
            os.close(file)

    def _make_directory(self) -> None:
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
        except OSError as error:
            raise call_error(self.directory, error) from None

    def _replace(self, path: str, data: bytes) -> None:
        temporary = f"{path}.{secrets.token_hex(8)}"
        try:
            file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                with open(file, "wb") as opened:
                    opened.write(data)
                    opened.flush()
                    os.fsync(file)
                os.rename(temporary, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
        except OSError as error:
            raise call_error(self.directory, error) from None
