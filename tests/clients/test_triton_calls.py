"""Every call of Triton's HTTP client: what it gets is what docs/serving.md says."""

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

from benchmarks.keys import HEADERS
from tests.clients.graph import Graph, same

pytestmark = pytest.mark.clients

PAGE = Path(__file__).parent.parent.parent / "docs" / "serving.md"
LEVEL = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
}

STATUSES = ("400", "404", "415", "422", "503")  # the last of a server that has no model


class Refused(str):
    """What the reason of a refusal contains."""


def tensors(inputs, binary=True):
    (array,) = inputs.values()
    tensor = triton.InferInput("features", list(array.shape), "FP32")
    tensor.set_data_from_numpy(array, binary_data=binary)
    return [tensor]


def shared_tensors():
    tensor = triton.InferInput("features", [1, 64], "FP32")
    tensor.set_shared_memory("mine", 256)
    return [tensor]


def shared_output():
    output = triton.InferRequestedOutput("label")
    output.set_shared_memory("mine", 8)
    return [output]


def is_of(**expected):
    """A check that an answer has these values."""
    return lambda answer: {name: answer[name] for name in expected} == expected


def counts(rows, success):
    def check(answer):
        (found,) = answer["model_stats"]
        return (found["inference_count"], found["inference_stats"]["success"]["count"]) == (
            rows,
            success,
        )

    return check


def calls(inputs):
    """Each call, its arguments, and what it gets: a value, a check, or a refusal.

    They are made in this order, on a server that has not been asked before.
    """
    digits = {"model_name": "digits"}
    asked = digits | {"inputs": tensors(inputs)}
    regions = [
        ("system", {"key": "/mine", "byte_size": 8}),
        ("cuda", {"raw_handle": b"AA==", "device_id": 0, "byte_size": 8}),
    ]
    return [
        ("is_server_live", {}, True),
        ("is_server_ready", {}, True),
        ("is_model_ready", digits, True),
        ("is_model_ready", {"model_name": "letters"}, False),
        ("get_server_metadata", {}, is_of(name="forwardpass")),
        ("get_server_metadata", {"query_params": {"a": 1, "b": [2]}}, is_of(name="forwardpass")),
        (
            "get_model_metadata",
            digits | {"model_version": "1"},
            is_of(name="digits"),
        ),
        ("get_model_config", digits, is_of(name="digits", dynamic_batching={})),
        ("get_model_config", digits | {"model_version": "7"}, Refused("got 7")),
        ("get_model_repository_index", {}, lambda answer: answer[0]["state"] == "READY"),
        ("get_inference_statistics", digits, counts(0, 0)),
        ("infer", asked, "answer"),
        ("infer", asked | {"request_id": "seven", "model_version": "1"}, "answer"),
        ("infer", asked | {"inputs": tensors(inputs, binary=False)}, "answer"),
        ("infer", asked | {"query_params": {"a": "b"}, "headers": {"X-Mine": "1"}}, "answer"),
        (
            "infer",
            asked | {"sequence_id": 7, "sequence_start": True, "sequence_end": True},
            "answer",
        ),
        ("infer", asked | {"sequence_id": "seven", "priority": 2, "timeout": 9}, "answer"),
        ("infer", asked | {"parameters": {"mine": 1, "yours": "text"}}, "answer"),
        ("infer", asked | {"request_compression_algorithm": "gzip"}, "answer"),
        ("infer", asked | {"response_compression_algorithm": "gzip"}, "answer"),
        ("infer", asked | {"response_compression_algorithm": "deflate"}, "answer"),
        ("infer", asked | {"request_compression_algorithm": "deflate"}, Refused("got 'deflate'")),
        ("infer", asked | {"inputs": shared_tensors()}, Refused("shared memory region")),
        ("infer", asked | {"outputs": shared_output()}, Refused("shared memory region")),
        (
            "infer",
            asked | {"outputs": [triton.InferRequestedOutput("probabilities", class_count=3)]},
            Refused('ask for "probabilities" and sort them'),
        ),
        ("async_infer", asked, "answer"),
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
            Refused("this server keeps no traces"),
        ),
        ("get_log_settings", {}, LEVEL),
        ("update_log_settings", {"settings": {"log_info": True}}, LEVEL),
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
            Refused("put a new version into the folder"),
        ),
        ("load_model", {"model_name": "letters"}, Refused("got 'letters'")),
        ("unload_model", digits, None),
        ("is_model_ready", digits, False),
        ("infer", asked, Refused("expected a model")),
        ("load_model", digits, None),
        ("unload_model", digits | {"unload_dependents": True}, None),
        ("load_model", digits, None),
        ("is_model_ready", digits, True),
    ]


