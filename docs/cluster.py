"""What a cluster would train: a calculation from measured rates, not a measurement.

    python docs/cluster.py --rate 7400 --step 8192 --bytes 20400000 --gigabits 10

A step's names are shared among all processes, so that computing takes names / (processes x rate).
Then each machine sends and receives 2 (n - 1) / n times the gradients (ring all-reduce; Patarasuk &
Yuan, Bandwidth optimal all-reduce algorithms, 2009), and every process walks the optimizer over
all weights, which nobody shares.
"""

import argparse


def names_per_second(
    machines: int,
    processes: int,
    rate: float,
    step: int,
    gradients: float,
    bandwidth: float,
    optimizer: float,
) -> float:
    """Of the whole cluster.

    Args:
        machines: how many.
        processes: on each.
        rate: names per second of one process, the optimizer left out.
        step: names per step.
        gradients: bytes that a step's gradients are.
        bandwidth: bytes per second of each machine's network.
        optimizer: seconds of its walk.

    >>> round(names_per_second(1, 1, 1000, 1000, 4e6, 1e9, 0.0))
    1000
    >>> round(names_per_second(2, 1, 1000, 1000, 4e6, 1e9, 0.0))  # .5 s and 4 ms for the network
    1984
    """
    compute = step / (machines * processes * rate)
    network = 2 * (machines - 1) / machines * gradients / bandwidth
    return step / (compute + network + optimizer)


def main() -> None:
    """Print a table over the number of machines."""
    options = argparse.ArgumentParser()
    options.add_argument("--rate", type=float, default=7400, help="names/s of one process")
    options.add_argument("--processes", type=int, default=2, help="per machine")
    options.add_argument("--step", type=int, default=8192, help="names per step")
    options.add_argument("--bytes", type=float, default=20.4e6, help="of a step's gradients")
    options.add_argument("--gigabits", type=float, default=10.0, help="network, per second")
    options.add_argument("--optimizer", type=float, default=0.007, help="seconds a step")
    args = options.parse_args()
    print("| machines | names/s | efficiency | hours for 10 epochs of 100 M names |")
    print("|---:|---:|---:|---:|")
    for machines in (1, 2, 4, 8, 16, 32):
        found = names_per_second(
            machines,
            args.processes,
            args.rate,
            args.step,
            args.bytes,
            args.gigabits * 1e9 / 8,
            args.optimizer,
        )
        share = found / (machines * args.processes * args.rate)
        print(f"| {machines} | {found:,.0f} | {share:.0%} | {1e9 / found / 3600:,.1f} |")


if __name__ == "__main__":
    main()
