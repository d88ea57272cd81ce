"""How long a first answer takes, beside the import of torch alone.

    python -m tests.benchmarks.cold_start --rounds 10

Needs the model in data/onnx. Both are processes of their own and take turns; the median counts.
"""

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "onoma predict Abe": [sys.executable, "-m", "stages.commands.cli", "predict", "Abe"],
    'python -c "import torch"': [sys.executable, "-c", "import torch"],
}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rounds", type=int, default=10)
    args = options.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(args.rounds):
        for name, command in COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - start)
    for name, column in seconds.items():
        print(f"{name}: {statistics.median(column):.2f} s")
    first, second = (statistics.median(column) for column in seconds.values())
    print(f"share: {first / second:.2f}")


if __name__ == "__main__":
    main()
