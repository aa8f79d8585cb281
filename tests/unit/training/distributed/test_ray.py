"""Ray does the same tasks with the same bytes, and lets in only those who have its token."""

import os
import secrets
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from marquee.errors import ConfigError, TaskError
from tests.support.tasks import HERE, adding, dying, left_aside, parting, partitions, results
from training.distributed.cluster import Cluster, open_cluster
from training.distributed.config import RayClusterConfig
from training.distributed.plan import Outcome, Task

JOIN = """
import sys
from contextlib import suppress
from pathlib import Path
from tests.support.tasks import parting
from training.distributed.cluster import open_cluster
from training.distributed.config import RayClusterConfig

with open_cluster(RayClusterConfig(address=sys.argv[1])) as cluster:
    print(cluster.run("parting", parting([Path(sys.argv[2])], Path(sys.argv[3]), 2)))
"""
TIMEOUT_S = 60


def test_ray_and_local_processes_give_the_same_bytes(
    ray_cluster: Cluster, local_cluster: Cluster, tmp_path: Path
) -> None:
    days = partitions(tmp_path / "days", 4)
    for cluster, to in ((ray_cluster, tmp_path / "ray"), (local_cluster, tmp_path / "local")):
        assert cluster.run("parting", parting(days, to, 3)) == Outcome(done=4, skipped=0, retried=0)
        assert cluster.run("adding", adding(days, to, 3)) == Outcome(done=3, skipped=0, retried=0)
    assert results(tmp_path / "ray") == results(tmp_path / "local")


def test_one_goes_on_where_the_other_ended(
    ray_cluster: Cluster, local_cluster: Cluster, tmp_path: Path
) -> None:
    days = partitions(tmp_path / "days", 4)
    local_cluster.run("parting", parting(days[:3], tmp_path, 2))
    assert ray_cluster.run("parting", parting(days, tmp_path, 2)) == Outcome(done=1, skipped=3, retried=0)


def test_task_whose_ray_worker_is_killed_is_done_by_another(ray_cluster: Cluster, tmp_path: Path) -> None:
    outcome = ray_cluster.run("dying", [dying(tmp_path, 1)])
    assert outcome == Outcome(done=1, skipped=0, retried=1)
    assert set(results(tmp_path / "to")) == {"out/half", "out/whole"}
    assert not left_aside(tmp_path)


def test_what_a_task_on_ray_met_is_named(ray_cluster: Cluster, tmp_path: Path) -> None:
    full = Task(name="day", function=f"{HERE}:find_no_room", arguments={"after": 9}, output=tmp_path / "out")
    with pytest.raises(TaskError, match=r"filling day: .*No space left on device.*make room"):
        ray_cluster.run("filling", [full])
    assert not left_aside(tmp_path)


@pytest.mark.usefixtures("ray_cluster")
def test_ray_listens_on_loopback_alone() -> None:
    listening = set()
    for process in psutil.Process().children(recursive=True):
        # Ray ends idle workers whenever it likes.
        with suppress(psutil.NoSuchProcess):
            connections = process.net_connections("inet")
            listening |= {one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN}
    assert listening
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


@pytest.mark.usefixtures("ray_cluster")
def test_ray_has_neither_dashboard_nor_reports_of_its_use() -> None:
    commands = [" ".join(process.cmdline()) for process in psutil.Process().children(recursive=True)]
    assert any("gcs_server" in command for command in commands)
    # The process of that name serves other modules as well; of these, the one that sends nothing.
    (head,) = [command for command in commands if "dashboard/dashboard.py" in command]
    assert "--modules-to-load=UsageStatsHead --disable-frontend" in head
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.parametrize(("token", "status"), [("its own", 0), ("another", 1)])
@pytest.mark.usefixtures("ray_cluster")
def test_cluster_is_joined_by_those_who_have_its_token(tmp_path: Path, token: str, status: int) -> None:
    import ray

    (day,) = partitions(tmp_path / "days", 1)
    env = {**os.environ, "RAY_gcs_server_port_wait_time_s": "2"}
    if token == "another":
        env["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    address = ray.get_runtime_context().gcs_address

    joined = subprocess.run(
        [sys.executable, "-c", JOIN, address, str(day), str(tmp_path / "to")],
        env={**env, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert joined.returncode == status, joined.stderr
    assert bool(results(tmp_path / "to")) == (status == 0)
    if status:
        assert "cluster.address must be a Ray that runs, with its token in RAY_AUTH_TOKEN" in joined.stderr


def test_ray_without_authentication_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with (
        pytest.raises(ConfigError, match=r"RAY_AUTH_MODE must be token, got 'disabled'"),
        open_cluster(RayClusterConfig()),
    ):
        pass


def test_ray_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(ConfigError, match=r"pip install 'marquee\[cluster\]', or use cluster=local"),
        open_cluster(RayClusterConfig()),
    ):
        pass
