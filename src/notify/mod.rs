//! Telling others how a run ended; none of it can fail the run.
