"""Who alone, and only once?"""
