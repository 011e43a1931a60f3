"""What judges the files of `deploy/` on a machine without a cluster."""
