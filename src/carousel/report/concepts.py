"""What stands behind each finding of `carousel doctor`: one sentence per code, the concept in its first words."""

from __future__ import annotations

__all__ = ["CONCEPTS"]

CONCEPTS: dict[str, tuple[str, str]] = {
    "lr-too-high": (
        "Step size and curvature",
        "a step of gradient descent trusts a straight line; where the loss bends more sharply than two divided by the "
        "learning rate, each step overshoots the valley and lands higher on the other side.",
    ),
    "lr-too-low": (
        "Step size and time",
        "the distance that training covers is about the learning rate times the number of updates, so that with steps "
        "far too small the weights end almost where they began, however good the direction.",
    ),
    "vanishing-gradient-depth": (
        "Vanishing gradients",
        "backpropagation multiplies one factor per layer (the weights times the slope of the activation), and factors "
        "below one leave next to nothing for the first layers to learn from.",
    ),
    "exploding-gradient-depth": (
        "Exploding gradients",
        "backpropagation multiplies one factor per layer, and factors above one make a gradient that grows "
        "exponentially on its way to the first layers, until one step throws the weights far away.",
    ),
    "vanishing-gradient-time": (
        "Vanishing gradients through time",
        "a recurrent network multiplies the error by the same matrix at every step back, so that it decays "
        "exponentially with distance and early inputs have no say; the constant error carousel of the LSTM keeps that "
        "factor near one.",
    ),
    "exploding-gradient-time": (
        "Exploding gradients through time",
        "a recurrent network multiplies the error by the same matrix at every step back, and where that stretches, the "
        "gradient grows exponentially with the length of the sequence; clipping its norm keeps the direction and "
        "bounds the step.",
    ),
    "horizon-too-short": (
        "Truncated backpropagation",
        "the gradient ends at the edge of the window, so that what lies further back can only be learned if the state "
        "carries it across, and even then nothing teaches the state to do so.",
    ),
    "saturated-activations": (
        "Saturation",
        "far from zero a sigmoid or tanh is flat: its slope, a factor of every gradient that passes, is next to zero, "
        "and the unit stays where it is, whatever the error.",
    ),
    "dead-relu": (
        "Dead units",
        "a ReLU whose input is negative for every sample gives zero and passes a gradient of zero, so that nothing can "
        "ever bring it back.",
    ),
    "bad-init": (
        "Variance-preserving initialization",
        "weights of a variance near 1/fan-in (2/fan-in before a ReLU) keep the size of signals from layer to layer; "
        "other scales shrink or blow them up exponentially with depth, and equal weights make units that stay equal.",
    ),
    "too-deep-plain": (
        "Degradation",
        "without shortcuts each layer must learn to pass on what the one before has found, and a deep plain network "
        "trains worse than a shallow one; a residual connection makes passing on the default.",
    ),
    "unnormalized-input": (
        "Conditioning",
        "the curvature of the loss in a first weight grows with the square of its input, so that features on very "
        "different scales ask for very different learning rates, and no single one suits them all.",
    ),
    "double-softmax": (
        "Softmax twice",
        "a cross-entropy that expects logits applies the softmax itself; probabilities lie between 0 and 1, and their "
        "softmax is close to even, so that the loss cannot fall below a high floor and gradients are small.",
    ),
    "wrong-loss": (
        "Matching head and loss",
        "with the loss that belongs to a head (cross-entropy to softmax, squared error to a linear output) the "
        "gradient is simply answer minus target; any other pair can be flat exactly where the error is greatest.",
    ),
    "missing-zero-grad": (
        "Accumulated gradients",
        "backward() adds to .grad, and without zeroing each update follows the sum of all gradients so far, like "
        "momentum that never fades.",
    ),
    "parameters-not-training": (
        "The chain from loss to weight",
        "a parameter learns only if the graph leads from the loss to it without a break and an optimizer holds it; "
        "where either link is missing it stays at its random start, without any error message.",
    ),
    "train-eval-mode": (
        "Training and evaluation mode",
        "dropout and batch normalization compute different functions in the two modes; the wrong one measures, or "
        "trains, another network than is meant.",
    ),
    "unshuffled-data": (
        "Independent samples",
        "stochastic gradient descent takes each batch for a fair sample of all data; batches that come in order pull "
        "toward one class after the other, and each undoes what the last has taught.",
    ),
    "overfitting": (
        "Generalization gap",
        "a network with capacity to spare goes on to memorize the noise of its training data, which lowers the loss "
        "there and raises it on everything else.",
    ),
    "underfitting": (
        "Capacity",
        "a function that the network cannot represent cannot be learned by more training; the loss levels off at what "
        "its best approximation leaves.",
    ),
    "wrong-gradient": (
        "Gradient checking",
        "a derivative written by hand must agree with the difference quotient (f(x + h) − f(x − h)) / 2h; where it "
        "does not, training walks in a direction that is not downhill.",
    ),
    "label-noise": (
        "Labels without relation",
        "where labels do not follow from inputs, a network can only learn them by heart: the training loss falls "
        "slowly, and on new samples it is right as often as chance.",
    ),
    "data-leakage": (
        "Leakage",
        "an evaluation estimates what the network does with new data only if nothing of the answers was seen in "
        "training; samples on both sides, or a feature that is the label, make it measure memory.",
    ),
    "class-imbalance": (
        "Prior and evidence",
        "with one class far more frequent, always answering it is already a low loss, and the gradient of the rare "
        "classes drowns in that of the frequent one.",
    ),
    "batch-time-swapped": (
        "Axes",
        "a recurrent layer carries its state along one axis and keeps samples apart along the other; exchanged, it "
        "runs from sample to sample, and mixes what has nothing to do with each other.",
    ),
    "state-not-detached": (
        "The growing graph",
        "a state that enters the next batch with its graph ties it to all batches before: backward walks through all "
        "of them again, takes longer at every step, or fails because that graph is gone.",
    ),
    "non-finite": (
        "Overflow and undefined values",
        "one NaN or infinity, from log 0, 0/0 or an overflow, spreads through every sum it meets, and after one update "
        "all weights are NaN; what counts is the place where the first one arose.",
    ),
}
"""By code, the name of the concept and a sentence."""
