"""Reviews: what buyers say; a sale goes on without them."""
