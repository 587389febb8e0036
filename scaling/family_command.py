"""The command line of `python -m scaling.family`: a baseline in, a family out."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling.budget import TOLERANCE
from scaling.compound import PUBLISHED, ROUNDINGS, Coefficients, Rules
from scaling.family import Member, family
from scaling.family_times import first_doubt, measure, remedy, seconds_of, shown_time
from scaling.memory import training_memory
from search_spaces.architecture import Architecture
from search_spaces.show import load
from train.recipe import PRESETS, Recipe, preset
from vbs.command import Parser, python_command, run_command
from vbs.console import print_err, print_results
from vbs.figure import draw_picture, label, new_figure, save_png
from vbs.folder import circumstances, results_folder, write_json
from vbs.json_text import parse_json
from vbs.text import shell_command, shell_word
from vbs.units import parse_quantity, short

RECORD, FIGURE, MEMBERS = "family.json", "family.png", "members"
MOST = 64  # members
MOST_GROWTH = 10
SECONDS_TOLERANCE = 0.05

EPILOG = """NETWORK is a zoo name (efficientnet_b0), or a JSON file: an architecture, a best.json of
nas.search. FACTORS is published (those of EfficientNet-B0 to B8 and L2, the default), or the
grid.json of scaling.grid. With --growth 2 every member really costs 2^phi times the base. The
folder gets family.json (all figures), family.png, and members/NAME.json, which train.run,
train.ray_tune and search_spaces.show take."""


def run(argv: list[str] | None = None) -> int:
    """The whole command; 0, 2 for a user's mistake, 130 for Ctrl-C."""
    return run_command("scaling.family", lambda: _run(_parser().parse_args(argv)))


