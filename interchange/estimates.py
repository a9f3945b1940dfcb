"""How long a call of each function takes, by what is known of the last ones."""

from __future__ import annotations

from parsl_pool.interchange.columns import Tasks

_REMEMBER = 512


class Estimates(dict[int, int]):
    """Function -> nanoseconds. Belongs to the manager's core."""

    def __init__(self) -> None:
        super().__init__()
        self._work: dict[int, tuple[int, int]] = {}  # function -> nanoseconds and tasks that it is the mean of
        self._recent = 0  # the function that was last heard of

    def of(self, tasks: Tasks) -> int:
        """Nanoseconds that one of these tasks may take; 0 if nobody knows."""
        worst = 0
        for number in tasks.function_numbers():
            known = self.get(number, 0)
            if not known:
                return 0
            worst = max(worst, known)
        return worst

    def of_recent(self) -> int:
        """The same of the function that was last heard of."""
        return self.get(self._recent, 0)

    def learn(self, functions: set[int], tasks: int, nanoseconds: int) -> None:
        """Keep a mean that forgets. A maximum would shrink batches for long after one task was preempted, and
        small batches make the next preemption weigh more; the odd long task is what taking back is for."""
        for number in functions:
            total, count = self._work.get(number, (0, 0))
            total, count = total + nanoseconds, count + tasks
            self[number] = max(1, total // count)
            self._work[number] = (total // 2, count // 2) if count >= _REMEMBER else (total, count)
            self._recent = number

    def forget(self, numbers: list[int]) -> None:
        """These functions will not come again."""
        for number in numbers:
            self.pop(number, None)
            self._work.pop(number, None)
