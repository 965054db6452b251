"""From raw ratings to recommendations over gRPC: the commands of `twotower`, one after the other.

`make quickstart` runs this file. Each step prints the command that it runs, so that every one can be run alone; a
step whose result is there already says so and does nothing.

    python examples/quickstart.py [--source ADDRESS|FOLDER] [--encoder PRESET|FOLDER] [--port PORT]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

CONFIG = "examples/movielens-100k.toml"
NAME = "movielens-100k"
WORK = Path("runs") / NAME
MODEL = Path("saved_models") / NAME
NEW_FILMS = "examples/new-films.jsonl"
TWOTOWER = [sys.executable, "-m", "twotower"]


def run(*arguments: str, standard_input: str | None = None) -> None:
    """Runs one command and shows it; ends the quickstart with the command's exit code if it fails."""
    print(f"\n$ twotower {shlex.join(arguments)}", flush=True)
    done = subprocess.run([*TWOTOWER, *arguments], input=standard_input, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)


def output_of(*arguments: str) -> str:
    """What a command prints."""
    print(f"\n$ twotower {shlex.join(arguments)} | ...", flush=True)
    done = subprocess.run([*TWOTOWER, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return done.stdout


@contextlib.contextmanager
def server(port: int) -> Iterator[None]:
    """The embedded server in the background, with its log in a file; stopped gracefully at the end."""
    flags = [f"--model_name={NAME}", f"--model_base_path={MODEL}", f"--port={port}"]
    log = WORK / "server.log"
    print(f"\n$ twotower serve {shlex.join(flags)} > {log} &", flush=True)
    with log.open("w") as out:
        process = subprocess.Popen([*TWOTOWER, "serve", *flags], stdout=out, stderr=subprocess.STDOUT)
    try:
        wait_for_version(port, newest_version(), process, log)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=60)
        print(f"\nThe server has stopped (exit code {code}).", flush=True)


def wait_for_version(port: int, version: int, process: subprocess.Popen[bytes] | None, log: Path) -> None:
    """Asks for the status until a version answers."""
    asked = ["status", "--model", NAME, "--target", f"127.0.0.1:{port}", "--version", str(version)]
    for _ in range(240):
        if process is not None and process.poll() is not None:
            sys.exit(f"The server has ended; its log {log} says:\n{log.read_text()}")
        done = subprocess.run([*TWOTOWER, *asked], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
        time.sleep(0.5)
    sys.exit(f"Version {version} did not become available; see {log}.")


def newest_version() -> int:
    """Number of the newest exported version."""
    return max(int(child.name) for child in MODEL.iterdir() if child.name.isdecimal())


def ask(port: int) -> None:
    """The questions of the quickstart."""
    model = ["--model", NAME, "--target", f"127.0.0.1:{port}"]
    titles = ["--titles", str(MODEL / str(newest_version()) / "assets.extra" / "titles.tsv")]

    print("\n--- a user with a history: what would user 196 see next?")
    dataset = str(WORK / "leave_last_out" / "dataset")
    request = output_of("features", "show", dataset, "--user", "196", "--as-request")
    run("recommend", *model, *titles, "--request", "-", standard_input=request)

    print("\n--- a wish in words, of a user nobody knows")
    run("recommend", *model, *titles, "--query", "a dark science fiction thriller")

    print("\n--- films similar to Star Wars (1977)")
    run("similar", "50", *model, *titles)

    print("\n--- films that were not in the training data at all, added by their text while the server runs")
    run("index", "add", "--model", str(MODEL), "--items", NEW_FILMS)
    wait_for_version(port, newest_version(), None, WORK / "server.log")
    titles[1] = str(MODEL / str(newest_version()) / "assets.extra" / "titles.tsv")
    run("similar", "new-1", *model, *titles)
    run("recommend", *model, *titles, "--query", "animation for children", "--history", "new-2", "--k", "5")
    run("rank", "new-1", "new-2", "new-3", *model, *titles, "--query", "a dark science fiction thriller")


def main() -> None:
    """Runs all steps and says how long each took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", help="where MovieLens-100k comes from; see `twotower fetch --help`")
    parser.add_argument("--encoder", help="a KerasHub preset or a folder; see `twotower fetch --help`")
    parser.add_argument("--port", type=int, default=8500, help="of the server, on 127.0.0.1")
    options = parser.parse_args()
    source = ["--source", options.source] if options.source else []
    encoder = ["--encoder", options.encoder] if options.encoder else []
    steps = {
        "fetch": ["fetch", CONFIG, *source, *encoder],
        "features build": ["features", "build", CONFIG],
        "train": ["train", CONFIG, *encoder],
        "evaluate": ["evaluate", CONFIG, *encoder],
        "export": ["export", CONFIG, *encoder],
    }
    seconds: dict[str, float] = {}
    for number, (name, command) in enumerate(steps.items(), start=1):
        print(f"\n=== {number}. {name}", flush=True)
        began = time.monotonic()
        run(*command)
        seconds[name] = round(time.monotonic() - began, 1)
    print("\n=== 6. serve and 7. ask", flush=True)
    began = time.monotonic()
    with server(options.port):
        ask(options.port)
    seconds["serve and ask"] = round(time.monotonic() - began, 1)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print("\nSeconds: " + ", ".join(f"{name} {took}" for name, took in seconds.items()))
    print(f"Largest process: {peak:.2f} GiB. Everything is in {WORK} and {MODEL}.")
    figures = {"seconds": seconds, "largest_process_gib": round(peak, 2)}
    (WORK / "quickstart.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. Run the same command again to go on.")
