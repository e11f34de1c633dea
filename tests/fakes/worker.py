"""A worker child that ends in every way a child can end; it speaks the pipe's protocol and takes the scenario as its task.

Started in place of the Python that runs the real worker: ``script -m edgewright.pipeline.worker SCENARIO``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading


def main() -> int:
    scenario = sys.argv[-1]
    request = sys.stdin.buffer.read() if scenario != "deaf" else b""
    pipe = open(int(os.environ["EDGEWRIGHT_RESULT_FD"]), "wb", buffering=0)

    def line(**fields: object) -> None:
        pipe.write(json.dumps(fields).encode() + b"\n")

    if scenario == "echo":
        line(result={"bytes": len(request), "nice": os.nice(0), "session": os.getsid(0) == os.getpid()})
    elif scenario == "disk":
        import psutil

        priority = psutil.Process().ionice()
        line(result={"class": int(priority.ioclass), "level": int(priority.value)})
    elif scenario == "progress":
        for share in (0.0, 0.5, 1.0):
            line(share=share, note=f"at {share}")
        line(result=[1])
    elif scenario == "slow lines":
        pipe.writelines((b'{"share": 0.', b'25, "note": "a', b'b"}\n{"result"', b": 7}\n"))
    elif scenario == "failed":
        line(reason={"code": "model-unreadable", "message": "it is broken", "next": "send another", "family": "rejected"})
        return 1
    elif scenario == "no memory":
        line(reason={"code": "out-of-memory", "message": "none left", "next": "", "family": "unfit"})
        return 1
    elif scenario == "noise":
        pipe.write(b"this is not the protocol\n")
        line(result=1)
    elif scenario == "silent":
        return 3
    elif scenario == "aborts":
        os.kill(os.getpid(), signal.SIGABRT)
    elif scenario == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif scenario == "hoards":
        line(share=0.1, note=str(os.getpid()))
        hoard = bytearray(256 << 20)
        hoard[::4096] = b"x" * len(hoard[::4096])
        threading.Event().wait()
    elif scenario == "hangs":
        line(share=0.1, note=str(os.getpid()))
        threading.Event().wait()
    elif scenario == "has children":
        child = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
        line(share=0.1, note=str(child.pid))
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
