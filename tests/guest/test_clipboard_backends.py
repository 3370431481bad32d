"""Real clipboards: xclip on Xvfb, and wl-clipboard on a headless sway."""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.guest.desktops import wayland_session, x_server
from virtagent.api.clipboard import TEXT
from virtagent.errors import NotFound, ResourceExhausted, Unavailable
from virtagent.guest import clipboard_tool
from virtagent.guest.clipboard_wayland import WaylandClipboard
from virtagent.guest.clipboard_x11 import X11Clipboard
from virtagent.guest.session_helper import Backend, backend_of
from virtagent.guest.wayland_globals import _interface, list_globals

PNG = b"\x89PNG\r\n\x1a\n" + os.urandom(300_000)


@pytest.fixture(scope="module")
def x11() -> Iterator[str]:
    with x_server() as (display, _):
        yield display


@pytest.fixture(scope="module")
def wayland() -> Iterator[tuple[str, Path]]:
    with wayland_session() as (display, folder, _):
        yield display, folder


@pytest.fixture(params=["x11", "wayland"])
async def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Backend]:
    made: Backend
    if request.param == "x11":
        made = X11Clipboard(request.getfixturevalue("x11"))
    else:
        display, folder = request.getfixturevalue("wayland")
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
        made = WaylandClipboard(display)
    await made.clear("clipboard")
    yield made
    await made.clear("clipboard")
    await made.clear("primary")


@pytest.mark.parametrize("text", ["hello", "grüße, мир, 世界 🌍", "two\nlines\n", "a\0b"])
async def test_text_comes_back_as_it_was(text: str, backend: Backend) -> None:
    await backend.set(text.encode(), TEXT, "clipboard")
    assert await backend.types("clipboard") == [TEXT]
    assert await backend.get(TEXT, "clipboard") == text.encode()


async def test_images_come_back_byte_by_byte(backend: Backend) -> None:
    await backend.set(PNG, "image/png", "clipboard")
    assert await backend.types("clipboard") == ["image/png"]
    assert await backend.get("image/png", "clipboard") == PNG
    with pytest.raises(NotFound, match="has no text/plain"):
        await backend.get(TEXT, "clipboard")


async def test_an_empty_clipboard_has_nothing(backend: Backend) -> None:
    assert await backend.types("clipboard") == []
    with pytest.raises(NotFound, match="is empty"):
        await backend.get(TEXT, "clipboard")
    await backend.set(b"x", TEXT, "clipboard")
    await backend.clear("clipboard")
    assert await backend.types("clipboard") == []


async def test_the_two_selections_are_two(backend: Backend) -> None:
    await backend.set(b"copied", TEXT, "clipboard")
    await backend.set(b"selected", TEXT, "primary")
    assert await backend.get(TEXT, "clipboard") == b"copied"
    assert await backend.get(TEXT, "primary") == b"selected"


