"""What a mesh does for the shop, as Envoy does it: the same settings as in the chart, without a control plane."""
