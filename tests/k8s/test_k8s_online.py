"""Tests that kubectl, Kubernetes and KubeRay accept the online manifests."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml
from crds import load_schema, problems, rule_violations
from needs import CRDS, needs_crds, needs_kubectl
from test_k8s import KUBERNETES, ROOT, pinned, render

ONLINE = ROOT / "k8s/base/online"
RAYSERVICE_CRD = CRDS / "ray.io_rayservices.yaml"
UPGRADES = {"NewCluster", "NewClusterWithIncrementalUpgrade", "None"}

Json = Any
Break = Callable[[Json], None]
pytestmark = needs_kubectl


def of_kind(kind: str) -> Json:
    [resource] = [r for r in render(ONLINE) if r["kind"] == kind]
    return deepcopy(resource)


@pytest.fixture
def rayservice() -> Json:
    return of_kind("RayService")


@cache
def rayservice_schema() -> Json:
    return load_schema(RAYSERVICE_CRD, "v1")


def key_secret() -> Json:
    return yaml.safe_load((ONLINE / "keys.example.yaml").read_text())


def cluster(rayservice: Json) -> Json:
    return rayservice["spec"]["rayClusterConfig"]


def worker(rayservice: Json, name: str) -> Json:
    [group] = [g for g in cluster(rayservice)["workerGroupSpecs"] if g["groupName"] == name]
    return group


def groups(rayservice: Json) -> list[Json]:
    return [cluster(rayservice)["headGroupSpec"], *cluster(rayservice)["workerGroupSpecs"]]


def pods(rayservice: Json) -> list[Json]:
    return [g["template"]["spec"] for g in groups(rayservice)]


def containers(rayservice: Json) -> list[Json]:
    return [c for pod in pods(rayservice) for c in pod["containers"]]


def violations(rayservice: Json) -> list[str]:
    """Return which of the operator's rules for Ray clusters and RayServices are violated."""
    job = {"metadata": rayservice["metadata"], "spec": {"rayClusterSpec": cluster(rayservice)}}
    upgrade = rayservice["spec"]["upgradeStrategy"]["type"]
    unknown = [] if upgrade in UPGRADES else [f"upgradeStrategy.type {upgrade!r} is unknown"]
    return rule_violations(job) + unknown


def test_kustomize_builds_one_service_with_its_budget_and_its_account() -> None:
    kinds = ["PodDisruptionBudget", "RayService", "ServiceAccount"]
    assert sorted(r["kind"] for r in render(ONLINE)) == kinds


def test_built_in_kinds_are_valid_with_no_unknown_field() -> None:
    for resource in [*render(ONLINE), key_secret()]:
        if resource["kind"] != "RayService":
            kubernetes_validate.validate(resource, KUBERNETES, strict=True)


def test_every_pod_is_valid_with_no_unknown_field(rayservice: Json) -> None:
    for group in groups(rayservice):
        metadata = {"name": "p", **group["template"].get("metadata", {})}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
        pod["spec"] = group["template"]["spec"]
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@needs_crds
def test_the_rayservice_is_valid_with_no_unknown_field(rayservice: Json) -> None:
    assert problems(rayservice, rayservice_schema()) == []


def test_the_rayservice_meets_the_operator_s_rules(rayservice: Json) -> None:
    assert violations(rayservice) == []


def misspell_the_serve_config(rayservice: Json) -> None:
    rayservice["spec"]["serveConfig"] = rayservice["spec"].pop("serveConfigV2")


def give_the_serve_config_unquoted(rayservice: Json) -> None:
    rayservice["spec"]["serveConfigV2"] = {"applications": []}


def make_a_start_parameter_a_number(rayservice: Json) -> None:
    cluster(rayservice)["headGroupSpec"]["rayStartParams"]["num-cpus"] = 0


def make_a_resource_a_number(rayservice: Json) -> None:
    worker(rayservice, "front")["resources"]["front"] = 1


@needs_crds
@pytest.mark.parametrize(
    ("damage", "field"),
    [
        (misspell_the_serve_config, "serveConfig"),
        (give_the_serve_config_unquoted, "serveConfigV2"),
        (make_a_start_parameter_a_number, "num-cpus"),
        (make_a_resource_a_number, "resources.front"),
    ],
)
def test_the_strict_definition_names_what_is_broken(
    rayservice: Json, damage: Break, field: str
) -> None:
    damage(rayservice)
    assert field in "\n".join(problems(rayservice, rayservice_schema()))


def restart_workers_in_place(rayservice: Json) -> None:
    worker(rayservice, "gpu")["template"]["spec"]["restartPolicy"] = "Always"


def lengthen_the_name(rayservice: Json) -> None:
    rayservice["metadata"]["name"] = "a" * 48


def size_the_front_twice(rayservice: Json) -> None:
    worker(rayservice, "front")["rayStartParams"]["num-cpus"] = "2"


def misspell_the_upgrade(rayservice: Json) -> None:
    rayservice["spec"]["upgradeStrategy"]["type"] = "newCluster"


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (restart_workers_in_place, "restartPolicy"),
        (lengthen_the_name, "47"),
        (size_the_front_twice, "rayStartParams"),
        (misspell_the_upgrade, "upgradeStrategy"),
    ],
)
def test_the_operator_s_rules_name_what_is_broken(
    rayservice: Json, damage: Break, rule: str
) -> None:
    damage(rayservice)
    assert rule in "\n".join(violations(rayservice))


def test_every_pod_meets_the_restricted_security_standard(rayservice: Json) -> None:
    for pod in pods(rayservice):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*containers(rayservice), cluster(rayservice)["autoscalerOptions"]]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_only_the_head_may_call_the_api_server(rayservice: Json) -> None:
    head, *workers = pods(rayservice)
    assert head["automountServiceAccountToken"] is True
    assert not any(pod["automountServiceAccountToken"] for pod in workers)
    account = of_kind("ServiceAccount")["metadata"]["name"]
    assert {pod["serviceAccountName"] for pod in pods(rayservice)} == {account}


def test_all_containers_run_one_image_and_the_ray_of_the_pinned_lists(rayservice: Json) -> None:
    assert len({c["image"] for c in containers(rayservice)}) == 1
    assert cluster(rayservice)["rayVersion"] == pinned("gpu")["ray"]


def test_every_mount_has_its_volume(rayservice: Json) -> None:
    for pod in pods(rayservice):
        [container] = pod["containers"]
        paths = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
        volumes = {v["name"]: v for v in pod["volumes"]}
        assert volumes.keys() == set(paths.values())
        assert volumes[paths["/dev/shm"]]["emptyDir"]["medium"] == "Memory"  # noqa: S108 - in a pod
