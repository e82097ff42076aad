"""Tests that the online manifests fit the serve file: replicas and pods, keys, shutdown times."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from needs import needs_kubectl
from ray.autoscaler._private.kuberay import autoscaling_config
from test_k8s import ROOT
from test_k8s_online import cluster, containers, key_secret, of_kind, pods, worker

from pipelines.errors import SpecError
from serve.access.keys import read_keys
from serve.app import build
from serve.environment import RAY_SERVE_SETTINGS
from serve.haproxy import BINARY, PER_SOURCE
from serve.spec import ServeSpec, parse_serve

GPU = "nvidia.com/gpu"
# Time for a pod, a model and an engine.
START_SECONDS = 240

Json = Any
pytestmark = [
    needs_kubectl,
    # Ray Serve raises it when it is imported
    pytest.mark.filterwarnings("ignore:Using extra keyword arguments on .Field."),
    # Ray Serve raises it for the autoscaling options of `serve.app`
    pytest.mark.filterwarnings("ignore:The .metrics_interval_s. field:DeprecationWarning"),
]


@pytest.fixture
def rayservice() -> Json:
    return of_kind("RayService")


@pytest.fixture
def serve_config(rayservice: Json) -> Json:
    return yaml.safe_load(rayservice["spec"]["serveConfigV2"])


@pytest.fixture
def application(serve_config: Json) -> Json:
    [app] = serve_config["applications"]
    return app


@pytest.fixture
def spec(application: Json) -> ServeSpec:
    return parse_serve(application["args"])


def unknown_fields(serve_config: Json) -> Iterator[str]:
    """Yield the fields that Ray Serve does not know: it ignores them without an error."""
    from ray.serve.schema import DeploymentSchema, ServeApplicationSchema, ServeDeploySchema

    yield from serve_config.keys() - ServeDeploySchema.model_fields.keys()
    for app in serve_config["applications"]:
        yield from app.keys() - ServeApplicationSchema.model_fields.keys()
        for deployment in app.get("deployments", []):
            yield from deployment.keys() - DeploymentSchema.model_fields.keys()


def test_ray_serve_accepts_the_application_with_no_unknown_field(serve_config: Json) -> None:
    from ray.serve.schema import ServeDeploySchema

    [app] = ServeDeploySchema.model_validate(serve_config).applications
    assert (app.import_path, app.route_prefix) == ("serve.app:build", "/")
    assert list(unknown_fields(serve_config)) == []


def test_the_serve_file_is_complete(application: Json, spec: ServeSpec) -> None:
    assert spec.name == application["name"]
    assert spec.model_fields_set >= {"model", "tasks", "pools", "http", "keys", "limits"}
    assert [task.name for task in spec.tasks] == ["summary", "facts", "auditor"]


@pytest.mark.usefixtures("tiny_model")
def test_missing_keys_and_short_timeouts_are_errors_before_the_start(
    application: Json, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {**application["args"], "model": {"name": "tiny"}}
    with pytest.raises(SpecError, match=r"keys\.file: missing, must name a file of API keys"):
        build({**arguments, "keys": {}})
    monkeypatch.setenv("RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S", "120")
    with pytest.raises(SpecError, match=r"HARD_STOP_AFTER_S is 120"):
        build(arguments)


def deployments(application: Json) -> dict[str, Any]:
    """Return the deployments that `serve.app:build` makes from the serve file, by name."""
    # the built-in model, because the file's model is on the hub; the deployments are the same
    front = build({**application["args"], "model": {"name": "tiny"}})._bound_deployment
    bound = [front, *(pool._bound_deployment for pool in front.init_args)]
    return {deployment.name: deployment for deployment in bound}


def demands(application: Json) -> dict[str, dict[str, float]]:
    """Return the resources of a replica of each deployment, with the RayService's overrides."""
    bound = deployments(application)
    options = {name: deployment.ray_actor_options for name, deployment in bound.items()}
    for override in application["deployments"]:
        assert override["name"] in options
        options[override["name"]] = override["ray_actor_options"]
    return {
        name: {"CPU": o["num_cpus"], "GPU": o.get("num_gpus", 0), **o.get("resources", {})}
        for name, o in options.items()
    }


