"""Whether a store is whole: SQLite's own check, and what must hold of the rows (`rules.sql`)."""
