"""Messages in two tables: what callers ask of a queue as one unit of work, and how many callers become one."""
