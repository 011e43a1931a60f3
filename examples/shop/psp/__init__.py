"""The payment service provider: another company, with its own book and its own failures."""
