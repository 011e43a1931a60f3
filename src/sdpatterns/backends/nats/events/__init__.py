"""How a log stands in JetStream: its messages, reading them, and adding to them."""
