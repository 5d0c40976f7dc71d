//! What somebody with the token may ask root for: by a form of `/act`, or by `POST /api/v1/acts`.
//!
//! Nothing is done here. The service leaves a wish for root and shows what came of it; what root does
//! not do for a service that could be anybody's is not offered.

mod api;
mod seal;

use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Deserialize;

use super::{Service, token};
use crate::config::Act;
use crate::upgrade::asked::{self, Left, Wish};

pub(super) use api::{ask, result};
pub(super) use seal::{Opened, Seal};

/// What is asked for, as a program or a form says it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    pub(super) act: Act,
    #[serde(default)]
    pub(super) point: Option<String>,
    #[serde(default)]
    pub(super) until: Option<String>,
    #[serde(default)]
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) load: bool,
}

/// What became of it.
pub(super) enum Answer {
    /// Root has it, under this name.
    Left(String),
    /// It does not fit, and why.
    Unfit(String),
    /// Root has not taken up the one before.
    Another,
    /// It cannot be left now, and why.
    Away(String),
}

/// Returns whether root can be asked at all: there is a token, and root has made the place for wishes.
pub(super) fn is_open(service: &Service) -> bool {
    token::is_set(&service.layout) && service.layout.asked_dir().is_dir()
}

/// Returns random text that nobody guesses.
fn random() -> Option<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(hex::encode(bytes))
}

/// Leaves a wish; whoever asks has shown the token.
pub(super) fn leave(service: &Service, wanted: Wanted) -> Answer {
    let Some(id) = random() else { return Answer::Away("there is no randomness".into()) };
    let Wanted { act, point, until, reason, load } = wanted;
    if !service.acts.contains(&act) {
        return Answer::Unfit(format!("{} is not among console_acts of upgrade.conf", act.word()));
    }
    let wish = Wish { point, until, reason, load, ..Wish::of(id.clone(), act) };
    if let Some(why) = wish.problem() {
        return Answer::Unfit(why);
    }
    match asked::leave(&service.layout, &wish) {
        Ok(Left::There) => {
            let point = wish.point.map_or(String::new(), |point| format!(" {point}"));
            service.progress.note(&format!("asked for over HTTP: {}{point}", act.word()));
            Answer::Left(id)
        }
        Ok(Left::Another) => Answer::Another,
        Err(error) => Answer::Away(error.message()),
    }
}
