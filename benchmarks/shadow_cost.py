"""The cost of a shadow for those who are answered: the same load with and without it, taking turns.

    python -m benchmarks.shadow_cost            about a minute and a half
    python -m benchmarks.shadow_cost --check    exit status 1 outside the tolerances

Needs `wrk`. Two workers, 16 connections that ask again at once, so that nothing is left idle for the shadow;
it is offered every request. The processor time of a reply holds what the shadow used.
"""

import argparse
import shutil
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median

from benchmarks.load import Load, Server
from benchmarks.serving import running, write_histories
from benchmarks.serving_bundle import make_bundle
from marquee.bundle.releases import Role, activate, drop_candidate, name_candidate

N_ITEMS = 100_000
EF_SEARCH = 128
N_CONNECTIONS = 16
N_TURNS = 3
SETTLE_S = 3.0
MIN_SHARE_OF_SPEED = 0.8
MAX_FACTOR_OF_P99 = 1.5


def take_turns(server: Server, script: Path, candidate: Path, seconds: int) -> tuple[list[Load], list[Load]]:
    """Returns the loads without a shadow and those with one."""
    without, with_shadow = [], []
    server.measure(script, N_CONNECTIONS, 3)  # both workers warm
    for _ in range(N_TURNS):
        without.append(server.measure(script, N_CONNECTIONS, seconds))
        name_candidate(candidate, Role.shadow, 1.0)
        time.sleep(SETTLE_S)
        with_shadow.append(server.measure(script, N_CONNECTIONS, seconds))
        drop_candidate(candidate.parent, candidate.name)
        time.sleep(SETTLE_S)
    return without, with_shadow


def offered(server: Server) -> dict[str, float]:
    """Returns how many requests were offered to the shadow, by what became of them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    counts = [line.split() for line in lines if line.startswith("marquee_shadow_requests_total{")]
    return {name.split('"')[1]: float(value) for name, value in counts}


def report(without: list[Load], with_shadow: list[Load]) -> bool:
    """Prints medians side by side; returns whether they are within the tolerances."""
    columns = "".join(f"{name:>9}" for name in ("req/s", "p50 ms", "p99 ms", "CPU us", "failed"))
    print(f"{'median of turns':<16}{columns}")
    for name, loads in (("without shadow", without), ("with shadow", with_shadow)):
        print(
            f"{name:<16}{median(load.per_second for load in loads):>9.0f}"
            f"{median(load.p50_ms for load in loads):>9.2f}{median(load.p99_ms for load in loads):>9.2f}"
            f"{median(load.cpu_us for load in loads):>9.0f}"
            f"{sum(load.failed + load.broken for load in loads):>9}"
        )
    speed = median(b.per_second / a.per_second for a, b in zip(without, with_shadow, strict=True))
    tail = median(b.p99_ms / a.p99_ms for a, b in zip(without, with_shadow, strict=True))
    print(f"requests/s with a shadow, of those without: {speed:.2f} (required: >= {MIN_SHARE_OF_SPEED})")
    print(f"p99 with a shadow, times that without: {tail:.2f} (required: <= {MAX_FACTOR_OF_P99})")
    return speed >= MIN_SHARE_OF_SPEED and tail <= MAX_FACTOR_OF_P99


def main() -> int:
    """Prints measured beside required; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--items", type=int, default=N_ITEMS)
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement")
    parser.add_argument("--check", action="store_true", help="exit status 1 outside the tolerances")
    options = parser.parse_args()
    if shutil.which("wrk") is None:
        print(
            "benchmarks.shadow_cost needs wrk, which is not on the PATH: apt-get install wrk", file=sys.stderr
        )
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made, candidate = (
            make_bundle(folder / "bundles", options.items, EF_SEARCH, seed) for seed in range(2)
        )
        activate(made.folder)
        script = write_histories(folder / "requests.lua", made)
        with running("this service", made.folder.parent, folder, MARQUEE_RELEASE_POLL_MS="200") as server:
            without, with_shadow = take_turns(server, script, candidate.folder, options.seconds)
            print(f"offered to the shadow: {offered(server)}")
        is_within = report(without, with_shadow)
    return int(options.check and not is_within)


if __name__ == "__main__":
    sys.exit(main())
