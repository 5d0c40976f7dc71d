//! What a long run tells while it runs. The printer implements it; the engine only reports.

/// Receives the progress of a run; implementations must never fail or block it.
pub trait Progress: Send + Sync {
    /// A step begins: one line such as `taking a restore point`.
    fn step(&self, text: &str);

    /// A fact about the current step that an operator wants to see.
    fn note(&self, text: &str);

    /// Something that is not right but does not stop the run.
    fn warn(&self, text: &str);

    /// The step is alive: what it works on, how much is done (bytes or items), of how much.
    ///
    /// Called as often as convenient; the receiver decides how often to show it.
    fn alive(&self, what: &str, done: u64, total: Option<u64>);

    /// Keeps a copy of everything that is told from now on, for whoever waits for the run.
    fn record(&self, _log: std::fs::File) {}
}

/// Swallows everything; for callers that only want the result.
#[derive(Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _: &str) {}
    fn note(&self, _: &str) {}
    fn warn(&self, _: &str) {}
    fn alive(&self, _: &str, _: u64, _: Option<u64>) {}
}
