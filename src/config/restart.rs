//! How units are restarted where no migration is pending: all at once, or one after the other.

use std::time::Duration;

use super::App;
use super::notes::{Notes, shown};
use super::section::{Section, Value};
use super::values::{Zero, duration};

/// How units are restarted where no migration is pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// One after the other without a look between, then all of them are proved.
    #[default]
    Together,
    /// Each is proved before the next one, so that the others serve meanwhile.
    Rolling,
}

impl Restart {
    /// Returns the word of the configuration.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Together => "together",
            Self::Rolling => "rolling",
        }
    }
}

/// Reads `restart` and `restart_pause` of `[app]`.
pub(super) fn read(table: &mut Section<'_>, app: &mut App, notes: &mut Notes) {
    if let Some(value) = table.take("restart") {
        let (name, place) = (value.name.clone(), value.place.clone());
        match value.text("\"rolling\"", notes).as_deref() {
            None => {}
            Some("together") => app.restart = Restart::Together,
            Some("rolling") => app.restart = Restart::Rolling,
            Some(other) => {
                let message = format!("{name} {} is neither together nor rolling", shown(other));
                notes.write_instead(&place, message, "restart = \"rolling\"");
            }
        }
    }
    if let Some(value) = table.take("restart_pause") {
        let (name, place) = (value.name.clone(), value.place.clone());
        let pause: Option<Duration> = duration(value, Zero::Allowed, "5s", notes);
        app.restart_pause = pause.unwrap_or_default();
        if app.restart == Restart::Together {
            let message = format!("{name} has a meaning beside restart = \"rolling\" only");
            notes.problem(&place, message, "remove it");
        }
    }
}

/// Reads the name of a unit that is one of the application's.
pub(super) fn unit_of(value: Value<'_>, services: &[String], notes: &mut Notes) -> Option<String> {
    let (name, place) = (value.name.clone(), value.place.clone());
    let unit = value.text("\"app@1.service\"", notes)?;
    if services.contains(&unit) {
        return Some(unit);
    }
    let message = format!("{name} {} is not in app.services", shown(&unit));
    notes.problem(&place, message, "name a unit of app.services");
    None
}
