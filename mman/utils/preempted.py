"""How a training ends that was asked to stop."""

# EX_TEMPFAIL of sysexits.h: not an error, try again later.
EXIT_CODE = 75


class Preempted(SystemExit):
    """Training stopped on a signal, and can be resumed; ``message`` says from where.

    A SystemExit with the code 75, so that a script which does not catch it
    ends with that code.
    """

    def __init__(self, message: str):
        super().__init__(EXIT_CODE)
        self.message = message

    def __str__(self) -> str:
        return self.message
