"""Hot modules as native code: the list, what mypyc does not like, and the two wheels."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compiling.copying import follow
from compiling.modules import NoSuchModule, listed_modules
from compiling.tree import seen_files

ROOT = Path(__file__).parent.parent
LISTED = listed_modules(ROOT)
PACKAGES = ("virtagent", "transports", "benchmarks", "examples", "fuzz")
OURS = [path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))]
COMPILER = shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0])
INHERITABLE = "mypyc_attr(allow_interpreted_subclasses=True)"

ANSWERED = """
import asyncio, sys
import virtagent
from virtagent.peer import link
from virtagent.protocol import frames

class Echo(virtagent.Service, name="echo"):
    async def twice(self, value: int) -> int:
        return 2 * value

async def main(url):
    async with virtagent.listen(url, services=[Echo()]):
        async with virtagent.connect(url) as peer:
            print(await peer.call("echo.twice", value=21))
    print(frames.__file__, link.__file__, virtagent.__file__, sep="\\n")

asyncio.run(main(sys.argv[1]))
"""


def classes(path: Path) -> Iterator[ast.ClassDef]:
    yield from (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef))


def test_the_listed_modules_exist_once() -> None:
    assert len(LISTED) == len(set(LISTED)) > 10
    assert all((ROOT / module).is_file() for module in LISTED)


def test_a_listed_module_that_does_not_exist_is_told(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.virtagent.compile]\nmodules = ["virtagent/gone.py"]\n')
    with pytest.raises(NoSuchModule, match=r"virtagent/gone\.py does not exist"):
        listed_modules(tmp_path)


@pytest.mark.parametrize("module", LISTED)
def test_no_bound_of_a_slice_is_a_call(module: str) -> None:
    """mypyc evaluates it twice where what is sliced is no list, tuple, str or bytes: a call then happens twice."""
    for node in ast.walk(ast.parse((ROOT / module).read_text())):
        if isinstance(node, ast.Slice):
            bounds = [bound for bound in (node.lower, node.upper) if bound is not None]
            calls = [each for bound in bounds for each in ast.walk(bound) if isinstance(each, ast.Call | ast.NamedExpr)]
            assert not calls, f"{module}:{node.lineno}: give it a name first"


def test_classes_that_interpreted_code_derives_from_allow_it() -> None:
    """Any other compiled class is closed, and its subclass fails when its module is imported."""
    closed = {
        found.name: module
        for module in LISTED
        for found in classes(ROOT / module)
        if INHERITABLE not in map(ast.unparse, found.decorator_list)
    }
    refused = []
    for path in (path for path in OURS if str(path.relative_to(ROOT)) not in LISTED):
        original = {
            alias.asname or alias.name: (node.module, alias.name)
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        for found in classes(path):
            for base in found.bases:
                module, name = original.get(ast.unparse(base), ("", ""))
                defined = f"{(module or '').replace('.', '/')}.py"
                if closed.get(name) == defined:
                    refused.append(f"{path.relative_to(ROOT)}: {found.name} derives from {name}")
    assert not refused, f"to be decorated with {INHERITABLE}"


def test_what_compiled_code_depends_on_is_found_through_all_imports() -> None:
    seen = {str(path.relative_to(ROOT)) for path in seen_files(ROOT)}
    assert seen >= {*LISTED, "virtagent/errors.py", "virtagent/protocol/limits.py", "virtagent/protocol/hello.py"}
    assert not any(name.startswith(("virtagent/cli", "tests", "benchmarks")) for name in seen)


def test_a_copy_follows_the_checkout_and_keeps_its_extension_modules(tmp_path: Path) -> None:
    checkout, copy = tmp_path / "checkout", tmp_path / "build" / "copy"
    for name in ("virtagent/a.py", "virtagent/b.py", "benchmarks/counted/x.py", "docs/page.md", "pyproject.toml"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(name)
    follow(checkout, copy)
    (copy / "virtagent" / "a.so").write_text("native")
    (checkout / "virtagent" / "a.py").write_text("edited")
    (checkout / "virtagent" / "b.py").unlink()
    follow(checkout, copy)
    assert (copy / "virtagent" / "a.py").read_text() == "edited"
    assert sorted(path.name for path in (copy / "virtagent").iterdir()) == ["a.py", "a.so"]
    (copy / "docs" / "page.md").write_text("made by a benchmark in the copy")
    assert (checkout / "docs" / "page.md").read_text() == "made by a benchmark in the copy"


def test_the_checkout_has_no_extension_modules() -> None:
    """They would hide what is edited; in a compiled copy there is one for each module of the list."""
    found = {str(path.relative_to(ROOT)).partition(".")[0] for path in (ROOT / "virtagent").rglob("*.so")}
    assert found in (set(), {"virtagent/compiled__mypyc", *(module.removesuffix(".py") for module in LISTED)})


def hook() -> Any:
    """The build hook, as hatchling makes it."""
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CompilingHook(str(ROOT), {}, None, None, "", "wheel")


def test_nothing_is_compiled_unless_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hatchling")
    monkeypatch.delenv("VIRTAGENT_COMPILE", raising=False)
    data = {"pure_python": True, "force_include": {}}
    hook().initialize("standard", data)
    assert data == {"pure_python": True, "force_include": {}}
    assert hook().dependencies() == []
    monkeypatch.setenv("VIRTAGENT_COMPILE", "1")
    assert any(tool.startswith("mypy[mypyc]") for tool in hook().dependencies())


def test_what_cannot_be_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("hatchling")
    monkeypatch.setenv("VIRTAGENT_COMPILE", "1")
    with pytest.raises(RuntimeError, match="an editable install is never compiled: .*make compiled"):
        hook().initialize("editable", {})
    monkeypatch.setenv("VIRTAGENT_COMPILE", "yes")
    with pytest.raises(ValueError, match="VIRTAGENT_COMPILE is 'yes': set it to 1"):
        hook().initialize("standard", {})


def built(out: Path, compile_it: str) -> Path:
    """A wheel of a copy of this checkout, so that two builds at once do not share a directory."""
    pytest.importorskip("hatchling")
    pytest.importorskip("build")
    source = out / "source"
    follow(ROOT, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(
        command, env=os.environ | {"VIRTAGENT_COMPILE": compile_it}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    return wheel


def native_files(wheel: Path) -> set[str]:
    return {name.partition(".")[0] for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so")}


def test_a_wheel_is_pure_unless_compiling_is_asked_for(tmp_path: Path) -> None:
    wheel = built(tmp_path, "0")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert native_files(wheel) == set()


@pytest.mark.parametrize("compiler", ["false", "/nowhere/cc"])
def test_a_compiler_that_fails_is_told_in_one_line(tmp_path: Path, compiler: str) -> None:
    pytest.importorskip("mypyc")
    done = subprocess.run(
        [sys.executable, "-m", "compiling", "extensions", str(tmp_path)],
        env=os.environ | {"CC": compiler},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("apt-get install -y gcc python3-dev")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "extensions.json").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(COMPILER is None, reason="no C compiler: apt-get install -y gcc python3-dev")
def test_a_compiled_wheel_is_for_this_python_and_answers_calls_with_native_code(tmp_path: Path) -> None:
    pytest.importorskip("mypyc")
    wheel = built(tmp_path, "1")
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert f"-{tag}-{tag}-" in wheel.name
    assert native_files(wheel) == {"virtagent/compiled__mypyc", *(module.removesuffix(".py") for module in LISTED)}
    fresh = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(fresh)], check=True)
    python = fresh / "bin" / "python"
    # What virtagent depends on is this environment's; virtagent is the wheel's, as it comes first.
    site = next((fresh / "lib").glob("python*")) / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    install = [str(python), "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*install, str(wheel)], check=True)
    program = tmp_path / "program.py"
    program.write_text(ANSWERED)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    socket = f"unix:{tmp_path}/s"
    done = subprocess.run(
        [str(python), str(program), socket], env=clean, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer, *files = done.stdout.splitlines()
    assert answer == "42"
    assert [Path(file).suffix for file in files] == [".so", ".so", ".py"]
    assert all(Path(file).is_relative_to(site) for file in files)
