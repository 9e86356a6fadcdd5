"""The error that harken raises for bad input."""


class HarkenError(Exception):
    """Error for all bad input: a file, an argument, or an option.

    The message is one line. It names the file or value, says what is wrong with it, and then how to fix it. The command
    line prints this message and exits with code 2.
    """
