"""Text description of a network: its stages and their exact cost."""

from __future__ import annotations

from search_spaces.architecture import HEADS, Architecture, Block, kernels_text
from search_spaces.cost import cost, sized_blocks, sized_cost
from search_spaces.feature_maps import FeatureMap, backbone_cost, feature_maps
from search_spaces.show.run import ShowResult
from vbs.console import print_out


def show_result(result: ShowResult) -> None:
    """Print a network stage by stage."""
    print_out(*lines(result.architecture, result.size, backbone=result.backbone))


def lines(
    architecture: Architecture, size: tuple[int, int] | None = None, *, backbone: bool = False
) -> list[str]:
    """Return a line for the stem, each stage, the head and the classifier of a network.

    size      height and width of the images in pixels; None: the architecture's own resolution.
    backbone  omit head and classifier, and add a line for each feature map.
    """
    maps = feature_maps(architecture) if backbone else ()
    high, wide = sized_blocks(architecture, size or (architecture.resolution,) * 2)
    if maps:
        high, wide = high[: maps[-1].block + 1], wide[: maps[-1].block + 1]
    shown = [f"{'':11}{'layers':30}{'input':>12}{'output':>14}{'FLOPs':>16}{'params':>13}"]
    groups: dict[tuple[str, int], list[tuple[Block, Block]]] = {}
    for one, other in zip(high, wide, strict=True):
        groups.setdefault((one.op if one.stage < 0 else "stage", one.stage), []).append(
            (one, other)
        )
    for (name, index), members in groups.items():
        (first, beside), (last, behind) = members[0], members[-1]
        part = sized_cost(*zip(*members, strict=True))
        if index >= 0:
            label, what = f"stage {index}", _stage_text(architecture, index)
        elif name in HEADS and name != "head":
            label, what = "head", "1x1 after the pooling"
        else:
            label, what = name, f"{first.kernel}x{first.kernel} stride {first.stride}"
        into = _map_text(first.in_channels, first.in_size, beside.in_size)
        out = _map_text(last.out_channels, last.out_size, behind.out_size)
        shown.append(f"{label:11}{what:30}{into:>12}{out:>14}{part.flops:>16,}{part.params:>13,}")
    total = backbone_cost(architecture, size) if backbone else cost(architecture, size)
    shown.append(f"{'total':11}{architecture.key:30}{'':26}{total.flops:>16,}{total.params:>13,}")
    return [*shown, *(_feature_line(each, high[each.block], wide[each.block]) for each in maps)]


def _stage_text(architecture: Architecture, index: int) -> str:
    stage = architecture.stages[index]
    what = f"{stage.layers} x {stage.op} {kernels_text(stage)} s{stage.stride}"
    what += f" e{stage.expand:g}"
    what += f" se{stage.se:g}" if stage.se else ""
    what += f" {stage.activation}" if stage.activation else ""
    return what + (f" {stage.skip}" if stage.skip not in ("identity",) else "")


def _map_text(channels: int, height: int, width: int) -> str:
    """Return 16x112² for feature maps of 112 x 112 pixels, 16x80x160 for 80 x 160 pixels."""
    return f"{channels}x{height}²" if height == width else f"{channels}x{height}x{width}"


def _feature_line(feature: FeatureMap, high: Block, wide: Block) -> str:
    shape = _map_text(feature.channels, high.out_size, wide.out_size)
    return f"{'feature map':11} {f'stride {feature.reduction}, of {feature.module}':41}{shape:>14}"
