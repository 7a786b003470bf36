# SPDX-License-Identifier: Apache-2.0
"""
A network of its own in network namespaces, on which hosts of a guest stand side by side:

    host "a": tap vm0 ── bridge br0 ── uplink ─┐
                                               ├─ switch: bridge br0 ── client: eth0
    host "b": tap vm0 ── bridge br0 ── uplink ─┘

Nothing of it is seen outside. It goes with close(), and what a killed run left is removed by the next one.
"""

import contextlib
import ctypes
import fcntl
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from .patience import PATIENCE_S
from .programs import absence

NAMED = Path("/run/netns")
PREFIX = "godwit"
CLIENT, SWITCH = "client", "switch"
CLIENT_ADDRESSES = ("10.77.0.100/24", "fd77::100/64")
GUEST4, GUEST6 = "10.77.0.2", "fd77::2"
HOST_NETWORK = "10.78.0"     # of the hosts among themselves: migrations
TAP = "vm0"
CLONE_NEWNET = 0x40000000
SIOCETHTOOL = 0x8946
# linux/ethtool.h: ETHTOOL_SRXCSUM, STXCSUM, STSO, SGSO, SGRO, in the order in which they depend on one another
ETHTOOL_OFFLOADS = (0x15, 0x17, 0x1f, 0x24, 0x2c)


class NotPermitted(Exception):
    """Why there can be no such network here, as a sentence."""


def obstacle(*programs):
    """What keeps a network from being made here by root; None if nothing does."""
    if absence(*programs):
        return absence(*programs)
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"/dev/net/tun cannot be opened: {error.strerror}"
    return None


def require(*programs):
    """NotPermitted where there can be no network with taps."""
    why = obstacle(*programs)
    if why:
        raise NotPermitted(why)
    if os.geteuid() != 0:
        raise NotPermitted("network namespaces with taps need root; sudo has it")


def _run(*command, text=None):
    done = subprocess.run([str(word) for word in command], input=text, capture_output=True, text=True,
                          timeout=PATIENCE_S, check=False)
    if done.returncode != 0:
        raise NotPermitted(f"'{' '.join(map(str, command))}' failed: {done.stderr.strip()}")
    return done.stdout


def _remove_leftovers():
    for place in NAMED.glob(f"{PREFIX}-*-*"):
        number = re.fullmatch(rf"{PREFIX}-(\d+)-\w+", place.name)
        if number and not Path(f"/proc/{number[1]}").exists():
            subprocess.run(["ip", "netns", "del", place.name], capture_output=True, check=False)


