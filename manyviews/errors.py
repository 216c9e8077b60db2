"""The error for bad input, apart from everything that needs PyTorch."""


class InputError(ValueError):
    """What the user asked for cannot be done; `problems` says everything that is wrong at once, each with the way out."""

    def __init__(self, *problems: str):
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))
