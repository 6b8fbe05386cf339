"""Writes the routes, parameters and schemas of the reference's server, for the suite `server` to compare with.

    LITELLM_LOCAL_MODEL_COST_MAP=True target/python-tier/bin/python tests/scripts/openapi_golden.py > tests/golden/openapi.json
"""

import json
import logging
import sys

from agentlightning.store.client_server import LightningStoreServer
from agentlightning.store.memory import InMemoryLightningStore

logging.disable(logging.CRITICAL)


def kinds(schema):
    """What a value may be: JSON types, and names of schemas."""
    if "$ref" in schema:
        return [schema["$ref"].rsplit("/", 1)[1]]
    if "anyOf" in schema:
        return sorted({kind for option in schema["anyOf"] for kind in kinds(option)})
    return [schema.get("type", "any")]


document = LightningStoreServer(InMemoryLightningStore(thread_safe=True), port=4999).app.openapi()
routes = {}
for path, methods in document["paths"].items():
    for method, route in methods.items():
        body = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
        routes[f"{method.upper()} {path}"] = {
            "parameters": sorted([p["name"], p["in"], p.get("required", False)] for p in route.get("parameters", [])),
            "body": kinds(body) if body else None,
            "status": next(status for status in route["responses"] if status.startswith("2")),
        }
schemas = {
    name: {
        "properties": {key: kinds(value) for key, value in schema.get("properties", {}).items()},
        "required": schema.get("required", []),
    }
    for name, schema in document["components"]["schemas"].items()
    # Pages have a schema for each kind of item; errors are FastAPI's own.
    if not name.startswith("Paginated") and "ValidationError" not in name
}
json.dump({"routes": routes, "schemas": schemas}, sys.stdout, indent=1, sort_keys=True)
print()
