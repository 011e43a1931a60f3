"""The reference shop: scarcity, money and other people's services, on the library's own parts."""
