"""Whether this call shall go on: retry, timeout, circuit breaker, bulkhead, fallback."""