def _parser() -> Parser:
    parser = Parser(
        prog="python -m scaling.family", description="Grow a family from one baseline.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("--base", metavar="NETWORK", help="default: the grid's, or efficientnet_b0")
    add("--coefficients", metavar="FACTORS", help="published, or a file of scaling.grid")
    for name, letter in (("alpha", "depth"), ("beta", "width"), ("gamma", "resolution")):
        add(f"--{name}", type=float, metavar="X", help=f"{letter} is multiplied by X^phi")
    add("--phi", nargs="+", default=["0..7"], metavar="PHI", help="members: 0..7 (default), 3, 1.5")
    add("--growth", type=float, metavar="X", help="each member really costs X^phi times the base")
    add("--objective", choices=("flops", "latency", "step_time"), default="flops", help="what "
        "grows by that: FLOPs (default), or seconds measured here as --measure does")  # fmt: skip
    add("--tolerance", type=float, metavar="X", help="of that, as a share (default 0.03; 0.05 of "
        "seconds)")  # fmt: skip
    add("--rules", choices=("compound", "v2"), default="compound", help="v2: at most 480 px, and "
        "extra layers gradually more in the later stages")  # fmt: skip
    add("--max-resolution", type=int, metavar="PX", help="largest input side")
    add("--round-resolution", type=int, default=1, metavar="PX", help="input sides are multiples "
        "of PX (default 1)")  # fmt: skip
    add("--round-to", type=int, default=8, choices=ROUNDINGS, help="channels are multiples of "
        "(default 8)")  # fmt: skip
    add("--fixed-ends", action="store_true", help="stem, head, and the layers of the first and the "
        "last stage stay (EfficientNet-Lite)")  # fmt: skip
    add("--recipe", choices=tuple(PRESETS), default="efficientnet", help="of the training whose "
        "memory is estimated (default efficientnet)")  # fmt: skip
    add("--batch", type=int, default=32, metavar="N", help="of that training, on one device "
        "(default 32)")  # fmt: skip
    add("--precision", choices=("float32", "bfloat16"), default="float32")
    add("--memory", metavar="SIZE", help="refuse members whose training needs more, e.g. 24G")
    add("--times", metavar="FILE", action="append", default=[], help="a table of nas.block_times: "
        "predict the members' times where it has their blocks")  # fmt: skip
    add("--measure", choices=("latency", "step_time"), help="measure the members' times here, with "
        "a batch of --measure-batch")  # fmt: skip
    add("--measure-batch", type=int, metavar="N", help="default 1 for latency, 32 for step_time")
    add("--measure-threads", type=int, metavar="N", help="of a CPU (default: all processors)")
    add("--device", default="auto", metavar="NAME", help="of --measure: auto, cpu, cuda, cuda:N")
    add("--out", metavar="DIR", help="folder for the results (default: a new runs/family-N)")
    return parser


def _run(args: argparse.Namespace) -> int:
    coefficients = _coefficients(args)
    args.base = args.base or "efficientnet_b0"
    base = load(args.base)
    phis = phis_of(args.phi)
    rules = rules_of(args)
    memory = None if args.memory is None else parse_quantity(args.memory, what="--memory")
    if args.growth is not None and not 1 < args.growth <= MOST_GROWTH:
        raise ValueError(
            f"--growth: {args.growth:g} is not allowed; use a number above 1, up to {MOST_GROWTH}"
        )
    if args.growth is not None and coefficients is None:
        coefficients = PUBLISHED
    _check_objective(args)
    tables = _tables(args.times)
    members = family(
        base, phis, coefficients=coefficients, growth=args.growth, rules=rules,
        tolerance=args.tolerance, costs=None if args.objective == "flops" else seconds_of(args),
    )  # fmt: skip
    recipe = preset(args.recipe)
    rows = [_row(member, args, recipe, tables) for member in members]
    _check_memory(rows, memory, args)
    if args.measure:
        measure(base, members, rows, args)
    with results_folder(
        args.out,
        kind="family",
        files=(RECORD, FIGURE),
        command="scaling.family",
        resume=None,
    ) as folder:
        _write(folder, args, base, members, rows, coefficients)
        _show(args, coefficients, rows, folder)
    return 0


def _check_objective(args: argparse.Namespace) -> None:
    """Put what follows from --objective into the arguments; ValueError where it does not fit."""
    seconds = args.objective != "flops"
    if seconds and args.growth is None:
        raise ValueError(f"--objective: {args.objective} needs --growth X, the growth of one step")
    if seconds and args.measure not in (None, args.objective):
        raise ValueError(f"--measure: {args.measure} differs from --objective; leave it out")
    if seconds:
        args.measure = args.objective
    if args.measure_batch is None:
        args.measure_batch = 32 if args.measure == "step_time" else 1
    if args.tolerance is None:
        args.tolerance = SECONDS_TOLERANCE if seconds else TOLERANCE
    if not 0 < args.tolerance < 1:
        raise ValueError(f"--tolerance: {args.tolerance:g} is not allowed; use a share from 0 to 1")


def _coefficients(args: argparse.Namespace) -> Coefficients | None:
    """alpha, beta and gamma, of the arguments or a grid's file; None: the published factors."""
    given = [getattr(args, name) for name in ("alpha", "beta", "gamma")]
    if any(value is not None for value in given):
        if args.coefficients is not None:
            raise ValueError("--coefficients: leave it out where --alpha, --beta, --gamma are")
        return _together(*given)
    if args.coefficients in (None, "published"):
        return None
    coefficients, grown = read_grid(Path(args.coefficients))
    if args.base is None:
        args.base = grown
    elif not _same_network(args.base, grown):
        print_err(f"--base: these coefficients are of a grid of {grown}, not of {args.base}")
    return coefficients


def _together(alpha: float | None, beta: float | None, gamma: float | None) -> Coefficients:
    """The three coefficients of the command line.

    Raises ValueError where one is missing: a published value beside the given ones would make a
    family that nobody asked for.
    """
    if alpha is not None and beta is not None and gamma is not None:
        return Coefficients(alpha, beta, gamma)
    Coefficients(*(1.0 if value is None else value for value in (alpha, beta, gamma)))
    values = {"--alpha": alpha, "--beta": beta, "--gamma": gamma}
    missing = [name for name, value in values.items() if value is None]
    hint = f"published are {PUBLISHED}"
    spent = (alpha or 1.0) * (beta or 1.0) ** 2 * (gamma or 1.0) ** 2
    if len(missing) == 1 and 0 < spent <= 2:
        left = (2 / spent) ** (1.0 if missing == ["--alpha"] else 0.5)
        hint = f"alpha * beta^2 * gamma^2 = 2 gives {missing[0]} {left:.3g}; {hint}"
    raise ValueError(f"{missing[0]} is missing; alpha, beta and gamma are given together; {hint}")


def _same_network(name: str, other: str) -> bool:
    return name == other or Path(name).resolve() == Path(other)


def read_grid(path: Path) -> tuple[Coefficients, str]:
    """The coefficients that a grid chose, and its base; ValueError where the file is none of a
    finished grid's."""
    if not path.is_file():
        raise ValueError(f"--coefficients: {path} is no file; use published, or a grid.json")
    try:
        known = parse_json(path.read_bytes())
        if known["status"] != "finished" and "chosen" not in known["outcome"]:
            raise ValueError(f"the grid is {known['status']}; scaling.grid --resume goes on")
        chosen = known["outcome"]["chosen"]
        found = Coefficients(chosen["alpha"], chosen["beta"], chosen["gamma"])
        return found, str(known["settings"]["base"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise ValueError(f"--coefficients: {path} holds no grid's choice ({reason})") from None


def phis_of(texts: Sequence[str]) -> list[float]:
    """The places that texts like 0..7, 3 and 1.5 name; ValueError where one cannot be read."""
    found: list[float] = []
    for text in (part for word in texts for part in word.split(",") if part):
        ends = re.fullmatch(r"(\d+)\.\.(\d+)", text)
        try:
            if ends and int(ends[1]) <= int(ends[2]):
                first, last = int(ends[1]), int(ends[2])
                found += [float(phi) for phi in range(first, min(last, first + MOST) + 1)]
            else:
                found.append(float(text))
        except ValueError:
            raise ValueError(f"--phi: {text!r} is not understood; write 0..7, 3 or 1.5") from None
    found = list(dict.fromkeys(found))
    if not found or len(found) > MOST:
        raise ValueError(f"--phi: {len(found)} members are not allowed; use 1 to {MOST}")
    wrong = [phi for phi in found if not 0 <= phi <= 100]
    if wrong:
        raise ValueError(f"--phi: {wrong[0]:g} is not allowed; use numbers from 0 to 100")
    return found


def rules_of(args: argparse.Namespace) -> Rules:
    """How factors are rounded; the published families of V2 and Lite by their own rules."""
    name = "" if Path(args.base).is_file() else args.base.removeprefix("tf_")
    return Rules(
        args.rules, max_resolution=args.max_resolution, round_to=args.round_to,
        floor=0.0 if name.startswith("efficientnetv2_b") else 0.9,
        fixed_ends=args.fixed_ends or name.startswith("efficientnet_lite"),
        resolution_step=args.round_resolution,
    )  # fmt: skip


def _tables(paths: Sequence[str]) -> list[Any]:
    from nas.block_times.table import read_times

    return [read_times(Path(path)) for path in paths]


def _row(
    member: Member, args: argparse.Namespace, recipe: Recipe, tables: Sequence[Any]
) -> dict[str, Any]:
    """All figures of a member, as plain data."""
    memory = training_memory(
        member.architecture, batch=args.batch, optimizer=recipe.optimizer,
        average=bool(recipe.ema_decay), precision=args.precision,
    )  # fmt: skip
    row: dict[str, Any] = {
        "name": member.name, "phi": member.phi, "resolution": member.architecture.resolution,
        "layers": sum(stage.layers for stage in member.architecture.stages),
        **member.cost._asdict(), "factors": member.factors._asdict(),
        "real_factors": {name: round(x, 4) for name, x in member.real._asdict().items()},
        "formula_flops": round(member.formula), "training_memory": memory.total,
        "published_top1": member.top1,
    }  # fmt: skip
    for table in tables:
        try:
            seconds, spread = table.predict(member.architecture)
        except ValueError:
            continue  # a table of one space and size seldom has a member's blocks
        row[f"predicted_{table.kind}"] = {"seconds": seconds, "spread": spread}
    return row


def _check_memory(
    rows: Sequence[Mapping[str, Any]], memory: float | None, args: argparse.Namespace
) -> None:
    for row in rows:
        if memory is not None and row["training_memory"] > memory:
            raise ValueError(
                f"--memory: phi {row['phi']:g} needs about {row['training_memory'] / 1e9:.1f} GB to"
                f" train with a batch of {args.batch}, more than {memory / 1e9:g} GB; use a smaller"
                " --phi or --batch, or --precision bfloat16"
            )


def _write(
    folder: Path, args: argparse.Namespace, base: Architecture, members: Sequence[Member],
    rows: Sequence[dict[str, Any]], coefficients: Coefficients | None,
) -> None:  # fmt: skip
    (folder / MEMBERS).mkdir(exist_ok=True)
    for member, row in zip(members, rows, strict=True):
        network = json.loads(member.architecture.to_json())
        write_json(folder / MEMBERS / f"{member.name}.json", {"architecture": network, **row})
    shown = "published" if coefficients is None else coefficients.__dict__
    write_json(folder / RECORD, {
        "settings": {**vars(args), "coefficients": shown},
        "base": json.loads(base.to_json()), "members": list(rows), **circumstances(("numpy",)),
    })  # fmt: skip
    draw_picture(folder / FIGURE, lambda path: _draw(path, rows, args))


def _show(
    args: argparse.Namespace, coefficients: Coefficients | None, rows: Sequence[Mapping[str, Any]],
    folder: Path,
) -> None:  # fmt: skip
    """The table of the members, and what to do next."""
    from vbs.tables import Console, Table

    console = Console(piped_width=150)
    how = "published factors" if coefficients is None else f"(alpha, beta, gamma) = {coefficients}"
    grows = {"flops": "real cost"}.get(args.objective, f"measured {args.objective}")
    exact = "" if args.growth is None else f", {grows} {args.growth:g}^phi"
    console.print(f"family of {args.base}: {how}{exact}, rules {args.rules}", "")
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    times = [name for name in rows[0] if name.startswith(("predicted_", "measured_"))]
    for name in ("member", "px", "layers", "params", "FLOPs", "by formula", "FLOPs / base",
                 "formula", "activations", f"memory, batch {args.batch}",
                 *(time.replace("_", " ", 1) for time in times), "published top-1"):  # fmt: skip
        table.add_column(name, justify="left" if name == "member" else "right", no_wrap=True)

    base_flops = rows[0]["formula_flops"] / _growth(rows[0])
    for row in rows:
        spent = [shown_time(row.get(time)) for time in times]
        table.add_row(
            row["name"], str(row["resolution"]), str(row["layers"]), f"{row['params']:,}",
            f"{row['flops']:,}", short(row["formula_flops"]), f"{row['flops'] / base_flops:.3f}",
            f"{_growth(row):.3f}", f"{row['activations']:,}",
            f"{row['training_memory'] / 1e9:.2f} GB", *spent,
            "-" if row["published_top1"] is None else f"{row['published_top1']:.1f}%",
        )  # fmt: skip

    console.print(table)
    if doubt := first_doubt(rows):
        console.print(f"! not to be trusted: {doubt}; {remedy(args)}")
    print_results(folder, (RECORD, FIGURE, f"{MEMBERS}/"), _next_commands(folder, rows))


def _next_commands(folder: Path, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to do next with the members, as commands."""
    names = shell_command(str(folder / MEMBERS / f"{row['name']}.json") for row in rows[:3])
    largest = shell_word(str(folder / MEMBERS / f"{rows[-1]['name']}.json"))
    return [
        f"{python_command()} -m search_spaces.show {largest}",
        f"{python_command()} -m train.ray_tune --architectures {names} --data DATA",
    ]


def _growth(row: Mapping[str, Any]) -> float:
    factors = row["factors"]
    return factors["depth"] * factors["width"] ** 2 * factors["resolution"] ** 2


def _draw(path: Path, rows: Sequence[Mapping[str, Any]], args: argparse.Namespace) -> None:
    """Real cost beside the formula's, and the real factors of each member."""
    figure = new_figure(11, 4.5)
    left, right = figure.subplots(1, 2)
    phis = [row["phi"] for row in rows]
    left.plot(phis, [row["flops"] for row in rows], "o-", c="tab:blue", label="real")
    left.plot(phis, [row["formula_flops"] for row in rows], "x--", c="0.5", label="by the formula")
    for row in rows:
        if row["published_top1"] is not None:
            left.annotate(f"{row['published_top1']:.1f}%", (row["phi"], row["flops"]), ha="right",
                          xytext=(-5, 5), textcoords="offset points", fontsize=8)  # fmt: skip
    left.set(yscale="log", xlabel="phi", ylabel="FLOPs (multiply-adds of one image)",
             title=f"Cost of the family of {label(Path(args.base).name)}")  # fmt: skip
    for name, colour in (("depth", "tab:red"), ("width", "tab:green"), ("resolution", "tab:blue")):
        real = [row["real_factors"][name] for row in rows]
        asked = [row["factors"][name] for row in rows]
        right.plot(phis, real, "o-", c=colour, label=name)
        right.plot(phis, asked, "x--", c=colour, alpha=0.5)
    right.set(xlabel="phi", ylabel="times the base", title="Real factors (dashed: asked for)")
    left.margins(x=0.12, y=0.1)  # the words beside the first point, and above the last
    for panel, place in ((left, "lower right"), (right, "upper left")):
        panel.grid(alpha=0.3)
        panel.legend(frameon=False, loc=place)
    save_png(figure, path)
