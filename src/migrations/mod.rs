//! SQL files that move the schema, and the history table that remembers them.
