"""How the shop is delivered: the chart, what writes its values, and what judges all of it without a cluster."""