def enter(namespace):
    """This thread's sockets are of that namespace from now on; so are its children and threads."""
    with open(NAMED / namespace) as place:
        if ctypes.CDLL(None, use_errno=True).setns(place.fileno(), CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def inside(namespace, function):
    """What the function returns, called in the namespace. Sockets and threads that it makes stay there."""
    result = []

    def call():
        try:
            enter(namespace)
            result.append((function(), None))
        except BaseException as error:   # handed to the caller
            result.append((None, error))
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    value, error = result[0]
    if error:
        raise error
    return value


class Network:
    def __init__(self, hosts=("a", "b"), mtu=1500, queues=1):
        self.hosts, self.mtu, self.queues = hosts, mtu, queues
        self._names = {name: f"{PREFIX}-{os.getpid()}-{name}" for name in (SWITCH, CLIENT, *hosts)}
        require("ip", "bridge", "nsenter", "setpriv")
        _remove_leftovers()
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def namespace(self, name):
        return self._names[name]

    def _ip(self, name, *lines):
        _run("ip", "-n", self.namespace(name), "-batch", "-", text="".join(line + "\n" for line in lines))

    def _sysctl(self, name, **values):
        def write():
            for key, value in values.items():
                Path("/proc/sys", key.replace("__", "/")).write_text(str(value))
        inside(self.namespace(name), write)

    def _bridge(self, name, *lines):
        self._sysctl(name, net__ipv6__conf__all__disable_ipv6=1, net__ipv6__conf__default__disable_ipv6=1)
        self._ip(name, "link set lo up", "link add br0 type bridge stp_state 0 mcast_snooping 0",
                 f"link set br0 mtu {self.mtu} up", *lines)

    def _plug(self, name, interface, port):
        """A cable from the switch's port to an interface of the namespace."""
        self._ip(SWITCH, f"link add {port} type veth peer name {interface} netns {self.namespace(name)}",
                 f"link set {port} mtu {self.mtu} master br0 up")
        self._ip(name, f"link set {interface} mtu {self.mtu} up")

    def _build(self):
        for name in self._names.values():
            _run("ip", "netns", "add", name)
        self._bridge(SWITCH)
        for number, host in enumerate(self.hosts, 1):
            self._bridge(host, f"addr add {HOST_NETWORK}.{number}/24 dev br0")
            self._plug(host, "uplink", self.port(host))
            self._ip(host, "link set uplink master br0")
            self.add_tap(host)
        self._sysctl(CLIENT, net__ipv6__conf__default__accept_dad=0)
        self._plug(CLIENT, "eth0", "to_client")
        self._ip(CLIENT, "link set lo up", *(f"addr add {one} dev eth0" for one in CLIENT_ADDRESSES))

    def add_tap(self, host, name=TAP):
        self._ip(host, f"tuntap add {name} mode tap{' multi_queue' if self.queues > 1 else ''}", f"link set {name} mtu {self.mtu} master br0 up")

    # What is where

    @staticmethod
    def port(host):
        """The switch's port to a host."""
        return f"to_{host}"

    def address(self, host):
        return f"{HOST_NETWORK}.{self.hosts.index(host) + 1}"

    def port_of(self, mac):
        """To which port the switch sends frames for this address now; None: to all."""
        table = json.loads(_run("bridge", "-n", self.namespace(SWITCH), "-j", "fdb", "show", "br", "br0"))
        return next((entry["ifname"] for entry in table if entry["mac"] == mac), None)

    def set_offloads(self, on):
        """Of the client's card: whether it sends frames whose checksum and segments are still to be made."""
        def change():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                for command in ETHTOOL_OFFLOADS:
                    value = (ctypes.c_uint32 * 2)(command, on)
                    request = struct.pack("16sP16x", b"eth0", ctypes.addressof(value))
                    fcntl.ioctl(any_socket, SIOCETHTOOL, request)
        inside(self.namespace(CLIENT), change)

    # Programs

    def start(self, name, command, **options):
        """A process there, which ends with this one at the latest; Ctrl-C is for this one alone."""
        return subprocess.Popen(["nsenter", f"--net={NAMED / self.namespace(name)}", "setpriv", "--pdeathsig", "KILL",
                                 *map(str, command)], start_new_session=True, **options)

    def close(self):
        for name in self._names.values():
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=PATIENCE_S, check=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class TapPlace:
    """A namespace with nothing but a tap, whose other side is this host's."""

    address = "10.77.0.1"

    def __init__(self, name):
        self.namespace = f"{PREFIX}-{os.getpid()}-{name}"
        require("ip", "nsenter")
        _remove_leftovers()
        _run("ip", "netns", "add", self.namespace)
        try:
            inside(self.namespace, lambda: Path("/proc/sys/net/ipv6/conf/default/disable_ipv6").write_text("1"))
            _run("ip", "-n", self.namespace, "-batch", "-", text=f"link set lo up\ntuntap add {TAP} mode tap\n"
                 f"addr add {self.address}/24 dev {TAP}\nlink set {TAP} up\n")
        except BaseException:
            self.close()
            raise

    def enter(self):
        """What a command begins with that is to run there."""
        return ["nsenter", f"--net={NAMED / self.namespace}"]

    def close(self):
        subprocess.run(["ip", "netns", "del", self.namespace], capture_output=True, timeout=PATIENCE_S, check=False)


class Probe:
    """A program of this folder (pinger, web_client) at work in a namespace; it tells at its end what it saw, as JSON."""

    def __init__(self, network, name, program, *arguments):
        self.program = program
        self.process = network.start(
            name, [sys.executable, "-B", Path(__file__).with_name(f"{program}.py"), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()   # it has begun

    def finish(self, timeout_s=PATIENCE_S):
        told, _ = self.process.communicate("", timeout_s)
        if self.process.returncode != 0:
            raise ConnectionError(f"{self.program} ended with status {self.process.returncode} and told nothing")
        return json.loads(told)

    def close(self):
        self.process.kill()
        self.process.communicate()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Capture:
    """What passes a port of the switch, in one direction, by tcpdump: frames with their time."""

    def __init__(self, network, port, direction, expression, directory):
        self.file = directory / f"{port}-{direction}.pcap"
        self.process = network.start(
            SWITCH, ["tcpdump", "-i", port, "-Q", direction, "-s", "128", "-B", "8192", "--immediate-mode", "-U", "-n",
                     "-Z", "root", "-w", self.file, expression],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        while line and "listening on" not in line:
            line = self.process.stderr.readline()
        if not line:
            raise NotPermitted(f"tcpdump does not listen on {port}")

    def stop(self):
        """[(seconds since 1970, the frame's first bytes)]"""
        time.sleep(0.1)
        self.process.terminate()
        told = self.process.communicate(timeout=PATIENCE_S)[1]
        dropped = re.search(r"(\d+) packets dropped by kernel", told)
        if dropped and int(dropped[1]) > 0:
            raise RuntimeError(f"tcpdump missed {dropped[1]} frames: nothing can be said of them")
        return list(read_capture(self.file.read_bytes()))

    def close(self):
        self.process.kill()
        self.process.communicate()


def read_capture(data):
    """The frames of a pcap file with microseconds, in this machine's byte order."""
    order, position = sys.byteorder, 24
    if int.from_bytes(data[:4], order) != 0xa1b2c3d4:
        raise ValueError("this is no pcap file of this machine")
    while position + 16 <= len(data):
        seconds, micro, length = (int.from_bytes(data[position + at:position + at + 4], order) for at in (0, 4, 8))
        position += 16
        yield seconds + micro / 1e6, data[position:position + length]
        position += length
