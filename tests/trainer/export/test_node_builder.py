import numpy as np

from trainer.export.node_builder import NodeBuilder


def test_node_builder_used_name_gets_an_underscore():
    graph = NodeBuilder(["W1", "label"])
    assert graph.add_constant("W1", np.zeros(1)) == "W1_"
    assert graph.add_node("Relu", ["x"], "W1") == "W1__"
    assert graph.add_node("Relu", ["x"], "a1") == "a1"
    assert [constant.name for constant in graph.constants] == ["W1_"]
    assert [node.name for node in graph.nodes] == ["Relu_W1__", "Relu_a1"]


def test_node_builder_output_node_keeps_reserved_name():
    graph = NodeBuilder(["label"])
    assert graph.add_output_node("Identity", ["x"], "label") == "label"
    assert list(graph.nodes[0].output) == ["label"]


def test_node_builder_shared_constant_is_added_once():
    graph = NodeBuilder([])
    names = {graph.add_shared_constant("zero", np.array(0)) for _ in range(3)}
    assert names == {"zero"}
    assert len(graph.constants) == 1


def test_node_builder_concatenate_single_value_adds_no_node():
    graph = NodeBuilder([])
    assert graph.concatenate(["x"], "joined") == "x"
    assert graph.nodes == []
    assert graph.concatenate(["x", "y"], "joined") == "joined"
    assert list(graph.nodes[0].input) == ["x", "y"]
