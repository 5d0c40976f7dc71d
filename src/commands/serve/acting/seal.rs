//! The seal of a form: made here, for one sending.
//!
//! The token alone keeps strangers out. The seal is there for what the token does not keep out: a form
//! that some other page has filled in, and the same form sent twice.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use ring::hmac;
use ring::rand::SystemRandom;

use super::random;

/// How many used seals are remembered; each was sent with the token.
const MOST: usize = 1000;

/// Makes and opens seals; its key ends with the process.
pub(in crate::commands::serve) struct Seal {
    key: Option<hmac::Key>,
    used: Mutex<VecDeque<String>>,
}

/// What a seal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands::serve) enum Opened {
    /// The form is of this service, and not sent yet.
    Fresh,
    /// It was sent already.
    Used,
    /// It is not ours, or of an earlier run.
    Foreign,
}

impl Seal {
    pub(in crate::commands::serve) fn new() -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok();
        Self { key, used: Mutex::default() }
    }

    /// Makes the seal of one form; it is good for this act alone.
    pub(in crate::commands::serve) fn make(&self, act: &str) -> String {
        let (Some(key), Some(once)) = (&self.key, random()) else { return String::new() };
        let tag = hmac::sign(key, format!("{act} {once}").as_bytes());
        format!("{once}.{}", hex::encode(tag))
    }

    /// Judges a seal.
    pub(in crate::commands::serve) fn open(&self, act: &str, seal: &str) -> Opened {
        let parts =
            seal.split_once('.').and_then(|(once, tag)| Some((once, hex::decode(tag).ok()?)));
        let (Some(key), Some((once, tag))) = (&self.key, parts) else { return Opened::Foreign };
        if hmac::verify(key, format!("{act} {once}").as_bytes(), &tag).is_err() {
            return Opened::Foreign;
        }
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.iter().any(|known| known == once) { Opened::Used } else { Opened::Fresh }
    }

    /// Notes that a form was sent and taken.
    pub(in crate::commands::serve) fn spend(&self, seal: &str) {
        let once = seal.split('.').next().unwrap_or_default();
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.push_back(once.to_owned());
        if used.len() > MOST {
            used.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_good_once_for_its_act_and_its_service() {
        let own = Seal::new();
        let seal = own.make("pin");
        assert_eq!(own.open("pin", &seal), Opened::Fresh);
        assert_eq!(own.open("unpin", &seal), Opened::Foreign);
        assert_eq!(Seal::new().open("pin", &seal), Opened::Foreign);
        let (once, tag) = seal.split_once('.').unwrap();
        for forged in ["", ".", once, &format!("x{once}.{tag}"), &format!("{once}.00")] {
            assert_eq!(own.open("pin", forged), Opened::Foreign, "{forged}");
        }
        own.spend(&seal);
        assert_eq!(own.open("pin", &seal), Opened::Used);
        assert_ne!(own.make("pin"), seal);
    }
}
