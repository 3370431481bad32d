"""``virtagent bench`` as people run it, against a real daemon."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.bench.samples import call_result, recording
from tests.cli.programs import LIMIT, Daemon, command_line, daemon, environment, virtagent
from virtagent.bench.result import Result, load_result
from virtagent.bench.summary import Plan

QUICK = ("--warmup", "0.05", "--loop", "asyncio")


def bench(running: Daemon, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return virtagent(running.directory, running.url, "bench", *arguments, **more)


def ok(running: Daemon, *arguments: str) -> str:
    done = bench(running, *arguments, *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def one_line(text: str) -> bool:
    return text.startswith("virtagent: ") and text.count("\n") == 1


def saved(path: Path, made: Result) -> str:
    path.write_bytes(msgspec.json.encode(made))
    return str(path)


def test_latency_tells_how_long_and_why(running: Daemon) -> None:
    text = ok(running, "latency", "--count", "300")
    assert text.startswith(f"latency of {running.url}\nechoes of 64 B, the next when one is answered (closed loop)\n")
    assert re.search(r"^latency +300 +[\d,.]+ +[\d.]+ [nµm]?s ", text, re.MULTILINE)
    for words in ("where the time goes", "on the way there", "handler", "CPU per call: ", "memory: ", "same clock"):
        assert words in text
    assert text.splitlines()[-2].startswith("here:  Linux ")
    assert text.splitlines()[-1].startswith("there: Linux ")
    assert "\x1b" not in text


def test_results_are_json_for_programs(running: Daemon) -> None:
    data = json.loads(ok(running, "latency", "--count", "150", "--json"))
    assert data["schema"] == "virtagent-bench/1"
    assert data["calls"][0]["count"] == 150
    assert data["calls"][0]["latency"]["percentiles"]["50"] > 0
    assert data["there"]["loop"] == "asyncio"
    assert data["here"]["loop"] == "asyncio"


def test_an_open_loop_keeps_its_rate(running: Daemon) -> None:
    (series,) = json.loads(ok(running, "latency", "--rate", "100", "--duration", "0.5", "--json"))["calls"]
    assert (series["loop"], series["rate"], series["count"], series["sustained"]) == ("open", 100, 50, True)


def test_throughput_has_a_row_for_each_width(running: Daemon) -> None:
    text = ok(running, "throughput", "--in-flight", "1,8", "--count", "100", "--size", "1K")
    assert re.search(r"^1 in flight +100 ", text, re.MULTILINE)
    assert re.search(r"^8 in flight +100 ", text, re.MULTILINE)
    assert "echoes of 1 KiB" in text


def test_streams_and_mixed_and_connect(running: Daemon) -> None:
    text = ok(running, "stream", "--count", "2M", "--chunk", "64K")
    assert re.search(r"^from guest +[\d,.]+ [kM]B/s +2 MiB ", text, re.MULTILINE)
    assert re.search(r"^to guest +[\d,.]+ [kM]B/s +2 MiB ", text, re.MULTILINE)
    text = ok(running, "mixed", "--duration", "0.3", "--direction", "from")
    assert re.search(r"^idle +60 ", text, re.MULTILINE)
    assert re.search(r"^during streams +60 ", text, re.MULTILINE)
    assert re.search(r"^from guest, beside calls ", text, re.MULTILINE)
    text = ok(running, "connect", "--count", "20")
    assert re.search(r"^connect +20 ", text, re.MULTILINE)
    assert "connecting" in text


def test_a_run_is_saved_plotted_beside_an_earlier_one_and_compared(running: Daemon, tmp_path: Path) -> None:
    old, page, picture = (str(tmp_path / name) for name in ("old.json", "page.html", "page.png"))
    ok(running, "latency", "--count", "2000", "--save", old)
    assert load_result(old).calls[0].count == 2000
    outputs = ["--plot", page, "--plot", picture, "--with", old, "--compare", old, "--fail-above", "1000"]
    text = ok(running, "latency", "--count", "2000", *outputs)
    assert "this run against old" in text
    assert re.search(r"^latency, p50 .*(slower|faster|no difference)", text, re.MULTILINE)
    html = Path(page).read_text()
    assert "this run: latency" in html
    assert "old: latency" in html
    assert Path(picture).read_bytes().startswith(b"\x89PNG")


def test_results_from_files_are_plotted_and_compared(tmp_path: Path) -> None:
    main = saved(tmp_path / "main.json", call_result())
    branch = saved(tmp_path / "branch.json", call_result(recording(scale=1.3, seed=1)))
    page = tmp_path / "page.svg"
    done = virtagent(tmp_path, None, "bench", "plot", main, branch, "-o", str(page))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "branch: latency" in page.read_text()
    done = virtagent(tmp_path, None, "bench", "compare", main, branch)
    assert done.returncode == 8
    assert "branch against main" in done.stdout
    assert "slower (fails)" in done.stdout
    assert one_line(done.stderr)
    assert "slower than --fail-above 5 allows: latency, p" in done.stderr
    done = virtagent(tmp_path, None, "bench", "compare", main, branch, "--fail-above", "50", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["differences"][0]["verdict"] == "slower"
    assert virtagent(tmp_path, None, "bench", "compare", branch, main).returncode == 0  # faster


def test_a_rate_that_cannot_be_sustained_is_one_line_and_no_plot(running: Daemon, tmp_path: Path) -> None:
    plot, save = tmp_path / "x.png", tmp_path / "x.json"
    done = bench(
        running, "latency", "--rate", "1000000", "--duration", "0.2", "--plot", str(plot), "--save", str(save), *QUICK
    )
    assert done.returncode == 9
    assert one_line(done.stderr)
    assert re.search(r"latency: achieved [\d,]+ of 1,000,000 calls/s: this rate cannot be sustained here", done.stderr)
    assert "p99" not in done.stdout
    assert not plot.exists()
    assert not load_result(str(save)).sustained
    done = virtagent(running.directory, None, "bench", "plot", str(save), "-o", str(plot))
    assert done.returncode == 9
    assert one_line(done.stderr)
    assert "so its latencies mean nothing" in done.stderr
    assert not plot.exists()
    done = virtagent(running.directory, None, "bench", "compare", str(save), str(save))
    assert done.returncode == 9
    assert "did not keep the rate" in done.stderr


def test_too_few_samples_draw_nothing_and_compare_with_nothing(running: Daemon, tmp_path: Path) -> None:
    old = saved(tmp_path / "old.json", call_result())
    done = bench(running, "latency", "--count", "5", "--plot", str(tmp_path / "x.html"), *QUICK)
    assert done.returncode == 9
    assert done.stderr == "virtagent: there is nothing to plot: this run, latency: 5 calls; a plot needs 100\n"
    assert not (tmp_path / "x.html").exists()
    done = bench(running, "latency", "--count", "5", "--compare", old, *QUICK)
    assert done.returncode == 9
    assert "too few samples; measure for longer" in done.stderr


@pytest.fixture
def other(tmp_path: Path) -> Iterator[str]:
    """A peer that has no service bench."""
    code = """
