"""Questions put to sdpatterns and its peers in one run; the answers make docs/comparison.md."""
