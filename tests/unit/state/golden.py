# SPDX-License-Identifier: Apache-2.0
"""The schema and the streams of tests/golden/, against the devices of this build.

    golden.py STATE-DUMP GOLDEN-DIR SOURCE-DIR           checks
    golden.py --write STATE-DUMP GOLDEN-DIR SOURCE-DIR   adds what is missing (ninja state-golden)

For every device version that was ever recorded there are NAME-vN.state, a stream, and NAME-vN.json, what it
says. Neither is ever written again. state-schema.json is replaced only by a schema that may follow it:
what a device or part is in one version does not change, except that a device may get a new subsection.

A version that no release has written yet may still change: delete its two files, and it counts as new.
"""
import json
import os
import re
import subprocess
import sys

SEEDS = range(1, 33)
LARGE_BYTES = 8192


def run(dump, *arguments):
    """(output, None) or (None, the sentence of the refusal)."""
    result = subprocess.run([dump, *arguments], capture_output=True, timeout=600, check=False)
    if result.returncode:
        return None, result.stderr.decode("utf-8", "replace").strip()
    return result.stdout, None


def of_subsection(fields, name):
    return [field for field in fields if field.get("subsection") == name]


def same_version_mistakes(what, old, new):
    """What is wrong with `new` as a replacement of `old` under the same version."""
    if new["version"] < old["version"]:
        return [f"{what}: version {new['version']} is older than the recorded {old['version']}"]
    if new["version"] > old["version"]:
        return []
    for name in [None] + [field["subsection"] for field in old["fields"] if "subsection" in field]:
        if of_subsection(old["fields"], name) != of_subsection(new["fields"], name):
            return [f"{what}: its fields changed, but its version is still {old['version']}: "
                    "give it a new version and mark new fields with it (or, if no release wrote that "
                    "version yet, delete its recorded streams and run 'ninja state-golden')"]
    return []


def parts_used(schema, fields):
    """The tags of all parts in these fields."""
    used = set()
    for field in fields:
        if field["type"].startswith("part "):
            tag = field["type"][len("part "):]
            used |= {tag} | parts_used(schema, schema["parts"][tag]["fields"])
    return used


def binding(schema, streams):
    """What of a recorded schema is proven by streams, a list of (name, version)."""
    devices = {name: device for name, device in schema["devices"].items()
               if (name, device["version"]) in streams}
    used = set()
    for device in devices.values():
        used |= parts_used(schema, device["fields"])
    return {"devices": devices, "parts": {tag: schema["parts"][tag] for tag in schema["parts"] if tag in used}}


def schema_mistakes(old, new):
    lines = []
    for kind, word in (("devices", "device"), ("parts", "part")):
        for name, described in old[kind].items():
            if name in new[kind]:
                lines += same_version_mistakes(f"{word} {name}", described, new[kind][name])
            elif kind == "devices":
                lines.append(f"device {name}: is recorded, but no longer in all-devices.c: its streams "
                             "do not load any more")
    return lines


def difference(wanted, found, path=""):
    """The first value of `wanted` that `found` has not, as a path; None if there is none."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name, value in wanted.items():
            inner = difference(value, found.get(name), f"{path}.{name}" if path else name)
            if inner:
                return inner
        return None
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        for index, value in enumerate(wanted):
            inner = difference(value, found[index], f"{path}[{index}]")
            if inner:
                return inner
        return None
    return None if wanted == found else f"{path}: {found!r} is not the recorded {wanted!r}"


def stream_mistakes(dump, folder, name, version, device):
    path = os.path.join(folder, f"{name}-v{version}.state")
    said, refusal = run(dump, "print", name, path)
    if version < device["minimum"]:
        right = refusal and "is older than" in refusal
        return [] if right else [f"{path}: is below the minimum and should be refused: {refusal}"]
    if refusal:
        return [f"{path}: does not load any more: {refusal}"]
    with open(path[:-len("state")] + "json", encoding="utf-8") as file:
        where = difference(json.load(file), json.loads(said))
    if where:
        return [f"{path}: {where}"]
    again, refusal = run(dump, "resave", name, path)
    with open(path, "rb") as file:
        if version == device["version"] and again != file.read():
            return [f"{path}: saved again, its bytes are others"]
    return [f"{path}: cannot be saved again: {refusal}"] if refusal else []


def recorded_streams(folder):
    """[(name, version)] of the files."""
    names = [re.fullmatch(r"(.+)-v(\d+)\.state", file) for file in sorted(os.listdir(folder))]
    return [(match.group(1), int(match.group(2))) for match in names if match]


def check(dump, folder, schema, recorded):
    streams = recorded_streams(folder)
    lines = schema_mistakes(binding(recorded, streams), schema)
    for name, version in streams:
        if name in schema["devices"]:
            lines += stream_mistakes(dump, folder, name, version, schema["devices"][name])
        else:
            lines.append(f"{name}-v{version}.state: no such device")
    if not lines:
        lines += [f"device {name}: version {device['version']} is not recorded: run 'ninja state-golden' "
                  "and commit what it adds" for name, device in schema["devices"].items()
                  if (name, device["version"]) not in streams]
    if not lines and schema != recorded:
        lines.append("state-schema.json is out of date: run 'ninja state-golden' and commit it")
    return lines


def unlisted_devices(source, schema):
    """Devices that are marked in some header but are not in all-devices.c."""
    lines = []
    for folder, _, files in os.walk(source):
        for name in sorted(files):
            path = os.path.join(folder, name)
            if not name.endswith(".h"):
                continue
            with open(path, encoding="utf-8") as file:
                marked = re.findall(r'^} GW_DEVICE\("([^"]+)"', file.read(), re.MULTILINE)
            lines += [f"{path}: device {device} is not in tests/unit/state/all-devices.c, so nothing tests "
                      "its state: add it there" for device in marked if device not in schema["devices"]]
    return lines


def choose_stream(streams):
    """The one that says most without weighing on the repository for ever."""
    small = [stream for stream in streams if len(stream) <= LARGE_BYTES]
    return max(small, key=len) if small else min(streams, key=len)


def add(path, content):
    with open(path, "xb") as file:  # never over an old one
        file.write(content)
    print(f"added {path}")


def write(dump, folder, schema, recorded):
    lines = schema_mistakes(binding(recorded, recorded_streams(folder)), schema)
    if lines:
        return lines
    for name, device in schema["devices"].items():
        base = os.path.join(folder, f"{name}-v{device['version']}")
        if os.path.exists(base + ".state"):
            continue
        saved = [run(dump, "save", name, str(seed)) for seed in SEEDS]
        refusals = [refusal for _, refusal in saved if refusal]
        if refusals:
            return [f"device {name}: {refusals[0]}"]
        add(base + ".state", choose_stream([stream for stream, _ in saved]))
        add(base + ".json", run(dump, "print", name, base + ".state")[0])
    with open(os.path.join(folder, "state-schema.json"), "w", encoding="utf-8") as file:
        json.dump(schema, file, indent=1)
        file.write("\n")
    return []


def main():
    act = write if sys.argv[1] == "--write" else check
    dump, folder, source = sys.argv[-3:]
    output, refusal = run(dump, "schema")
    if refusal:
        sys.exit(refusal)
    schema = json.loads(output)
    path = os.path.join(folder, "state-schema.json")
    recorded = {"devices": {}, "parts": {}}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            recorded = json.load(file)
    lines = act(dump, folder, schema, recorded) + unlisted_devices(source, schema)
    print("\n".join(lines))
    sys.exit(1 if lines else 0)


if __name__ == "__main__":
    main()
