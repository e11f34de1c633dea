"""The pages: each is a module that gathers what it shows and a template of the same name."""
