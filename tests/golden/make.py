"""Writes torch.json: what PyTorch computes, for the tests to compare with.

PyTorch is no dependency of the tests. To make the file anew, in an environment of its own:

    python -m venv /tmp/torch && /tmp/torch/bin/pip install torch==2.13.0 numpy
    /tmp/torch/bin/python tests/golden/make.py
"""

import json
from pathlib import Path

import torch
from torch.nn import functional

torch.set_default_dtype(torch.float64)
STEPS = 10


def optimizers():
    """Ten steps on a bowl of uneven curvature."""
    start = torch.linspace(-2, 3, 7)
    curvature = torch.logspace(-1, 1, 7)
    made = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
        "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8),
        "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.8, nesterov=True),
        "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.05, alpha=0.9, eps=1e-8),
        "adam": lambda p: torch.optim.Adam(p, lr=0.05, betas=(0.8, 0.95), eps=1e-6),
        "adamw": lambda p: torch.optim.AdamW(
            p, lr=0.05, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1
        ),
        "nadam": lambda p: torch.optim.NAdam(
            p, lr=0.05, betas=(0.8, 0.95), eps=1e-6, momentum_decay=0.01
        ),
    }
    paths = {}
    for name, make in made.items():
        theta = start.clone().requires_grad_()
        optimizer, path = make([theta]), []
        for _ in range(STEPS):
            theta.grad = (curvature * theta).detach()
            optimizer.step()
            path.append(theta.tolist())
        paths[name] = path
    return {"start": start.tolist(), "curvature": curvature.tolist(), "paths": paths}


def activations():
    """Values and slopes."""
    z = torch.linspace(-6, 6, 25).requires_grad_()
    functions = {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "softplus": functional.softplus,
        "relu": torch.relu,
        "leaky_relu": lambda x: functional.leaky_relu(x, 0.01),
        "elu": functional.elu,
        "gelu": functional.gelu,
        "selu": functional.selu,
        "swish": functional.silu,
    }
    found = {}
    for name, function in functions.items():
        a = function(z)
        (slope,) = torch.autograd.grad(a.sum(), z)
        found[name] = {"value": a.tolist(), "slope": slope.tolist()}
    return {"z": z.tolist(), "functions": found}


def losses():
    """Means over a batch, with and without weights, and their gradients."""
    torch.manual_seed(0)
    logits = torch.randn(6, 4).requires_grad_()
    values, counts = torch.randn(6, 4) * 2, torch.poisson(torch.full((6, 4), 2.0))
    marks, classes = (torch.rand(6, 4) > 0.5).double(), torch.tensor([0, 3, 1, 2, 2, 0])
    weights = torch.tensor([1.0, 0.5, 2.0, 0.0, 1.5, 3.0])
    rows = {
        "mse": ((logits - values) ** 2).mean(1),
        "mae": (logits - values).abs().mean(1),
        "huber": functional.huber_loss(logits, values, reduction="none", delta=0.7).mean(1),
        "poisson": functional.poisson_nll_loss(logits, counts, reduction="none").mean(1),
        "binary_cross_entropy": functional.binary_cross_entropy_with_logits(
            logits, marks, reduction="none"
        ).mean(1),
        "categorical_cross_entropy": functional.cross_entropy(logits, classes, reduction="none"),
        "smoothed": functional.cross_entropy(
            logits, classes, reduction="none", label_smoothing=0.1
        ),
    }
    found = {}
    for name, row in rows.items():
        for kind, mean in (
            ("plain", row.mean()),
            ("weighted", (row * weights).sum() / weights.sum()),
        ):
            (gradient,) = torch.autograd.grad(mean, logits, retain_graph=True)
            found[f"{name} {kind}"] = {"value": mean.item(), "gradient": gradient.tolist()}
    return {
        "logits": logits.tolist(),
        "values": values.tolist(),
        "counts": counts.tolist(),
        "marks": marks.tolist(),
        "classes": classes.tolist(),
        "weights": weights.tolist(),
        "losses": found,
    }


def batch_norm():
    """Two batches through one layer, then an answer; running variance unbiased, as there."""
    torch.manual_seed(1)
    layer = torch.nn.BatchNorm1d(3, eps=1e-5, momentum=0.1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.5, -0.5, 2.0]))
        layer.bias.copy_(torch.tensor([0.1, 0.2, -0.3]))
    batches = [torch.randn(5, 3) * 3 + 1, torch.randn(7, 3)]
    flow = torch.randn(7, 3)
    layer(batches[0])
    x = batches[1].clone().requires_grad_()
    out = layer(x)
    gradients = torch.autograd.grad((out * flow).sum(), [x, layer.weight, layer.bias])
    layer.eval()
    return {
        "first": batches[0].tolist(),
        "second": batches[1].tolist(),
        "flow": flow.tolist(),
        "out": out.tolist(),
        "dx": gradients[0].tolist(),
        "dgamma": gradients[1].tolist(),
        "dbeta": gradients[2].tolist(),
        "mean": layer.running_mean.tolist(),
        "variance": layer.running_var.tolist(),
        "answer": layer(batches[0]).tolist(),
    }


def schedules():
    """The factors of schedules that have one right form."""
    theta = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([theta], lr=1.0)
    one_cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=40)
    found = []
    for _ in range(40):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        one_cycle.step() if len(found) < 40 else None
    optimizer = torch.optim.SGD([theta], lr=1.0)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=39)
    waves = []
    for _ in range(40):
        waves.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cosine.step()
    return {"one_cycle": found, "cosine": waves}


def clipped():
    """A gradient of norm 5, clipped to norm 2."""
    theta = torch.zeros(2, requires_grad=True)
    theta.grad = torch.tensor([3.0, -4.0])
    torch.nn.utils.clip_grad_norm_([theta], 2.0)
    return theta.grad.tolist()


made = {
    "torch": torch.__version__,
    "optimizers": optimizers(),
    "activations": activations(),
    "losses": losses(),
    "batch_norm": batch_norm(),
    "schedules": schedules(),
    "clipped": clipped(),
}
Path(__file__).with_name("torch.json").write_text(json.dumps(made) + "\n")
