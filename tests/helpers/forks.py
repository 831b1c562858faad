"""Python processes for the price of a fork: importing torch and its like takes seconds, so one process does it for all.

What is forked from it has an environment, a directory, signals and an exit code of its own, and imports this project
itself, whichever copy its PYTHONPATH leads to. Only a test of what is imported, or when, needs ``subprocess``.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import types
import uuid
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from typing import Any, NoReturn

IMPORTED = (
    *("torch", "torch._dynamo"),  # the second by torch.func with its first gradient
    *("numpy", "gymnasium", "hydra", "hydra.main", "omegaconf", "typer", "rich.console"),
    *("pandas", "scipy.stats", "matplotlib.figure"),
)  # not MuJoCo, which then chooses its OpenGL by the environment
SERVER = "FORKS_SERVER"  # in the environment of what is forked: who forks what it starts in turn
MOST_BYTES = 1 << 17  # of a request: its environment, above all


class Popen(subprocess.Popen[Any]):
    """As ``subprocess.Popen``, which it is for all but this Python itself, started with plain options.

    SIGINT counts for what is forked, even below a shell's background job.
    """

    _status = -1  # tells how what was forked has ended

    def _execute_child(self, command: Any, executable: Any, preexec: Any, close: Any, fds: Any, *more: Any) -> None:
        cwd, env, _, _, _, *pipes = more
        pipes, new_session = pipes[:6], pipes[-2]
        if preexec or fds or executable or not _is_this_python(command):
            super()._execute_child(command, executable, preexec, close, fds, *more)  # type: ignore[misc]
            return
        stdin, _, _, stdout, _, stderr = pipes
        request = {
            "arguments": [os.fspath(part) for part in command[1:]],
            "cwd": os.fspath(cwd or os.getcwd()),
            "environment": dict(os.environ if env is None else env),
            "new_session": new_session,
        }
        self._status, told = os.pipe()
        given = [own if own != -1 else number for number, own in enumerate((stdin, stdout, stderr))]
        with _asked() as server:
            socket.send_fds(server, [json.dumps(request).encode()], [*given, told])
            os.close(told)
            self.pid = int(server.recv(100))
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _internal_poll(self, *arguments: Any, **options: Any) -> int | None:
        if self._status == -1:
            return super()._internal_poll(*arguments, **options)  # type: ignore[misc,no-any-return]
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self._try_wait(0)
        return self.returncode

    def _try_wait(self, flags: int) -> tuple[int, int]:
        if self._status == -1:
            return super()._try_wait(flags)  # type: ignore[misc,no-any-return]
        if flags & os.WNOHANG and not select.select([self._status], [], [], 0)[0]:
            return 0, 0
        status = int(os.read(self._status, 100) or signal.SIGKILL)  # nothing: its parent was killed
        os.close(self._status)
        self.returncode = os.waitstatus_to_exitcode(status)
        return self.pid, status


class Python(Popen):
    """As ``Popen([sys.executable, ...], text=True)``."""

    def __init__(self, command: list[str], **options: Any) -> None:
        assert _is_this_python(command)
        super().__init__(command, text=True, **options)


def _is_this_python(command: Any) -> bool:
    return isinstance(command, list | tuple) and command[0] == sys.executable and _startable(command[1:])


def _startable(arguments: Sequence[Any]) -> bool:
    """Whether ``_execute`` knows all options before the program."""
    program = next((part for part in map(os.fspath, arguments) if part != "-P"), "-")
    return program in ("-c", "-m") or not program.startswith("-")


def run(command: list[str], *, timeout: float = 300, check: bool = False, **options: Any) -> Any:
    """As ``subprocess.run([sys.executable, ...], capture_output=True, text=True)``."""
    with Python(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    done = subprocess.CompletedProcess(command, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


def _asked() -> socket.socket:
    """A connection to the process that forks: this one's own, or that of the process which had this one forked."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect("\0" + (os.environ.get(SERVER) or _server()))
    return connection


@cache
def _server() -> str:
    """Name of the process that forks for this one, with which it ends."""
    name = f"forks-{uuid.uuid4().hex}"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(f"\0{name}")
    listening.listen(100)
    held, hold = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-P", __file__, str(listening.fileno()), str(held.fileno()), name],
        pass_fds=[listening.fileno(), held.fileno()],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # not ended by the Ctrl-C that a test or its user sends
    )
    listening.close()
    held.close()

    def end() -> None:
        hold.close()
        process.wait()

    atexit.register(end)
    return name


def _serve(listening: socket.socket, held: socket.socket, own_name: str) -> list[str]:
    """Fork for each request; return, in each fork, the arguments of the Python that it is to be."""
    before = dict(os.environ)
    for name in IMPORTED:
        importlib.import_module(name)
    made = {name: value for name, value in os.environ.items() if name not in before}  # Gymnasium silences pygame so
    made[SERVER] = own_name
    gc.collect()
    gc.freeze()
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno())
    status_of: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([listening, held, woken], [], [])
        if woken in ready:
            woken.recv(1000)
            _tell(status_of)
        if held in ready:
            sys.exit()
        if listening in ready:
            channel, _ = listening.accept()
            request, fds, _, _ = socket.recv_fds(channel, MOST_BYTES, 4)
            if not request:  # whoever asked was killed meanwhile
                channel.close()
                continue
            pid = os.fork()
            if pid == 0:
                for end in (channel, listening, held, woken, wake):
                    end.close()
                for fd in (*status_of.values(), fds.pop()):
                    os.close(fd)
                return _become(json.loads(request), made, fds)
            status_of[pid] = fds.pop()
            for fd in fds:
                os.close(fd)
            with suppress(OSError):  # likewise
                channel.send(str(pid).encode())
            channel.close()


def _tell(status_of: dict[int, int]) -> None:
    while status_of:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        fd = status_of.pop(pid)
        with suppress(BrokenPipeError):  # nobody asks
            os.write(fd, str(status).encode())
        os.close(fd)


def _become(request: dict[str, Any], made: dict[str, str], fds: list[int]) -> list[str]:
    if request["new_session"]:
        os.setsid()
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(made | request["environment"])
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed()
    sys.modules["numpy"].random.seed()
    subprocess.Popen = Popen  # type: ignore[misc]
    return request["arguments"]


def _execute(arguments: list[str]) -> None:
    """As ``python <arguments>`` would."""
    isolated = arguments[0] == "-P"
    first, *rest = arguments[isolated:]
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    if first in ("-c", "-m"):
        name, *rest = rest
        sys.argv = ["-c" if first == "-c" else name, *rest]
        own_path = "" if first == "-c" else os.getcwd()
    else:
        sys.argv = [first, *rest]
        own_path = os.path.dirname(os.path.abspath(first))
    sys.path[:0] = [*([] if isolated else [own_path]), *paths]
    if first == "-c":
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(name, "<string>", "exec"), vars(main))
    elif first == "-m":
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(first, run_name="__main__")


def _end(arguments: list[str]) -> NoReturn:
    """Execute, then end as Python does, but without taking apart what was forked, which takes half a second."""
    code: Any = 0
    try:
        _execute(arguments)
    except SystemExit as leaving:
        code = leaving.code
        if not isinstance(code, int | None):
            print(code, file=sys.stderr)
            code = 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if code == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code or 0)


if __name__ == "__main__":
    _end(_serve(socket.socket(fileno=int(sys.argv[1])), socket.socket(fileno=int(sys.argv[2])), sys.argv[3]))
