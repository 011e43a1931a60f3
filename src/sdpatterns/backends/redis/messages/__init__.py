"""What a queue on Redis is made of: its keys, the scripts of its verbs, and how a message looks there."""
