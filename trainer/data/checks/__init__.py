"""Checks of a table before training: what makes a model look better than it is, or learn less.

`check_table` runs all of them. Each module holds the checks of one subject: `columns`,
`column_profiles`, `duplicates`, `leaks`, `categorical` and `sentinels`.
"""

from trainer.data.checks.column_profiles import check_file_columns
from trainer.data.checks.finding import REMEDIES, Finding
from trainer.data.checks.table import check_table

__all__ = ["REMEDIES", "Finding", "check_file_columns", "check_table"]
