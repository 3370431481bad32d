"""As much of systemd's manager as the agent asks of it, on a real bus."""

from __future__ import annotations

import asyncio
import fnmatch
from typing import Any

from dbus_fast import BusType, Message, MessageType, Variant
from dbus_fast.aio import MessageBus

__all__ = ["FakeSystemd"]

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = f"{NAME}.Manager"
UNSET = 2**64 - 1


class FakeSystemd:
    """Units that change when they are told to.

    Attributes:
        units: the properties of each.
        results: what becomes of a unit's next job; "done" if nothing is said.
        held: while True, jobs are not done until :meth:`finish`.
        asked: the calls, as (member, body).
        changes: what the next change of unit files tells.
    """

    def __init__(self) -> None:
        self.units: dict[str, dict[str, Any]] = {}
        self.results: dict[str, str] = {}
        self.held = False
        self.asked: list[tuple[str, list[Any]]] = []
        self.changes: list[list[str]] = []
        self.refusal: tuple[str, str] | None = None
        self.subscribed = False
        self._waiting: list[tuple[str, str, str]] = []
        self._jobs = 0
        self._heard = asyncio.Event()

    async def start(self, address: str) -> FakeSystemd:
        """Take the name on a bus."""
        self.bus = await MessageBus(address, BusType.SYSTEM).connect()
        self.bus.add_message_handler(self._answer)
        await self.bus.request_name(NAME)
        return self

    async def until_asked(self, member: str, times: int = 1) -> None:
        """Wait until a method has been called so often."""
        async with asyncio.timeout(30):
            while [each for each, _ in self.asked].count(member) < times:
                self._heard.clear()
                await self._heard.wait()

    def add(self, name: str, active: str = "inactive", sub: str = "dead", **more: Any) -> None:
        """A unit that is loaded."""
        self.units[name] = {
            "Id": name,
            "Description": f"The unit {name}",
            "LoadState": "loaded",
            "ActiveState": active,
            "SubState": sub,
            "Job": [0, "/"],
            "MemoryCurrent": UNSET,
            **more,
        }

    def change(self, name: str, active: str, sub: str, **more: Any) -> None:
        """A unit gets another state, and whoever listens is told."""
        self.units[name] |= {"ActiveState": active, "SubState": sub, **more}
        body = [f"{NAME}.Unit", {"ActiveState": Variant("s", active)}, []]
        self._signal(path_of(name), "org.freedesktop.DBus.Properties", "PropertiesChanged", "sa{sv}as", body)

    def finish(self) -> None:
        """Do the jobs that are held."""
        for member, name, job in self._waiting:
            result = self.results.pop(name, "done")
            if result == "done":
                self.change(name, *(("inactive", "dead") if member == "StopUnit" else ("active", "running")))
            elif result == "failed":
                self.change(name, "failed", "failed", Result="exit-code", ExecMainStatus=7, ExecMainExitTimestamp=1)
            self._signal(PATH, MANAGER, "JobRemoved", "uoss", [self._jobs, job, name, result])
        self._waiting.clear()

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        if self.subscribed:
            self.bus.send(Message.new_signal(path, interface, member, signature, body))

    def _answer(self, message: Message) -> Message | bool:
        if message.message_type is not MessageType.METHOD_CALL or not (message.path or "").startswith(PATH):
            return False
        self.asked.append((message.member or "", list(message.body)))
        self._heard.set()
        if self.refusal is not None and message.member not in ("Subscribe", "LoadUnit", "GetAll"):
            return Message.new_error(message, *self.refusal)
        signature, body = self._do(message.member or "", message.path or "", list(message.body))
        return Message.new_method_return(message, signature, body)

    def _do(self, member: str, path: str, body: list[Any]) -> tuple[str, list[Any]]:
        match member:
            case "Subscribe":
                self.subscribed = True
            case "LoadUnit":
                self._load(body[0])
                return "o", [path_of(body[0])]
            case "GetAll":
                return "a{sv}", [self._properties(path)]
            case "ListUnitsByPatterns":
                return "a(ssssssouso)", [self._rows(*body)]
            case "StartUnit" | "StopUnit" | "RestartUnit" | "ReloadUnit" | "TryRestartUnit" | "ReloadOrRestartUnit":
                return "o", [self._queue(member, body[0])]
            case "EnableUnitFiles":
                return "ba(sss)", [True, self.changes]
            case "DisableUnitFiles" | "MaskUnitFiles" | "UnmaskUnitFiles":
                return "a(sss)", [self.changes]
        return "", []

    def _load(self, name: str) -> None:
        if name not in self.units:
            self.add(name, LoadState="not-found")

    def _properties(self, path: str) -> dict[str, Variant]:
        if "/job/" in path:
            return {"JobType": Variant("s", "start")}
        unit = next(unit for name, unit in self.units.items() if path_of(name) == path)
        return {key: _variant(key, value) for key, value in unit.items()}

    def _rows(self, states: list[str], patterns: list[str]) -> list[list[Any]]:
        return [
            [
                name,
                unit["Description"],
                unit["LoadState"],
                unit["ActiveState"],
                unit["SubState"],
                "",
                path_of(name),
                *((1, "start", f"{PATH}/job/1") if unit["Job"][0] else (0, "", "/")),
            ]
            for name, unit in self.units.items()
            if (not states or unit["ActiveState"] in states)
            and (not patterns or any(fnmatch.fnmatch(name, each) for each in patterns))
        ]

    def _queue(self, member: str, name: str) -> str:
        self._load(name)
        self._jobs += 1
        job = f"{PATH}/job/{self._jobs}"
        self._waiting.append((member, name, job))
        if not self.held:
            # Right after the answer, as systemd may: the caller must have begun to listen before it asked.
            self.finish()
        return job


def path_of(name: str) -> str:
    """A unit's object path, with what is no letter or digit escaped as systemd does."""
    return f"{PATH}/unit/" + "".join(each if each.isalnum() else f"_{ord(each):02x}" for each in name)


def _variant(key: str, value: Any) -> Variant:
    if key == "Job":
        return Variant("(uo)", list(value))
    if isinstance(value, bool):
        return Variant("b", value)
    if isinstance(value, int):
        return Variant("u" if key in ("MainPID", "NRestarts") else "t" if key != "ExecMainStatus" else "i", value)
    return Variant("s", value)
