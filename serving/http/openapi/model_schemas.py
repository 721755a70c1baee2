"""Models: the schemas of what each served one takes and gives, in every protocol."""

from __future__ import annotations

from typing import Any

from serving.bundle import FEATURES_INPUT, InputColumn, Manifest
from serving.codec.open_inference_request import MAX_ID_CHARACTERS
from serving.http.openapi.column_schemas import value_schema
from serving.inference.predictor import build_tensor_metadata

Schema = dict[str, Any]

# How each datatype of the Open Inference Protocol that a graph has is written in JSON.
SCHEMA_BY_DATATYPE: dict[str, Schema] = {
    "FP32": {"type": ["number", "null"]},
    "FP64": {"type": ["number", "null"]},
    "INT64": {"type": "integer"},
    "BYTES": {"type": "string"},
}
NUMERIC_DATATYPES = (
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


def schema_reference(model: str, part: str) -> Schema:
    """Where the schema of this part of a model is."""
    return {"$ref": f"#/components/schemas/{model}.{part}"}


def model_schemas(manifest: Manifest, *, ignores_extra: bool = False) -> dict[str, Schema]:
    """Return the schemas of one model, by the names that `schema_reference` gives.

    Args:
        manifest: The model's.
        ignores_extra: Whether a request may name columns that the model does not have.
    """
    name = manifest.name
    tensors = build_tensor_metadata(manifest)
    inputs, outputs = tensors["inputs"], tensors["outputs"]
    parts = {
        "record": _record_schema(manifest.inputs, ignores_extra),
        "row": _row_schema(manifest.inputs),
        "parameters": _parameters_schema([tensor["name"] for tensor in outputs]),
        "rows": _rows_request_schema(name),
        "answers": _rows_answer_schema(manifest),
        "tensorflow": _tensorflow_request_schema(manifest, ignores_extra),
        "predictions": _tensorflow_answer_schema(),
        "tensors": _open_inference_request_schema(inputs, outputs, ignores_extra),
        "outputs": _open_inference_answer_schema(outputs),
    }
    return {f"{name}.{part}": schema for part, schema in parts.items()}


def _object_schema(
    properties: dict[str, Schema], *, optional: tuple[str, ...] = (), is_open: bool = False
) -> Schema:
    """Return the schema of an object of these properties, and of no other unless `is_open`."""
    return {
        "type": "object",
        "required": [name for name in properties if name not in optional],
        "properties": properties,
        "additionalProperties": is_open,
    }


def _array_schema(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _record_schema(inputs: list[InputColumn], ignores_extra: bool) -> Schema:
    properties = {column.name: value_schema(column) for column in inputs}
    gaps = tuple(column.name for column in inputs if column.missing == "impute")
    text = "Values by their columns' names." + ignores_extra * " Other names are left out."
    return {**_object_schema(properties, optional=gaps, is_open=ignores_extra), "description": text}


def _row_schema(inputs: list[InputColumn]) -> Schema:
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


def _parameters_schema(outputs: list[str]) -> Schema:
    chosen = _array_schema({"enum": outputs}, minItems=1, uniqueItems=True)
    return _object_schema(
        {"outputs": {**chosen, "description": "Of the answer."}}, optional=("outputs",)
    )


def _rows_request_schema(model: str) -> Schema:
    instance = {"anyOf": [schema_reference(model, "record"), schema_reference(model, "row")]}
    return _object_schema(
        {"instances": _array_schema(instance), "parameters": schema_reference(model, "parameters")},
        optional=("parameters",),
    )


def _labels_schema(manifest: Manifest) -> Schema:
    labels: Schema = {"enum": list(manifest.classes or [])}
    if manifest.positive_class is not None:
        labels["description"] = (
            f"{manifest.positive_class} where its probability reaches the threshold, which "
            f"`GET /models/{manifest.name}` says."
        )
    return labels


def _probabilities_schema(manifest: Manifest) -> Schema:
    count = len(manifest.classes or [])
    return {
        **_array_schema(
            {"type": "number", "minimum": 0, "maximum": 1}, minItems=count, maxItems=count
        ),
        "description": "Of each class, in the order of `classes` in "
        f"`GET /models/{manifest.name}`.",
    }


def _value_schema(manifest: Manifest) -> Schema:
    if len(manifest.data.target) == 1:
        return {"type": "number"}
    return _array_schema({"type": "number"})


def _rows_answer_schema(manifest: Manifest) -> Schema:
    said: dict[str, Schema] = {
        "model": {"const": manifest.name},
        "version": {"type": "integer", "minimum": 1},
    }
    if manifest.classes is None:
        return _object_schema({**said, "predictions": _array_schema(_value_schema(manifest))})
    chosen: dict[str, Schema] = {
        "predictions": _array_schema(_labels_schema(manifest)),
        "probabilities": _array_schema(_probabilities_schema(manifest)),
    }
    return _object_schema({**said, **chosen}, optional=tuple(chosen))


def _tensorflow_request_schema(manifest: Manifest, ignores_extra: bool) -> Schema:
    name = manifest.name
    common: dict[str, Schema] = {
        "signature_name": {"const": "serving_default"},
        "parameters": schema_reference(name, "parameters"),
    }
    instances = _array_schema(
        {"anyOf": [schema_reference(name, "record"), schema_reference(name, "row")]}
    )
    if manifest.is_all_numeric:
        columns: Schema = {
            "anyOf": [
                _object_schema(
                    {FEATURES_INPUT: _array_schema(schema_reference(name, "row"))},
                    is_open=ignores_extra,
                ),
                _array_schema(schema_reference(name, "row")),
            ]
        }
    else:
        by_name = {column.name: _array_schema(value_schema(column)) for column in manifest.inputs}
        columns = {
            **_object_schema(by_name, is_open=ignores_extra),
            "description": "A list of values for each column, all of one length.",
        }
    return {
        "oneOf": [
            _object_schema({"instances": instances, **common}, optional=tuple(common)),
            _object_schema({"inputs": columns, **common}, optional=tuple(common)),
        ]
    }


def _tensorflow_answer_schema() -> Schema:
    return {
        "oneOf": [
            _object_schema({"predictions": _array_schema({})}),
            _object_schema({"outputs": {"type": ["array", "object"]}}),
        ],
        "description": "`predictions` of `instances`, `outputs` of `inputs`; several outputs by "
        "name, a single one without.",
    }


def _open_inference_request_schema(
    inputs: list[dict[str, Any]], outputs: list[dict[str, Any]], ignores_extra: bool
) -> Schema:
    wanted = _object_schema(
        {
            "name": {"enum": [tensor["name"] for tensor in outputs]},
            "parameters": _object_schema(
                {"binary_data": {"type": "boolean"}}, optional=("binary_data",)
            ),
        },
        optional=("parameters",),
    )
    taken: Schema = {
        "type": "array",
        "items": {"anyOf": [_input_tensor_schema(tensor) for tensor in inputs]},
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
    return _object_schema(
        {
            "id": {"type": "string", "maxLength": MAX_ID_CHARACTERS},
            "parameters": _object_schema(
                {"binary_data_output": {"type": "boolean"}}, optional=("binary_data_output",)
            ),
            "inputs": taken,
            "outputs": _array_schema(wanted),
        },
        optional=("id", "parameters", "outputs"),
    )


def _input_tensor_schema(tensor: dict[str, Any]) -> Schema:
    texts, width = tensor["datatype"] == "BYTES", tensor["shape"][-1]
    return _object_schema(
        {
            "name": {"const": tensor["name"]},
            "datatype": {"const": "BYTES"} if texts else {"enum": list(NUMERIC_DATATYPES)},
            "shape": {
                "type": "array",
                "prefixItems": [{"type": "integer", "minimum": 0}, {"const": width}],
                "items": False,
                "minItems": 2 if width > 1 else 1,
            },
            "data": _array_schema({}, description="Row-major, nested or flat."),
        }
    )


def _open_inference_answer_schema(outputs: list[dict[str, Any]]) -> Schema:
    tensors = [
        _object_schema(
            {
                "name": {"const": tensor["name"]},
                "datatype": {"const": tensor["datatype"]},
                "shape": _array_schema({"type": "integer"}),
                "data": _array_schema(SCHEMA_BY_DATATYPE[tensor["datatype"]]),
                "parameters": {"type": "object"},
            },
            optional=("data", "parameters"),
        )
        for tensor in outputs
    ]
    return _object_schema(
        {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "outputs": _array_schema({"anyOf": tensors}),
        },
        optional=("model_version", "id", "parameters"),
    )
