"""The image and the bento, built by their own steps and asked: what a container engine would do, without one.

    python -m benchmarks.deployment            about two minutes; as root on Linux
    python -m benchmarks.deployment --check    exit status 1 outside the tolerances

Every RUN, COPY, ENV, WORKDIR and USER of deploy/Dockerfile is carried out in a fresh layer over the system of
this machine, from which the repository and root's home are hidden; the base image's `python` is the system's.
The result is started as its CMD says, as its USER, in a network of its own, with a file system that is
read-only but for /tmp and its home, until its HEALTHCHECK succeeds. `make bento` is carried out likewise, and
its bento served from what the image installs, without the package. Then a worker is killed, and both end.
"""

import argparse
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.dockerfile import Stage, read_dockerfile
from benchmarks.serving_bundle import make_bundle
from marquee.client import Client, RecommendRequest

ROOT = Path(__file__).parents[1]
INSIDE = "REHEARSAL_FOLDER"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PORT = 3000
N_ITEMS = 2000
DEVICES = ("null", "zero", "full", "random", "urandom")
WRITABLE = ("/tmp", "/var/lib/marquee")
TRAINING = ("torch", "lightning", "hydra", "hydra-core", "onnx", "tensorboard", "matplotlib")

MAX_IMAGE_MB = 700.0
MAX_START_S = 60.0
MAX_RESPAWN_S = 30.0
MAX_STOP_S = 20.0
_CLONE_NEWNET = 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1


@dataclass
class Layer:
    """A file system that began as another's, and what a container of it would be started with."""

    folder: Path
    lower: Path
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0"

    @property
    def root(self) -> Path:
        """Where it is mounted."""
        return self.folder / "root"

    def mount(self) -> None:
        """Lays it over its lower layer, with devices and processes, and hides what no image has."""
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(parents=True)
        options = f"lowerdir={self.lower},upperdir={self.folder}/upper,workdir={self.folder}/work"
        _run("mount", "-t", "overlay", "overlay", "-o", options, str(self.root))
        _run("mount", "-t", "proc", "proc", f"{self.root}/proc")
        _run("mount", "-t", "tmpfs", "tmpfs", f"{self.root}/dev")
        for name in DEVICES:
            (self.root / "dev" / name).touch()
            _run("mount", "--bind", f"/dev/{name}", f"{self.root}/dev/{name}")
        (self.root / "dev/shm").mkdir(mode=0o1777)
        for hidden in (ROOT, Path.home(), Path("/tmp")):
            place = self.root / hidden.relative_to("/")
            place.mkdir(parents=True, exist_ok=True)
            _run("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", str(place))

    def command(self, words: Sequence[str], **more: str) -> list[str]:
        """Returns the command line that runs words inside, with the layer's own environment alone."""
        variables = {"PATH": SYSTEM_PATH, "HOME": "/tmp", **self.environment, **more}
        enter = ["chroot", f"--userspec={self.user}:{self.user}", str(self.root), "/usr/bin/env", "-i"]
        return [*enter, "-C", self.workdir, *(f"{name}={text}" for name, text in variables.items()), *words]

    def run(self, *words: str, **more: str) -> str:
        """Runs words inside and returns what they print."""
        return _run(*self.command(words, **more))


