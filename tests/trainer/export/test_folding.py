import numpy as np
import pytest

from trainer.export.folding import Affine, Average, Lookup, Scale, fold_network
from trainer.nn import BatchNorm, Dense, Dropout, Embedding, Members, Network


def create_layers(layers, n_inputs=3):
    return Network(n_inputs, layers, rng=np.random.default_rng(0)).layers


def test_fold_network_dropout_is_left_out():
    operations = fold_network(create_layers([Dense(4, "relu"), Dropout(0.5), Dense(2)]))
    assert [type(operation) for operation in operations] == [Affine, Affine]


def test_fold_network_batch_norm_after_dense_is_merged(rng):
    dense, norm = create_layers([Dense(4), BatchNorm("relu")])
    norm.mean[...], norm.variance[...] = rng.normal(size=4), rng.uniform(0.5, 2, 4)
    (operation,) = fold_network([dense, norm])
    x = rng.normal(size=(5, 3))
    normalized = (x @ dense.W + dense.b - norm.mean) / np.sqrt(norm.variance + norm.epsilon)
    np.testing.assert_allclose(
        x @ operation.W + operation.b, normalized * norm.gamma + norm.beta, atol=1e-6
    )
    assert operation.activation.name == "relu"


@pytest.mark.parametrize("layers", [[BatchNorm()], [Dense(4, "tanh"), BatchNorm()]], ids=str)
def test_fold_network_batch_norm_not_after_linear_dense_is_a_scale(layers):
    assert isinstance(fold_network(create_layers(layers))[-1], Scale)


def test_fold_network_embedding_is_a_lookup():
    lookup, _ = fold_network(create_layers([Embedding([5], [2]), Dense(1)]))
    assert isinstance(lookup, Lookup)
    assert lookup.n_passed == 2
    assert [table.shape for table in lookup.tables] == [(5, 2)]


def test_fold_network_members_are_an_average_of_folded_layers():
    members = [[Dense(4), BatchNorm("relu"), Dropout(0.5), Dense(1)] for _ in range(2)]
    (average,) = fold_network(create_layers([Members(*members)]))
    assert isinstance(average, Average)
    for operations, member in zip(average.members, members, strict=True):
        assert [type(operation) for operation in operations] == [Affine, Affine]
        np.testing.assert_array_equal(operations[1].W, member[3].W)


def test_fold_network_unknown_layer_is_refused():
    with pytest.raises(TypeError, match="expected a layer that can be exported; got 'layer'"):
        fold_network(["layer"])
