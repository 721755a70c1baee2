"""The search for the best options of a training, by cross-validation without the test rows.

`trainer.search.run` is imported only where a search is run, since importing scikit-learn takes a
second.
"""

import trainer.train_extra  # noqa: F401 - says which extra to install

from trainer.search.candidates import Candidate, InvalidSearchError
from trainer.search.grid_file import ENGINES, Engine, Grid, read_grid
from trainer.search.journal import Journal, JournalEntry, JournalError

__all__ = [
    "ENGINES",
    "Candidate",
    "Engine",
    "Grid",
    "InvalidSearchError",
    "Journal",
    "JournalEntry",
    "JournalError",
    "read_grid",
]
