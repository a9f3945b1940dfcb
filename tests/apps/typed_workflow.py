"""A user's workflow, strictly typed. Its wrong lines have to be marked as such: see test_typing.py."""

from concurrent.futures import Future, wait

import parsl_pool
from parsl_pool import AppFuture, Config, DataFuture, File, ThreadPoolExecutor, bash_app, join_app, python_app


@python_app
def shout(times: int, text: str = "hey") -> str:
    return times * text


@python_app(cache=False)
def half(number: float) -> float:
    return number / 2


@bash_app
def say(text: str, stdout: str | None = None) -> str:
    return f"echo {text}"


@bash_app
def tell(text: str, stdout: "str | tuple[str, str] | File | None" = None) -> str:
    return f"echo {text}"


def where(stream: "str | DataFuture | None") -> str:
    """What a future has as `stdout` or `stderr`: a path, or the future of a File."""
    if isinstance(stream, DataFuture):
        return stream.filepath
    return "nowhere" if stream is None else stream


@join_app
def either(first: bool) -> "Future[str]":
    return shout(1) if first else shout(2)


class Model:
    factor = 3

    @python_app
    def times(self, number: int, text: str = "x") -> str:
        return text * self.factor * number

    @classmethod
    @python_app
    def sized(cls, number: int) -> int:
        return cls.factor * number

    @staticmethod
    @python_app
    def bare(number: int) -> float:
        return number / 2


def main() -> None:
    with parsl_pool.load(Config([ThreadPoolExecutor()])) as pool:
        number: AppFuture[int] = pool.submit(abs, -2)
        text: AppFuture[str] = shout(number, "ho")
        keyword: AppFuture[str] = shout(3, text=text)
        limited: AppFuture[float] = half(4.0, walltime=20)
        code: AppFuture[int] = say(keyword, stdout="/dev/null")
        added: AppFuture[int] = tell("so", stdout=("/dev/null", "w"))
        filed: AppFuture[int] = tell("so", stdout=File("/dev/null"))
        joined: AppFuture[str] = either(True)
        lifted = joined[0]
        foreign: Future[int] = Future()
        foreign.set_result(1)
        from_elsewhere: AppFuture[str] = shout(foreign)
        wait([text, keyword, joined, from_elsewhere])
        times: AppFuture[str] = Model().times(Model.sized(1), text=text)
        sized: AppFuture[int] = Model().sized(2)
        bare: AppFuture[float] = Model.bare(3)  # by the class: of an object, checkers take it for a method
        assert (times.result(), sized.result(), bare.result()) == ("hoho" * 9, 6, 1.5)
        wait([limited])
        wait([code, added, filed])
        assert [where(each.stdout) for each in (code, added, filed)] == ["/dev/null"] * 3
        assert (where(code.stderr), code.stdout) == ("nowhere", "/dev/null")
        code.stdout.upper()  # type: ignore[union-attr]
        assert (text.result().upper(), limited.result().hex()) == ("HOHO", (2.0).hex())
        assert (keyword.result(), code.result(), lifted.result()) == ("hohohohohoho", 0, "h")
        shout("three")  # type: ignore[call-overload]
    parsl_pool.clear()
    print("all is as typed")


if __name__ == "__main__":
    main()
