"""Tables: directories whose metadata decide which rows of which files exist.

Delta and Iceberg tables are read at one version; Hudi and Paimon tables are refused by name. Start
at `recognition.py` (is a path a table?), then `delta.py` and `iceberg.py` (what does it consist
of?), then `columns.py` (a data file's columns as those of the table).
"""
