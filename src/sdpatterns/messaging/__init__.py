"""How does it get there, safely?"""
