"""Predictions of the gain from growing a network, from published ImageNet trainings.

    points, std = predicted_gain(factors, base_top1=77.1)

The model is a regression over 367 published trainings in 51 groups of base network and recipe,
scaled in depth, width and resolution. `experiments.fit_published_scaling` fits and cross-validates
it. The trainings are by others with different recipes: the prediction is the likely gain under a
new recipe, not a measurement.
"""

from typing import TYPE_CHECKING

from vbs.lazy import lazy_names

if TYPE_CHECKING:
    from scaling.published.forecasts import Forecast, forecast
    from scaling.published.model import (
        GrowthModel,
        Published,
        check_range,
        factors_between,
        load_published,
        predicted_gain,
        range_problems,
    )
    from scaling.published.optimum import Optimum, best_split
    from scaling.published.prior import surface_prior

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Forecast": "scaling.published.forecasts",
        "GrowthModel": "scaling.published.model",
        "Optimum": "scaling.published.optimum",
        "Published": "scaling.published.model",
        "best_split": "scaling.published.optimum",
        "check_range": "scaling.published.model",
        "factors_between": "scaling.published.model",
        "forecast": "scaling.published.forecasts",
        "load_published": "scaling.published.model",
        "predicted_gain": "scaling.published.model",
        "range_problems": "scaling.published.model",
        "surface_prior": "scaling.published.prior",
    },
)
