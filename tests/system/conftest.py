# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the system tests: real processes, a real kernel. tests/README.md tells how to run one."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import nested_place  # noqa: E402
from godwit_tools.architectures import AMD64  # noqa: E402
from godwit_tools.bare_guest import why_no_kvm  # noqa: E402
from godwit_tools.console import Console, counter_problems  # noqa: E402
from godwit_tools.guest_image import prepare  # noqa: E402
from godwit_tools.machine import Guest, copy_disk  # noqa: E402
from godwit_tools.patience import LONG_BUDGET_MS  # noqa: E402
from godwit_tools.paths import build_dir  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "sanitized: also run against the build with ASan and UBSan")
    nested_place.register(config)


def pytest_sessionstart(session):
    if not (build_dir() / "godwit-vmm").exists():
        pytest.exit(f"there is no {build_dir()}/godwit-vmm: build first (./check --quick)", 3)


@pytest.fixture(scope="session")
def image():
    return prepare()


@pytest.fixture(scope="session")
def amd64_image():
    return prepare(AMD64)


def known_fault(what, chapter, seen):
    """Ends the test as one that met a fault which is known and described there, and nothing else. Call it where exactly this
    fault has been seen: every other failure is one."""
    pytest.xfail(f"known fault: {what} ({chapter}); {seen}")


class GuestFactory:
    """Boots guests, each in a directory of its own, and checks at the end that none saw anything wrong."""

    def __init__(self, root, image):
        self.root, self.image, self.guests = root, image, []

    def boot(self, run="check", append="", disk=True, ready="godwit: ready", host=None, **options):
        directory = self.root / f"guest{len(self.guests)}"
        directory.mkdir()
        disk_file = None
        if disk:
            disk_file = directory / "disk.img"
            copy_disk(self.image.disk, disk_file)
        options.setdefault("budget_ms", LONG_BUDGET_MS)
        guest = Guest(directory, self.image, Console(directory / "console"), disk=disk_file,
                      append=f"godwit.run={run} {append}", **options)
        self.guests.append(guest)
        guest.boot(host)
        if ready:
            guest.console.wait(ready)
        return guest

    def close(self):
        for guest in self.guests:
            guest.close()


@pytest.fixture
def boot_riscv64(tmp_path, image):
    """boot(run=…, memory=…, …): a guest of this test's own."""
    factory = GuestFactory(tmp_path, image)
    yield factory.boot
    factory.close()


@pytest.fixture
def boot_amd64(tmp_path, amd64_image):
    """As boot, the stock x86-64 kernel under KVM. For tests marked stock_kernel."""
    factory = GuestFactory(tmp_path, amd64_image)

    def boot(cpus=2, memory="256M", **options):
        return factory.boot(cpus=cpus, memory=memory, **options)
    yield boot
    factory.close()


@pytest.fixture
def boot(request):
    """On the software CPU, or on the machine that `on_machines` names."""
    return request.getfixturevalue(getattr(request, "param", "boot_riscv64"))


@pytest.fixture
def network_driver(image):
    """Of the guests' cards: a module of the guest's image."""
    order = image.kernel.parent / "guest.order"
    if "virtio_net" not in order.read_text().split():
        pytest.skip(f"the guest's image has no virtio_net: {order} does not name it")


@pytest.fixture
def kvm():
    """For bare guests, which any KVM runs."""
    if why_no_kvm():
        pytest.skip(why_no_kvm())


@pytest.fixture
def show(capsys):
    """show(line, …): what was measured, for whoever runs the tests, wherever they run."""
    def show(*lines):
        with capsys.disabled():
            nested_place.show(lines)
    return show


class SharedGuest:
    """One guest under load that test after test moves around. A test that breaks it costs a new boot."""

    def __init__(self, factory):
        self.factory, self.guest = factory, None

    def get(self):
        if self.guest is None:
            self.guest = self.factory.boot(append="godwit.memory=32 godwit.rate=8")
            self.guest.console.wait(r"memory: \d+ visits")
        return self.guest

    def verify(self, since):
        """The guest runs, its counter has no hole since then, and its own checks found nothing."""
        console = self.guest.console
        console.wait_count(more=3)
        assert console.bad_lines() == []
        assert counter_problems(console.counts(since)) == []

    def discard(self):
        if self.guest:
            self.guest.close()
            self.guest = None


@pytest.fixture(scope="module")
def shared_guest(tmp_path_factory, image):
    factory = GuestFactory(tmp_path_factory.mktemp("shared"), image)
    shared = SharedGuest(factory)
    yield shared
    factory.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    setattr(item, "report_" + outcome.get_result().when, outcome.get_result())


@pytest.fixture
def guest(shared_guest, request):
    """The shared guest, running somewhere. Afterwards it must still run somewhere and be well."""
    guest = shared_guest.get()
    since = guest.console.position()
    yield guest
    failed = getattr(request.node, "report_call", None) is None or request.node.report_call.failed
    if failed or guest.machine is None:
        shared_guest.discard()
        return
    try:
        shared_guest.verify(since)
        guest.machine.set(max_bandwidth=0, downtime_limit=LONG_BUDGET_MS, x_godwit_verify_ram=False,
                          x_godwit_peer_timeout=5000, x_godwit_deadline=0)
    except BaseException:
        shared_guest.discard()
        raise
