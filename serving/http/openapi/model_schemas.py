"""Models: the schemas of what each served one takes and gives, in every protocol."""

from __future__ import annotations

from typing import Any

from serving.bundle import FEATURES, Input, Manifest
from serving.codec.inference_request import LONGEST_ID
from serving.http.openapi.column_schemas import value_schema
from serving.inference.predictor import face

Schema = dict[str, Any]

# How each datatype of the Open Inference Protocol that a graph has is written in JSON.
DATATYPES: dict[str, Schema] = {
    "FP32": {"type": ["number", "null"]},
    "FP64": {"type": ["number", "null"]},
    "INT64": {"type": "integer"},
    "BYTES": {"type": "string"},
}
NUMERIC = (
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "BF16",
    "FP32",
    "FP64",
)


def ref(model: str, part: str) -> Schema:
    """Where the schema of this part of a model is."""
    return {"$ref": f"#/components/schemas/{model}.{part}"}


def model_schemas(manifest: Manifest, *, ignores_extra: bool = False) -> dict[str, Schema]:
    """Return the schemas of one model, by the names that `ref` gives.

    Args:
        manifest: The model's.
        ignores_extra: Whether a request may name columns that the model does not have.
    """
    name = manifest.name
    tensors = face(manifest)
    inputs, outputs = tensors["inputs"], tensors["outputs"]
    parts = {
        "record": _record(manifest.inputs, ignores_extra),
        "row": _row(manifest.inputs),
        "parameters": _parameters([tensor["name"] for tensor in outputs]),
        "rows": _rows(name),
        "answers": _answers(manifest),
        "tensorflow": _tensorflow(manifest, ignores_extra),
        "predictions": _predictions(),
        "tensors": _tensors(inputs, outputs, ignores_extra),
        "outputs": _outputs(outputs),
    }
    return {f"{name}.{part}": schema for part, schema in parts.items()}


def _object(
    properties: dict[str, Schema], *, optional: tuple[str, ...] = (), is_open: bool = False
) -> Schema:
    """Return the schema of an object of these properties, and of no other unless `is_open`."""
    return {
        "type": "object",
        "required": [name for name in properties if name not in optional],
        "properties": properties,
        "additionalProperties": is_open,
    }


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _record(inputs: list[Input], ignores_extra: bool) -> Schema:
    properties = {column.name: value_schema(column) for column in inputs}
    gaps = tuple(column.name for column in inputs if column.missing == "impute")
    text = "Values by their columns' names." + ignores_extra * " Other names are left out."
    return {**_object(properties, optional=gaps, is_open=ignores_extra), "description": text}


def _row(inputs: list[Input]) -> Schema:
    count = len(inputs)
    values = [value_schema(column) for column in inputs]
    for value in values:
        value.pop("description", None)  # the record says it
    alike = all(value == values[0] for value in values)
    items: Schema = {"items": values[0]} if alike else {"prefixItems": values, "items": False}
    return {
        "type": "array",
        **items,
        "minItems": count,
        "maxItems": count,
        "description": "Values in the order of the columns.",
    }


def _parameters(outputs: list[str]) -> Schema:
    chosen = _list({"enum": outputs}, minItems=1, uniqueItems=True)
    return _object({"outputs": {**chosen, "description": "Of the answer."}}, optional=("outputs",))


def _rows(model: str) -> Schema:
    instance = {"anyOf": [ref(model, "record"), ref(model, "row")]}
    return _object(
        {"instances": _list(instance), "parameters": ref(model, "parameters")},
        optional=("parameters",),
    )


def _labels(manifest: Manifest) -> Schema:
    labels: Schema = {"enum": list(manifest.classes or [])}
    if manifest.positive_class is not None:
        labels["description"] = (
            f"{manifest.positive_class} where its probability reaches the threshold, which "
            f"`GET /models/{manifest.name}` says."
        )
    return labels


def _probabilities(manifest: Manifest) -> Schema:
    count = len(manifest.classes or [])
    return {
        **_list({"type": "number", "minimum": 0, "maximum": 1}, minItems=count, maxItems=count),
        "description": "Of each class, in the order of `classes` in "
        f"`GET /models/{manifest.name}`.",
    }


