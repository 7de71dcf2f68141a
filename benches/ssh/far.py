#!/usr/bin/env python3
"""Runs a command as if what listens on 127.0.0.1 were far away; for root, on Linux.

    far.py 10 COMMAND...     10 ms each way: a round trip of 20 ms

The command, with all the servers and clients that it starts, has a network namespace of its own.
There, packets to 127.0.0.1 leave through a tun device, wait here, and come back in through the same
device. TCP meets what it meets on a long line, which it does not behind a proxy: its handshake, its
window and its acknowledgements take their time. No packet is lost, and all keep their order. Where
the kernel has it, `tc qdisc add dev lo root netem delay 10ms` in a namespace does the same.
"""
import collections
import ctypes
import fcntl
import os
import select
import struct
import subprocess
import sys
import time

CLONE_NEWNET = 0x40000000
PR_SET_TIMERSLACK = 29
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x1, 0x1000
LIBC = ctypes.CDLL(None, use_errno=True)

ROUTES = (
    "link set lo up",
    "link set far up mtu 1500 txqueuelen 10000",
    "route add 127.0.0.1/32 dev far src 127.0.0.1 table 100",
    # What comes in through the device has arrived; all else to that address has to leave first.
    "rule add pref 1 iif far lookup local",
    "rule add pref 2 to 127.0.0.1/32 lookup 100",
    "rule add pref 3 lookup local",
    "rule del pref 0",
)


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    delay, command = float(sys.argv[1]) / 1000, sys.argv[2:]
    if LIBC.unshare(CLONE_NEWNET):
        sys.exit(f"making a network namespace: {os.strerror(ctypes.get_errno())}")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", b"far", IFF_TUN | IFF_NO_PI))
    # An address of our own is to come in from outside.
    for key, value in ("accept_local", 1), ("route_localnet", 1), ("rp_filter", 0):
        for name in "all", "far":
            with open(f"/proc/sys/net/ipv4/conf/{name}/{key}", "w") as file:
                file.write(str(value))
    for line in ROUTES:
        subprocess.run(["ip", *line.split()], check=True)
    child = subprocess.Popen(command)
    # The delay holds on a busy machine as well.
    LIBC.prctl(PR_SET_TIMERSLACK, 1)
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    carry(device, delay, os.pidfd_open(child.pid))
    sys.exit(child.wait())


def carry(device, delay, ended):
    """Hands each packet back when its time has come, until the command has ended."""
    waiting, now = collections.deque(), time.monotonic
    while True:
        pause = max(0.0, waiting[0][0] - now()) if waiting else None
        ready = select.select([device, ended], [], [], pause)[0]
        if device in ready:
            try:
                while True:
                    packet = os.read(device, 65536)
                    waiting.append((now() + delay, packet))
            except BlockingIOError:
                pass
        while waiting and waiting[0][0] <= now():
            os.write(device, waiting.popleft()[1])
        if ended in ready:
            return


main()
