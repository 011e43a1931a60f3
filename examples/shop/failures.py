"""Why a shop cannot start, told in one line."""


class StartFailed(Exception):
    """The shop cannot start, and this one line says what to do about it."""
