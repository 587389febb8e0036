"""`python -m search_spaces.show`."""

from __future__ import annotations

import pytest

from search_spaces.catalog import zoo
from search_spaces.cost import cost
from search_spaces.feature_maps import backbone_cost
from search_spaces.show import ShowConfig, lines, run_show
from tests.commands import show


def test_a_network_is_shown_at_any_size() -> None:
    result = run_show(ShowConfig(network="mobilenetv4_conv_small", input="320x640"))
    assert result.cost == cost(zoo("mobilenetv4_conv_small"), (320, 640))
    text = lines(result.architecture, result.size)
    assert text[1].split()[-4:] == ["3x320x640", "32x160x320", "44,236,800", "928"]
    assert "4 x uib a0 k3 s1 e2" in text[7]
    assert "1x1 after the pooling" in text[-3]
    assert text[-1].split()[-2:] == [f"{result.cost.flops:,}", f"{result.cost.params:,}"]
    square = run_show(ShowConfig(network="mobilenetv4_conv_small", input="64"))
    assert square.cost == cost(zoo("mobilenetv4_conv_small"), (64, 64))


def test_a_backbone_is_shown_with_its_feature_maps() -> None:
    result = run_show(ShowConfig(network="efficientnet_b0", backbone=True))
    assert result.cost == backbone_cost(zoo("efficientnet_b0"))
    text = lines(result.architecture, backbone=True)
    assert not any("classifier" in line or line.startswith("head") for line in text)
    assert text[-5].split()[-2:] == [f"{result.cost.flops:,}", f"{result.cost.params:,}"]
    assert [line.split()[-1] for line in text[-4:]] == ["24x56²", "40x28²", "112x14²", "320x7²"]


@pytest.mark.parametrize("text", ["0x5", "320x", "x", "3.5x4", "1e3", "1٣x32", "9999999", "-3x3"])
def test_an_impossible_size_is_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"^input: '.*' is not allowed; use HEIGHTxWIDTH in"):
        ShowConfig(network="efficientnet_b0", input=text)


def test_images_of_which_the_strides_leave_nothing_are_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert show(["efficientnet_b0", "--input", "320x8", "--backbone"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "search_spaces.show: --input: it is too small; before stages[3].stride 2"
    )
    assert said.count("\n") == 1
