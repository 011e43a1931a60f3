"""Service level objectives: a file of them becomes Prometheus rules and alerts, or a budget that Python computes.

```
slo.yml  -->  SLOFile  -->  recording rules and burn-rate alerts  -->  rules.yml
               `--------->  BudgetMeter: the same judgement in this process, without Prometheus
```

The file has the shape `prometheus/v1` of Sloth. `python -m sdpatterns.observability.slo FILE` is the command.
"""

from sdpatterns.observability.slo.budget import Budget, BudgetMeter
from sdpatterns.observability.slo.config import SLO, Alerting, EventsSLI, SLOFile
from sdpatterns.observability.slo.decision import slo_rules
from sdpatterns.observability.slo.windows import BurnWindow, BurnWindows

__all__ = ["SLO", "Alerting", "Budget", "BudgetMeter", "BurnWindow", "BurnWindows", "EventsSLI", "SLOFile", "slo_rules"]