async def test_changes_are_told_by_the_display_server(backend: Backend) -> None:
    assert await backend.watchable()
    seen: asyncio.Queue[str] = asyncio.Queue()

    async def watch() -> None:
        async with aclosing(backend.changes()) as changes:
            async for selection in changes:
                seen.put_nowait(selection)

    watching = asyncio.create_task(watch())
    try:
        async with asyncio.timeout(30):
            # Set until it is told of: when the watch has begun, only the server knows.
            while seen.empty():
                await backend.set(b"first", TEXT, "clipboard")
            await backend.set(b"other", TEXT, "primary")
            while await seen.get() != "primary":
                pass
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_more_than_is_allowed_is_not_read(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    await backend.set(PNG, "image/png", "clipboard")
    monkeypatch.setattr(clipboard_tool, "LARGEST_CONTENT", len(PNG) - 1)
    with pytest.raises(ResourceExhausted, match="holds more than"):
        await backend.get("image/png", "clipboard")


def test_what_another_program_copied_is_had(x11: str) -> None:
    subprocess.run(["xclip", "-d", x11, "-selection", "clipboard"], input=b"by hand", check=True, timeout=10)
    assert asyncio.run(X11Clipboard(x11).get(TEXT, "clipboard")) == b"by hand"


def test_text_of_old_programs_becomes_utf_8(x11: str) -> None:
    """ICCCM, section 2.6.2: STRING is Latin-1."""
    command = ["xclip", "-d", x11, "-selection", "clipboard", "-t", "STRING"]
    subprocess.run(command, input="grüße".encode("latin-1"), check=True, timeout=10)
    assert asyncio.run(X11Clipboard(x11).get(TEXT, "clipboard")) == "grüße".encode()
    assert asyncio.run(X11Clipboard(x11).types("clipboard")) == [TEXT]


@pytest.mark.parametrize("session", [x_server, wayland_session])
async def test_changes_end_with_the_session(session: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with session() as (display, *folder, process):
        if folder:
            monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder[0]))
        backend: Backend = WaylandClipboard(display) if folder else X11Clipboard(display)
        seen: list[str] = []
        begun = asyncio.Event()

        async def watch() -> None:
            async for selection in backend.changes():
                seen.append(selection)
                begun.set()

        watching = asyncio.create_task(watch())
        async with asyncio.timeout(30):
            while not begun.is_set():
                await backend.set(b"x", TEXT, "clipboard")
            process.terminate()
            await watching
            with pytest.raises(Unavailable, match="cannot ask"):
                await backend.types("clipboard")


async def test_a_program_that_hangs_is_given_up(x11: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "xclip").write_text("#!/bin/sh\nexec sleep 1000\n")
    (tmp_path / "xclip").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(clipboard_tool, "PATIENCE", 0.05)
    with pytest.raises(Unavailable, match="did not answer within"):
        await X11Clipboard(x11).types("clipboard")


@pytest.mark.parametrize("backend_class", [X11Clipboard, WaylandClipboard])
async def test_a_missing_program_is_told_with_its_package(
    backend_class: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="install the package (xclip|wl-clipboard)"):
        await backend_class("none").types("clipboard")
    assert not await backend_class("none").watchable()


def test_the_environment_tells_which_session_it_is() -> None:
    assert backend_of({"WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0"}).kind == "wayland"
    assert backend_of({"DISPLAY": ":0"}).display == ":0"
    with pytest.raises(Unavailable, match="run this in a desktop session"):
        backend_of({"DISPLAY": ""})


# -- what a compositor says --------------------------------------------------------------------------------------------


def event(sender: int, opcode: int, body: bytes = b"") -> bytes:
    return struct.pack("=II", sender, (8 + len(body)) << 16 | opcode) + body


def offered(name: str) -> bytes:
    text = name.encode() + b"\0"
    padded = text + bytes(-len(text) % 4)
    return event(2, 0, struct.pack("=II", 7, len(text)) + padded + struct.pack("=I", 1))


async def compositor(folder: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(24) == struct.pack("=IIIIII", 1, 12 << 16 | 1, 2, 1, 12 << 16, 3)
        writer.write(answer)
        writer.close()

    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return await asyncio.start_unix_server(serve, folder / "wayland-9")


async def test_protocols_of_a_compositor_are_read_up_to_its_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = offered("wl_compositor") + event(9, 3, b"abcd") + offered("wl_seat") + event(3, 0) + offered("late")
    async with await compositor(tmp_path, monkeypatch, answer):
        assert await list_globals("wayland-9") == {"wl_compositor", "wl_seat"}


@pytest.mark.parametrize("answer", [b"", b"\0" * 7, event(2, 0, b"x")[:-1], offered("wl_seat")])
async def test_a_compositor_that_stops_half_way_has_no_protocols(
    answer: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await compositor(tmp_path, monkeypatch, answer):
        with pytest.raises(EOFError):
            await list_globals("wayland-9")
        assert not await WaylandClipboard("wayland-9").watchable()


@given(st.binary(max_size=64))
def test_whatever_an_event_holds_it_is_a_name(body: bytes) -> None:
    assert isinstance(_interface(body), str)