def check(name, arguments, expected, answer, graph, inputs):
    said = (name, arguments, answer)
    if expected == "answer":
        names = [output.name for output in graph.session.get_outputs()]
        same({name: answer.as_numpy(name) for name in names}, graph.answers(inputs))
        assert answer.get_response().get("id") == arguments.get("request_id"), said
    elif callable(expected):
        assert expected(answer), said
    else:
        assert answer == expected, said


def documented():
    """The outcome of each call, by name, as the page has it."""
    section = PAGE.read_text().split("## Triton's client")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) \| (\w+) \|", section, re.MULTILINE)
    return {name: outcome for names, outcome in rows for name in re.findall(r"`(\w+)`", names)}


def methods(client):
    return {name for name, _ in inspect.getmembers(client) if not name.startswith("_")}


def test_the_page_names_every_call_of_both_clients():
    assert set(documented()) == methods(triton.InferenceServerClient)
    assert methods(triton_aio.InferenceServerClient) <= set(documented())


def test_every_call_is_tried_and_expected_to_get_what_the_page_says():
    expected = {}
    for name, _, outcome in calls({"features": np.zeros((1, 64), np.float32)}):
        expected.setdefault(name, []).append(outcome)
    page = documented()
    assert set(expected) == {name for name, outcome in page.items() if outcome != "local"}
    for name, outcomes in expected.items():
        answers = [outcome for outcome in outcomes if not isinstance(outcome, Refused)]
        assert answers or page[name] == "refused", name
        assert page[name] != "refused" or len(answers) < len(outcomes), name
        assert page[name] != "empty" or answers in ([[]], [None, None]), name


def test_every_call_of_the_client_gets_what_is_documented(keyed):
    graph = Graph(keyed.models)
    inputs = graph.rows(2)
    with triton.InferenceServerClient(keyed.address) as client:
        for name, arguments, expected in calls(inputs):
            headers = HEADERS | arguments.get("headers", {})
            call = getattr(client, name)
            if isinstance(expected, Refused):
                with pytest.raises(InferenceServerException, match=re.escape(expected)) as refusal:
                    call(**arguments | {"headers": headers})
                assert refusal.value.status() in STATUSES, (name, refusal.value)
                continue
            answer = call(**arguments | {"headers": headers})
            if name == "async_infer":
                answer = answer.get_result()
            check(name, arguments, expected, answer, graph, inputs)


def test_every_call_of_the_asynchronous_client_gets_what_is_documented(keyed):
    graph = Graph(keyed.models)
    inputs = graph.rows(2)

    async def make():
        async with triton_aio.InferenceServerClient(keyed.address) as client:
            for name, arguments, expected in calls(inputs):
                headers = HEADERS | arguments.get("headers", {})
                call = getattr(client, name if name != "async_infer" else "infer")
                if isinstance(expected, Refused):
                    with pytest.raises(InferenceServerException, match=re.escape(expected)):
                        await call(**arguments | {"headers": headers})
                    continue
                answer = await call(**arguments | {"headers": headers})
                check(name, arguments, expected, answer, graph, inputs)

    asyncio.run(make())


def test_a_body_made_by_the_client_is_answered_with_one_that_it_reads(digits):
    graph = Graph(digits.models)
    inputs = graph.rows(2)
    body, json_bytes = triton.InferenceServerClient.generate_request_body(tensors(inputs))
    headers = {"Inference-Header-Content-Length": str(json_bytes)}
    answer = requests.post(
        f"{digits.url}/v2/models/digits/infer", data=body, headers=headers, timeout=120
    )
    said = triton.InferenceServerClient.parse_response_body(
        answer.content, header_length=int(answer.headers["Inference-Header-Content-Length"])
    )
    check("infer", {}, "answer", said, graph, inputs)


class KeyPlugin(triton.InferenceServerClientPlugin):
    """Sends a key with each request."""

    def __call__(self, request):
        request.headers.update(HEADERS)


def test_a_plugin_can_send_the_key(keyed):
    with triton.InferenceServerClient(keyed.address) as client:
        with pytest.raises(InferenceServerException, match="expected a key"):
            client.get_server_metadata()
        client.register_plugin(KeyPlugin())
        assert isinstance(client.plugin(), KeyPlugin)
        assert client.get_server_metadata()["name"] == "forwardpass"
        client.unregister_plugin()
