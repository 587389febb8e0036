"""Devices on the page of a baseline."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nas.devices import load_device
from scaling.baseline.device_section import device_section
from search_spaces.catalog import space as space_named

SPACE = space_named("efficientnet")


def test_a_network_of_the_measured_space_is_predicted_on_every_device() -> None:
    genotype = SPACE.sample(1, np.random.default_rng(0))
    page = device_section({"choices": json.loads(json.dumps(SPACE.choices_of(genotype[0])))})
    speed, error = load_device("a100").predict(SPACE, genotype, kind="throughput")
    assert f"{speed[0]:,.0f} ± {error[0]:,.0f} images/s" in page
    assert page.count("<tr>") == 1 + 9  # six devices, two of them with latencies, training time
    assert "at 224 px with 1,000 classes" in page


@pytest.mark.parametrize("best", [{}, {"choices": None}, {"choices": {"stage1_k": 3}}])
def test_other_networks_have_no_such_section(best: dict[str, object]) -> None:
    assert device_section(best) == ""
