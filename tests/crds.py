"""Validation of manifests against KubeRay's schemas, made strict, and its operator's rules.

An API server silently drops unknown fields, such as a misspelled one; here they are errors. This
module does not know phifleet's own manifests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import yaml

Json = Any
SUBMISSION_MODES = {"K8sJobMode", "HTTPMode", "SidecarMode", "InteractiveMode"}
LONGEST_NAME = 47
COMBINERS = ("allOf", "anyOf", "oneOf")
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
ELASTIC_ANNOTATION = "kueue.x-k8s.io/elastic-job"
RESOURCE_PARAMS = {"num-cpus", "num-gpus", "memory", "resources"}


def load_schema(path: Path, version: str) -> Json:
    """Return the schema of one version of the custom resource definition in the file `path`."""
    definition = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    versions = {v["name"]: v["schema"]["openAPIV3Schema"] for v in definition["spec"]["versions"]}
    return versions[version]


def problems(resource: Json, schema: Json) -> list[str]:
    """Return the faults of `resource` under the strict `schema`: lines "FIELD.PATH: MESSAGE"."""
    filled = with_defaults(deepcopy(resource), schema)
    errors = jsonschema.Draft4Validator(strict(schema)).iter_errors(filled)
    return [f"{'.'.join(map(str, e.absolute_path)) or 'root'}: {e.message}" for e in errors]


def strict(schema: Json) -> Json:
    """Return `schema` with unknown fields forbidden, and `int-or-string` as two types."""
    result = {k: v for k, v in schema.items() if k not in COMBINERS}
    if schema.get("x-kubernetes-int-or-string"):
        return result | {"type": ["integer", "string"]}
    if isinstance(schema.get("items"), dict):
        result["items"] = strict(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = strict(schema["additionalProperties"])
    if "properties" in schema:
        result["properties"] = {k: strict(v) for k, v in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            result.setdefault("additionalProperties", False)
    # Alternatives list only the fields they constrain; if strict, they would reject all others.
    result.update({k: schema[k] for k in COMBINERS if k in schema})
    if schema.get("nullable"):
        result["type"] = [schema["type"], "null"]
    return result


def with_defaults(value: Json, schema: Json) -> Json:
    """Fill the defaults of `schema` into `value`, as the API server does, and return it."""
    if isinstance(value, dict):
        for name, field in schema.get("properties", {}).items():
            if "default" in field:
                value.setdefault(name, deepcopy(field["default"]))
            if name in value:
                with_defaults(value[name], field)
    if isinstance(value, list):
        for item in value:
            with_defaults(item, schema.get("items", {}))
    return value


def rule_violations(rayjob: Json) -> list[str]:
    """Return the faults for which KubeRay or Kueue rejects a RayJob that the API server accepts."""
    return [*_job_violations(rayjob), *_queue_violations(rayjob), *_cluster_violations(rayjob)]


def _job_violations(rayjob: Json) -> Iterator[str]:
    name, spec = rayjob["metadata"]["name"], rayjob["spec"]
    if len(name) > LONGEST_NAME or not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name):
        yield f"name {name!r} is not a DNS label of at most {LONGEST_NAME} characters"
    mode = spec.get("submissionMode", "K8sJobMode")
    if mode not in SUBMISSION_MODES:
        yield f"submissionMode {mode!r} is not one of {sorted(SUBMISSION_MODES)}"
    if mode == "SidecarMode" and {"submitterPodTemplate", "submitterConfig"} & spec.keys():
        yield "SidecarMode forbids submitterPodTemplate and submitterConfig"
    if mode == "InteractiveMode" and spec.get("backoffLimit", 0) > 0:
        yield "InteractiveMode cannot be retried"
    shutdown = spec.get("shutdownAfterJobFinishes", False)
    if spec.get("ttlSecondsAfterFinished", 0) > 0 and not shutdown:
        yield "ttlSecondsAfterFinished needs shutdownAfterJobFinishes"
    if "deletionRules" in spec.get("deletionStrategy", {}) and shutdown:
        yield "deletionRules exclude shutdownAfterJobFinishes"


def _queue_violations(rayjob: Json) -> Iterator[str]:
    metadata, spec = rayjob["metadata"], rayjob["spec"]
    if QUEUE_LABEL not in metadata.get("labels", {}):
        return
    elastic = metadata.get("annotations", {}).get(ELASTIC_ANNOTATION) == "true"
    if spec["rayClusterSpec"].get("enableInTreeAutoscaling") and not elastic:
        yield f'Kueue admits an autoscaling cluster only with {ELASTIC_ANNOTATION}: "true"'


def _cluster_violations(rayjob: Json) -> Iterator[str]:
    cluster = rayjob["spec"]["rayClusterSpec"]
    options = cluster.get("autoscalerOptions", {})
    v2 = cluster.get("enableInTreeAutoscaling", False) and options.get("version") == "v2"
    for group in [cluster["headGroupSpec"], *cluster.get("workerGroupSpecs", [])]:
        name = group.get("groupName", "head")
        if v2 and group["template"]["spec"].get("restartPolicy", "Never") != "Never":
            yield f"group {name}: autoscaler v2 needs restartPolicy Never"
        if group.get("resources") and RESOURCE_PARAMS & group.get("rayStartParams", {}).keys():
            yield f"group {name}: resources are set both in rayStartParams and in resources"
        if group.get("minReplicas", 0) > group.get("maxReplicas", 0):
            yield f"group {name}: minReplicas is above maxReplicas"
