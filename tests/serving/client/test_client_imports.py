"""What importing the client costs: no TensorFlow, no Keras, no Beam, and little time."""

from __future__ import annotations

import json
import subprocess
import sys

_HEAVY = {
    "tensorflow",
    "keras",
    "apache_beam",
    "tensorflow_serving",
    "pydantic",
    "pandas",
    "scipy",
    "rich",
    "click",
}


def _measure(code: str) -> dict:
    script = f"""
import json, pathlib, re, sys, time
began = time.process_time()
{code}
seconds = time.process_time() - began
peak = pathlib.Path("/proc/self/status").read_text()
print(json.dumps({{"seconds": seconds, "modules": sorted({{name.split(".")[0] for name in sys.modules}}),
                   "rss_mb": int(re.search(r"VmHWM:\\s+(\\d+)", peak)[1]) / 1024}}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_client_imports_nothing_heavy():
    loaded = set(_measure("import serving.client")["modules"])
    assert _HEAVY.isdisjoint(loaded), _HEAVY & loaded


def test_the_client_is_small_and_quick_to_import():
    # Beside what it cannot do without, in turns, processor time, the best of five: other work on the machine
    # must not decide.
    floor, runs = [], []
    for _ in range(5):
        floor.append(_measure("import grpc, numpy, google.protobuf.message_factory"))
        runs.append(_measure("import serving.client"))
    assert min(run["seconds"] for run in runs) < 2 * min(run["seconds"] for run in floor)
    assert min(run["rss_mb"] for run in runs) < 10 + min(run["rss_mb"] for run in floor)


def test_serving_testing_needs_no_test_library():
    loaded = set(_measure("import serving.testing")["modules"])
    assert ({"pytest", "hypothesis"} | _HEAVY).isdisjoint(loaded)
