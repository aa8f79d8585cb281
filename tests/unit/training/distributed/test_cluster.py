"""Tasks are done once, in any process, and what cannot be done is named."""

import fcntl
from pathlib import Path

import pytest

from marquee.errors import ConfigError, TaskError
from tests.support.tasks import HERE, adding, dying, left_aside, parting, partitions, results
from training.distributed.cluster import Cluster, open_cluster
from training.distributed.config import ClusterConfig, LocalClusterConfig
from training.distributed.plan import Outcome, Task


def sums_of(cluster: Cluster, days: list[Path], to: Path) -> list[Outcome]:
    return [cluster.run("parting", parting(days, to, 3)), cluster.run("adding", adding(days, to, 3))]


def test_stages_give_what_one_loop_would(local_cluster: Cluster, tmp_path: Path) -> None:
    days = partitions(tmp_path / "days", 4)

    outcomes = sums_of(local_cluster, days, tmp_path / "to")

    numbers = [int(line) for day in days for line in day.read_text().split()]
    sums = {f"sum-{part}": f"{sum(n for n in numbers if n % 3 == part)}\n".encode() for part in range(3)}
    assert results(tmp_path / "to" / "sums") == sums
    assert outcomes == [Outcome(done=4, skipped=0, retried=0), Outcome(done=3, skipped=0, retried=0)]


def test_what_is_done_is_skipped_and_what_is_lost_is_made_again(
    local_cluster: Cluster, tmp_path: Path
) -> None:
    days, to = partitions(tmp_path / "days", 4), tmp_path / "to"
    sums_of(local_cluster, days, to)
    before = results(to)
    (to / "sums" / "sum-1").unlink()

    outcomes = sums_of(local_cluster, days, to)

    assert outcomes == [Outcome(done=0, skipped=4, retried=0), Outcome(done=1, skipped=2, retried=0)]
    assert results(to) == before


def test_new_day_is_added_without_doing_the_others_again(local_cluster: Cluster, tmp_path: Path) -> None:
    days, to = partitions(tmp_path / "days", 4), tmp_path / "to"
    sums_of(local_cluster, days[:3], to)

    outcomes = sums_of(local_cluster, days, to)
    sums_of(local_cluster, days, tmp_path / "at once")

    assert outcomes == [Outcome(done=1, skipped=3, retried=0), Outcome(done=3, skipped=0, retried=0)]
    assert results(to) == results(tmp_path / "at once")


def test_progress_counts_what_was_there_and_what_was_done(local_cluster: Cluster, tmp_path: Path) -> None:
    days, told = partitions(tmp_path / "days", 3), []
    local_cluster.run("parting", parting(days[:1], tmp_path, 2))

    local_cluster.run("parting", parting(days, tmp_path, 2), lambda *how_far: told.append(how_far))

    assert told == [("parting", 1, 3), ("parting", 2, 3), ("parting", 3, 3)]


@pytest.mark.parametrize(("n_deaths", "retried"), [(1, 1), (2, 2)])
def test_task_whose_process_is_killed_is_done_by_another(
    local_cluster: Cluster, tmp_path: Path, n_deaths: int, retried: int
) -> None:
    outcome = local_cluster.run("dying", [dying(tmp_path, n_deaths)])

    assert outcome == Outcome(done=1, skipped=0, retried=retried)
    assert set(results(tmp_path / "to")) == {"out/half", "out/whole"}
    assert not left_aside(tmp_path)


def test_task_whose_processes_are_killed_each_time_is_named(local_cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(
        TaskError, match=r"dying often: its process ended 3 times, the last time with signal 9"
    ):
        local_cluster.run("dying", [dying(tmp_path, 99)])
    assert not results(tmp_path / "to")
    assert not left_aside(tmp_path)


def test_full_disk_is_named_and_leaves_nothing(local_cluster: Cluster, tmp_path: Path) -> None:
    full = Task(
        name="day", function=f"{HERE}:find_no_room", arguments={"after": 10}, output=tmp_path / "to" / "out"
    )
    with pytest.raises(
        TaskError, match=r"filling day: .*out could not be made.*No space left.*make room in .*to"
    ):
        local_cluster.run("filling", [full])
    assert not results(tmp_path)
    assert not left_aside(tmp_path)


def test_what_others_have_done_stays_when_a_task_fails(local_cluster: Cluster, tmp_path: Path) -> None:
    days = partitions(tmp_path / "days", 2)
    faulty = Task(
        name="faulty", function=f"{HERE}:divide_by_zero", inputs=(days[0],), output=tmp_path / "to" / "out"
    )

    with pytest.raises(TaskError, match=r"(?s)parting faulty: .*ZeroDivisionError"):
        local_cluster.run("parting", [*parting(days, tmp_path / "to", 2), faulty])

    assert local_cluster.run("parting", parting(days, tmp_path / "to", 2)).skipped >= 1


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (f"{HERE}:nothing_of_that_name", ConfigError, "must be package.module:function, got"),
        ("no.such.module:work", ConfigError, "No module named"),
        (f"{HERE}:write_nothing", TaskError, "must write .*out, got nothing"),
        (f"{HERE}:change_the_input", TaskError, "day-0 changed while .*out was made of it"),
    ],
)
def test_task_that_cannot_be_done_is_named(
    local_cluster: Cluster, tmp_path: Path, function: str, error: type[Exception], words: str
) -> None:
    (day,) = partitions(tmp_path / "days", 1)
    with pytest.raises(error, match=f"working alone: .*{words}"):
        local_cluster.run(
            "working", [Task(name="alone", function=function, inputs=(day,), output=tmp_path / "out")]
        )
    assert not (tmp_path / "out").exists()


def test_missing_input_is_named(local_cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"day-7 must be there before .*day-7 can be made of it"):
        local_cluster.run("parting", parting([tmp_path / "day-7"], tmp_path / "to", 2))


def test_two_tasks_of_one_output_are_refused(local_cluster: Cluster, tmp_path: Path) -> None:
    (day,) = partitions(tmp_path / "days", 1)
    first, second = (
        Task(name=name, function=f"{HERE}:write_nothing", inputs=(day,), output=tmp_path / "out")
        for name in ("a", "b")
    )
    with pytest.raises(TaskError, match="must each have their own output"):
        local_cluster.run("working", [first, second])


def test_folder_in_which_another_process_works_is_refused(local_cluster: Cluster, tmp_path: Path) -> None:
    (day,) = partitions(tmp_path / "days", 1)
    (task,) = parting([day], tmp_path, 2)
    task.output.parent.mkdir()
    with (task.output.parent / ".tasks.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(TaskError, match=r"another process is making results in .*parts; wait for it"):
            local_cluster.run("parting", [task])
    assert local_cluster.run("parting", [task]).done == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"processes": -1}, "processes must be 0 or more, got -1"),
        ({"attempts": 0}, "attempts must be 1 or"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ClusterConfig(**settings)


def test_default_is_a_process_for_each_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 5})
    with open_cluster(LocalClusterConfig()) as cluster:
        assert cluster.processes.capacity == 3
