"""The stages behind ``optimize`` and behind a deployment, and the limited child processes they run in."""
