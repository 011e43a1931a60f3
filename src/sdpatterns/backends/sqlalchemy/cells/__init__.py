"""Cells in a table: steps as one unit of work, and how the steps of many callers become one."""
