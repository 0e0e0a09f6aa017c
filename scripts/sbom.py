#!/usr/bin/env python3
"""Writes sbom.cdx.json, the software bill of materials, as CycloneDX 1.6.

Every package of Cargo.lock that is not of this repository is in it, for every platform and feature, with version, licence,
checksum and what it depends on, and the C and C++ libraries that packages bring along. Its scope
is `required` if the default features need it, `optional` if another feature does, `excluded` if
only tests and benches do, or nothing. The same lock file gives the same bytes: there is no time and
no random serial number. tests/supply.rs checks that the file goes with Cargo.lock.

Usage: python3 scripts/sbom.py [output]
"""

import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Sources that a package has inside, by what its version says after the plus sign.
BUNDLED = {
    "librocksdb-sys": ("rocksdb", "pkg:github/facebook/rocksdb@v{}", "Apache-2.0 OR GPL-2.0-only"),
}
# AWS-LC's own version is not in that of its package, but in its headers.
AWS_LC_HEADER = "aws-lc/include/openssl/base.h"


def metadata(*flags):
    command = ["cargo", "metadata", "--format-version", "1", "--locked", *flags]
    return json.loads(subprocess.check_output(command, cwd=ROOT))


def compiled(*flags):
    """What is compiled into the library and the program, on any platform: names and versions.

    From `cargo tree`, because the graph of `cargo metadata` has packages that no feature turns on.
    """
    tree = ["cargo", "tree", "--locked", "--target", "all", "--edges", "normal,build"]
    lines = subprocess.check_output(
        [*tree, "--prefix", "none", "--format", "{p}", *flags], cwd=ROOT, text=True
    )
    words = (line.split() for line in lines.splitlines() if line)
    return {(name, version.removeprefix("v")) for name, version, *_ in words}


def licence(text):
    """`A/B` is how SPDX expressions were written once."""
    return re.sub(r"\s*/\s*", " OR ", text)


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, scope, checksum):
    entry = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "scope": scope,
        "licenses": [{"expression": licence(package["license"])}],
        "purl": purl(package),
    }
    if checksum:
        entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["rust_version"]:
        entry["properties"] = [{"name": "cargo:rust-version", "value": package["rust_version"]}]
    return entry


def bundled(package):
    name, version, licence_of = package["name"], None, None
    if name in BUNDLED:
        library, place, licence_of = BUNDLED[name]
        version = package["version"].partition("+")[2]
    elif name == "aws-lc-sys":
        library, place, licence_of = "aws-lc", "pkg:github/aws/aws-lc@v{}", None
        header = pathlib.Path(package["manifest_path"]).parent / AWS_LC_HEADER
        version = re.search(r'AWSLC_VERSION_NUMBER_STRING "([^"]+)"', header.read_text())[1]
    if not version:
        return []
    entry = {
        "type": "library",
        "bom-ref": place.format(version),
        "name": library,
        "version": version,
        "purl": place.format(version),
    }
    if licence_of:
        entry["licenses"] = [{"expression": licence_of}]
    return [entry]


def main():
    everything = metadata("--all-features")
    required, optional = compiled(), compiled("--all-features")
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    checksums = {(p["name"], p["version"]): p.get("checksum") for p in lock}
    packages = {package["id"]: package for package in everything["packages"]}
    root = packages[everything["resolve"]["root"]]

    components = []
    depends = {}
    for node in everything["resolve"]["nodes"]:
        package = packages[node["id"]]
        if not package["source"] and package is not root:
            continue  # of this repository: what only tests are made of
        inside = bundled(package)
        needs = {purl(packages[dep["pkg"]]) for dep in node["deps"]}
        needs |= {entry["bom-ref"] for entry in inside}
        depends[purl(package)] = sorted(needs)
        depends.update({entry["bom-ref"]: [] for entry in inside})
        if package is root:
            continue
        name = (package["name"], package["version"])
        scope = "excluded"
        if name in required:
            scope = "required"
        elif name in optional:
            scope = "optional"
        checksum = checksums[name]
        components.append(component(package, scope, checksum))
        components += [dict(entry, scope=scope) for entry in inside]

    main_component = component(root, "required", None)
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": main_component},
        "components": sorted(components, key=lambda entry: entry["bom-ref"]),
        "dependencies": [
            {"ref": ref, "dependsOn": needs} if needs else {"ref": ref}
            for ref, needs in sorted(depends.items())
        ],
    }
    output = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "sbom.cdx.json"
    output.write_text(json.dumps(bom, indent=1, ensure_ascii=False) + "\n")
    print(f"{len(components)} components in {output}")


if __name__ == "__main__":
    main()