def pod_resources(rayservice: Json) -> dict[str, dict[str, float]]:
    """Return the resources of a pod of each group, as Ray's autoscaler derives them."""
    resource = {"metadata": {"name": "c", "namespace": "n"}, "spec": cluster(rayservice)}
    derived = autoscaling_config._derive_autoscaling_config_from_ray_cr(resource)
    return {name: kind["resources"] for name, kind in derived["available_node_types"].items()}


def test_each_replica_fits_the_pods_of_one_group(rayservice: Json, application: Json) -> None:
    fitting = {
        name: [
            group
            for group, resources in pod_resources(rayservice).items()
            if all(resources.get(resource, 0) >= amount for resource, amount in demand.items())
        ]
        for name, demand in demands(application).items()
    }
    assert fitting == {"front": ["front"], "short": ["gpu"], "long": ["gpu"]}


def test_a_pod_has_resources_for_one_replica(rayservice: Json, application: Json) -> None:
    resources, demand = pod_resources(rayservice), demands(application)
    assert resources["front"]["front"] == demand["front"]["front"]
    assert resources["gpu"]["GPU"] == demand["short"]["GPU"] == demand["long"]["GPU"]


def test_the_gpu_group_scales_between_the_engines_of_the_pools(
    rayservice: Json, spec: ServeSpec
) -> None:
    pools = [pool for pool in (spec.pools.short, spec.pools.long) if pool]
    gpu = worker(rayservice, "gpu")
    assert gpu["replicas"] == gpu["minReplicas"] == sum(pool.min for pool in pools)
    assert gpu["maxReplicas"] == sum(pool.max for pool in pools)


def test_the_front_group_has_a_pod_for_each_front_and_can_double_during_an_update(
    rayservice: Json, spec: ServeSpec
) -> None:
    front = worker(rayservice, "front")
    assert front["replicas"] == front["minReplicas"] == spec.http.replicas
    assert front["maxReplicas"] >= 2 * spec.http.replicas


def test_only_the_gpu_group_requests_gpus_and_tolerates_their_taint(rayservice: Json) -> None:
    pod = worker(rayservice, "gpu")["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"][GPU] == "1"
    assert GPU in [t["key"] for t in pod["tolerations"]]
    assert GPU not in str([cluster(rayservice)["headGroupSpec"], worker(rayservice, "front")])


def test_kuberay_finds_the_port_and_adds_the_probes(rayservice: Json, serve_config: Json) -> None:
    """KubeRay makes the service from the head's port, and a worker's probes from its own port."""
    for container in containers(rayservice):
        ports = {p["name"]: p["containerPort"] for p in container["ports"]}
        assert ports["serve"] == serve_config["http_options"]["port"]
        assert ports["metrics"] == 8080
        assert not {"readinessProbe", "livenessProbe"} & container.keys()
    assert serve_config["http_options"]["host"] == "0.0.0.0"  # noqa: S104 - in a pod
    assert rayservice["spec"]["excludeHeadPodFromServeSvc"] is True


# Shutdown


def env_of(pod: Json) -> dict[str, str]:
    """Return the environment of a pod's only container."""
    [container] = pod["containers"]
    return {variable["name"]: variable["value"] for variable in container["env"]}


def longest_request_seconds(application: Json) -> float:
    """Return the time that Ray Serve gives a replica to finish its accepted requests."""
    bound = deployments(application).values()
    return max(float(d._deployment_config.graceful_shutdown_timeout_s) for d in bound)


