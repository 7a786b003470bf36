/* SPDX-License-Identifier: Apache-2.0 */
/* The table of verbs: name, one line, help, function. */
#include "base/cleanup.h"
#include "cli/cli.h"

#define MACHINE_OPTIONS                                                                            \
    "  --disk FILE[,readonly][,serial=TEXT]\ta raw image as the next virtio disk; may be "         \
    "repeated\n"                                                                                   \
    "  --net NETWORK[,name=NAME][,mac=MAC][,mtu=N][,queues=N]\ta network card: tap, user or "      \
    "socket; for instance user,tcp=8080:80, by which the host's port 8080 is the guest's port 80 " \
    "(udp= takes the same form); may be repeated. A machine that arrives finds its networks by "   \
    "NAME (net0, net1, ... by "                                                                    \
    "default). With 'user' (passt) open connections follow only from a passt that hands them "     \
    "over "                                                                                        \
    "(Debian 13's does) and with CAP_NET_ADMIN, of godwit or of passt-repair; else a move ends "   \
    "them, as 'godwit status' and 'godwit migrate' say\n"                                          \
    "  --serial TARGET\twhere the serial port goes besides 'godwit console': stdio, unix:PATH "    \
    "(somebody else listens there) or file:PATH\n"                                                 \
    "  --memory-backing KIND[,thp=off][,populate[=N]]\twhere RAM comes from: memfd (the "          \
    "default), "                                                                                   \
    "anonymous, hugetlb, hugetlb:2M, hugetlb:1G or file:DIR; populate: all of it at once, by N "   \
    "threads. With 'receive' also ,ready=SIZE: made now, before the machine comes\n"               \
    "  --dirty-tracking HOW\twith KVM: auto (the default), bitmap or ring\n"                       \
    "  --detach\treturn when the machine is set up; it goes on in the background\n"

