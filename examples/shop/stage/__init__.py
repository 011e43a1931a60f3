"""The stage of the demo: what breaks the shop on purpose and shows how it holds; no part of a shop of your own."""