def test_a_worker_has_time_to_answer_and_to_be_replaced(
    rayservice: Json, application: Json, spec: ServeSpec
) -> None:
    finish = longest_request_seconds(application)
    assert finish > spec.limits.body_seconds + spec.limits.request_seconds
    for pod in pods(rayservice):
        assert float(env_of(pod)["RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"]) >= finish
        client_timeout = float(env_of(pod)["RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S"])
        assert spec.limits.body_seconds < client_timeout < 2 * spec.limits.body_seconds
    for group in cluster(rayservice)["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        env = env_of(pod)
        drain = float(env["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
        assert finish + START_SECONDS <= drain < pod["terminationGracePeriodSeconds"]


def test_an_old_cluster_finishes_its_accepted_requests(rayservice: Json, application: Json) -> None:
    delay = rayservice["spec"]["rayClusterDeletionDelaySeconds"]
    assert delay >= longest_request_seconds(application)
    assert rayservice["spec"]["upgradeStrategy"] == {"type": "NewCluster"}


def test_the_disruption_budget_allows_one_worker_of_the_minimum_to_be_evicted(
    rayservice: Json,
) -> None:
    budget = of_kind("PodDisruptionBudget")["spec"]
    selected = budget["selector"]["matchLabels"].items()
    workers = cluster(rayservice)["workerGroupSpecs"]
    assert all(selected <= g["template"]["metadata"]["labels"].items() for g in workers)
    head = cluster(rayservice)["headGroupSpec"]["template"]["metadata"]
    assert not selected <= head.get("labels", {}).items()
    assert budget["minAvailable"] == sum(g["minReplicas"] for g in workers) - 1 > 0


def test_fronts_are_spread_over_nodes(rayservice: Json) -> None:
    template = worker(rayservice, "front")["template"]
    [constraint] = template["spec"]["topologySpreadConstraints"]
    selected = constraint["labelSelector"]["matchLabels"].items()
    assert selected <= template["metadata"]["labels"].items()
    engines = worker(rayservice, "gpu")["template"]["metadata"]["labels"]
    assert not selected <= engines.items()


def test_pods_have_the_same_ray_serve_settings_as_one_machine(rayservice: Json) -> None:
    for pod in pods(rayservice):
        assert RAY_SERVE_SETTINGS.items() <= env_of(pod).items()


def test_each_pod_runs_haproxy_with_limits(rayservice: Json) -> None:
    """The image sets the command with the limits. All clients may have an ingress's address, so the
    connections of one address are not limited."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    [command] = [name for name, entry in scripts.items() if entry == "serve.haproxy:main"]
    image = (ROOT / "k8s/Dockerfile").read_text().partition("FROM base")[0]
    assert f"{BINARY}=/usr/local/bin/{command}" in image
    for pod in pods(rayservice):
        assert BINARY not in env_of(pod)
        assert env_of(pod)[PER_SOURCE] == "0"


# API keys


def test_only_the_front_mounts_the_keys_in_a_form_that_kubernetes_updates(
    rayservice: Json, spec: ServeSpec
) -> None:
    front = worker(rayservice, "front")["template"]["spec"]
    [volume] = [v for v in front["volumes"] if "secret" in v]
    [mount] = [m for m in front["containers"][0]["volumeMounts"] if m["name"] == volume["name"]]
    assert spec.keys.file is not None
    file = PurePosixPath(spec.keys.file)
    assert str(file.parent) == mount["mountPath"]
    assert file.name in key_secret()["stringData"]
    assert "subPath" not in mount
    assert volume["secret"] == {"secretName": key_secret()["metadata"]["name"]}
    others = [pod for pod in pods(rayservice) if pod is not front]
    assert "secretName" not in str([pod["volumes"] for pod in others])


def test_the_example_of_keys_is_valid_and_grants_no_access(tmp_path: Path) -> None:
    [(name, text)] = key_secret()["stringData"].items()
    (tmp_path / name).write_text(text)
    [key] = read_keys(tmp_path / name)
    assert (key.name, set(key.sha256)) == ("alice", {"0"})


def test_other_secrets_are_optional(rayservice: Json) -> None:
    references = [e["secretRef"] for c in containers(rayservice) for e in c.get("envFrom", [])]
    assert {r["name"] for r in references} == {"phifleet-s3", "phifleet-huggingface"}
    assert all(r["optional"] is True for r in references)
    # every pod reads model files, the head to check the serve file
    assert [r["name"] for r in references].count("phifleet-huggingface") == 3
