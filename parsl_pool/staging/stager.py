"""What becomes of a call with files: its arguments, its function, and the futures of what it writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from parsl_pool.dataflow.call import Call
from parsl_pool.dataflow.flow_task import FlowTask
from parsl_pool.dataflow.staged import STAGING_INHIBIT, Instead
from parsl_pool.files import File
from parsl_pool.futures.data_future import DataFuture
from parsl_pool.staging.base import Staging
from parsl_pool.staging.data_manager import DataManager
from parsl_pool.staging.ends import SentFile
from parsl_pool.staging.writers import Writers


class Stager:
    """Prepares the calls of one pool; a `Flow` asks."""

    def __init__(self, dm: DataManager) -> None:
        self._dm = dm
        self._writers = Writers()

    def outputs(self, task: FlowTask, call: Call) -> tuple[DataFuture, ...]:
        """The futures of the files that the task writes, and prepares that they go out. Raises StagingError."""
        record = task.record
        record.stdout, record.stderr = call.stdout, call.stderr
        streams = list({id(file): file for file in (call.stdout, call.stderr) if isinstance(file, File)}.values())
        if not call.outputs and not streams:
            return ()
        if record.options.join:
            return tuple([self._writers.of_join(task.future, file) for file in call.outputs])
        if call.kwargs.get(STAGING_INHIBIT) or self._dm.is_asking:
            return tuple([DataFuture(task.future, file) for file in call.outputs])
        written = call.written or call.outputs
        files = [*zip(call.outputs, written), *((stream.cleancopy(), stream) for stream in streams)]
        label = task.backend.label
        providers = [self._dm.provider_out(label, file) for file, _ in files]
        self._writers.begin(task, [file for file, _ in files])
        task.written = {id(copy): copy for _, copy in files}
        try:
            futures = [self._sent(task, file, copy, by) for (file, copy), by in zip(files, providers)]
        except BaseException:  # passed on: nobody will know this task
            task.future._become_cancelled()
            raise
        by_id = {id(copy): future for (_, copy), future in zip(files, futures)}
        record.stdout, record.stderr = by_id.get(id(call.stdout), call.stdout), by_id.get(id(call.stderr), call.stderr)
        return tuple(futures[: len(call.outputs)])

    def _sent(self, task: FlowTask, file: File, copy: File, provider: Staging) -> DataFuture:
        """The future of one of them. copy: what the task gets."""
        if provider.moves_nothing:
            return DataFuture(task.future, file)
        dm, label = self._dm.for_task(task.future), task.backend.label
        arrives = dm.stage_out(copy, label, task.future)
        fn, args, kwargs = task.runs_as or (task.record.func, task.record.args, task.record.kwargs)
        task.runs_as = (dm.replace_task_stage_out(copy, fn, label), args, kwargs)
        if arrives is None:
            return DataFuture(task.future, file)
        self._writers.arrive_by(task, file, arrives)
        return SentFile(task.future, arrives, file)

    def inputs(
        self, task: FlowTask, fn: Callable[..., Any], files: Sequence[Any]
    ) -> tuple[Callable[..., Any], Instead]:
        """What is launched in place of the function, and what takes the places of the files among its arguments, now
        that they are on their way. Raises StagingError."""
        if task.record.kwargs.get(STAGING_INHIBIT) or self._dm.is_asking:
            return fn, Instead(())
        dm, label = self._dm.for_task(task.future), task.backend.label
        made: list[tuple[Any, Any]] = []
        for thing in files:
            replacement = thing
            if id(thing) not in task.written:
                replacement, fn = dm.optionally_stage_in(thing, fn, label)
            made.append((thing, replacement))
        task.follows_new_ones()
        return fn, Instead(made)
