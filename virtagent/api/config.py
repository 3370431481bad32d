"""Configuration of the guest, piece by piece, each applied once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from virtagent.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from virtagent.service.options import method
from virtagent.service.service import Service

__all__ = [
    "LARGEST_CONTENT",
    "LARGEST_OUTPUT",
    "Config",
    "ConfigArguments",
    "ConfigContent",
    "ConfigKey",
    "ConfigKind",
    "ConfigOutcome",
    "ConfigOutput",
    "ConfigPiece",
    "ConfigPieces",
    "ConfigTool",
    "ConfigTools",
    "Digest",
]

LARGEST_CONTENT = 512 * 1024
"""Bytes of one piece."""

LARGEST_OUTPUT = 64 * 1024
"""The last bytes of a run's output that are kept."""

ConfigKey = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/+-]*\Z")]
"""The name of a piece, which the host chooses, such as "web/nginx"."""

ConfigContent = Annotated[str, msgspec.Meta(min_length=1, max_length=LARGEST_CONTENT)]
ConfigArguments = Annotated[list[Annotated[str, msgspec.Meta(max_length=4096)]], msgspec.Meta(max_length=64)]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]

ConfigKind = Literal["script", "ansible", "puppet"]
"""What the content is: a script, a playbook of ansible-playbook(1), or a manifest of puppet-apply(8)."""

ConfigOutcome = Literal["applied", "failed", "interrupted", "running"]


class ConfigPiece(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a piece of configuration: its last run.

    Attributes:
        digest: of what was run (SHA-256 of the content and of how it was to be run), in hexadecimal.
        outcome: "applied"; "failed"; "interrupted": cancelled, or the agent or the guest ended meanwhile; "running".
        exit_code: of the script or tool; None: a signal ended it, or it has not ended.
        when: when the run ended; of one that is running, when it began; by the guest's clock.
        duration: seconds.
        output: bytes of output that the run had.
    """

    key: str
    digest: str
    kind: ConfigKind
    outcome: ConfigOutcome
    when: datetime
    exit_code: int | None = None
    duration: float = 0.0
    output: int = 0


class ConfigOutput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One item of a run. The last one has ``piece``.

    Attributes:
        stdout, stderr: what the run wrote.
        piece: what has become of it.
        changed: in the last item: it was run. False: this very content had been applied already.
    """

    stdout: bytes = b""
    stderr: bytes = b""
    piece: ConfigPiece | None = None
    changed: bool = False


class ConfigTool(msgspec.Struct, frozen=True, kw_only=True):
    """What a kind of content needs in the guest.

    Attributes:
        program: what runs it.
        path: where that is; "": it is missing.
        remedy: what to do about that.
    """

    kind: ConfigKind
    program: str
    path: str = ""
    remedy: str = ""


# Within the class below, `list` is the method.
ConfigPieces = list[ConfigPiece]
ConfigTools = list[ConfigTool]


class Config(Service, name="config", interface=True):
    """Configuration, piece by piece: each has a key, and is run again only when it is another one.

    What was applied is remembered in ``/var/lib/virtagent/config``, so it counts after a boot, and for every host.
    """

    @method(idempotent=True, role="observe", since="0.1.0", errors=(InvalidArgument,))
    async def is_configured(self, key: ConfigKey, *, digest: Digest | None = None) -> bool:
        """Whether a piece was applied: its last run succeeded.

        Args:
            key: the piece.
            digest: whether it was this very content (``ConfigPiece.digest``).
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0", errors=(NotFound,))
    async def piece(self, key: ConfigKey) -> ConfigPiece:
        """What is remembered of a piece.

        Raises:
            NotFound: nothing.
        """
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0")
    async def list(self) -> ConfigPieces:
        """All pieces, by key."""
        raise NotImplementedError

    @method(idempotent=True, role="observe", since="0.1.0")
    async def tools(self) -> ConfigTools:
        """What can be run here, and what is missing."""
        raise NotImplementedError

    @method(idempotent=True, role="exec", since="0.1.0", errors=(NotFound,))
    async def output(self, key: ConfigKey) -> bytes:
        """The end of what the last run of a piece wrote, both streams together: 64 KiB at most.

        Raises:
            NotFound: nothing is remembered of it.
        """
        raise NotImplementedError

    @method(
        idempotent=True,
        role="exec",
        since="0.1.0",
        errors=(
            Aborted,
            FailedPrecondition,
            InvalidArgument,
            NotFound,
            PermissionDenied,
            ResourceExhausted,
            Unavailable,
        ),
        secrets=("content", "env"),
    )
    async def apply(
        self,
        key: ConfigKey,
        content: ConfigContent,
        *,
        kind: ConfigKind = "script",
        interpreter: Annotated[str, msgspec.Meta(max_length=4096)] = "",
        arguments: ConfigArguments | None = None,
        env: Annotated[dict[str, str], msgspec.Meta(max_length=256)] | None = None,
        timeout: Annotated[float, msgspec.Meta(gt=0, le=86400)] | None = None,
        force: bool = False,
    ) -> AsyncIterator[ConfigOutput]:
        """Run a piece of configuration, unless this very piece has been applied: a stream of its output.

        One run of a key at a time: a second one waits, and then finds what the first one has done. A piece whose run
        failed or was interrupted is run again when it is asked for again.

        Args:
            key: the piece.
            content: a script, playbook or manifest.
            kind: see :data:`ConfigKind`.
            interpreter: for scripts; "": what their first line names (``#!``), else /bin/sh.
            arguments: for the script or the tool.
            env: variables of the environment; no log shows them, and nothing of them is kept but in the digest.
            timeout: seconds that the run may take.
            force: run it though it has been applied.

        Raises:
            Unavailable: the tool is missing, and what to install.
            NotFound: the interpreter is missing.
            FailedPrecondition: the filesystem of /var/lib/virtagent is frozen; or another agent runs this key.
            ResourceExhausted: 4096 pieces are remembered; forget some.
            PermissionDenied: the policy does not let this caller run that program.

        A run that fails is no error: its last item says "failed". Whoever stops reading ends the run, and all processes
        of its session; the piece is "interrupted" then.
        """
        raise NotImplementedError

    @method(idempotent=True, role="exec", since="0.1.0", errors=(FailedPrecondition,))
    async def forget(self, key: ConfigKey) -> bool:
        """Remember nothing of a piece, so that it is run when it is asked for the next time; nothing is undone.

        Returns:
            Whether there was something to forget.

        Raises:
            FailedPrecondition: it is running; or the filesystem is frozen.
        """
        raise NotImplementedError
