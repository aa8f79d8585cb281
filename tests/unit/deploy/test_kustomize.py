"""The manifests of deploy/kustomize are valid, hang together, and call commands as they are."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any  # manifests are plain YAML

import kubernetes_validate  # type: ignore[import-untyped]  # ships no types
import pytest
import yaml
from prometheus_client import CollectorRegistry

from serving.api.metrics import AnswerMetrics
from serving.config import Settings
from serving.mirror.__main__ import main
from tests.architecture.sources import read_text
from tests.support.paths import ROOT

Manifest = Mapping[str, Any]

HOME = ROOT / "deploy" / "kustomize"
FOLDERS = ("base", "jobs", "overlays/volume", "overlays/storage")
RAY_JOB = "RayJob"
VERSION = kubernetes_validate.latest_version()


def documents(text: str) -> list[Manifest]:
    """Returns the manifests of a text of YAML."""
    return [part for part in yaml.safe_load_all(text) if part is not None]


def sources(folder: Path) -> Iterator[tuple[Path, Manifest]]:
    """Yields every manifest that a kustomization names, from its own folders on."""
    built = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    for name in built["resources"]:
        path = folder / name
        if path.is_dir():
            yield from sources(path)
        else:
            yield from ((path, part) for part in documents(path.read_text(encoding="utf-8")))


@cache
def built(folder: str) -> list[Manifest]:
    """Returns the manifests that Kustomize makes of a folder."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not on this machine")
    run = subprocess.run(
        [kubectl, "kustomize", str(HOME / folder)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return documents(run.stdout)


def pods(manifest: Manifest) -> Iterator[Manifest]:
    """Yields the templates of pods that a manifest holds, at whatever depth."""
    if (
        "template" in manifest
        and "spec" in manifest["template"]
        and "containers" in manifest["template"]["spec"]
    ):
        yield manifest["template"]
    for value in manifest.values():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict):
                yield from pods(part)


def containers(pod: Manifest) -> list[Manifest]:
    """Returns all containers of a pod."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def validate(manifest: Manifest) -> None:
    """Raises unless Kubernetes knows a manifest, and every field of it."""
    if manifest["kind"] == RAY_JOB:
        # Of a type that a cluster learns of KubeRay: its pods are what Kubernetes knows.
        for pod in pods(manifest):
            named = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", **pod["metadata"]}}
            kubernetes_validate.validate({**named, "spec": pod["spec"]}, VERSION, strict=True)
        return
    kubernetes_validate.validate(dict(manifest), VERSION, strict=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_manifests_are_valid_as_they_are_written(folder: str) -> None:
    found = list(sources(HOME / folder))
    assert found
    for _, manifest in found:
        validate(manifest)


@pytest.mark.parametrize("folder", FOLDERS)
def test_manifests_are_valid_as_they_are_built(folder: str) -> None:
    for manifest in built(folder):
        validate(manifest)


def test_misspelt_field_is_found() -> None:
    (deployment,) = documents(read_text("deploy/kustomize/base/deployment.yaml"))
    wrong = {**deployment, "spec": {**deployment["spec"], "replica": 3}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        validate(wrong)


@pytest.mark.parametrize("folder", FOLDERS[2:])
def test_overlays_leave_no_image_of_the_base(folder: str) -> None:
    images = [
        container["image"] for part in built(folder) for pod in pods(part) for container in containers(pod)
    ]
    assert len(images) == {"overlays/volume": 4, "overlays/storage": 2}[folder]
    assert all(image.startswith("registry.example/marquee") for image in images)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_pod_is_closed_off_and_finds_its_volumes(folder: str) -> None:
    for manifest in built(folder):
        for pod in pods(manifest):
            spec = pod["spec"]
            assert spec["securityContext"]["runAsNonRoot"]
            assert spec["automountServiceAccountToken"] is False
            volumes = {volume["name"] for volume in spec["volumes"]}
            mounted = set()
            for container in containers(pod):
                assert container["securityContext"]["allowPrivilegeEscalation"] is False
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
                assert container["resources"]["limits"]["memory"]
                mounted |= {mount["name"] for mount in container["volumeMounts"]}
            assert mounted == volumes


def test_pods_that_copy_bundles_share_no_volume() -> None:
    (deployment,) = (part for part in built("overlays/storage") if part["kind"] == "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    (bundles,) = (volume for volume in spec["volumes"] if volume["name"] == "bundles")
    assert set(bundles) == {"name", "emptyDir"}
    (sidecar,) = spec["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    # The service reads what the process beside it writes.
    mounts = [
        [m for m in c["volumeMounts"] if m["name"] == "bundles"] for c in (sidecar, spec["containers"][0])
    ]
    assert [mount[0].get("readOnly", False) for mount in mounts] == [False, True]


def test_autoscaler_goes_by_a_number_that_the_service_counts() -> None:
    parts = {part["kind"]: part for _, part in sources(HOME / "base")}
    scaler, budget = parts["HorizontalPodAutoscaler"]["spec"], parts["PodDisruptionBudget"]["spec"]
    assert scaler["scaleTargetRef"]["name"] == parts["Deployment"]["metadata"]["name"]
    assert "replicas" not in parts["Deployment"]["spec"]
    assert scaler["minReplicas"] > budget["minAvailable"]
    (metric,) = scaler["metrics"]
    name = metric["pods"]["metric"]["name"]
    registry = CollectorRegistry()
    AnswerMetrics(registry)
    assert name in {family.name for family in registry.collect()}
    (rule,) = yaml.safe_load(read_text("deploy/prometheus-adapter.yaml"))["rules"]["custom"]
    assert rule["name"]["as"] == name
    assert set(re.findall(r"marquee_\w+", rule["metricsQuery"])) == {f"{name}_sum", f"{name}_count"}
    assert 1 < int(metric["pods"]["target"]["averageValue"]) < Settings().micro_batch


def test_pods_are_spread_over_zones_and_machines() -> None:
    (deployment,) = documents(read_text("deploy/kustomize/base/deployment.yaml"))
    template = deployment["spec"]["template"]
    spread = template["spec"]["topologySpreadConstraints"]
    assert [one["topologyKey"] for one in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert all(one["labelSelector"]["matchLabels"] == template["metadata"]["labels"] for one in spread)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_pod_has_a_network_policy(folder: str) -> None:
    chosen = [
        part["spec"]["podSelector"]["matchLabels"]
        for part in built(folder)
        if part["kind"] == "NetworkPolicy"
    ]
    for part in built(folder):
        for pod in pods(part):
            assert pod["metadata"]["labels"] in chosen


def commands(folder: str) -> Iterator[list[str]]:
    """Yields the commands of this repository that the manifests of a folder call."""
    for part in built(folder):
        if part["kind"] == RAY_JOB:
            yield shlex.split(part["spec"]["entrypoint"])
        for pod in pods(part):
            yield from ([*c["command"], *c.get("args", ())] for c in containers(pod) if "command" in c)


def test_commands_are_those_that_there_are() -> None:
    called = [command for folder in FOLDERS[2:] for command in commands(folder)]
    assert sorted(command[2] for command in called) == ["serving.mirror", "training.loop", "training.score"]
    for python, flag, module, *_ in called:
        assert (python, flag) == ("python", "-m")
        assert find_spec(module) is not None


def test_settings_of_commands_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import fields

    from training.loop import LoopConfig
    from training.score.config import ScoreConfig

    by_module = {command[2]: command[3:] for folder in FOLDERS[2:] for command in commands(folder)}
    for module, config in (("training.loop", LoopConfig), ("training.score", ScoreConfig)):
        keys = {setting.partition("=")[0].partition(".")[0] for setting in by_module[module]}
        assert keys <= {field.name for field in fields(config)}
    # All but the credentials, which are a secret of the cluster.
    unread = [part for part in by_module["serving.mirror"] if not part.startswith("trusted_keys=")]
    assert main(unread, {}) == 2
    assert "needs the variables AWS_ACCESS_KEY_ID" in capsys.readouterr().err
