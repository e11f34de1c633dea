"""One file per power sensor, found by looking here; the file's name is the sensor's name in reports."""
