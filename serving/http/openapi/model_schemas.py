"""JSON Schemas of a model's requests and answers, in every protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serving.bundle import FEATURES_INPUT, InputColumn, Manifest
from serving.codec.open_inference_request import MAX_ID_CHARACTERS
from serving.http.openapi.column_schemas import build_value_schema
from serving.inference.predictor import TensorMetadata, build_tensor_metadata

Schema = dict[str, Any]

# JSON values of each datatype of the Open Inference Protocol that a graph's outputs can have.
SCHEMA_BY_DATATYPE: dict[str, Schema] = {
    "FP32": {"type": ["number", "null"]},
    "FP64": {"type": ["number", "null"]},
    "INT64": {"type": "integer"},
    "BYTES": {"type": "string"},
}
# Datatypes of the Open Inference Protocol that a numeric input accepts.
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


def build_schema_reference(model: str, part: str) -> Schema:
    """Return a reference to a schema of a model.

    Args:
        model: Name of the model.
        part: Name of the schema without the model's name, for example `record`.
    """
    return {"$ref": f"#/components/schemas/{model}.{part}"}


def build_model_schemas(manifest: Manifest, *, ignores_extra: bool = False) -> dict[str, Schema]:
    """Return the schemas of one model, by name: `MODEL.PART`, for example `digits.record`.

    Args:
        manifest: Manifest of the model.
        ignores_extra: Whether a request may name columns that the model does not have.
    """
    name = manifest.name
    tensors = build_tensor_metadata(manifest)
    inputs, outputs = tensors["inputs"], tensors["outputs"]
    parts = {
        "record": _build_record_schema(manifest.inputs, ignores_extra),
        "row": _build_row_schema(manifest.inputs),
        "parameters": _build_parameters_schema([tensor["name"] for tensor in outputs]),
        "rows": _build_rows_request_schema(name),
        "answers": _build_rows_answer_schema(manifest),
        "tensorflow": _build_tensorflow_request_schema(manifest, ignores_extra),
        "predictions": _build_tensorflow_answer_schema(),
        "tensors": _build_open_inference_request_schema(inputs, outputs, ignores_extra),
        "outputs": _build_open_inference_answer_schema(outputs),
    }
    return {f"{name}.{part}": schema for part, schema in parts.items()}


def _build_object_schema(
    properties: dict[str, Schema], *, optional: tuple[str, ...] = (), is_open: bool = False
) -> Schema:
    """Return the schema of an object with these properties; others are refused if not `is_open`."""
    return {
        "type": "object",
        "required": [name for name in properties if name not in optional],
        "properties": properties,
        "additionalProperties": is_open,
    }


def _build_array_schema(items: Schema, **keywords: Any) -> Schema:
    return {"type": "array", "items": items, **keywords}


def _build_record_schema(inputs: list[InputColumn], ignores_extra: bool) -> Schema:
    properties = {column.name: build_value_schema(column) for column in inputs}
    optional = tuple(column.name for column in inputs if column.missing == "impute")
    text = "Values by column name." + ignores_extra * " Other names are ignored."
    return {
        **_build_object_schema(properties, optional=optional, is_open=ignores_extra),
        "description": text,
    }


def _build_row_schema(inputs: list[InputColumn]) -> Schema:
    count = len(inputs)
    values = [build_value_schema(column) for column in inputs]
    for value in values:
        value.pop("description", None)  # the schema of the record has it
    are_equal = all(value == values[0] for value in values)
    items: Schema = {"items": values[0]} if are_equal else {"prefixItems": values, "items": False}
    return {
        "type": "array",
        **items,
        "minItems": count,
        "maxItems": count,
        "description": "Values in the order of the columns.",
    }


def _build_parameters_schema(outputs: list[str]) -> Schema:
    chosen = _build_array_schema({"enum": outputs}, minItems=1, uniqueItems=True)
    return _build_object_schema(
        {"outputs": {**chosen, "description": "Names of the outputs in the answer."}},
        optional=("outputs",),
    )


def _build_rows_request_schema(model: str) -> Schema:
    instance = {
        "anyOf": [build_schema_reference(model, "record"), build_schema_reference(model, "row")]
    }
    return _build_object_schema(
        {
            "instances": _build_array_schema(instance),
            "parameters": build_schema_reference(model, "parameters"),
        },
        optional=("parameters",),
    )


def _build_labels_schema(manifest: Manifest) -> Schema:
    labels: Schema = {"enum": list(manifest.classes or [])}
    if manifest.positive_class is not None:
        labels["description"] = (
            f"{manifest.positive_class} if its probability reaches the threshold that "
            f"`GET /models/{manifest.name}` shows."
        )
    return labels


def _build_probabilities_schema(manifest: Manifest) -> Schema:
    count = len(manifest.classes or [])
    return {
        **_build_array_schema(
            {"type": "number", "minimum": 0, "maximum": 1}, minItems=count, maxItems=count
        ),
        "description": "Probability of each class, in the order of `classes` in "
        f"`GET /models/{manifest.name}`.",
    }


def _build_regression_schema(manifest: Manifest) -> Schema:
    if len(manifest.data.target) == 1:
        return {"type": "number"}
    return _build_array_schema({"type": "number"})


def _build_rows_answer_schema(manifest: Manifest) -> Schema:
    common: dict[str, Schema] = {
        "model": {"const": manifest.name},
        "version": {"type": "integer", "minimum": 1},
    }
    if manifest.classes is None:
        return _build_object_schema(
            {**common, "predictions": _build_array_schema(_build_regression_schema(manifest))}
        )
    optional: dict[str, Schema] = {
        "predictions": _build_array_schema(_build_labels_schema(manifest)),
        "probabilities": _build_array_schema(_build_probabilities_schema(manifest)),
    }
    return _build_object_schema({**common, **optional}, optional=tuple(optional))


def _build_tensorflow_request_schema(manifest: Manifest, ignores_extra: bool) -> Schema:
    name = manifest.name
    common: dict[str, Schema] = {
        "signature_name": {"const": "serving_default"},
        "parameters": build_schema_reference(name, "parameters"),
    }
    instances = _build_array_schema(
        {"anyOf": [build_schema_reference(name, "record"), build_schema_reference(name, "row")]}
    )
    if manifest.is_all_numeric:
        columns: Schema = {
            "anyOf": [
                _build_object_schema(
                    {FEATURES_INPUT: _build_array_schema(build_schema_reference(name, "row"))},
                    is_open=ignores_extra,
                ),
                _build_array_schema(build_schema_reference(name, "row")),
            ]
        }
    else:
        by_name = {
            column.name: _build_array_schema(build_value_schema(column))
            for column in manifest.inputs
        }
        columns = {
            **_build_object_schema(by_name, is_open=ignores_extra),
            "description": "A list of values for each column, all of the same length.",
        }
    return {
        "oneOf": [
            _build_object_schema({"instances": instances, **common}, optional=tuple(common)),
            _build_object_schema({"inputs": columns, **common}, optional=tuple(common)),
        ]
    }


def _build_tensorflow_answer_schema() -> Schema:
    return {
        "oneOf": [
            _build_object_schema({"predictions": _build_array_schema({})}),
            _build_object_schema({"outputs": {"type": ["array", "object"]}}),
        ],
        "description": "`predictions` if the request has `instances`, `outputs` for `inputs`. "
        "Several outputs are an object by name; a single output stands by itself.",
    }


def _build_open_inference_request_schema(
    inputs: Sequence[TensorMetadata], outputs: Sequence[TensorMetadata], ignores_extra: bool
) -> Schema:
    requested_output = _build_object_schema(
        {
            "name": {"enum": [tensor["name"] for tensor in outputs]},
            "parameters": _build_object_schema(
                {"binary_data": {"type": "boolean"}}, optional=("binary_data",)
            ),
        },
        optional=("parameters",),
    )
    input_tensors: Schema = {
        "type": "array",
        "items": {"anyOf": [_build_input_tensor_schema(tensor) for tensor in inputs]},
        "minItems": len(inputs),
    }
    if ignores_extra:
        names = {"enum": [tensor["name"] for tensor in inputs]}
        other = {"type": "string", "not": names, "description": "An input that is ignored."}
        input_tensors["items"]["anyOf"].append(
            {"type": "object", "required": ["name"], "properties": {"name": other}}
        )
    else:
        input_tensors["maxItems"] = len(inputs)
    return _build_object_schema(
        {
            "id": {"type": "string", "maxLength": MAX_ID_CHARACTERS},
            "parameters": _build_object_schema(
                {"binary_data_output": {"type": "boolean"}}, optional=("binary_data_output",)
            ),
            "inputs": input_tensors,
            "outputs": _build_array_schema(requested_output),
        },
        optional=("id", "parameters", "outputs"),
    )


def _build_input_tensor_schema(tensor: TensorMetadata) -> Schema:
    is_text, width = tensor["datatype"] == "BYTES", tensor["shape"][-1]
    return _build_object_schema(
        {
            "name": {"const": tensor["name"]},
            "datatype": {"const": "BYTES"} if is_text else {"enum": list(NUMERIC_DATATYPES)},
            "shape": {
                "type": "array",
                "prefixItems": [{"type": "integer", "minimum": 0}, {"const": width}],
                "items": False,
                "minItems": 2 if width > 1 else 1,
            },
            "data": _build_array_schema(
                {}, description="Values in row-major order, nested or flat."
            ),
        }
    )


def _build_open_inference_answer_schema(outputs: Sequence[TensorMetadata]) -> Schema:
    tensors = [
        _build_object_schema(
            {
                "name": {"const": tensor["name"]},
                "datatype": {"const": tensor["datatype"]},
                "shape": _build_array_schema({"type": "integer"}),
                "data": _build_array_schema(SCHEMA_BY_DATATYPE[tensor["datatype"]]),
                "parameters": {"type": "object"},
            },
            optional=("data", "parameters"),
        )
        for tensor in outputs
    ]
    return _build_object_schema(
        {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "outputs": _build_array_schema({"anyOf": tensors}),
        },
        optional=("model_version", "id", "parameters"),
    )
