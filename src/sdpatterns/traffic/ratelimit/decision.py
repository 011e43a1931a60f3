"""The limiter's arithmetic: pure, in whole microseconds."""
