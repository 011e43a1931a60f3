"""Shall this call go on?"""
