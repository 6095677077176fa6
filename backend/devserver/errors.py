class LauncherError(RuntimeError):
    """What went wrong, in words for the person at the terminal; it is shown without a traceback."""
