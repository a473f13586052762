"""What normal residuals look like: learnt from good views, applied when scoring."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Normality:
    """Placeholder of the statistics that `calibration.learn_normality` gathers."""
