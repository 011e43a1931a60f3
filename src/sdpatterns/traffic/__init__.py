"""How much, and to whom?"""
