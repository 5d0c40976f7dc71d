//! Loading an archive into a new database.
