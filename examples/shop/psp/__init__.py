"""The payment service provider: somebody else's company, with its own book and its own bad days."""
