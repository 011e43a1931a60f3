"""What all databases share of logs: the rows, the verbs, and how requests become units."""
