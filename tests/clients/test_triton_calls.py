"""Every call of Triton's HTTP clients: its outcome is the one documented in docs/requests.md."""

import asyncio
import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import requests
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from benchmarks.admin_key import ADMIN_HEADERS
from tests.clients.graph import Graph, assert_same_outputs

pytestmark = pytest.mark.clients

PAGE = Path(__file__).parent.parent.parent / "docs" / "requests.md"
LOG_SETTINGS = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
}

REFUSAL_STATUSES = ("400", "404", "415", "422", "503")  # 503: no model is loaded.


class Refused(str):
    """An expected refusal: a part of its message."""


def create_tensors(inputs, is_binary=True):
    (array,) = inputs.values()
    tensor = triton.InferInput("features", list(array.shape), "FP32")
    tensor.set_data_from_numpy(array, binary_data=is_binary)
    return [tensor]


def create_shared_memory_tensors():
    tensor = triton.InferInput("features", [1, 64], "FP32")
    tensor.set_shared_memory("mine", 256)
    return [tensor]


def create_shared_memory_outputs():
    output = triton.InferRequestedOutput("label")
    output.set_shared_memory("mine", 8)
    return [output]


def contains(**expected):
    """Return a check that an answer has these values."""
    return lambda answer: {name: answer[name] for name in expected} == expected


def has_counts(rows, successes):
    """Return a check that statistics have these numbers of rows and of answered requests."""

    def check(answer):
        (model,) = answer["model_stats"]
        counts = (model["inference_count"], model["inference_stats"]["success"]["count"])
        return counts == (rows, successes)

    return check


def list_calls(inputs):
    """Return each call, its arguments, and its outcome: a value, a check, or a refusal.

    The calls are made in this order, on a server without any earlier requests.
    """
    digits = {"model_name": "digits"}
    infer = digits | {"inputs": create_tensors(inputs)}
    regions = [
        ("system", {"key": "/mine", "byte_size": 8}),
        ("cuda", {"raw_handle": b"AA==", "device_id": 0, "byte_size": 8}),
    ]
    return [
        ("is_server_live", {}, True),
        ("is_server_ready", {}, True),
        ("is_model_ready", digits, True),
        ("is_model_ready", {"model_name": "letters"}, False),
        ("get_server_metadata", {}, contains(name="forwardpass")),
        ("get_server_metadata", {"query_params": {"a": 1, "b": [2]}}, contains(name="forwardpass")),
        (
            "get_model_metadata",
            digits | {"model_version": "1"},
            contains(name="digits"),
        ),
        ("get_model_config", digits, contains(name="digits", dynamic_batching={})),
        ("get_model_config", digits | {"model_version": "7"}, Refused("got 7")),
        ("get_model_repository_index", {}, lambda answer: answer[0]["state"] == "READY"),
        ("get_inference_statistics", digits, has_counts(0, 0)),
        ("infer", infer, "answer"),
        ("infer", infer | {"request_id": "seven", "model_version": "1"}, "answer"),
        ("infer", infer | {"inputs": create_tensors(inputs, is_binary=False)}, "answer"),
        ("infer", infer | {"query_params": {"a": "b"}, "headers": {"X-Mine": "1"}}, "answer"),
        (
            "infer",
            infer | {"sequence_id": 7, "sequence_start": True, "sequence_end": True},
            "answer",
        ),
        ("infer", infer | {"sequence_id": "seven", "priority": 2, "timeout": 9}, "answer"),
        ("infer", infer | {"parameters": {"mine": 1, "yours": "text"}}, "answer"),
        ("infer", infer | {"request_compression_algorithm": "gzip"}, "answer"),
        ("infer", infer | {"response_compression_algorithm": "gzip"}, "answer"),
        ("infer", infer | {"response_compression_algorithm": "deflate"}, "answer"),
        ("infer", infer | {"request_compression_algorithm": "deflate"}, Refused("got 'deflate'")),
        (
            "infer",
            infer | {"inputs": create_shared_memory_tensors()},
            Refused("shared memory region"),
        ),
        (
            "infer",
            infer | {"outputs": create_shared_memory_outputs()},
            Refused("shared memory region"),
        ),
        (
            "infer",
            infer | {"outputs": [triton.InferRequestedOutput("probabilities", class_count=3)]},
            Refused('ask for "probabilities" and sort them'),
        ),
        ("async_infer", infer, "answer"),
        ("get_inference_statistics", {}, lambda answer: len(answer["model_stats"]) == 1),
        (
            "get_inference_statistics",
            digits | {"model_version": "1"},
            lambda answer: answer["model_stats"][0]["inference_stats"]["fail"]["count"] == 4,
        ),
        ("get_inference_statistics", {"model_name": "letters"}, Refused("got 'letters'")),
        ("get_trace_settings", {}, {"trace_level": ["OFF"]}),
        ("get_trace_settings", digits, {"trace_level": ["OFF"]}),
        ("update_trace_settings", {"settings": {"trace_level": None}}, {"trace_level": ["OFF"]}),
        (
            "update_trace_settings",
            digits | {"settings": {"trace_level": ["TIMESTAMPS"]}},
            Refused("this server records no traces"),
        ),
        ("get_log_settings", {}, LOG_SETTINGS),
        ("update_log_settings", {"settings": {"log_info": True}}, LOG_SETTINGS),
        ("update_log_settings", {"settings": {"log_verbose_level": 1}}, Refused("--log-level")),
        *[
            call
            for kind, region in regions
            for call in (
                (f"get_{kind}_shared_memory_status", {}, []),
                (f"get_{kind}_shared_memory_status", {"region_name": "mine"}, Refused("mine")),
                (f"register_{kind}_shared_memory", {"name": "mine"} | region, Refused("binary")),
                (f"unregister_{kind}_shared_memory", {"name": "mine"}, None),
                (f"unregister_{kind}_shared_memory", {}, None),
            )
        ],
        ("load_model", digits | {"config": "{}"}, Refused("'config'")),
        (
            "load_model",
            digits | {"config": "{}", "files": {"file:1/model.onnx": b"x"}},
            Refused("add a new version to the folder"),
        ),
        ("load_model", {"model_name": "letters"}, Refused("got 'letters'")),
        ("unload_model", digits, None),
        ("is_model_ready", digits, False),
        ("infer", infer, Refused("expected a model")),
        ("load_model", digits, None),
        ("unload_model", digits | {"unload_dependents": True}, None),
        ("load_model", digits, None),
        ("is_model_ready", digits, True),
    ]


