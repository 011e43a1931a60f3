"""What happened? Listeners that turn notices into logs, metrics and spans."""
