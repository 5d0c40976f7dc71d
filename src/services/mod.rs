//! Units that the application runs as.
