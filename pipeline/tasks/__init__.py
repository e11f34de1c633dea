"""What a worker child can do: one file per task, found by looking here; the file's name is the task's name.

A task module has ``run(request: bytes, progress: Progress) -> bytes``. It may import anything: the process ends with it.
"""
