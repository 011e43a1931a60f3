"""Fulfilment: what follows a paid order. The mail, the invoice, the parcel, and the news for the sellers."""
