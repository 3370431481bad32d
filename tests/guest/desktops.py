"""Desktops without a screen: a real X server (Xvfb), and a real Wayland compositor (sway)."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["NOBODY", "wayland_session", "x_server"]

NOBODY = 65534


@contextlib.contextmanager
def x_server() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run an X server; its display, and the process."""
    if shutil.which("Xvfb") is None or shutil.which("xclip") is None:
        pytest.skip("needs xvfb and xclip: apt-get install -y xvfb xclip")
    reader, writer = os.pipe()
    command = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "320x200x8", "-nolisten", "tcp", "-noreset"]
    process = subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL)
    os.close(writer)
    try:
        with open(reader) as told:
            yield f":{told.readline().strip()}", process
    finally:
        process.kill()
        process.wait(10)


@contextlib.contextmanager
def wayland_session() -> Iterator[tuple[str, Path, subprocess.Popen[bytes]]]:
    """Run a compositor, as nobody if we are root, which it refuses; its display, runtime directory and process."""
    if shutil.which("sway") is None or shutil.which("wl-copy") is None:
        pytest.skip("needs sway and wl-clipboard: apt-get install -y sway wl-clipboard")
    with tempfile.TemporaryDirectory(prefix="wayland-") as name:
        folder = Path(name)
        os.mkfifo(folder / "ready")
        (folder / "config").write_text(f"xwayland disable\nexec echo $WAYLAND_DISPLAY > {folder}/ready\n")
        drop = []
        if os.getuid() == 0:
            drop = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            for path in (folder, folder / "ready", folder / "config"):
                os.chown(path, NOBODY, NOBODY)
        headless = {"WLR_BACKENDS": "headless", "WLR_RENDERER": "pixman", "WLR_LIBINPUT_NO_DEVICES": "1"}
        process = subprocess.Popen(
            [*drop, "sway", "-c", str(folder / "config")],
            env={**os.environ, **headless, "XDG_RUNTIME_DIR": name, "HOME": name},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with open(folder / "ready") as told:
                yield told.readline().strip(), folder, process
        finally:
            process.kill()
            process.wait(10)
