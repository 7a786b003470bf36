# SPDX-License-Identifier: Apache-2.0
"""
Every test of godwit, in steps that run side by side where they may. Each step has a time limit; a step that
overruns it is killed and reported. Ends with one line that counts the cases of all runners.
"""

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)     # until front.run(): no traceback while modules load

import argparse
import json
import os
import platform
import random
import shlex
import shutil
import subprocess
import sys

from godwit_tools import front, notes
from godwit_tools.paths import TREE, building, cache_dir, require_build
from godwit_tools.results import Counts, from_meson, from_pytest
from godwit_tools.steps import LABEL, Runner, Step, StepFailed
from godwit_tools.terminal import Terminal

BUILD = TREE / "build"
FUZZ_SECONDS = 10
PATIENCE = 6             # times the limits of meson.build, and times GODWIT_PATIENCE: a limit only ends a hang
CANNOT_BE_MADE = 125     # scripts/fresh-debian's own status
REPORTED = TREE / "scripts" / "godwit_tools" / "reported.py"
ENGINE_TESTS = ("wire", "memory", "migrate", "virtio")


def variant_dir(name):
    """Builds with other options live in the cache, one set for each place that the tree is checked out at."""
    return cache_dir() / "builds" / str(TREE).strip("/").replace("/", "-") / name


def configure(run, build, options, compiler="gcc"):
    """A configured build directory. Always reconfigured: a folder that appeared since is not noticed
    otherwise. One that no longer configures (another compiler, a moved tree) is made anew."""
    os.environ.setdefault("CCACHE_DIR", str(cache_dir() / "ccache"))
    environment = {"CC": f"ccache {compiler}" if shutil.which("ccache") else compiler,
                   "CCACHE_BASEDIR": str(TREE), "CCACHE_NOHASHDIR": "1"}
    build.parent.mkdir(parents=True, exist_ok=True)
    if (build / "build.ninja").exists():
        try:
            return run(["meson", "setup", "--reconfigure", build, TREE, *options], env=environment)
        except StepFailed:
            shutil.rmtree(build)
    return run(["meson", "setup", build, TREE, *options], env=environment)


# "all" has what only tests need until meson 1.6, and no longer since (mesonbuild.com, release notes of 1.7).
EVERYTHING = ("all", "meson-test-prereq")


def compile_all(run, build, *targets):
    run(["ninja", "-C", build, *(targets or EVERYTHING)], env={"CCACHE_BASEDIR": str(TREE), "CCACHE_NOHASHDIR": "1"})


def run_meson_tests(run, build, *selection, patience=1):
    reports = build / "reports"
    reports.mkdir(exist_ok=True)
    logs = build / "meson-logs"
    for log in logs.glob("testlog*.json"):      # its name depends on the wrapper's
        log.unlink()
    wrapper = shlex.join(["/usr/bin/python3", "-B", str(REPORTED), str(reports), "--"])
    run(["meson", "test", "-C", build, "--no-rebuild", "--print-errorlogs", "--timeout-multiplier", str(PATIENCE * patience),
         "--wrapper", wrapper, *selection], check=False, env={"GODWIT_PATIENCE": str(patience)})
    log = next(logs.glob("testlog*.json"), None)
    if log is None:
        raise StepFailed("meson test ended without a log")
    counts = from_meson(log, reports)
    run.note(counts.failures)
    return counts


def build_gcc(run):
    with building():
        configure(run, BUILD, [])
        compile_all(run, BUILD)


def unit(run):
    return run_meson_tests(run, BUILD)


def guest(run):
    run([TREE / "scripts" / "guest-image", "--all"])


HARDENING = ["-fstack-protector-strong", "-fstack-clash-protection", "-Wformat", "-Werror=format-security",
             *(["-fcf-protection"] if platform.machine() == "x86_64" else [])]
RELEASES = {
    "gcc": ["-D_FORTIFY_SOURCE=3", "-ftrivial-auto-var-init=zero"],
    "clang": ["-D_FORTIFY_SOURCE=2"],
}


