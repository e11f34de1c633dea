"""Ways to write one layer as one or more smaller ones; one file each, found by looking here.

A form module has ``FORM``, an object of the `Form` protocol in ``forms._base``.
"""
