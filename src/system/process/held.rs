//! A child that runs for as long as we hold it: it ends with its input.

use std::io::PipeWriter;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::time::Duration;

use super::{Call, Input, end_group};
use crate::system::clock::{Deadline, pause};

/// How long the child may take to end once its input has.
const PATIENCE: Duration = Duration::from_secs(2);

/// A running child; it ends when this is dropped, and when we are killed.
#[derive(Debug)]
pub struct Held {
    child: Child,
    input: Option<PipeWriter>,
}

impl Call {
    /// Starts the program with an input that stays open and empty until the value is dropped.
    pub fn hold(mut self) -> std::io::Result<Held> {
        let (theirs, ours) = std::io::pipe()?;
        let null = std::fs::File::options().write(true).open("/dev/null")?;
        self.input = Input::File(OwnedFd::from(theirs).into());
        self.output = Some(null);
        let mut child = self.start()?;
        // Nobody reads what it says: a full pipe must not stop it.
        drop(child.stderr.take());
        Ok(Held { child, input: Some(ours) })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.input.take());
        let patience = Deadline::after(PATIENCE);
        while !patience.passed() {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            pause(Duration::from_millis(2));
        }
        end_group(&mut self.child, PATIENCE);
    }
}
