"""Pairing: which loss goes with which activation of the last layer."""

from __future__ import annotations

from trainer.nn.losses.loss import Loss


def check_pairing(loss: Loss, activation: str) -> None:
    """Refuse a loss that does not fit the activation of the last layer, and name what does.

    Args:
        loss: takes the last layer's outputs.
        activation: the last layer's.

    Raises:
        ValueError: they do not fit.
    """
    if activation == "identity":
        return
    if loss.link != "identity":
        raise ValueError(
            f"expected logits for the loss {loss.name}, whose {loss.link} is applied inside it; "
            f"got a last layer with {activation}; leave its activation out"
        )
    if activation == "sigmoid":
        raise ValueError(
            f"expected a loss of probabilities after sigmoid; got {loss.name}, whose gradient "
            f"vanishes where sigmoid saturates; for classes use binary_cross_entropy and leave the "
            f"last activation out, for values leave it out"
        )