def build_release(run):
    """As distributions build: -O3, hardened, without tests. Warnings are errors."""
    for compiler, flags in RELEASES.items():
        build = variant_dir(f"release-{compiler}")
        configure(run, build, ["--buildtype=release", "-Dtests=false", "-Db_pie=true", "-Dc_args=" + " ".join(HARDENING + flags),
                               "-Dc_link_args=-Wl,-z,relro -Wl,-z,now"], compiler)
        compile_all(run, build, "all")
    return Counts(passed=len(RELEASES))


def build_clang(run):
    """clang with ASan, UBSan and the fuzzers' coverage in one: two cores have no time for three builds."""
    configure(run, variant_dir("clang"),
              ["-Db_sanitize=address,undefined", "-Db_lundef=false", "-Dfuzz=true",
               "-Dc_args=-fsanitize=fuzzer-no-link -fno-sanitize-recover=undefined"], "clang")
    compile_all(run, variant_dir("clang"))


def unit_sanitized(run):
    return run_meson_tests(run, variant_dir("clang"), "--no-suite", "slow", "--no-suite", "tree", patience=4)


def fuzz(run):
    counts = Counts()
    for harness in sorted(variant_dir("clang").glob("tests/fuzz/*/fuzz-*")):
        if not harness.is_file() or not os.access(harness, os.X_OK):
            continue
        seed = random.randrange(1, 1 << 31)
        run.say(f"{harness.name}: {FUZZ_SECONDS} s, seed {seed}")
        corpus = cache_dir() / "corpus" / harness.name
        corpus.mkdir(parents=True, exist_ok=True)
        golden = TREE / "tests" / "fuzz" / harness.parent.name / "corpus" / harness.name
        try:
            run([harness, f"-max_total_time={FUZZ_SECONDS}", f"-seed={seed}", "-timeout=60",
                 "-rss_limit_mb=1024", f"-artifact_prefix={corpus}.crash-", corpus,
                 *([golden] if golden.is_dir() else [])], timeout=FUZZ_SECONDS + 300)
            counts.passed += 1
        except StepFailed as error:
            run.say(f"{harness.name} failed with seed {seed}: {error}")
            counts.failed += 1
    if counts.passed + counts.failed == 0:
        counts.skipped, counts.reasons = 1, [["fuzz", "", "the tree has no harness"]]
    return counts


def introspect(build, what):
    listed = subprocess.run(["meson", "introspect", what, build], capture_output=True, check=True)
    return json.loads(listed.stdout)


def tests_of_layers(build, layers):
    """Names of the tests that stand in tests/unit/LAYER, and all files that they need, as meson knows them."""
    folders = tuple(str(build / "tests" / "unit" / layer) + "/" for layer in layers)
    files = {target["id"]: target["filename"] for target in introspect(build, "--targets")}
    chosen = [test for test in introspect(build, "--tests") if test["cmd"][0].startswith(folders)]
    needed = {file for test in chosen for target in test["depends"] for file in files[target]}
    needed |= {test["cmd"][0] for test in chosen}
    return [test["name"] for test in chosen], sorted(os.path.relpath(file, build) for file in needed)


def engine_threads(run):
    """TSan over the tests of layers with threads of their own; it tells nothing about the others."""
    build = variant_dir("tsan")
    configure(run, build, ["-Db_sanitize=thread", "-Db_lundef=false"], "clang")
    tests, files = tests_of_layers(build, ENGINE_TESTS)
    if not tests:
        return Counts(skipped=1, reasons=[["engine-threads", "", "the tree has no engine test"]])
    compile_all(run, build, *files)
    return run_meson_tests(run, build, *tests, patience=6)


def run_pytest(run, build, name, *selection):
    report = run.directory / f"{name}.xml"
    report.unlink(missing_ok=True)
    status = run(["/usr/bin/python3", "-B", "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rs",
         TREE / "tests" / "system", f"--junitxml={report}", *selection],
        env={"GODWIT_BUILD": str(build)}, check=False)
    return from_pytest(report, name, status)


def system(run):
    return run_pytest(run, BUILD, "system", "-m", "not stock_kernel")


def stock_kernel(run):
    return run_pytest(run, BUILD, "stock-kernel", "-m", "stock_kernel")


