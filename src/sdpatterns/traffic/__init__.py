"""How many requests pass, and which server answers them."""
