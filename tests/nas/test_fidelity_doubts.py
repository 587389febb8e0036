"""A comparison of fidelities reports those at which networks are at chance or within noise."""

from __future__ import annotations

import numpy as np

from nas.evaluators.proxy import Fidelity
from nas.fidelity.doubts import Watch, certainty
from train.data.summary import DataSummary

DATA = DataSummary(tuple("abcdefghijkl"), 648, 72, 32, {}, 100 / 12)
SHORT, LONG = Fidelity(2), Fidelity(20)
APART = np.linspace(20, 80, 8)[:, None] + np.array([[-1.0, 1.0]])


def test_a_fidelity_at_chance_is_reported_while_it_runs_and_at_the_end() -> None:
    chance = np.full((8, 2), 100 / 12)
    watch = Watch([SHORT, LONG], DATA, (2, 8, 2))
    found = [
        watch.update(fidelity, network, seed, accuracy[network, seed])
        for network in range(8)
        for seed in range(2)
        for fidelity, accuracy in enumerate((chance, APART))
    ]
    (line,) = filter(None, found)
    assert line.startswith("epochs=2,share=1: 6 of 6 networks are at chance")
    assert "--longest epochs=N" in line
    images, doubt, _ = certainty([(SHORT, chance), (LONG, APART)], DATA, longest=APART)
    assert "72 held-out images" in images
    assert "± 5.8" in images
    assert doubt.startswith("warning: epochs=2,share=1: 8 of 8 networks are at chance")


def test_networks_that_are_told_apart_are_not_doubted() -> None:
    assert len(certainty([(LONG, APART)], DATA, longest=APART)) == 1