def build(stage: Stage, layer: Layer, others: Mapping[str, Layer]) -> None:
    """Carries out the instructions of a stage."""
    pip = {name: text for name, text in os.environ.items() if name.startswith("PIP_")}
    for instruction in stage.instructions:
        words = instruction.arguments() if instruction.word != "RUN" else []
        if instruction.word == "RUN":
            print(f"  RUN {instruction.text[:100]}", flush=True)
            layer.run("sh", "-c", instruction.text, **pip)
        elif instruction.word == "ENV":
            layer.environment |= dict(word.partition("=")[::2] for word in words)
        elif instruction.word == "WORKDIR":
            layer.workdir = words[0]
            (layer.root / layer.workdir.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif instruction.word == "USER":
            layer.user = words[0]
        elif instruction.word == "COPY":
            source = ROOT
            if words[0].startswith("--from="):
                source = others[words.pop(0).removeprefix("--from=")].root
            _copy(source, words[:-1], layer.root, layer.workdir, words[-1])


def _copy(source: Path, names: Sequence[str], root: Path, workdir: str, target: str) -> None:
    """Copies as COPY does: the contents of a folder, or files into a folder if the target ends in /."""
    into = root / os.path.join(workdir, target).lstrip("/")
    for name in names:
        origin = source / name.lstrip("/")
        if origin.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")  # as .dockerignore has it
            ignore = ignored if source == ROOT else None
            shutil.copytree(origin, into, symlinks=True, dirs_exist_ok=True, ignore=ignore)
        else:
            place = into / origin.name if target.endswith("/") else into
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(origin, place)


def build_image(folder: Path) -> dict[str, Layer]:
    """Returns the layer of each stage of deploy/Dockerfile; the last one, under "", is the image."""
    layers: dict[str, Layer] = {}
    for number, stage in enumerate(read_dockerfile(ROOT / "deploy" / "Dockerfile")):
        print(f"stage {stage.name or 'image'} from {stage.base}", flush=True)
        layer = layers[stage.name] = Layer(folder / f"stage-{number}", Path("/"))
        layer.mount()
        python = layer.root / "usr/local/bin/python"
        python.unlink(missing_ok=True)
        python.symlink_to("/usr/bin/python3.11")  # what the base image calls python
        build(stage, layer, layers)
    return layers


def build_bento(folder: Path) -> Path:
    """Returns the BentoML home that `make bento` has put a bento into."""
    home = folder / "bentoml"
    arguments = ["bento", f"BIN={Path(sys.executable).parent}", "--assume-old=.venv/.installed"]
    environment = {**os.environ, "BENTOML_HOME": str(home), "PYTHONPATH": ""}
    _run("make", "-C", str(ROOT), *arguments, environment=environment)
    return home


@dataclass(frozen=True)
class Seen:
    """The observations of one service from its start to its end.

    Attributes:
        start_s: Seconds until its health check succeeded.
        n_workers: Workers that it started.
        respawn_s: Seconds until a killed worker was replaced by one that is ready.
        stop_s: Seconds from SIGTERM to its end.
        private_mb: Private memory of one worker.
        strangers: Processes of another user than its own, and training libraries in memory.
    """

    start_s: float
    n_workers: int
    respawn_s: float
    stop_s: float
    private_mb: float
    strangers: list[str]


def observe(command: Sequence[str], is_healthy: Sequence[str], user: int, log: Path) -> Seen:
    """Starts a service, asks it, kills a worker, ends it; raises if an answer is wrong or does not come."""
    started = time.monotonic()
    with log.open("wb") as output:
        process = psutil.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        _wait(
            lambda: subprocess.run(is_healthy, capture_output=True, check=False).returncode == 0, process, log
        )
        start_s = time.monotonic() - started
        with Client(f"http://127.0.0.1:{PORT}", deadline_s=10) as client:
            _wait(client.is_ready, process, log)
            answer = client.recommend(RecommendRequest(history=["item-1", "item-2"], k=5))
            if (answer.source, answer.returned) != ("history", 5):
                raise RuntimeError(f"5 items from a history were expected, got {answer}; see {log}")
            workers = _workers(process)
            seen = [f"uid {one.uids().real}" for one in [process, *workers] if one.uids().real != user]
            seen += [name for one in workers for name in TRAINING if _holds(one, name)]
            private_mb = max(one.memory_full_info().uss for one in workers) / 1e6
            respawn_s = _kill_one(process, workers, client, log)
        stopping = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        return Seen(start_s, len(workers), respawn_s, time.monotonic() - stopping, private_mb, seen)
    finally:
        for one in [*process.children(recursive=True), process] if process.is_running() else []:
            one.kill()


def _kill_one(process: psutil.Popen, workers: list[psutil.Process], client: Client, log: Path) -> float:
    """Kills a worker and returns the seconds until there are as many again and they answer."""
    killed = time.monotonic()
    workers[0].kill()
    gone = workers[0].pid
    _wait(
        lambda: len({one.pid for one in _workers(process)} - {gone}) == len(workers) and client.is_ready(),
        process,
        log,
    )
    return time.monotonic() - killed


def _workers(process: psutil.Process) -> list[psutil.Process]:
    """Returns the processes that answer."""
    family = process.children(recursive=True)
    return [one for one in family if one.status() != psutil.STATUS_ZOMBIE and "worker" in str(one.cmdline())]


def _holds(process: psutil.Process, package: str) -> bool:
    """Returns whether a process has a file of a package in memory."""
    return any(f"/site-packages/{package}/" in region.path for region in process.memory_maps())


def _wait(condition: Callable[[], bool], process: psutil.Popen, log: Path, seconds: float = 90) -> None:
    """Waits until a condition holds; raises RuntimeError with the log if it does not, or the process ends."""
    deadline = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the service ended or was not ready within {seconds} s:\n{log.read_text()}")
        time.sleep(0.1)


def observe_image(layer: Layer, stage: Stage, folder: Path) -> Seen:
    """Observes the image, started as its CMD says."""
    _make_read_only(layer)
    return observe(
        layer.command(stage.last("CMD").arguments()),
        layer.command(stage.last("HEALTHCHECK").arguments()),
        int(layer.user),
        folder / "image.log",
    )


def observe_bento(installed: Layer, home: Path, image: Layer, folder: Path) -> Seen:
    """Observes the bento, in a container as BentoML makes them."""
    environment = {**image.environment, "BENTOML_CONTAINERIZED": "true", "MARQUEE_BUNDLE": "/bundles"}
    layer = Layer(folder / "bento", installed.root, environment)
    layer.mount()
    layer.run("python", "-m", "pip", "uninstall", "--quiet", "--yes", "marquee")
    store = layer.root / "var/lib/marquee"
    shutil.copytree(home, store / "bentoml")
    layer.user = image.user
    _run("chown", "-R", layer.user, str(store))
    _bind_bundles(layer, folder)
    address = ("--host", "127.0.0.1", "--port", str(PORT))
    return observe(
        layer.command(["bentoml", "serve", "marquee:latest", *address]),
        layer.command(
            ["python", "-c", f"from urllib.request import urlopen; urlopen('http://127.0.0.1:{PORT}/livez')"]
        ),
        int(layer.user),
        folder / "bento.log",
    )


def _bind_bundles(layer: Layer, folder: Path) -> None:
    """Lets the layer read the bundles of the rehearsal under /bundles."""
    (layer.root / "bundles").mkdir(exist_ok=True)
    _run("mount", "--bind", str(folder / "bundles"), str(layer.root / "bundles"))


def _make_read_only(layer: Layer) -> None:
    """Leaves only `WRITABLE` to be written, each empty, as in a container that is read-only."""
    _bind_bundles(layer, layer.folder.parent)
    for place in WRITABLE:
        options = f"mode=1777,uid={layer.user}"
        _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(layer.root / place.lstrip("/")))
    _run("mount", "-o", "remount,ro", str(layer.root))


