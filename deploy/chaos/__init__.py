"""Experiments for game days, and the resources of Chaos Mesh that are generated from them."""