def check_answer(name, arguments, expected, answer, graph, inputs):
    """Assert that a call has the expected outcome, which is not a refusal."""
    context = (name, arguments, answer)
    if expected == "answer":
        names = [output.name for output in graph.session.get_outputs()]
        outputs = {name: answer.as_numpy(name) for name in names}
        assert_same_outputs(outputs, graph.run(inputs))
        assert answer.get_response().get("id") == arguments.get("request_id"), context
    elif callable(expected):
        assert expected(answer), context
    else:
        assert answer == expected, context


def read_documented_outcomes():
    """Return the outcome of each call by name, as the page documents it."""
    section = PAGE.read_text().split("## Triton's client")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) \| (\w+) \|", section, re.MULTILINE)
    return {name: outcome for names, outcome in rows for name in re.findall(r"`(\w+)`", names)}


def list_methods(client):
    return {name for name, _ in inspect.getmembers(client) if not name.startswith("_")}


def test_documentation_names_every_call_of_both_clients():
    assert set(read_documented_outcomes()) == list_methods(triton.InferenceServerClient)
    assert list_methods(triton_aio.InferenceServerClient) <= set(read_documented_outcomes())


def test_list_calls_covers_every_documented_call_and_outcome():
    expected = {}
    for name, _, outcome in list_calls({"features": np.zeros((1, 64), np.float32)}):
        expected.setdefault(name, []).append(outcome)
    documented = read_documented_outcomes()
    assert set(expected) == {name for name, outcome in documented.items() if outcome != "local"}
    for name, outcomes in expected.items():
        answers = [outcome for outcome in outcomes if not isinstance(outcome, Refused)]
        assert answers or documented[name] == "refused", name
        assert documented[name] != "refused" or len(answers) < len(outcomes), name
        assert documented[name] != "empty" or answers in ([[]], [None, None]), name


def test_triton_client_every_call_has_its_documented_outcome(keyed):
    graph = Graph(keyed.models)
    inputs = graph.create_inputs(2)
    with triton.InferenceServerClient(keyed.address) as client:
        for name, arguments, expected in list_calls(inputs):
            headers = ADMIN_HEADERS | arguments.get("headers", {})
            call = getattr(client, name)
            if isinstance(expected, Refused):
                with pytest.raises(InferenceServerException, match=re.escape(expected)) as refusal:
                    call(**arguments | {"headers": headers})
                assert refusal.value.status() in REFUSAL_STATUSES, (name, refusal.value)
                continue
            answer = call(**arguments | {"headers": headers})
            if name == "async_infer":
                answer = answer.get_result()
            check_answer(name, arguments, expected, answer, graph, inputs)


def test_triton_asynchronous_client_every_call_has_its_documented_outcome(keyed):
    graph = Graph(keyed.models)
    inputs = graph.create_inputs(2)

    async def make_calls():
        async with triton_aio.InferenceServerClient(keyed.address) as client:
            for name, arguments, expected in list_calls(inputs):
                headers = ADMIN_HEADERS | arguments.get("headers", {})
                call = getattr(client, name if name != "async_infer" else "infer")
                if isinstance(expected, Refused):
                    with pytest.raises(InferenceServerException, match=re.escape(expected)):
                        await call(**arguments | {"headers": headers})
                    continue
                answer = await call(**arguments | {"headers": headers})
                check_answer(name, arguments, expected, answer, graph, inputs)

    asyncio.run(make_calls())


def test_triton_client_generated_body_gets_an_answer_that_it_can_parse(digits):
    graph = Graph(digits.models)
    inputs = graph.create_inputs(2)
    body, json_bytes = triton.InferenceServerClient.generate_request_body(create_tensors(inputs))
    headers = {"Inference-Header-Content-Length": str(json_bytes)}
    answer = requests.post(
        f"{digits.url}/v2/models/digits/infer", data=body, headers=headers, timeout=120
    )
    parsed = triton.InferenceServerClient.parse_response_body(
        answer.content, header_length=int(answer.headers["Inference-Header-Content-Length"])
    )
    check_answer("infer", {}, "answer", parsed, graph, inputs)


class KeyPlugin(triton.InferenceServerClientPlugin):
    """A plugin that adds the key to each request."""

    def __call__(self, request):
        request.headers.update(ADMIN_HEADERS)


def test_triton_client_plugin_can_send_the_key(keyed):
    with triton.InferenceServerClient(keyed.address) as client:
        with pytest.raises(InferenceServerException, match="expected a key"):
            client.get_server_metadata()
        client.register_plugin(KeyPlugin())
        assert isinstance(client.plugin(), KeyPlugin)
        assert client.get_server_metadata()["name"] == "forwardpass"
        client.unregister_plugin()
