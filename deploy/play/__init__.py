"""The chart on this machine: rendered, translated for podman, played, tried, and taken down."""
