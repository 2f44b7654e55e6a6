"""Run tasks in threads, small files one after the other as long as their server answers at once.

doit's own runner has a main thread that hands tasks to workers and takes their results, over two
queues: a file of 20 kB then wakes three threads. Here each worker takes its next task itself. The
first one begins alone; another starts when no worker has the run token (fs/run_token.py): when they
all wait for something, or work on large files or on tasks of the user.
"""

import threading
from typing import Any

from doit import cmd_run
from doit.dependency import JsonDB
from doit.exceptions import InvalidTask
from doit.runner import MThreadRunner, Runner

from downloader.fs.run_token import RunToken, kept, leave
from downloader.tasks._fetch import FileTask, OurTask
from downloader.tasks._runtime import current

SIGNAL_SECONDS = 0.5
"""On Windows no signal ends a wait without a limit."""


class ThreadRunner(MThreadRunner):  # type: ignore[misc]
    """Runs up to `num_process` tasks at once, each in a thread."""

    def run_tasks(self, task_dispatcher: Any) -> None:  # noqa: ANN401 - doit's
        """Run the tasks that the dispatcher gives, to the last one.

        Raises:
            BaseException: What a task raised that is none of doit's failures.
        """
        is_ours = any(isinstance(task, OurTask) for task in task_dispatcher.tasks.values())
        if not (is_ours and isinstance(self.dep_manager.backend, JsonDB)):
            super().run_tasks(task_dispatcher)  # SQLite's database is for the main thread only
            return
        self._run_tasks_init(task_dispatcher)
        self._workers: list[threading.Thread] = []
        self._running = self._held = self._ended = 0
        self._is_exhausted = self._is_broken = False
        self._runtime = current()
        self._raised: BaseException | None = None
        self._changing = threading.RLock()  # code of doit and of users: one thread at a time
        self._growing = threading.Lock()  # never held while such code runs
        self._ready = threading.Condition(self._changing)
        self._are_done = threading.Event()
        self._token = RunToken(self._start_another)
        self._token.watch()
        try:
            self._start_another()
            if not self._workers:
                Runner.run_tasks(self, task_dispatcher)  # as with `-n 0`: in this thread
                return
            while not self._are_done.wait(SIGNAL_SECONDS):
                pass
        finally:
            self._token.close()
        raised, self._raised = self._raised, None
        if raised is not None:
            raise raised

    @property
    def _is_ending(self) -> bool:
        """Whether no task is to begin any more."""
        return bool(self._is_exhausted or self._stop_running or self._is_broken)

    def _start_another(self) -> None:
        """Start a worker if there may be work for one more."""
        with self._growing:
            if self._is_ending or self._held or len(self._workers) >= self.num_process:
                return
            number = len(self._workers)
            worker = threading.Thread(target=self._work, name=f"modelmake-{number}", daemon=True)
            self._workers.append(worker)
            try:
                worker.start()
            except RuntimeError:  # the system has no thread left
                self._workers.remove(worker)

    def _work(self) -> None:
        try:
            with self._token:
                node, failure = self._next(None, None), None
                while node is not None:
                    failure = self._execute(node.task)
                    node = self._next(node, failure)
        except BaseException as error:  # noqa: BLE001 - raised in the main thread
            with self._changing:
                self._raised, self._is_broken = self._raised or error, True
                self._ready.notify_all()
                self._are_done.set()
        finally:
            with self._growing:
                self._ended += 1
                if self._ended == len(self._workers):
                    self._are_done.set()

    def _execute(self, task: Any) -> Any:  # noqa: ANN401 - doit's
        """Execute a task, and return doit's failure; the token is for files that may be small."""
        if isinstance(task, FileTask) and not task.artifact.archive:
            self._token.next_file()
        else:
            leave()
        return self.execute_task(task)

    def _next(self, done: Any, failure: Any) -> Any:  # noqa: ANN401 - doit's
        """Note how a task ended, and return the node of another one that is to run now.

        Args:
            done: The node of the task; None if this worker had none.
            failure: doit's failure; None if it went well.

        Returns:
            None if there is none, now or later.
        """
        with self._changing, kept():
            # A command may set the run's `stop` for its own requests: that is no interrupt.
            if self._is_broken or self._runtime.is_interrupted:
                return None  # the main thread ends the program, and tells how far it came
            if done is not None:
                self._running -= 1
                self.process_task_result(done, failure)
            node = done
            while not self._is_ending:
                try:
                    node = self.task_dispatcher.generator.send(node)
                except StopIteration:
                    self._is_exhausted = True
                    break
                if node == "hold on":
                    self._wait_for_others()
                    node = None
                elif self.select_task(node, self.tasks):
                    self._running += 1
                    if self._held:
                        self._ready.notify()
                    return node
            self._ready.notify_all()
            return None

    def _wait_for_others(self) -> None:
        """Wait until a task that others need has ended."""
        if not self._running:
            raise InvalidTask("The tasks that are left wait for each other.")
        self._held += 1
        leave()
        self._ready.wait()
        self._held -= 1


def install() -> None:
    """Let doit run tasks in our threads where it would in its own."""
    cmd_run.MThreadRunner = ThreadRunner
