"""Protect calls to services that fail or are slow: retry, timeout, circuit breaker, bulkhead, fallback."""
