"""The few errors a user can meet, and how one line of each is worded.

Every message says what was found, what was expected and what to do about it. The command line prints
`error: MESSAGE` and leaves with `exit_code`: 1 when a check did not hold, 2 when the input was wrong.
"""


class OfframpError(Exception):
    """A fault with a one-line message that a user can act on."""

    exit_code = 2


class BadInput(OfframpError):
    """A file, value or option that cannot be used as given."""


class UnsupportedOperator(OfframpError):
    """An operator that a target has no form for.

    Args:
        operator: the operator, as `aten.foo.default`.
        module_path: path of the PyTorch module that calls it, for example `stages.2.blocks.0.attn`.
        target: the target that lacks it, for example `coreml`.
        mend: what the user can do instead.
    """

    def __init__(self, operator: str, module_path: str, target: str, mend: str):
        super().__init__(f"{module_path or 'the network itself'}: {target} has no form of {operator}; {mend}")
        self.operator = operator
        self.module_path = module_path
        self.target = target
        self.mend = mend

    def __reduce__(self) -> tuple[type, tuple[str, str, str, str]]:
        """So that it reaches the caller from another process."""
        return type(self), (self.operator, self.module_path, self.target, self.mend)


class OfframpWarning(UserWarning):
    """Something that works, but is likely not what the user wants; the command line shows it as a line of progress."""


def first_line(error: BaseException, limit: int = 160) -> str:
    """The first line of another library's message, cut to `limit` characters."""
    line = str(error).strip().split("\n", 1)[0]
    return line if len(line) <= limit else line[: limit - 3] + "..."
