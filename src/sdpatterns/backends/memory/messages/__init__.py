"""What a queue in this process is made of: entries, and the orders that they stand in."""
