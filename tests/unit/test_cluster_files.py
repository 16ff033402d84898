"""Every file under cluster/, checked by machine: syntax, resource definitions, safety, versions, reasons, job keys."""

import copy
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

import jmed
from jmed.configuration.command import parse
from jmed.configuration.finetune import FinetuneConfig, MergeConfig
from jmed.configuration.schema import EvaluateConfig, ScoreConfig
from jmed.errors import UserError
from tests.conftest import ROOT, _shared

CLUSTER = ROOT / "cluster"
FILES = sorted(path for path in CLUSTER.rglob("*") if path.is_file())
SCRIPTS = sorted(CLUSTER.rglob("*.sh"))
MANIFESTS = sorted(CLUSTER.glob("kubernetes/*.yaml"))
RAY_UP = [CLUSTER / "on-premise/cluster.yaml", CLUSTER / "cloud/aws-spot.yaml"]  # Ray's own check: tests/jobs/clusters
DOCKERFILE = CLUSTER / "container/Dockerfile"
PAGES = [*sorted(CLUSTER.rglob("README.md")), ROOT / "docs/security.md"]
PLAIN = [CLUSTER / "container/Dockerfile.dockerignore"]  # nothing in it but names of files, see its test
JOBS = {"evaluate": EvaluateConfig, "score": ScoreConfig, "finetune": FinetuneConfig, "merge": MergeConfig}
KUBERNETES = "1.34"  # the schema that plain Kubernetes objects are compared with