const struct cli_command cli_commands[] = {
    {"run", "start a machine",
     "usage: godwit run --name NAME --kernel FILE [OPTIONS]\n\n"
     "  --name NAME\tletters, digits, '.', '_' and '-'\n"
     "  --kernel FILE\ta riscv64 Linux Image, for the software CPU; an x86-64 bzImage or PVH ELF, "
     "for KVM\n"
     "  --machine NAME\triscv-virt or microvm; by default what the kernel is for\n"
     "  --firmware FILE\tELF or raw image that starts in M-mode at the start of RAM; OpenSBI by "
     "default; "
     "enough alone for a bare program\n"
     "  --initrd FILE\tinitial RAM disk\n"
     "  --append TEXT\tkernel command line\n"
     "  --memory SIZE\tRAM, for instance 512M (the default) or 2G\n"
     "  --cpus N\t1 (the default) to 8, with KVM to 64\n"
     "  --cpu MODEL\twith KVM: host (the default), x86-64-v2, -v3, -v4, or a FILE.json that "
     "'godwit cpu "
     "--common --json' has made\n" MACHINE_OPTIONS
     "  --clock SOURCE\thost, or instructions: deterministic, one hart of the software CPU\n"
     "  --seed N\tof the guest's entropy with --clock instructions\n"
     "  --no-vmclock\twithout the device by which the guest learns of moves\n"
     "  --paused\tdo not start the CPUs; QMP 'cont' does\n\n"
     "In the foreground the terminal is the machine's console; Ctrl-] leaves it and the machine "
     "goes on. "
     "Exit code 0: the guest powered off, or moved away.\n",
     cmd_run},
    {"receive", "wait for a machine that migrates here",
     "usage: godwit receive --name NAME URI [OPTIONS]\n\n"
     "The machine's description arrives with it; disks are given again, in the same order, or "
     "found under "
     "their old path.\n\n"
     "  --name NAME\tits name on this host\n"
     "  URI\ttcp:HOST:PORT, unix:PATH, fd:N or exec:COMMAND\n" MACHINE_OPTIONS,
     cmd_receive},
    {"migrate", "move a machine to another process or host, live",
     "usage: godwit migrate NAME URI [OPTIONS]\n\n"
     "  --downtime-limit TIME\tpause budget, 100ms by default; the guest is not paused for longer, "
     "and not at "
     "all when that cannot be kept\n"
     "  --deadline TIME\tgive up after this; none by default\n"
     "  --max-bandwidth SIZE\tbytes per second; unlimited by default\n"
     "  --verify\tcompare a hash of all memory before the handoff\n"
     "  --keep\tkeep the empty source process afterwards\n"
     "  --json\tno progress; one JSON object at the end\n\n"
     "Ctrl-C cancels: the guest goes on here. Exit codes: 0 moved, 1 failed (the guest runs on "
     "here), 5 "
     "cancelled, 6 undecided (the guest is paused here; the sentence says why).\n",
     cmd_migrate},
    {"list", "show the machines of this host",
     "usage: godwit list [--json]\n\n"
     "  --json\tfor programs\n",
     cmd_list},
    {"status", "show one machine: state, ownership, migrations",
     "usage: godwit status NAME [--json]\n\n"
     "  --json\tfor programs\n\n"
     "Answers for a machine whose process has ended as well, from what it left behind.\n",
     cmd_status},
    {"console", "attach to a machine's serial console",
     "usage: godwit console NAME\n\n"
     "Several viewers may be attached at once. What was printed before is shown first, also what "
     "was printed "
     "on other hosts. Ctrl-] leaves.\n\n"
     "What the guest prints reaches the terminal as it is; at the end the terminal's modes are set "
     "back.\n",
     cmd_console},
    {"stop", "shut a machine down or end it",
     "usage: godwit stop NAME [--force] [--timeout TIME]\n\n"
     "  --force\tend the process at once, as pulling the plug does\n"
     "  --timeout TIME\twait so long for the guest to power off; 30s by default\n\n"
     "Presses the power button. The guest must have a driver for it (Linux: virtio_input) and "
     "somebody who "
     "acts on it, as systemd-logind and acpid do. A process that waits for a machine is ended.\n",
     cmd_stop},
    {"remove", "remove what an ended machine left",
     "usage: godwit remove NAME\n"
     "       godwit remove --ended\n\n"
     "  --ended\tof all such machines\n\n"
     "Removes the last status, the ownership record, the log and the migration logs of a machine "
     "whose process has ended.\n\n"
     "A machine that runs stays, and one of which it is not known where it runs: the sentence says "
     "what to do.\n",
     cmd_remove},
    {"log", "list the migrations of a machine",
     "usage: godwit log NAME [--json]\n\n"
     "  --json\tfor programs\n",
     cmd_log},
    {"explain", "tell one migration in sentences, or draw it",
     "usage: godwit explain NAME [SESSION] [--svg FILE]\n\n"
     "  SESSION\tan id from 'godwit log' or its beginning; the newest migration by default\n"
     "  --svg FILE\tdraw it instead\n\n"
     "The text is as wide as the terminal; elsewhere as COLUMNS says, or 80 columns.\n",
     cmd_explain},
    {"reclaim", "take back a guest whose new host is known to be dead",
     "usage: godwit reclaim NAME --fenced\n\n"
     "For a guest that was given away to a host from which nothing was heard again. --fenced is "
     "your word that "
     "the other side cannot be running it: power cut, process killed. If it is, two copies run and "
     "the disk is corrupted.\n",
     cmd_reclaim},
    {"cpu", "show which CPUs this host can give to guests",
     "usage: godwit cpu [--features] [--json] [--device FILE]\n"
     "       godwit cpu --common FILE... [--json]\n"
     "       godwit cpu --check MODEL\n\n"
     "  --features\tall features by name, too\n"
     "  --json\tfor a file, by which hosts are compared\n"
     "  --device FILE\tanother device than /dev/kvm\n"
     "  --common FILE...\tthe largest CPU model that all of these hosts can give; with --json it "
     "is printed for "
     "a file, which 'godwit run --cpu FILE.json' takes\n"
     "  --check MODEL\twhether this host can give that model: host, x86-64, x86-64-v2, x86-64-v3, "
     "x86-64-v4, or "
     "a file\n\n"
     "On each host: godwit cpu --json > HOST.json; then: godwit cpu --common *.json\n",
     cmd_cpu},
};

const size_t cli_command_count = ARRAY_COUNT(cli_commands);
