"""Whether values fit a JSON Schema, by a validator that is not ours: {"schema": .., "values": [..]} -> [true, ..]."""

import json
import sys

import jsonschema

given = json.load(sys.stdin)
jsonschema.Draft202012Validator.check_schema(given["schema"])
validator = jsonschema.Draft202012Validator(given["schema"])
print(json.dumps([validator.is_valid(value) for value in given["values"]]))
