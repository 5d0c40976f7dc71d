//! Exchanging databases by renaming them.
