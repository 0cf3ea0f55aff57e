"""The oracle against torch in float64."""

import numpy as np
import pytest
import torch

from .drawn import CELLS, as_tuple, difference, draw, torch_results

EACH = 500  # settings of each cell: 2,000 in all
EACH_GRADIENT = 250  # 1,000 in all


@pytest.mark.parametrize("cell", CELLS)
def test_results_equal_torchs_to_1e_12(cell: str) -> None:
    for seed in range(EACH):
        setting = draw(cell, seed)
        output, final = setting.forward()
        actual = dict(zip(("output", "h_n", "c_n"), (output, *as_tuple(final)), strict=False))
        with torch.no_grad():
            expected, _ = torch_results(setting)
        assert actual.keys() == expected.keys()
        worst = {name: difference(actual[name], expected[name]) for name in expected}
        assert max(worst.values()) <= 1e-12, (seed, setting, worst)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_equal_torchs_to_1e_10(cell: str) -> None:
    for seed in range(1000, 1000 + EACH_GRADIENT):
        setting = draw(cell, seed)
        actual = setting.gradients()
        _, expected = torch_results(setting)
        assert actual.keys() == expected.keys()
        worst = {name: difference(actual[name], expected[name]) for name in expected}
        assert max(worst.values()) <= 1e-10, (seed, setting, worst)


@pytest.mark.parametrize("cell", CELLS)
def test_the_settings_drawn_meet_every_option(cell: str) -> None:
    settings = [draw(cell, seed) for seed in range(EACH)]
    met = {name: {repr(s.keywords.get(name)) for s in settings} for name in ("num_layers", "bias", "bidirectional")}
    assert met == {"num_layers": {"1", "2", "3"}, "bias": {"True", "False"}, "bidirectional": {"True", "False"}}
    for given in ("lengths", "dropout_masks"):
        assert sum(s.keywords.get(given) is not None for s in settings) > EACH / 4
    assert (
        sum(s.keywords.get("dropout_masks", None) is not None and s.keywords["num_layers"] > 1 for s in settings) > 50
    )
    assert {s.hx is None for s in settings} == {s.input.ndim == 2 for s in settings} == {True, False}
    assert {s.keywords["batch_first"] for s in settings} == {True, False}
    assert cell != "lstm" or sum(s.keywords["proj_size"] > 0 for s in settings) > EACH / 4
    assert max(np.max(s.input.shape) for s in settings) > 20
