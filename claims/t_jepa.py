"""T-JEPA: are columns better described by what predicts them from other columns, for the classifiers that come after?

Thimonier, Costa et al., "T-JEPA: Augmentation-Free Self-Supervised Learning for Tabular Data", ICLR 2025, arXiv:2410.05016: on Adult, Helena, Jannis, ALOI,
California Housing and Higgs, deep classifiers on T-JEPA's latents beat the same classifiers on the raw input and reach gradient-boosted trees; without the
regularisation token the training collapses. Here Adult, with the fourteenth column as it came, Covertype (10,959 rows), and the built-in table. What is asked
is the latents of all columns, one after the other, by a linear classifier, by a perceptron of one hidden layer of 128 with early stopping, and, beside them,
trees on the raw values. The slow copy, whose latents these are, averages over about 50 steps. Collapse is how much of the latents' variance lies between
rows, as a share of what lies between columns and rows together.
"""

import torch

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.evaluate.boosted_trees import predicted
from manyviews.evaluate.linear import linear
from manyviews.views.finding import raw


def latents(bench, encoder, data):
    """What leaves the encoder for each column, one after the other; the row itself where there is no encoder."""
    if not getattr(encoder, "content_width", 0):
        return bench.features(encoder, data)
    return bench.features(lambda view: encoder.encode(encoder.tokenize(view)).parts.flatten(1), data)


def perceptron(known, asked, seed):
    """Right or wrong for each of `asked`, by 128 rectified units on standardised features."""
    from sklearn.neural_network import MLPClassifier

    mean, std = known.x.mean(0), known.x.std(0).clamp(min=1e-6)
    net = MLPClassifier(128, early_stopping=True, max_iter=100, random_state=seed)
    net.fit(((known.x - mean) / std).numpy(), known.y.numpy())
    return net.predict(((asked.x - mean) / std).numpy()) == asked.y.numpy()


def measure(bench, method):
    encoder = method.exported.eval()
    known, asked = (latents(bench, encoder, data) for data in (bench.train, bench.test))
    found = {"linear": (linear(known, seed=bench.seed).predict(asked.x) == asked.y).numpy(), "mlp": perceptron(known, asked, bench.seed)}
    return {**found, "spread": spread(known.x, encoder)} if getattr(encoder, "content_width", 0) else found


def spread(x, encoder):
    """The share of the latents' variance that lies between rows, column by column."""
    parts = x.unflatten(1, (-1, encoder.dim))
    within = float(parts.var(0).mean())
    return within / (within + float(parts.mean(0).var(0).mean()) + 1e-12)


def without_register(bench):
    """The same training of an encoder without the token that is never hidden."""
    encoder = bench.encoder()
    encoder.registers = torch.nn.Parameter(encoder.registers.detach()[:0], requires_grad=False)
    return measure(bench, bench.pretrain(encoder=encoder))


def trees(bench):
    """Gradient-boosted trees on what stands for the row itself: better here than with scikit-learn's own way with categories."""
    known, asked = (bench.features(raw("tables"), data) for data in (bench.train, bench.test))
    right = (predicted(known.x, known.y, asked.x, seed=bench.seed) == asked.y).numpy()
    return {"linear": right, "mlp": right}


SHORT = {"predictor_depth": 4, "decay": 0.98}

CLAIM = Claim(
    system="t_jepa",
    paper="on six tables MLP, DCNv2, ResNet, AutoInt and FT-Transformer on T-JEPA's latents beat themselves on the raw input and reach boosted trees",
    question="Does a small perceptron tell more from T-JEPA's latents of a row's columns than from the row, and as much as trees tell?",
    arms={
        "t_jepa": Arm("t_jepa", short=SHORT),
        "without the regularisation token": Arm("t_jepa", short=SHORT, run=without_register),
        "boosted trees": Arm(run=trees),
    },
    data=(
        Arena("tables/adult_train.csv.gz?header=no&label=15", rows=20000, test=6000, name="adult"),
        Arena("tables/covertype_10959_scaled.csv.gz?label=class", name="covertype"),
        Arena("builtin:tables", name="built-in table"),
    ),
    versus=(
        Versus("t_jepa", "raw input", "mlp"),
        Versus("t_jepa", "raw input", "linear"),
        Versus("t_jepa", "untrained", "mlp"),
        Versus("t_jepa", "untrained", "linear"),
        Versus("t_jepa", "boosted trees", "mlp", margin=0.01, says="T-JEPA's latents with a perceptron reach boosted trees"),
        Versus("t_jepa", "without the regularisation token", "mlp", arena=False),
        Versus("t_jepa", "without the regularisation token", "spread", arena=False, says="without the regularisation token the latents collapse"),
    ),
    common={"encoder": "ft_transformer_micro", "size": 16, "steps": 400, "batch": 128},
    measure=measure,
    full={"encoder": "ft_transformer", "size": 16, "epochs": 300, "batch": 512},
)