import asyncio, sys, virtagent
class Other(virtagent.Service, name="other"):
    async def nothing(self) -> None: ...
async def main():
    async with virtagent.listen(sys.argv[1], services=[Other()]):
        print("up", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
    url = f"unix:{tmp_path}/s"
    process = subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    yield url
    process.kill()
    process.communicate(timeout=LIMIT)


@pytest.mark.parametrize("verb", ["latency", "throughput", "stream", "mixed", "connect"])
def test_a_peer_without_the_service_is_told_in_one_line(other: str, verb: str, tmp_path: Path) -> None:
    done = virtagent(tmp_path, other, "bench", verb, *QUICK)
    assert (done.returncode, done.stdout) == (1, "")
    assert one_line(done.stderr)
    assert f"{other} has no service 'bench': update its agent, or serve virtagent.BenchService()" in done.stderr


def test_a_channel_that_is_not_there_is_told_in_one_line(tmp_path: Path) -> None:
    done = virtagent(tmp_path, f"unix:{tmp_path}/missing", "bench", "latency", *QUICK)
    assert (done.returncode, done.stdout) == (3, "")
    assert one_line(done.stderr)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["latency", "--rate", "0"], "--rate"),
        (["latency", "--rate", "nan"], "'nan' is no number"),
        (["latency", "--duration", "0"], "--duration"),
        (["latency", "--duration", "inf"], "--duration"),
        (["latency", "--count", "0"], "--count 0 measures nothing"),
        (["latency", "--count", "x"], "'x' is no number"),
        (["latency", "--size", "9M"], "--size 9M: give from 0 to 8388608 bytes"),
        (["latency", "--in-flight", "0"], "--in-flight"),
        (["throughput", "--in-flight", "1,x"], "--in-flight 1,x: give numbers from 1"),
        (["throughput", "--in-flight", ""], "give numbers from 1"),
        (["throughput", "--in-flight", "2000", "--warmup", "0"], "serves 1024 calls at a time"),
        (["stream", "--chunk", "2M"], "--chunk 2M: give from 1 to 1048576 bytes"),
        (["stream", "--direction", "up"], "--direction"),
        (["latency", "--save", "/missing/x.json"], "cannot be written: there is no directory /missing"),
        (["latency", "--save", "/"], "/ is a directory"),
        (["latency", "--plot", "x.pdf"], "a plot is one of .html, .png, .svg"),
        (["latency", "--compare", "/missing.json"], "cannot be read: No such file"),
        (["latency", "--plot", "x.png", "--with", "/etc/passwd"], "is no result of virtagent bench"),
        (["latency", "--with", "/etc/passwd"], "--with adds to a plot"),
        (["connect", "--trace", "x"], "--trace records one session"),
        (["plot", "/etc/passwd", "-o", "x.png"], "is no result of virtagent bench"),
        (["plot", "/etc/passwd", "-o", "x.txt"], "a plot is one of"),
        (["compare", "/etc/passwd", "/etc/passwd"], "is no result of virtagent bench"),
        (["fly"], "No such command 'fly'"),
    ],
)
def test_wrong_usage_is_one_line_before_anything_is_measured(
    running: Daemon, arguments: list[str], text: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        command_line(running.url, "bench", *arguments),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        cwd=tmp_path,
        env=environment(running.directory, PYTHONPATH=os.pathsep.join(sys.path)),
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert one_line(done.stderr)
    assert text in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_shows_examples_and_loads_nothing_heavy(running: Daemon) -> None:
    done = bench(running)
    assert done.returncode == 2
    assert "virtagent --to web1 bench latency --rate 500" in done.stdout
    code = (
        "import sys; from virtagent.cli.bench import command;"
        "command.main(['latency', '--help'], standalone_mode=False); print(*sys.modules)"
    )
    text = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=LIMIT
    ).stdout
    assert "bench latency --count 1000 --size 64K --json" in text
    assert not {"numpy", "hdrh", "matplotlib", "rich", "asyncio", "virtagent.bench"} & set(
        text.splitlines()[-1].split()
    )


