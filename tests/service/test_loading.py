from __future__ import annotations

import importlib.metadata
import os
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service.wire import context
from virtagent.errors import UsageError
from virtagent.service.loading import Loading, load_entry_points, load_folder
from virtagent.service.module import module_service
from virtagent.service.options import method
from virtagent.service.service import Service, handlers_of

SERVICE = """
from __future__ import annotations
import msgspec
from virtagent.service.service import Service

class Answer(msgspec.Struct):
    text: str

class {name}(Service, name="{wire}"):
    async def ask(self, what: str) -> Answer:
        return Answer(what)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    made = tmp_path / "services.d"
    made.mkdir(mode=0o755)
    before = set(sys.modules)
    yield made
    for name in set(sys.modules) - before:
        if name.startswith("virtagent_drop_in_"):
            del sys.modules[name]


def put(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text)
    file.chmod(0o644)
    return file


def names(loading: Loading) -> list[str]:
    return [each.name for each in loading.handlers]


def problem(loading: Loading) -> str:
    (only,) = loading.problems
    assert "\n" not in str(only)
    return str(only)


async def test_files_of_a_folder_are_loaded_by_name(folder: Path) -> None:
    put(folder, "b.py", SERVICE.format(name="Second", wire="second"))
    put(folder, "a.py", SERVICE.format(name="First", wire="first"))
    put(folder, "_helper.py", "raise RuntimeError")
    put(folder, "README.txt", "not Python")
    loading = load_folder(folder)
    assert names(loading) == ["first.ask", "second.ask"]
    assert loading.problems == []
    assert loading.loaded[0].source == str(folder / "a.py")
    assert await loading.handlers[0].invoke(context(), ["x"]) == {"text": "x"}
    assert not (folder / "__pycache__").exists()


def test_a_file_of_functions_is_a_service_named_like_the_file(folder: Path) -> None:
    put(folder, "disk.py", "def size(path: str) -> int:\n    return 1\n\ndef _helper(): ...\n")
    loading = load_folder(folder)
    assert names(loading) == ["disk.size"]
    assert loading.handlers[0].mode == "thread"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 +", "SyntaxError: invalid syntax"),
        ("raise RuntimeError('no\\nluck')", "RuntimeError: no luck"),
        ("raise SystemExit", "SystemExit"),
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named"),
        ("x = 1", "defines no public function"),
        ("def size(path) -> int: return 1", "broken.size: parameter 'path' has no annotation"),
        (SERVICE.format(name="Second", wire="good"), "the method 'good.ask' exists already"),
        ("from virtagent.service.service import Service\nclass A(Service, name='a'):\n def __init__(self, x): ...",
         "TypeError: "),
    ],
)  # fmt: skip
def test_a_broken_file_is_reported_and_stops_nothing_else(folder: Path, text: str, words: str) -> None:
    put(folder, "a_good.py", SERVICE.format(name="Good", wire="good"))
    put(folder, "broken.py", text)
    put(folder, "z_good.py", SERVICE.format(name="Last", wire="last"))
    loading = load_folder(folder)
    assert names(loading) == ["good.ask", "last.ask"]
    assert problem(loading).startswith(f"{folder / 'broken.py'}: ")
    assert words in problem(loading)


def test_a_file_that_others_can_write_is_refused(folder: Path) -> None:
    put(folder, "a.py", "raise RuntimeError('ran')").chmod(0o664)
    assert problem(load_folder(folder)) == f"{folder / 'a.py'}: it is writable by others; chmod go-w it"


def test_a_folder_that_others_can_write_is_refused(folder: Path) -> None:
    put(folder, "a.py", "raise RuntimeError('ran')")
    folder.chmod(0o777)
    assert problem(load_folder(folder)) == f"{folder}: it is writable by others; chmod go-w it"


def test_a_folder_below_one_that_others_can_write_is_refused(folder: Path) -> None:
    put(folder, "a.py", "raise RuntimeError('ran')")
    folder.parent.chmod(0o777)
    assert "the folder above it" in problem(load_folder(folder))
    folder.parent.chmod(0o1777)
    assert "RuntimeError: ran" in problem(load_folder(folder))


def test_what_belongs_to_someone_else_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(folder, "a.py", "raise RuntimeError('ran')")
    if os.geteuid() == 0:
        os.chown(folder / "a.py", 12345, 12345)
        assert "belongs to user 12345; it must belong to root" in problem(load_folder(folder))
        os.chown(folder, 12345, 12345)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert "belongs to user" in problem(load_folder(folder))


def test_a_link_is_refused(folder: Path, tmp_path: Path) -> None:
    real = put(tmp_path, "real.py", "raise RuntimeError('ran')")
    (folder / "a.py").symlink_to(real)
    assert problem(load_folder(folder)).endswith("is a link; put the file itself into the folder")


def test_what_is_no_file_is_refused_without_waiting(folder: Path) -> None:
    os.mkfifo(folder / "a.py", 0o644)
    assert problem(load_folder(folder)).endswith("is no regular file")


def test_a_folder_that_does_not_exist_holds_nothing(tmp_path: Path) -> None:
    assert load_folder(tmp_path / "nowhere") == Loading()


def test_a_file_is_no_folder(folder: Path) -> None:
    assert "is no folder" in problem(load_folder(put(folder, "a.py", "")))


class Plugin(Service, name="plugin"):
    async def ask(self) -> None: ...


def entry_point(value: str) -> importlib.metadata.EntryPoint:
    return importlib.metadata.EntryPoint("plugin", value, "virtagent.services")


@pytest.mark.parametrize("value", ["Plugin", "INSTANCE"])
def test_an_entry_point_gives_a_class_or_an_instance(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    module = types.ModuleType("third_party")
    module.__dict__.update(Plugin=Plugin, INSTANCE=Plugin())
    monkeypatch.setitem(sys.modules, "third_party", module)
    points = [entry_point(f"third_party:{value}"), entry_point("third_party:nothing")]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    loading = load_entry_points()
    assert names(loading) == ["plugin.ask"]
    assert problem(loading).startswith("entry point 'plugin': AttributeError")


def test_an_entry_point_may_give_a_module_but_not_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("third_party")
    exec(SERVICE.format(name="Third", wire="third"), module.__dict__)
    monkeypatch.setitem(sys.modules, "third_party", module)
    module.__dict__["number"] = 3
    points = [entry_point("third_party"), entry_point("third_party:number")]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    loading = load_entry_points()
    assert names(loading) == ["third.ask"]
    assert "a service is needed, not 3" in problem(loading)


def test_without_packages_nothing_is_found() -> None:
    assert load_entry_points("virtagent.no_such_group") == Loading()


def module_of(**functions: Any) -> types.ModuleType:
    module = types.ModuleType("package.disk")
    for name, function in functions.items():
        function.__module__ = "package.disk"
        setattr(module, name, function)
    return module


async def test_a_module_is_a_service() -> None:
    async def size(path: str) -> int:
        """Its size."""
        return len(path)

    @method(name="re-name", inline=True)
    def rename(path: str) -> None: ...

    def _helper(x):  # type: ignore[no-untyped-def]
        ...

    module = module_of(size=size, rename=rename, _helper=_helper)
    module.__dict__["handlers_of"] = handlers_of
    first, second = module_service(module)
    assert (first.name, first.mode, second.name, second.mode) == ("disk.size", "task", "disk.re-name", "inline")
    assert first.description is not None
    assert first.description["doc"] == "Its size."
    assert await first.invoke(context(), ["abc"]) == 3
    assert module_service(module, "other")[0].name == "other.size"
    module.__dict__["__all__"] = ["size"]
    assert len(module_service(module)) == 1


def test_a_module_with_twins_is_refused() -> None:
    async def one() -> None: ...

    @method(name="one")
    async def two() -> None: ...

    with pytest.raises(UsageError, match=r"disk.two: another function has the name 'disk.one'"):
        module_service(module_of(one=one, two=two))