def _value(manifest: Manifest) -> Schema:
    if len(manifest.data.target) == 1:
        return {"type": "number"}
    return _list({"type": "number"})


def _answers(manifest: Manifest) -> Schema:
    said: dict[str, Schema] = {
        "model": {"const": manifest.name},
        "version": {"type": "integer", "minimum": 1},
    }
    if manifest.classes is None:
        return _object({**said, "predictions": _list(_value(manifest))})
    chosen: dict[str, Schema] = {
        "predictions": _list(_labels(manifest)),
        "probabilities": _list(_probabilities(manifest)),
    }
    return _object({**said, **chosen}, optional=tuple(chosen))


def _tensorflow(manifest: Manifest, ignores_extra: bool) -> Schema:
    name = manifest.name
    common: dict[str, Schema] = {
        "signature_name": {"const": "serving_default"},
        "parameters": ref(name, "parameters"),
    }
    instances = _list({"anyOf": [ref(name, "record"), ref(name, "row")]})
    if manifest.all_numbers:
        columns: Schema = {
            "anyOf": [
                _object({FEATURES: _list(ref(name, "row"))}, is_open=ignores_extra),
                _list(ref(name, "row")),
            ]
        }
    else:
        by_name = {column.name: _list(value_schema(column)) for column in manifest.inputs}
        columns = {
            **_object(by_name, is_open=ignores_extra),
            "description": "A list of values for each column, all of one length.",
        }
    return {
        "oneOf": [
            _object({"instances": instances, **common}, optional=tuple(common)),
            _object({"inputs": columns, **common}, optional=tuple(common)),
        ]
    }


def _predictions() -> Schema:
    return {
        "oneOf": [
            _object({"predictions": _list({})}),
            _object({"outputs": {"type": ["array", "object"]}}),
        ],
        "description": "`predictions` of `instances`, `outputs` of `inputs`; several outputs by "
        "name, a single one without.",
    }


def _tensors(
    inputs: list[dict[str, Any]], outputs: list[dict[str, Any]], ignores_extra: bool
) -> Schema:
    wanted = _object(
        {
            "name": {"enum": [tensor["name"] for tensor in outputs]},
            "parameters": _object({"binary_data": {"type": "boolean"}}, optional=("binary_data",)),
        },
        optional=("parameters",),
    )
    taken: Schema = {
        "type": "array",
        "items": {"anyOf": [_input(tensor) for tensor in inputs]},
        "minItems": len(inputs),
    }
    if ignores_extra:
        names = {"enum": [tensor["name"] for tensor in inputs]}
        other = {"type": "string", "not": names, "description": "An input that is left out."}
        taken["items"]["anyOf"].append(
            {"type": "object", "required": ["name"], "properties": {"name": other}}
        )
    else:
        taken["maxItems"] = len(inputs)
    return _object(
        {
            "id": {"type": "string", "maxLength": LONGEST_ID},
            "parameters": _object(
                {"binary_data_output": {"type": "boolean"}}, optional=("binary_data_output",)
            ),
            "inputs": taken,
            "outputs": _list(wanted),
        },
        optional=("id", "parameters", "outputs"),
    )


def _input(tensor: dict[str, Any]) -> Schema:
    texts, width = tensor["datatype"] == "BYTES", tensor["shape"][-1]
    return _object(
        {
            "name": {"const": tensor["name"]},
            "datatype": {"const": "BYTES"} if texts else {"enum": list(NUMERIC)},
            "shape": {
                "type": "array",
                "prefixItems": [{"type": "integer", "minimum": 0}, {"const": width}],
                "items": False,
                "minItems": 2 if width > 1 else 1,
            },
            "data": _list({}, description="Row-major, nested or flat."),
        }
    )


def _outputs(outputs: list[dict[str, Any]]) -> Schema:
    tensors = [
        _object(
            {
                "name": {"const": tensor["name"]},
                "datatype": {"const": tensor["datatype"]},
                "shape": _list({"type": "integer"}),
                "data": _list(DATATYPES[tensor["datatype"]]),
                "parameters": {"type": "object"},
            },
            optional=("data", "parameters"),
        )
        for tensor in outputs
    ]
    return _object(
        {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "outputs": _list({"anyOf": tensors}),
        },
        optional=("model_version", "id", "parameters"),
    )