@pytest.mark.parametrize("module", ["virtagent.cli.ping", "virtagent.guest.daemon"])
def test_what_does_not_measure_does_not_load_what_measuring_needs(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    text = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=LIMIT
    ).stdout
    assert not {"numpy", "hdrh", "matplotlib", "virtagent.bench", "sysconfig"} & set(text.split())


def test_a_missing_extra_is_one_line_with_the_remedy(running: Daemon) -> None:
    code = (
        "import sys; sys.modules['numpy'] = None; sys.argv[0] = 'virtagent';from virtagent.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--to", running.url, "bench", "latency"],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "virtagent: numpy is missing; pip install 'virtagent[bench]'\n"


def begin(running: Daemon, *arguments: str) -> subprocess.Popen[str]:
    """A measurement that would last."""
    return subprocess.Popen(
        command_line(running.url, "bench", *arguments, "--duration", "30", "--warmup", "0", "--verbose"),
        env=environment(running.directory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until_it_calls(running: Daemon) -> None:
    """Until the daemon has spent CPU on it."""
    end = time.monotonic() + LIMIT
    before = cpu_of(running.process.pid)
    while cpu_of(running.process.pid) < before + 10:
        assert time.monotonic() < end, "it does not call"
        select.select([], [], [], 0.02)


def cpu_of(pid: int) -> int:
    """Hundredths of a second."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


@pytest.mark.parametrize("arguments", [["latency"], ["latency", "--rate", "1000"], ["stream"], ["connect"]])
def test_ctrl_c_prints_what_was_measured_so_far(running: Daemon, arguments: list[str], tmp_path: Path) -> None:
    save = tmp_path / "x.json"
    process = begin(running, *arguments, "--loop", "asyncio", "--save", str(save))
    wait_until_it_calls(running)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 130
    assert out.startswith(f"{arguments[0]} of {running.url} (ended early: Ctrl-C)\n")
    kept = load_result(str(save))
    assert kept.interrupted == "Ctrl-C"
    assert any(each.count for each in kept.calls) or any(each.bytes for each in kept.streams)


@pytest.mark.parametrize("arguments", [["latency"], ["latency", "--rate", "1000"], ["stream", "--direction", "to"]])
def test_a_guest_that_dies_ends_it_with_what_was_measured_so_far(arguments: list[str], tmp_path: Path) -> None:
    with daemon(tmp_path) as mortal:
        process = begin(mortal, *arguments, "--loop", "asyncio")
        wait_until_it_calls(mortal)
        mortal.process.kill()
        out, err = process.communicate(timeout=LIMIT)
    assert process.returncode == 6
    assert "(ended early: " in out
    assert err.splitlines()[-1].startswith("virtagent: ")
    assert err.splitlines()[-1].endswith("; try again")


def on_terminal(running: Daemon, *arguments: str, **more: str) -> tuple[int, str]:
    """Run it on a terminal; the exit code and all that was shown."""
    main, other_end = pty.openpty()
    process = subprocess.Popen(
        command_line(running.url, "bench", *arguments),
        env={**environment(running.directory), "TERM": "xterm", "COLUMNS": "150", **more},
        stdin=other_end,
        stdout=other_end,
        stderr=other_end,
    )
    os.close(other_end)
    shown = b""
    end = time.monotonic() + LIMIT
    while select.select([main], [], [], max(0.0, end - time.monotonic()))[0]:
        try:
            data = os.read(main, 65536)
        except OSError:  # EIO: the other end is closed
            break
        shown += data
    os.close(main)
    return process.wait(LIMIT), shown.decode()


def test_progress_and_colours_are_for_terminals(running: Daemon) -> None:
    code, shown = on_terminal(running, "latency", "--duration", "0.6", *QUICK)
    assert code == 0
    assert re.search(r"\rlatency: \d of 0.6 s, [\d,]+ calls", shown)
    assert "\x1b[1m" in shown
    assert shown.rindex("\r\x1b[K") < shown.index("where the time goes")  # the line is gone before the result


def test_no_color_is_respected(running: Daemon) -> None:
    code, shown = on_terminal(running, "latency", "--count", "100", *QUICK, NO_COLOR="1")
    assert code == 0
    assert "\x1b[1m" not in shown
    assert "where the time goes" in shown


def test_a_reader_that_leaves_ends_it_quietly(running: Daemon) -> None:
    process = subprocess.Popen(
        command_line(running.url, "bench", "latency", "--count", "100", *QUICK),
        env=environment(running.directory),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(LIMIT) == 141


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_the_loop_can_be_chosen(running: Daemon, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    done = bench(running, "latency", "--count", "100", "--warmup", "0", "--loop", loop, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["here"]["loop"] == loop


def test_what_a_guest_says_of_itself_cannot_command_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b[2Jevil"
    first = saved(tmp_path / "a.json", call_result(plan=Plan(name=evil), here={"kernel": evil}))
    second = saved(tmp_path / "b.json", call_result(recording(seed=1), plan=Plan(name=evil), here={"kernel": evil}))
    done = virtagent(tmp_path, None, "bench", "compare", first, second)
    assert done.returncode in (0, 8)
    assert "\x1b" not in done.stdout + done.stderr


def test_the_documentation_names_every_field_of_a_result(running: Daemon) -> None:
    text = (Path(__file__).parents[2] / "docs" / "bench.md").read_text()
    data = json.loads(ok(running, "mixed", "--duration", "0.2", "--json"))
    for part in (data, *data["calls"], *data["streams"]):
        for name in part:
            assert f"`{name}`" in text, f"docs/bench.md does not tell of {name}"
