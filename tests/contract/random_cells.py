"""Random cells: programs of supported operations, as Python text that defines a `Cell`.

A program grows from x, the states and random parameters by operations drawn at random; every value is (batch, a·H + b)
for whole numbers a and b, H the hidden size, so that one program serves any H. What has a kink (relu, clamp, maximum,
where, abs, amax) gets a fresh random vector added first: then no value stands at the kink, and no two are tied, with
probability one. Values that can grow pass through tanh.
"""

from __future__ import annotations

import linecache
import random
from collections.abc import Callable
from typing import NamedTuple

from carousel import Cell

__all__ = ["build", "program"]

Width = tuple[int, int]
"""(a, b) for a·H + b features."""

H: Width = (1, 0)
ONE: Width = (0, 1)

BOUNDED = (
    "torch.tanh({})", "torch.sigmoid({})", "torch.sin({})", "torch.cos({})", "F.softsign({})", "torch.erf({})",
    "torch.atan({})", "torch.exp(-{0} * {0})", "1 / (1 + {0} ** 2)", "torch.rsqrt({0}.square() + 0.5)",
    "torch.reciprocal(2 + torch.sin({}))", "torch.tanh({}).detach()", "torch.exp(torch.tanh({}))",
)  # fmt: skip
GROWING = (
    "F.silu({})", "F.gelu({})", "F.gelu({}, approximate='tanh')", "F.softplus({})", "F.mish({})", "F.logsigmoid({})",
    "torch.sqrt(1 + {0} * {0})", "torch.log1p({}.square())", "-{}", "0.5 * {}", "1 - {}", "{} + 0.25", "{} / 3",
    "2.0 - {}", "torch.pow(torch.tanh({}), 3)", "{0} * torch.sigmoid({0})", "torch.expm1(torch.tanh({}))",
)  # fmt: skip
KINKED = (
    "torch.relu({})", "F.leaky_relu({})", "F.elu({})", "F.hardtanh({})", "torch.clamp({}, -0.4, 0.6)", "{}.abs()",
    "{}.clamp(min=-0.2)", "F.relu6({})", "torch.where({0} > 0, {0}, 0.3 * {0})", "{}.clamp_max(0.5)",
    "torch.where({0} < 0.1, torch.ones_like({0}), -0.5)", "torch.maximum({0}, torch.full_like({0}, 0.2))",
)  # fmt: skip
BINARY = (
    "{} + {}", "{} - {}", "{} * {}", "{} + 0.5 * {}", "{} * torch.sigmoid({})", "{} / (1.5 + torch.cos({}))",
    "torch.lerp({}, {}, 0.3)", "torch.addcmul({0}, {1}, {1}, value=0.2)", "torch.tanh({}) * {}",
)  # fmt: skip
ROWWISE = (
    "torch.softmax({}, dim=-1)", "F.log_softmax({}, dim=1)",
    "({0} - {0}.mean(dim=-1, keepdim=True)) * torch.rsqrt({0}.var(dim=-1, correction=0, keepdim=True) + 0.3)",
    "{0} * torch.rsqrt({0}.square().mean(dim=-1, keepdim=True) + 0.3)",
    "{0} / (1 + {0}.norm(dim=-1, keepdim=True))", "F.layer_norm({0}, ({0}.shape[-1],), eps=0.2)",
)  # fmt: skip
REDUCED = (
    "{}.mean(dim=-1, keepdim=True)", "torch.tanh({}.sum(dim=1, keepdim=True))", "{}.mean(dim=1).unsqueeze(1)",
    "{}.var(dim=-1, correction=0, keepdim=True)", "torch.logsumexp({}, dim=-1, keepdim=True)",
)  # fmt: skip
OF_PARAMETERS = (
    "torch.tanh({})", "torch.sigmoid({})", "{0} / (1 + {0}.norm())", "{0} * {0}", "0.5 * {}", "F.softplus({})",
)  # fmt: skip


class _Value(NamedTuple):
    name: str
    width: Width
    large: bool = False
    """May be far from zero."""


def text_of(width: Width, h: str = "H") -> str:
    """The width as Python."""
    a, b = width
    terms = ([h if a == 1 else f"{a} * {h}"] if a else []) + ([str(b)] if b or not a else [])
    return " + ".join(terms)


