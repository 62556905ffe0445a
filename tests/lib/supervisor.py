#!/usr/bin/env python3
"""A supervisor as systemd is one: supervisor.py USEC PROGRAM [ARGUMENTS] runs the program with NOTIFY_SOCKET and a watchdog
of so many microseconds (0: none), and prints every datagram as a line of JSON. Lines on standard input: "hold N" stops
the Nth thread alone, by ptrace; "go" lets it run again; the end of the input ends the program."""

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, thread):
    if libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x}")


def hold(child, number):
    """The threads that turn loops come first, in the order of their making."""
    thread = sorted(int(name) for name in os.listdir(f"/proc/{child.pid}/task"))[number]
    ptrace(PTRACE_SEIZE, thread)
    ptrace(PTRACE_INTERRUPT, thread)
    os.waitpid(thread, WALL)
    return thread


def release(held):
    while held:
        ptrace(PTRACE_DETACH, held.pop())


def say(**what):
    print(json.dumps(what), flush=True)


def serve(ear, child, held):
    while True:
        ready, _, _ = select.select([ear, 0], [], [], 0.2)
        if child.poll() is not None:
            return
        if ear in ready:
            say(told=ear.recv(4096).decode())
        if 0 in ready:
            line = os.read(0, 4096).decode().split()
            if not line:
                return
            if line[0] == "hold":
                held.append(hold(child, int(line[1])))
            else:
                release(held)
            say(did=" ".join(line))


with tempfile.TemporaryDirectory(prefix="tc-supervisor-") as folder:
    path = f"{folder}/notify"
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.bind(path)
    env = dict(os.environ, NOTIFY_SOCKET=path)
    if sys.argv[1] != "0":
        env["WATCHDOG_USEC"] = sys.argv[1]
    child = subprocess.Popen(sys.argv[2:], env=env, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    say(pid=child.pid)
    held = []
    try:
        serve(ear, child, held)
    finally:
        if child.poll() is None:
            release(held)  # a process with a held thread does not end
            child.kill()
        child.wait()
        ear.setblocking(False)
        try:
            while True:
                say(told=ear.recv(4096).decode())
        except BlockingIOError:
            pass
        say(status=child.returncode)
