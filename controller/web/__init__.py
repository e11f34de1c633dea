"""The page and the REST interface of a fleet: Starlette, Jinja2, and nothing that a browser has to build. Served by its own process."""
