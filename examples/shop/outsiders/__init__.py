"""The outsiders that hear of an order: a mail server, a carrier, the sellers. Each keeps a book of its own."""