class _Writer:
    """Writes one program."""

    def __init__(self, seed: int, kinks: bool):
        self.random = random.Random(seed)
        self.kinks = kinks
        self.parameters: list[str] = []
        self.lines: list[str] = []
        self.values: list[_Value] = []

    def parameter(self, *shape: str) -> str:
        """A new parameter, now and then as a function of itself."""
        name = f"p{len(self.parameters)}"
        self.parameters.append(f"self.{name} = weight({', '.join(shape)})")
        name = f"self.{name}"
        if self.random.random() < 0.15:
            name = self.random.choice(OF_PARAMETERS).format(name)
            return self.line(name, (0, 0), keep=False).name
        return name

    def line(self, expression: str, width: Width, large: bool = False, keep: bool = True) -> _Value:
        """A new value."""
        value = _Value(f"v{len(self.lines)}", width, large)
        self.lines.append(f"{value.name} = {expression}")
        if keep:
            self.values.append(value)
        return value

    def pick(self, *, width: Width | None = None, wide: bool = False) -> _Value:
        """Some value, the newer the likelier; of that width, made by a product if there is none."""
        fitting = [v for v in self.values if width in (None, v.width) and not (wide and v.width == ONE)]
        if not fitting:
            return self.linear(self.pick(), width or H)
        return self.random.choice(fitting[-4:] if self.random.random() < 0.7 else fitting)

    def calm(self, value: _Value) -> str:
        """The value as an expression that stays near zero."""
        return f"torch.tanh({value.name})" if value.large else value.name

    def linear(self, value: _Value, width: Width) -> _Value:
        """A product with a new matrix, in one of the ways to write it."""
        v, n, k = self.calm(value), text_of(width), text_of(value.width)
        way = self.random.randrange(5)
        if way == 0:
            return self.line(f"F.linear({v}, {self.parameter(n, k)}, {self.parameter(n)})", width)
        if way == 1:
            return self.line(f"{v} @ {self.parameter(k, n)}", width)
        if way == 2:
            return self.line(f"torch.addmm({self.parameter(n)}, {v}, {self.parameter(n, k)}.t())", width)
        if way == 3 and value.width[0] and value.width == width and not value.width[1]:
            blocks = f"torch.einsum('bni,nij->bnj', {v}.unflatten(1, ({value.width[0]}, H)), "
            return self.line(f"({blocks}{self.parameter(str(value.width[0]), 'H', 'H')})).flatten(1)", width)
        return self.line(f"{v} @ {self.parameter(n, k)}.T", width)

    def grow(self) -> None:
        """One more operation."""
        r = self.random
        kind = r.choices(
            ("linear", "bounded", "growing", "kinked", "binary", "narrow", "rowwise", "reduced", "cut", "join", "p"),
            (5, 3, 4, 3 * self.kinks, 6, 2, 2, 2, 2, 2, 2),
        )[0]
        if kind == "linear":
            self.linear(self.pick(), r.choice((H, H, H, (2, 0), (1, 1), (0, 3))))
        elif kind == "bounded":
            v = self.pick()
            self.line(r.choice(BOUNDED).format(v.name), v.width)
        elif kind == "growing":
            v = self.pick()
            self.line(r.choice(GROWING).format(self.calm(v)), v.width, large=True)
        elif kind == "kinked":
            self.kinked()
        elif kind == "binary":
            a = self.pick(wide=True)
            b = self.pick(width=a.width)
            self.line(r.choice(BINARY).format(self.calm(a), self.calm(b)), a.width, large=True)
        elif kind == "narrow":
            a, b = self.pick(wide=True), self.pick(width=ONE)
            pair = [self.calm(a), self.calm(b)]
            r.shuffle(pair)
            self.line(r.choice(BINARY[:6]).format(*pair), a.width, large=True)
        elif kind == "rowwise":
            v = self.pick(wide=True)
            self.line(r.choice(ROWWISE).format(self.calm(v)), v.width, large=True)
        elif kind == "reduced":
            self.line(r.choice(REDUCED).format(self.calm(self.pick(wide=True))), ONE, large=True)
        elif kind == "cut":
            self.cut()
        elif kind == "join":
            a, b = self.pick(), self.pick()
            width = (a.width[0] + b.width[0], a.width[1] + b.width[1])
            if width[0] <= 3:
                self.line(f"torch.cat([{a.name}, {b.name}], dim=-1)", width, a.large or b.large)
        else:
            v = self.pick()
            p = self.parameter(text_of(v.width)) if r.random() < 0.8 else self.parameter()
            self.line(
                r.choice(("{} * {}", "{} + {}", "{1} - {0}", "{} + 2 * {}")).format(self.calm(v), p), v.width, True
            )

    def kinked(self) -> None:
        """An operation with a kink or a choice, away from it."""
        r = self.random
        v = self.pick()
        moved = self.line(f"{self.calm(v)} + {self.parameter(text_of(v.width))}", v.width, True)
        way = r.random()
        if way < 0.7:
            self.line(r.choice(KINKED).format(moved.name), v.width, large=True)
        elif way < 0.85:
            other = self.pick(width=v.width)
            choice = r.choice(("torch.maximum({}, {})", "torch.minimum({}, {})", "torch.where({0} >= {1}, {1}, 0.5)"))
            self.line(choice.format(moved.name, self.calm(other)), v.width, large=True)
        else:
            self.line(f"{moved.name}.{r.choice(('amax', 'amin'))}(dim=-1, keepdim=True)", ONE, large=True)

    def cut(self) -> None:
        """Some of the features of a value."""
        r = self.random
        wide = [v for v in self.values if v.width[0] >= 2]
        if wide and r.random() < 0.6:
            v = r.choice(wide)
            if v.width[1] or r.random() < 0.5:
                start = r.choice(("0", "H", "1"))
                self.line(f"{v.name}[:, {start}:{start} + H]", H, v.large)
            else:
                parts = r.sample(range(v.width[0]), 2)
                chunks = self.line(f"{v.name}.chunk({v.width[0]}, dim=-1)", (0, 0), keep=False)
                for part in parts:
                    self.line(f"{chunks.name}[{part}]", H, v.large)
        else:
            v = self.pick(wide=True)
            self.line(r.choice(("{}[:, :1]", "{}[:, -1:]", "{}.narrow(1, 0, 1)")).format(v.name), ONE, v.large)


