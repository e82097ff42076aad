"""The command line `phifleet`, and example job files."""
