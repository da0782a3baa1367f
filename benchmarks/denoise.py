"""Time of a chunk by policy, backend, precision and number of chunks: praxon bench denoise, several times, kept together.

usage: python benchmarks/denoise.py [--rounds N]

Compiling takes a minute for each policy, so that only two of them are compiled. Those two are measured on one thread and on two:
a small network gains little from the second, the reference at times loses. Keeps results/bench_denoise.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from _record import RESULTS

FIRST = "only=[default,transformer_8x256]"
REST = "only=[transformer_4x128,transformer_causal,unet,shortcut,mean_flow,beso,factorized,energy,act]"
RUNS = (
    (FIRST, "backends=[eager,compile]", "threads=2"),
    (FIRST, "backends=[eager,compile]", "threads=1"),
    (FIRST, "backends=[onnx,openvino]", "precisions=[float32,bfloat16]", "threads=2"),
    (FIRST, "backends=[onnx,openvino]", "precisions=[float32,bfloat16]", "threads=1"),
    (REST, "backends=[eager,onnx,openvino]", "threads=2"),
    ("only=[default]", "batches=[8,64]", "backends=[eager,onnx,openvino]", "threads=2"),
)


def main() -> None:
    """Measure, put together, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40, help="timed chunks of each row (default: %(default)s)")
    asked = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, settings in enumerate(RUNS):
            out = Path(scratch) / f"{number}.json"
            shared = [
                f"rounds={asked.rounds}",
                f"out={out}",
                f"run_dir={out.with_suffix('')}",
            ]
            subprocess.run([sys.executable, "-m", "praxon", "bench", "denoise", *settings, *shared], check=True)
            found.append(json.loads(out.read_text()))
    together = found[0] | {
        "rows": [row for result in found for row in result["rows"]],
        "left_out": list(dict.fromkeys(text for result in found for text in result["left_out"])),
        "seconds": sum(result["seconds"] for result in found),
    }
    path = RESULTS / "bench_denoise.json"
    path.write_text(json.dumps(together, indent=1) + "\n")
    print(path)


if __name__ == "__main__":
    main()
