"""Read files into tables, in bounded memory, and infer the kind of each column.

`read_file` does it in these steps:

1. `file_sources` opens the file. `csv_file` reads CSV, and `csv_header` checks its first lines.
2. `column_roles` decides which column is the target, a feature, the group, the time or an index.
3. `column_inference` reads all rows once, and infers the kind of each column. `column_observer`
   observes the values of one column, by the rules of `column_kinds`; `date_formats` finds the
   format of its dates.
4. `read_file` reads all rows once more. `file_records` turns them into records, and stores large
   ones in temporary files.

`cell_parsing` parses the cells of a column as numbers, truth values or dates; `cell_texts` knows
which texts are gaps, and in which notations numbers are written.

`declared_columns` and `declared_values` read a file for an existing model, by the columns of its
manifest. `numpy_files` reads files of arrays.
"""