# Keys and flags whose number decides what is reserved, how much is kept or how long something lasts.
NUMBERS = re.compile(
    r"\b(cpu|memory|nvidia\.com/gpu|num-cpus|object-store-memory|replicas|minReplicas|maxReplicas|min_workers|"
    r"max_workers|idle_timeout_minutes|CPU|GPU|VolumeSize|storage|sizeLimit|backoffLimit|\w+Seconds\w*|"
    r"jmed-batch-tokens)[\"']?: [\"']?\d|\bInstanceType: "
)
COMMANDS = re.compile(r"--num-cpus \d|--num-gpus \d|OBJECT_STORE_BYTES=|ulimit -n \d")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def tool(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A checker that pip has installed beside Python."""
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_every_file_has_a_check() -> None:
    checked = {*SCRIPTS, *MANIFESTS, *RAY_UP, DOCKERFILE, *PAGES, *PLAIN}
    assert [name(path) for path in FILES if path not in checked] == []
    assert [name(path) for path in RAY_UP if not path.is_file()] == []


# Scripts


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    done = tool("shellcheck", "-x", str(script))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("script", [path for path in SCRIPTS if path.name != "common.sh"], ids=name)
def test_a_script_stops_at_the_first_failure_and_has_help(script: Path) -> None:
    assert "\nset -euo pipefail\n" in script.read_text()
    assert os.access(script, os.X_OK)
    done = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0
    assert script.name in done.stdout
    assert "#!" not in done.stdout


# Kubernetes


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def rayjobs() -> list[tuple[Path, dict[str, Any]]]:
    return [(path, doc) for path in MANIFESTS for doc in documents(path) if doc["kind"] == "RayJob"]


RAYJOBS = pytest.mark.parametrize(("path", "job"), rayjobs(), ids=[name(path) for path, _ in rayjobs()])


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """A structural schema that refuses unknown fields, where the API server would drop them silently."""
    schema = dict(schema)
    if "properties" in schema:
        schema["properties"] = {key: strict(value) for key, value in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in schema:
            schema["additionalProperties"] = False
    if isinstance(schema.get("items"), dict):
        schema["items"] = strict(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        schema["additionalProperties"] = strict(schema["additionalProperties"])
    return schema


@pytest.fixture(scope="module")
def rayjob_schema() -> jsonschema.Draft202012Validator:
    definition = yaml.load((_shared("schemas") / "ray.io_rayjobs.yaml").read_text(), Loader=yaml.CSafeLoader)
    (version,) = [version for version in definition["spec"]["versions"] if version["name"] == "v1"]
    return jsonschema.Draft202012Validator(strict(version["schema"]["openAPIV3Schema"]))


@RAYJOBS
def test_kuberay_accepts_the_job(path: Path, job: dict[str, Any], rayjob_schema: Any) -> None:
    assert [f"{error.json_path}: {error.message}" for error in rayjob_schema.iter_errors(job)] == []


def test_an_unknown_field_or_a_wrong_type_is_refused(rayjob_schema: Any) -> None:
    job = rayjobs()[0][1]
    for spoil in (
        lambda job: job["spec"].update(retries=3),
        lambda job: job["spec"]["rayClusterSpec"]["authOptions"].update(mode="open"),
        lambda job: job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"].update(container=[]),
        lambda job: job["spec"].update(backoffLimit="three"),
    ):
        spoiled = copy.deepcopy(job)
        spoil(spoiled)
        assert not rayjob_schema.is_valid(spoiled)


@pytest.mark.parametrize("path", MANIFESTS, ids=name)
def test_kubernetes_accepts_its_own_objects(path: Path) -> None:
    for document in documents(path):
        if document["kind"] != "RayJob":
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
        assert document["kind"] == "Namespace" or document["metadata"]["namespace"] == "jmed"


@RAYJOBS
def test_kuberays_own_rules(path: Path, job: dict[str, Any]) -> None:
    """What the operator checks beyond the schema (its validation.go)."""
    assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", job["metadata"]["name"])
    assert len(job["metadata"]["name"]) <= 47
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"] is True
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert "labels" not in group["rayStartParams"], "labels stand beside rayStartParams"
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


def pods(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield job["spec"]["submitterPodTemplate"]
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        yield group["template"]


@RAYJOBS
def test_pods_have_no_rights(path: Path, job: dict[str, Any]) -> None:
    """What Kubernetes calls "restricted", and no way into its API."""
    for pod in pods(job):
        spec = pod["spec"]
        assert pod["metadata"]["labels"] == {"app.kubernetes.io/part-of": "jmed"}, "the network policy finds pods by it"
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert all("hostPath" not in volume for volume in spec.get("volumes", []))
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["requests"].keys() >= {"cpu", "memory"}


@RAYJOBS
def test_the_token_is_on_and_nothing_is_published(path: Path, job: dict[str, Any]) -> None:
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert not {"enableIngress", "headService", "ingressOptions"} & set(cluster["headGroupSpec"])
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        environment = {entry["name"]: entry["value"] for entry in container["env"]}
        assert environment == {"RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}


def test_the_network_policy_lets_nothing_out() -> None:
    (policy,) = documents(CLUSTER / "kubernetes/network-policy.yaml")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    inside, names = policy["spec"]["egress"]
    assert inside == {"to": [{"podSelector": {"matchLabels": {"app.kubernetes.io/part-of": "jmed"}}}]}
    assert {port["port"] for port in names["ports"]} == {53}
    assert all("ipBlock" not in peer for rule in policy["spec"]["ingress"] for peer in rule["from"])


def configured(path: Path, job: dict[str, Any], folder: Path) -> list[str]:
    """The entry point with paths of this machine: the repository for /opt/jmed, `folder` for the mounted files."""
    (settings,) = [document["data"] for document in documents(path) if document["kind"] == "ConfigMap"]
    for file, text in settings.items():
        (folder / file).write_text(text)
    return shlex.split(job["spec"]["entrypoint"].replace("/etc/jmed", str(folder)).replace("/opt/jmed", str(ROOT)))


@RAYJOBS
def test_the_job_exists_and_so_do_its_keys(path: Path, job: dict[str, Any], tmp_path: Path) -> None:
    python, script, *arguments = configured(path, job, tmp_path)
    assert python == "python"
    assert Path(script).is_file()
    config = parse(JOBS[Path(script).stem], Path(script).name, arguments)
    assert config.offline, "pods have no way out"
    assert config.output_dir.startswith("/mnt/jmed/"), "results outlive the pods"
    assert config.data_root == "data" or config.data_root.startswith("/mnt/jmed/")


def test_a_key_that_does_not_exist_is_found(tmp_path: Path) -> None:
    path, job = rayjobs()[0]
    _, script, *arguments = configured(path, job, tmp_path)
    with pytest.raises(UserError, match="unknown key"):
        parse(JOBS[Path(script).stem], Path(script).name, [*arguments, "--workers.colour", "red"])


# Container


def test_hadolint_finds_nothing() -> None:
    done = tool("hadolint", name(DOCKERFILE))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_holds_the_tested_versions() -> None:
    text = DOCKERFILE.read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert bases
    assert all(re.fullmatch(r"python:3\.1[123]\.\d+-slim-bookworm", base) for base in bases)
    assert "--constraint constraints.txt" in text
    assert re.search(r"^USER 1000:1000$", text, re.MULTILINE)
    for switch in ("HF_HUB_OFFLINE=$OFFLINE", "RAY_AUTH_MODE=token", "RAY_USAGE_STATS_ENABLED=0"):
        assert switch in text


def test_the_builder_gets_what_the_image_copies_and_no_more() -> None:
    lines = PLAIN[0].read_text().splitlines()
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = [line.split()[1:-1] for line in DOCKERFILE.read_text().splitlines() if line.startswith("COPY ")]
    assert "*" in lines
    assert sent == {source for sources in copied for source in sources}
    assert [source for source in sent if not (ROOT / source).exists()] == []


# All files


def texts() -> Iterator[tuple[Path, str]]:
    for path in sorted({*FILES, *PAGES}):
        yield path, path.read_text()


def test_versions_are_equal_everywhere() -> None:
    ray = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert ray
    for path, text in texts():
        for found in re.findall(r"rayVersion: (\S+)|\bray==(\d\S*)", text):
            assert ray[1] in found, f"{name(path)}: {found}"
        for tag in re.findall(r"registry\.example\.org/jmed:([\w.]+\w)", text):
            assert tag == jmed.__version__, name(path)
        assert ":latest" not in text, name(path)


def test_no_file_opens_a_dashboard_or_switches_the_token_off() -> None:
    for path in FILES:
        text = path.read_text()
        assert not re.search(r"RAY_AUTH_MODE=disabled|0\.0\.0\.0|LoadBalancer\n|NodePort\n", text), name(path)


def test_every_start_of_ray_goes_through_the_scripts_that_force_the_token() -> None:
    for path in RAY_UP:
        config = yaml.safe_load(path.read_text())
        for key in ("head_start_ray_commands", "worker_start_ray_commands"):
            stop, start, *_ = config[key]
            assert stop.endswith("&& ray stop")
            assert re.search(r"RAY_AUTH_MODE=token /opt/jmed/cluster/on-premise/start-(head|worker)\.sh ", start)
        assert "ray start" not in re.sub(r"#.*", "", path.read_text()), name(path)
    starting = [path for path in SCRIPTS if re.search(r"^(exec )?ray |^exec ", path.read_text(), re.MULTILINE)]
    assert {path.name for path in starting} == {"start-head.sh", "start-worker.sh", "with-env.sh", "preemption.sh"}
    assert all("\nprepare\n" in path.read_text() for path in starting)


def test_ray_up_warns_of_its_beginning() -> None:
    text = RAY_UP[0].read_text()
    assert "WARNING: `ray up` begins with `ray stop`" in text[:400]


def reasonless(path: Path) -> list[str]:
    """Lines with a resource number and no reason: on the line itself, or above it where the line is a command."""
    lines, missing = path.read_text().splitlines(), []
    for number, line in enumerate(lines):
        code = line.split(" #")[0].strip()
        if code.startswith("#") or not (NUMBERS.search(code) or COMMANDS.search(code)):
            continue
        above = lines[max(0, number - 4) : number] if COMMANDS.search(code) else []
        if " #" not in line and not any(text.strip().startswith("# ") for text in above):
            missing.append(f"{name(path)}:{number + 1}: {code}")
    return missing


@pytest.mark.parametrize("path", [*SCRIPTS, *MANIFESTS, *RAY_UP], ids=name)
def test_every_resource_number_has_its_reason(path: Path) -> None:
    assert reasonless(path) == []


def test_a_number_without_a_reason_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "x.yaml"
    path.write_text('cpu: "4"  # one for each worker\nmemory: 24Gi\nreplicas: 2\n')
    assert reasonless(path) == ["x.yaml:2: memory: 24Gi", "x.yaml:3: replicas: 2"]


# Pages


def commands(path: Path) -> list[str]:
    blocks = re.findall(r"^```bash\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


@pytest.mark.parametrize("path", PAGES, ids=name)
def test_jobs_and_files_of_the_page_exist(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for line in commands(path):
        if found := re.search(r"python (?:/opt/jmed/)?jobs/(\w+)\.py (.*)", line):
            parse(JOBS[found[1]], found[1], shlex.split(found[2]))
        for file in re.findall(r"(?<![\w/])((?:cluster|configs|docs)/[\w./-]+)", line):
            assert (ROOT / file).exists(), f"{name(path)}: {file}"
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).exists(), f"{name(path)}: {target}"
