"""Makes schemas as kubeconform reads them.

schemas.py kubernetes OUT FOLDER: from those of the package kubernetes-validate, which refer to each other by an address.
schemas.py custom OUT FOLDER: from the definitions of custom resources below FOLDER.
"""

import json
import pathlib
import sys

import yaml

what, *paths = sys.argv[1:]
out, folder = map(pathlib.Path, paths)
out.mkdir(parents=True, exist_ok=True)
# The chart's kinds.
wanted = {"Certificate", "ServiceMonitor", "PrometheusRule"}
# A text "=" in the definitions, which YAML 1.1 takes for a type of its own.
yaml.SafeLoader.add_constructor("tag:yaml.org,2002:value", lambda _, node: node.value)


def strict(schema):
    """The schema, in which a field that is not described is an error."""
    if isinstance(schema, dict):
        if schema.get("type") == "object" and "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        return {key: strict(value) for key, value in schema.items()}
    return [strict(value) for value in schema] if isinstance(schema, list) else schema


def kubernetes():
    """Each schema by its name."""
    for path in folder.glob("*.json"):
        schema = json.loads(path.read_text().replace("/api/_definitions.json#", "_definitions.json#"))
        # Without an address of its own a schema refers to the file beside it.
        schema.pop("$id", None)
        yield path.stem, schema


def custom():
    """The schema of each version of the wanted kinds, by kind and version."""
    for path in [*folder.glob("deploy/crds/*_certificates.yaml"), *folder.glob("example/prometheus-operator-crd/*s.yaml")]:
        for document in yaml.safe_load_all(path.read_text()):
            kind = document["spec"]["names"]["kind"]
            for version in document["spec"]["versions"] if kind in wanted else []:
                schema = version["schema"]["openAPIV3Schema"]
                # What every object has, which the definitions leave to the API server.
                schema["properties"]["metadata"] = {"type": "object"}
                yield f"{kind.lower()}_{version['name']}", strict(schema)


found = dict({"kubernetes": kubernetes, "custom": custom}[what]())
for name, schema in found.items():
    (out / f"{name}.json").write_text(json.dumps(schema))
if not found:
    sys.exit(f"no schemas below {folder}")
