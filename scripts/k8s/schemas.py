"""Turns the definitions of custom resources into schemas as kubeconform reads them: schemas.py OUT FOLDER"""

import json
import pathlib
import sys

import yaml

out, folder = map(pathlib.Path, sys.argv[1:])
out.mkdir(parents=True, exist_ok=True)
# The chart's kinds.
wanted = {"Certificate", "ServiceMonitor", "PrometheusRule"}


def strict(schema):
    """The schema, in which a field that is not described is an error."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        return {key: strict(value) for key, value in schema.items()}
    return [strict(value) for value in schema] if isinstance(schema, list) else schema


places = [*folder.glob("deploy/crds/*.yaml"), *folder.glob("example/prometheus-operator-crd/*.yaml")]
found = 0
for path in places:
    for document in yaml.safe_load_all(path.read_text()):
        if not document or document.get("kind") != "CustomResourceDefinition":
            continue
        kind = document["spec"]["names"]["kind"]
        if kind not in wanted:
            continue
        for version in document["spec"]["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            # What every object has, which the definitions leave to the API server.
            schema["properties"]["metadata"] = {"type": "object"}
            name = f"{kind.lower()}_{version['name']}.json"
            (out / name).write_text(json.dumps(strict(schema)))
            found += 1
if not found:
    sys.exit(f"no definitions below {folder}")
