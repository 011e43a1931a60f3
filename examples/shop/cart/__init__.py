"""Cart: what a customer means to buy, from several devices."""
