"""What is measured of speed, by `nox -s bench`; nothing here passes or fails by time."""