def program(seed: int, *, kinks: bool = True) -> str:
    """The Python text of a random cell class `Random`.

    Args:
        seed: another number, another cell.
        kinks: False leaves out operations without a derivative somewhere: in float32 a value among millions may come
            so near a kink that rounding decides.
    """
    w = _Writer(seed, kinks)
    r = w.random
    widths = [r.choice((H, H, H, (2, 0), (1, 1), ONE, (0, 3))) for _ in range(r.choice((1, 1, 2, 2, 3)))]
    taps = {k: sorted(r.sample(range(1, 7), r.choice((1, 2, 3)))) for k in range(len(widths)) if r.random() < 0.25}
    noise, mask = r.random() < 0.2, r.random() < 0.15
    states = []
    for k, width in enumerate(widths):
        entries = [f"s{k}_{tap}" for tap in taps[k]] if k in taps else [f"s{k}"]
        states.append(f"({', '.join(entries)},)" if k in taps else entries[0])
        w.values += [_Value(entry, width) for entry in entries]
    w.values += [_Value("noise", H)] * noise + [_Value("mask", H)] * mask
    x = w.line("x + " + w.parameter("input_size"), (0, 0), keep=False)  # its width is not known: only a product fits
    w.line(f"F.linear({x.name}, {w.parameter('H', 'input_size')})", H)
    if r.random() < 0.5:
        w.line(f"{r.choice(BOUNDED[:4]).format('x')} @ {w.parameter('input_size', 'H')}", H)
    for _ in range(r.randint(5, 16)):
        w.grow()
    news = []
    for k, width in enumerate(widths):
        first = states[k].strip("(,)").split(",")[0]
        seen = w.linear(_Value(first, width), width) if r.random() < 0.8 else _Value(first, width)
        new = w.line(f"{w.calm(w.pick(width=width))} + 0.7 * {seen.name}", width, large=True)
        rule = ("torch.tanh({})", "torch.tanh({})", "torch.sigmoid({})", f"torch.lerp({first}, torch.tanh({{}}), 0.6)")
        news.append(w.line(r.choice(rule).format(new.name), width).name)
    output = w.calm(w.pick(width=H)) if r.random() < 0.6 else f"{w.calm(w.pick(width=H))} * {w.parameter('H')}"
    begin = []
    if noise or mask:
        per_step = "'noise': 0.3 * torch.randn(time, batch, H, generator=generator).to(dtype)" if noise else ""
        constants = "'mask': (torch.rand(batch, H, generator=generator) < 0.7).to(dtype)" if mask else ""
        begin = [
            "",
            "    def begin(self, time, batch, generator):",
            "        H, dtype = self.hidden_size, self.p0.dtype",
            f"        return {{{constants}}}, {{{per_step}}}",
        ]
        w.lines = [f"{name} = extra['{name}']" for name in ["noise"] * noise + ["mask"] * mask] + w.lines
    sizes = ", ".join(f'"s{k}": {text_of(width)}' for k, width in enumerate(widths))
    delays = ", ".join(f'"s{k}": {tuple(d)}' for k, d in taps.items())
    lines = [
        f'"""Random cell {seed}{"" if kinks else ", without kinks"}."""',
        "import torch",
        "import torch.nn.functional as F",
        "from carousel import Cell, weight",
        "",
        "class Random(Cell):",
        "    def __init__(self, input_size, hidden_size):",
        "        super().__init__(input_size, hidden_size)",
        "        H = hidden_size",
        f"        self.state_sizes = {{{sizes}}}",
        f"        self.delays = {{{delays}}}",
        *(f"        {line}" for line in w.parameters),
        *begin,
        "",
        f"    def step(self, x, state{', extra' if begin else ''}):",
        "        H = self.hidden_size",
        f"        {', '.join(states)}, = state",
        *(f"        {line}" for line in w.lines),
        f"        return {output}, ({', '.join(news)},)",
    ]
    return "\n".join(lines) + "\n"


def build(text: str) -> Callable[..., Cell]:
    """The class that a program defines."""
    name = f"<{text.splitlines()[0].strip(chr(34))}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    scope: dict[str, type[Cell]] = {}
    exec(compile(text, name, "exec"), scope)
    return scope["Random"]
