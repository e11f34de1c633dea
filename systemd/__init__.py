"""Unit files, users and folders of the device, as package data."""
