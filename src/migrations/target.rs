//! Stopping before the newest shipped migration.

use super::Key;
use super::chain::Chain;
use super::look::see;
use crate::database::Session;
use crate::error::Result;

/// Returns the newest applied migration where it is beyond a shipped version.
pub fn applied_beyond(
    session: &mut Session,
    chain: &Chain,
    version: &str,
) -> Result<Option<String>> {
    let Some(target) = chain.find(version) else { return Ok(None) };
    let seen = see(session, chain)?;
    let all = seen.rows.iter().chain(&seen.begun);
    let numbered = all.filter(|row| !matches!(row.key, Key::Repeatable(_)));
    let newest = numbered.max_by_key(|row| &row.key);
    Ok(newest.filter(|row| row.key > target.key).map(super::history::AppliedRow::label))
}

/// Leaves out what comes after a shipped version; what is repeated comes after all of them.
pub fn cut_at(chain: &mut Chain, version: &str) {
    let Some(target) = chain.find(version).map(|target| target.key.clone()) else { return };
    let head = chain.migrations.iter().rev().find(|m| !matches!(m.key, Key::Repeatable(_)));
    if head.is_some_and(|head| head.key > target) {
        chain.migrations.retain(|migration| migration.key <= target);
    }
}
