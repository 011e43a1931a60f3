"""Load profiles of the shop, for Locust and for k6."""