def system_sanitized(run):
    return run_pytest(run, variant_dir("clang"), "system-sanitized", "-m", "sanitized")


def other_release(run):
    """The quick check as a newcomer on the Debian release that this machine does not have."""
    here = platform.freedesktop_os_release().get("VERSION_ID")
    other = "12" if here == "13" else "13"
    run.say(f"on a fresh Debian {other}")
    status = run([TREE / "scripts" / "fresh-debian", other, "./check", "--quick", "--json"], check=False)
    last = (run.log.read_text(errors="replace").strip().splitlines() or [""])[-1]
    if status == CANNOT_BE_MADE:
        return Counts(skipped=1, reasons=[["other-release", "", last]])
    try:
        counts = Counts(**json.loads(last))
    except (ValueError, TypeError):
        raise StepFailed(f"./check --quick on Debian {other} ended with status {status} and no counts") from None
    counts.reasons = [[f"Debian {other}: {program}", case, why] for program, case, why in counts.reasons]
    for texts in (counts.failures, counts.known_faults):
        texts[:] = [f"Debian {other}: {text}" for text in texts]
    return counts


STEPS = [
    Step("build", build_gcc, 1800, "gcc, as users build it"),
    Step("guest", guest, 1800, "the Linux guests: fetched once, then from the cache"),
    Step("unit", unit, 1800, "unit tests, the layering law, headers alone", ["build"]),
    Step("system", system, 3600, "whole programs and a real kernel, driven from Python", ["build", "guest"]),
    Step("stock-kernel", stock_kernel, 3600, "the stock x86-64 kernel under KVM, here or in a nested host", ["build", "guest"]),
    Step("release", build_release, 1800, "release builds, hardened, by gcc and clang: no warning"),
    Step("clang", build_clang, 1800, "clang with ASan, UBSan and fuzzers"),
    Step("sanitized", unit_sanitized, 1800, "unit tests under ASan and UBSan", ["clang"]),
    Step("fuzz", fuzz, 1800, "each parser of foreign bytes, a short run", ["clang"]),
    Step("engine-threads", engine_threads, 1800, "engine tests under TSan"),
    Step("system-sanitized", system_sanitized, 3600, "system tests under ASan and UBSan",
         ["clang", "guest"]),
]
# Only with --all: they need root, and make machines.
FURTHER = [
    Step("other-release", other_release, 3600, "the quick check on a fresh machine of the other Debian release"),
]
QUICK = ["build", "unit"]


def selected(only):
    """The named steps and what they need, in the order of the tables."""
    table = {step.name: step for step in STEPS + FURTHER}
    wanted = set()

    def want(name):
        if name not in table:
            sys.exit(f"check: there is no step {name}; --list names them")
        wanted.add(name)
        for needed in table[name].after:
            want(needed)

    for name in only:
        want(name)
    return [step for step in STEPS + FURTHER if step.name in wanted]


def main():
    parser = argparse.ArgumentParser(prog="check", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="gcc build and unit tests only")
    parser.add_argument("--all", action="store_true", help="also the quick check on a fresh machine of the other Debian release")
    parser.add_argument("--only", action="append", metavar="NAME", help="this step and what it needs")
    parser.add_argument("--list", action="store_true", help="name the steps")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--jobs", type=int, default=(os.cpu_count() or 1) + 1, metavar="N",
                        help="steps at a time (default: one more than cores, for many wait)")
    options = parser.parse_args()
    terminal = Terminal()
    if options.list:
        for step in STEPS + FURTHER:
            terminal.row(step.name, step.purpose, LABEL)
        return 0
    only = QUICK if options.quick else options.only
    steps = selected(only) if only else STEPS + (FURTHER if options.all else [])
    require_build()
    cache_dir()
    counts = Runner(steps, BUILD / "check", options.jobs).run()
    notes.show(terminal, counts.reasons, BUILD / "check" / "notes.log")
    for fault in counts.known_faults:
        terminal.row("known fault", fault, LABEL)
    terminal.say(str(counts))
    if options.json:
        print(json.dumps(vars(counts)))
    return 1 if counts.failed else 0


if __name__ == "__main__":
    front.run("check", main)
