"""The service beside LibRecommender's Sanic server, over the same embeddings and under the same load.

    python -m venv ../librecommender
    ../librecommender/bin/pip install librecommender sanic redis ujson faiss-cpu pydantic
    python -m benchmarks.serving_librecommender --python ../librecommender/bin/python [--check]

Needs `wrk` and `redis-server`; without `--python` it says so and measures nothing. Theirs has the embedding
of each user stored; ours makes it from a history of 50 items in the request. Both leave these items out, both
return 10. Theirs is measured with the index that LibRecommender writes itself, and with our graph.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
import psutil

from benchmarks.load import Server, inherited, listening, take_turns, write_script
from benchmarks.serving import CONNECTIONS, ROUNDS, print_loads, running, write_histories
from benchmarks.serving_bundle import RECALL_K, Made, make_bundle
from demo.processes import free_port

N_LISTS, N_PROBE = 80, 10
"""The defaults of LibRecommender's `save_faiss_index`."""

MIN_SPEED_UP = 1.0
FILL = """
import json, sys, redis
facts = json.load(open(sys.argv[1]))
store = redis.Redis(port=int(sys.argv[2]))
for name, values in facts.items():
    store.hset(name, mapping=values)
"""
WHERE = "import libserving, pathlib; print(pathlib.Path(libserving.__file__).parent)"


def build_their_index(made: Made) -> faiss.Index:
    """Returns the index that LibRecommender would write over the items; its row is our item_index - 1."""
    dim = made.vectors.shape[1]
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, N_LISTS, faiss.METRIC_INNER_PRODUCT)
    vectors = np.ascontiguousarray(made.vectors[1:])
    index.train(vectors)
    index.add(vectors)
    index.nprobe = N_PROBE
    return index


def read_our_graph(made: Made) -> faiss.Index:
    """Returns our graph, with the effort that the bundle searches it with."""
    index = faiss.read_index(str(made.folder / "index.faiss"))
    index.hnsw.efSearch = made.ef_search
    return index


def recall_of(index: faiss.Index, made: Made) -> float:
    """Returns the share of the exact top 10 that an index finds."""
    exact = np.argsort(-(made.queries @ made.vectors[1:].T), axis=1)[:, :RECALL_K]
    _, found = index.search(np.ascontiguousarray(made.queries), RECALL_K)
    hits = [len(set(a) & set(b)) for a, b in zip(exact.tolist(), found.tolist(), strict=True)]
    return float(np.mean(hits) / RECALL_K)


def write_facts(path: Path, made: Made) -> None:
    """Writes what LibRecommender keeps in Redis: users, what they consumed, their embeddings, items."""
    row_of = {f"item-{number}": number - 1 for number in range(1, len(made.vectors))}
    consumed = [[row_of[item_id] for item_id in history] for history in made.histories]
    facts = {
        "user2id": {f"user-{number}": number for number in range(len(consumed))},
        "user_consumed": {number: json.dumps(rows) for number, rows in enumerate(consumed)},
        "user_embed": {number: json.dumps(query.tolist()) for number, query in enumerate(made.queries)},
        "id2item": {row: item_id for item_id, row in row_of.items()},
    }
    path.write_text(json.dumps(facts))


@contextmanager
def redis_with(python: str, facts: Path, folder: Path) -> Iterator[Server]:
    """Runs a Redis server that holds the facts until the block ends."""
    port = free_port()
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    process = psutil.Popen(["redis-server", *options], cwd=folder, stdout=subprocess.DEVNULL)
    try:
        while process.poll() is None:
            if subprocess.run(
                ["redis-cli", "-p", str(port), "ping"], capture_output=True, check=False
            ).stdout:
                break
        subprocess.run([python, "-c", FILL, str(facts), str(port)], check=True)
        yield Server(port, process)
    finally:
        process.terminate()
        process.wait()


@contextmanager
def their_server(python: str, index: faiss.Index, redis_server: Server, folder: Path) -> Iterator[Server]:
    """Runs their server, two workers, until the block ends."""
    where = subprocess.run([python, "-c", WHERE], capture_output=True, text=True, check=True).stdout.strip()
    home = folder / f"theirs-{free_port()}"
    shutil.copytree(where, home / "libserving", ignore=shutil.ignore_patterns("__pycache__"))
    faiss.write_index(index, str(home / "libserving" / "faiss_index.bin"))
    port = free_port()
    command = [python, "-m", "sanic", "libserving.sanic_serving.embed_deploy:app", "--workers", "2"]
    environment = {**inherited(), "PYTHONPATH": str(home), "REDIS_HOST": f"127.0.0.1:{redis_server.port}"}
    environment |= {"OMP_NUM_THREADS": "1", "SANIC_ACCESS_LOG": "false"}
    command += ["--host", "127.0.0.1", "--port", str(port), "--no-access-logs"]
    with listening(command, port, folder / "sanic.log", environment, ready_path="/") as server:
        yield replace(server, helpers=(redis_server.process,))


def main() -> int:
    """Prints both side by side; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--python", help="interpreter that has librecommender and what its server needs")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=6, help="of each measurement")
    parser.add_argument("--check", action="store_true", help="exit status 1 outside the tolerances")
    options = parser.parse_args()
    missing = [name for name in ("wrk", "redis-server") if shutil.which(name) is None]
    if missing or not options.python:
        print(f"not measured: needs {', '.join(missing) or '--python, see --help'}")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = make_bundle(folder / "bundles", options.items, None)
        write_facts(folder / "facts.json", made)
        bodies = [{"user": f"user-{number}", "n_rec": 10} for number in range(len(made.histories))]
        theirs = write_script(folder / "theirs.lua", bodies, "/embed/recommend")
        indexes = {
            "LibRecommender, its index": build_their_index(made),
            "LibRecommender, our graph": read_our_graph(made),
        }
        for label, index in indexes.items():
            print(f"{label}: recall@{RECALL_K} {recall_of(index, made):.3f}", flush=True)
        with ExitStack() as stack:
            redis_server = stack.enter_context(redis_with(options.python, folder / "facts.json", folder))
            servers = {
                label: (
                    stack.enter_context(their_server(options.python, index, redis_server, folder)),
                    theirs,
                )
                for label, index in indexes.items()
            }
            ours = stack.enter_context(running("this service", made.folder, folder))
            servers["this service"] = (ours, write_histories(folder / "ours.lua", made))
            found = take_turns(servers, CONNECTIONS, options.seconds, ROUNDS)
    print_loads(found)
    best = max(found[label][16].per_second for label in indexes)
    share = found["this service"][16].per_second / best
    print(f"requests/s at 16 connections, of the faster of theirs: {share:.2f}, required > {MIN_SPEED_UP:g}")
    return int(options.check and not share > MIN_SPEED_UP)


if __name__ == "__main__":
    sys.exit(main())
