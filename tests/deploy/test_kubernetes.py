"""deploy/kubernetes: what kustomize builds is valid, safe, and names settings that exist."""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("laptop", "production")
# The two newest versions.
VERSIONS = ("1.36.0", "1.37.0")
# Checks of checkov, and why their findings are accepted.
ACCEPTED = {
    "CKV_K8S_11": "a limit of CPU throttles a container whose node is idle; requests share what there is",
    "CKV_K8S_15": "a version's tag does not move, and a laptop's images are in no registry",
    "CKV_K8S_35": "a secret may be a file too (NAME_FILE); the projects start no other programs",
    "CKV_K8S_43": "the images are the operator's own, with digests that only the operator has",
}


@cache
def built(overlay: str) -> str:
    """Return what kustomize builds. Secrets are those of the examples."""
    made = Path(shutil.copytree(KUBERNETES, Path(tempfile.mkdtemp()) / "kubernetes", dirs_exist_ok=True))
    for example in (made / "production").glob("*.example"):
        shutil.copy(example, example.with_suffix(""))
    done = subprocess.run(["kubectl", "kustomize", str(made / overlay)], check=True, capture_output=True, text=True)
    shutil.rmtree(made.parent)
    return done.stdout


def objects(overlay: str) -> list[dict[str, Any]]:
    return [*yaml.safe_load_all(built(overlay))]


def pods(overlay: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the name and the pod's specification of everything that runs."""
    found = []
    for each in objects(overlay):
        spec = each.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if each["kind"] in {"Deployment", "Job", "CronJob"}:
            found.append((each["metadata"]["name"], spec["template"]["spec"]))
    return found


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_valid_in_the_newest_versions(overlay: str, version: str, tmp_path: Path) -> None:
    path = tmp_path / "built.yaml"
    path.write_text(built(overlay))
    done = subprocess.run(
        ["kubernetes-validate", "--strict", "--quiet", "-k", version, str(path)],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_container_is_confined_and_has_bounds(overlay: str) -> None:
    assert {name for name, _ in pods(overlay)} >= {"gateway", "users", "orders"}
    for name, pod in pods(overlay):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["automountServiceAccountToken"] is False, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}, name
            assert "memory" in container["resources"]["limits"], name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_image_has_the_tag_that_compose_builds(overlay: str) -> None:
    tagged = set(re.findall(r"image: (gatehouse-.+)", (ROOT / "compose.yaml").read_text()))
    assert {each["image"] for _, pod in pods(overlay) for each in pod["containers"]} == tagged


def test_the_kubelet_asks_whether_a_container_lives_and_is_ready() -> None:
    paths = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    served = [pod["containers"] for name, pod in pods("production") if name in {"gateway", "users", "orders"}]
    for (container,) in served:
        assert {probe: container[probe]["httpGet"]["path"] for probe in paths} == paths


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_setting_exists(overlay: str) -> None:
    documented = set(re.findall(r"^# ?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    containers = [each for _, pod in pods(overlay) for each in pod["containers"]]
    named = {variable["name"] for each in containers for variable in each.get("env", ())}
    for each in objects(overlay):
        if each["kind"] in {"ConfigMap", "Secret"} and not each["metadata"]["name"].startswith("gateway-config"):
            named |= each.get("data", {}).keys()
    assert named >= {"JWKS_URL", "GATEWAY_CONFIG"}
    assert named <= documented | {"GATEHOUSE_MIGRATE"}


def test_the_example_gateway_yaml_is_the_projects_own() -> None:
    assert (KUBERNETES / "base" / "gateway.yaml").read_text() == (ROOT / "gateway_project" / "gateway.yaml").read_text()


def test_the_gateway_may_end_its_requests_before_it_is_killed() -> None:
    longest = 10  # `total` of gateway.yaml
    (gateway,) = (pod for name, pod in pods("production") if name == "gateway")
    environ = {each["name"]: each.get("value") for each in gateway["containers"][0]["env"]}
    assert gateway["terminationGracePeriodSeconds"] >= int(environ["DRAIN_SECONDS"]) + longest + 8


def test_the_dockerfile_has_no_findings() -> None:
    done = subprocess.run(["hadolint", str(ROOT / "Dockerfile")], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def findings(framework: str, path: Path, accepted: Iterable[str] = ()) -> list[str]:
    """Return what checkov finds, but for the checks with these ids."""
    options = ["--output", "json", "--skip-download", "--framework", framework, "--skip-check", ",".join(accepted)]
    done = subprocess.run(
        ["checkov", *options, "--file", str(path)], check=False, capture_output=True, text=True, timeout=300
    )
    report = json.loads(done.stdout)
    assert report["summary"]["passed"] > 100, done.stderr
    return sorted(f"{each['check_id']} {each['resource']}" for each in report["results"]["failed_checks"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_checkov_finds_nothing_in_what_runs(overlay: str, tmp_path: Path) -> None:
    path = tmp_path / "built.yaml"
    path.write_text(built(overlay))
    assert findings("kubernetes", path, ACCEPTED) == []


def test_checkov_finds_nothing_in_the_dockerfile() -> None:
    # It does not resolve ARG: the base image has a tag.
    assert findings("dockerfile", ROOT / "Dockerfile", ["CKV_DOCKER_7"]) == []


def test_checkov_finds_a_container_that_may_gain_privileges(tmp_path: Path) -> None:
    path = tmp_path / "built.yaml"
    path.write_text(built("laptop").replace("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", 1))
    assert findings("kubernetes", path, ACCEPTED) == ["CKV_K8S_20 Deployment.gatehouse.gateway"]
