//! Signals: noticed at safe points, never acted on inside a step.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{Context, Result};

static RECEIVED: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

static ASKED: OnceLock<&'static str> = OnceLock::new();

static HUNG_UP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

static OUTLIVES_TERMINAL: AtomicBool = AtomicBool::new(false);

static ONLY_LOOKS: AtomicBool = AtomicBool::new(false);

static CLOSING: AtomicBool = AtomicBool::new(false);

/// Unblocks all signals and notes SIGINT, SIGTERM and SIGHUP from now on.
///
/// rpm 4.16 runs scriptlets with nearly every signal blocked, later versions with INT and QUIT
/// blocked (measured); without this neither we nor `pg_dump` below us could be interrupted.
pub fn install() -> Result<()> {
    nix::sys::signal::SigSet::all()
        .thread_unblock()
        .context(|| "cannot reset the signal mask".into())?;
    let received = RECEIVED.get_or_init(Arc::default);
    let hung_up = HUNG_UP.get_or_init(Arc::default);
    signal_hook::flag::register(SIGHUP, Arc::clone(hung_up))
        .context(|| "cannot watch for signals".into())?;
    for signal in [SIGINT, SIGTERM] {
        let number = usize::try_from(signal).unwrap_or_default();
        signal_hook::flag::register_usize(signal, Arc::clone(received), number)
            .context(|| "cannot watch for signals".into())?;
    }
    Ok(())
}

/// Lets nothing interrupt us any more: a run that ends badly must still close the gate, stop what it
/// started and say what is true. A second signal finds the journal written.
pub fn hold_off() {
    CLOSING.store(true, Ordering::SeqCst);
}

/// Lets a terminal that goes away be no reason to stop.
///
/// What changes the data is told by `openwatch status` as well as on a terminal, and half of it is
/// worse than all of it without a spectator. The children are in groups of their own, which a
/// terminal does not hang up.
pub fn outlive_terminal() {
    OUTLIVES_TERMINAL.store(true, Ordering::SeqCst);
}

/// Lets a signal end also what must otherwise come to its end, such as a question to a server: nothing
/// is changed by this run.
pub fn only_look() {
    ONLY_LOOKS.store(true, Ordering::SeqCst);
}

/// Returns whether this run changes nothing.
pub fn only_looks() -> bool {
    ONLY_LOOKS.load(Ordering::SeqCst)
}

/// What a shutdown is called where no signal has come of it yet.
pub const SHUTDOWN: &str = "a shutdown";

/// Asks ourselves to stop, as a signal would; `why` is told in the place of its name.
pub fn ask(why: &'static str) {
    let _ = ASKED.set(why);
}

/// Returns what asked us to stop in the place of a signal, also where nothing may interrupt us any
/// more: whoever fails then must know that it is no fault of theirs.
pub fn asked() -> Option<&'static str> {
    ASKED.get().copied()
}

/// Returns the name of the last signal that asked us to stop, if any did and we may still stop.
pub fn received() -> Option<&'static str> {
    if CLOSING.load(Ordering::SeqCst) {
        return None;
    }
    if let Some(why) = ASKED.get() {
        return Some(why);
    }
    match i32::try_from(RECEIVED.get()?.load(Ordering::SeqCst)).ok()? {
        0 => {
            let hung_up = HUNG_UP.get().is_some_and(|flag| flag.load(Ordering::SeqCst));
            let heeded = !OUTLIVES_TERMINAL.load(Ordering::SeqCst);
            (hung_up && heeded).then_some("SIGHUP")
        }
        SIGINT => Some("SIGINT"),
        SIGTERM => Some("SIGTERM"),
        _ => Some("a signal"),
    }
}