def enter_own_network() -> None:
    """Gives this process and its children a network that holds nothing but its own loopback."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "a network of its own was refused")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


def _run(*command: str, environment: Mapping[str, str] | None = None) -> str:
    """Returns the output of a command; raises RuntimeError with it if the command fails."""
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if run.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {run.returncode}:\n{run.stdout}{run.stderr}")
    return run.stdout


def report(image_mb: float, installed: str, seen: Mapping[str, Seen]) -> bool:
    """Prints measured beside required; returns whether every line is within."""
    packages = {line.partition("==")[0].lower() for line in installed.splitlines()}
    lines: list[tuple[str, float, float]] = [
        ("size of what the image adds to its base, MB", image_mb, MAX_IMAGE_MB),
        ("training packages installed", float(len(packages & set(TRAINING))), 0.0),
    ]
    for name, one in seen.items():
        lines += [
            (f"{name}: seconds until it is well", one.start_s, MAX_START_S),
            (f"{name}: seconds until a killed worker is replaced", one.respawn_s, MAX_RESPAWN_S),
            (f"{name}: seconds from SIGTERM to its end", one.stop_s, MAX_STOP_S),
            (
                f"{name}: processes of another user, training libraries in memory",
                float(len(one.strangers)),
                0.0,
            ),
            (f"{name}: workers less than two", float(2 - one.n_workers), 0.0),
        ]
        print(f"{name}: {one.n_workers} workers, {one.private_mb:.0f} MB private memory each {one.strangers}")
    print(f"\n{'':<70}{'measured':>10}{'at most':>10}")
    for what, value, most in lines:
        print(f"{what:<70}{value:>10.1f}{most:>10g}{'' if value <= most else '  MISSED'}")
    return all(value <= most for _, value, most in lines)


def rehearse(folder: Path) -> bool:
    """Builds, asks and ends both in an empty folder; returns whether all is within the tolerances.

    Nothing is removed in the end: all of it lies in memory that goes with the process, and whoever removes
    a folder into which something is mounted removes that.
    """
    _run("mount", "-t", "tmpfs", "tmpfs", str(folder))  # a layer may not lie below what it is laid over
    bundles = make_bundle(folder / "made", N_ITEMS, ef_search=64).folder.parent
    for part in [*bundles.rglob("*"), bundles]:
        part.chmod(0o755 if part.is_dir() else 0o644)
    bundles.rename(folder / "bundles")
    layers = build_image(folder)
    home = build_bento(folder)
    image, installed = layers[""], layers["build"]
    image_mb = sum(part.lstat().st_size for part in (image.folder / "upper").rglob("*")) / 1e6
    packages = image.run("python", "-m", "pip", "freeze")
    enter_own_network()
    stage = read_dockerfile(ROOT / "deploy" / "Dockerfile")[-1]
    seen = {"image": observe_image(image, stage, folder)}
    seen["bento"] = observe_bento(installed, home, image, folder)
    return report(image_mb, packages, seen)


def main() -> int:
    """Prints measured beside reference; returns the exit status."""
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--check", action="store_true", help="exit status 1 outside the tolerances")
    options = parser.parse_args()
    if os.geteuid() != 0 or not shutil.which("unshare"):
        print(
            "benchmarks.deployment lays file systems over each other: run it as root on Linux",
            file=sys.stderr,
        )
        return 1
    if INSIDE in os.environ:
        return int(not rehearse(Path(os.environ[INSIDE])) and options.check)
    folder = tempfile.mkdtemp()
    try:  # what is mounted in there nobody else sees, and it goes with the process
        command = ["unshare", "--mount", sys.executable, "-m", "benchmarks.deployment", *sys.argv[1:]]
        return subprocess.run(command, env={**os.environ, INSIDE: folder}, check=False).returncode
    finally:
        os.rmdir(folder)


if __name__ == "__main__":
    sys.exit(main())
