"""Running a cell ahead in a forked copy, to foresee the calls that it will make."""
