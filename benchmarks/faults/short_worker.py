"""Stands in for the worker child, at its real seam: a process, a request on stdin, lines on a pipe. It starts in a few milliseconds.

A build copies an engine that the real pipeline has built beforehand (``$EDGEWRIGHT_ENGINES/VERSION``, with the answer that it gave); whatever the
deployment's version says, that happens: ``broken`` fails to build, ``refused`` measures more than any budget allows, ``unloadable`` does not load
when it is probed. A delta is applied by copying what was prepared beforehand, and a profile is one that was measured then. Imports as little as it
can: thousands of these are run.
"""

import json
import os
import shutil
import sys
from base64 import b64decode


def reason(code: str, family: str) -> dict[str, object]:
    return {"reason": {"code": code, "message": f"{code} was wanted", "next": "", "family": family}}


def verify(request: dict[str, object]) -> dict[str, object]:
    envelope = json.loads(b64decode(str(request["envelope"])))
    content = json.loads(envelope["signed"])
    if content["sequence"] <= request["last_sequence"]:
        return reason("envelope-replayed", "rejected")
    return {"result": {envelope["kind"]: content, "signed_s": content["issued_s"]}}


def optimize(request: dict[str, object]) -> dict[str, object]:
    version = str(request["model_version"])
    if version.startswith("broken"):
        return reason("model-unreadable", "rejected")
    prepared = os.path.join(os.environ["EDGEWRIGHT_ENGINES"], "answer.json")
    with open(prepared, encoding="utf-8") as file:
        answer = json.load(file)
    name = answer["chosen"]["name"]
    folder = os.path.join(str(request["out"]), name)
    shutil.copytree(os.path.join(os.environ["EDGEWRIGHT_ENGINES"], name), folder)
    answer["chosen"]["path"] = os.path.join(folder, os.path.basename(answer["chosen"]["path"]))
    return {"result": answer}


def probe(request: dict[str, object]) -> dict[str, object]:
    folder = str(request["folder"])
    if "unloadable" in os.path.basename(folder):
        return reason("engine-unusable", "unfit")
    os.stat(os.path.join(folder, "manifest.json"))
    return {"result": {"provider": "CPUExecutionProvider", "board": "x"}}


def rebuild(request: dict[str, object]) -> dict[str, object]:
    """What the real task makes of a delta that was fetched, prepared under the digest of its target."""
    for item in request["items"]:  # type: ignore[attr-defined]
        os.stat(item["delta"])
        shutil.copyfile(os.path.join(os.environ["EDGEWRIGHT_ENGINES"], os.path.basename(item["target"])), item["target"])
    return {"result": len(request["items"])}  # type: ignore[arg-type]


def profile(_request: dict[str, object]) -> dict[str, object]:
    with open(os.path.join(os.environ["EDGEWRIGHT_ENGINES"], "profile.json"), encoding="utf-8") as file:
        return {"result": json.load(file)}


def capabilities(_request: dict[str, object]) -> dict[str, object]:
    try:
        with open(os.path.join(os.environ["EDGEWRIGHT_ENGINES"], "runtime"), encoding="utf-8") as file:
            version = file.read()
    except FileNotFoundError:
        version = "1"
    backend = {"name": "onnxruntime", "usable": True, "version": version}
    return {"result": {"board": "board", "processor": "processor", "backends": [backend], "sensors": [], "driver": ""}}


def main() -> None:
    tasks = {"verify": verify, "optimize": optimize, "probe": probe, "capabilities": capabilities, "rebuild": rebuild, "profile": profile}
    line = tasks[sys.argv[-1]](json.loads(sys.stdin.buffer.read()))
    os.write(int(os.environ["EDGEWRIGHT_RESULT_FD"]), json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    main()
