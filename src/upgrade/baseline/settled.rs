//! The definitions in the databases after the last upgrade that ended well: what should be there until
//! the next one. A file of its own, because baselines are of before, and are thrown away.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::system::clock;
use crate::system::fs;

use super::comparison::Change;
use super::expected::Expectations;
use super::{Baseline, DatabaseState, objects, record};
use crate::upgrade::machine::Machine;

/// Format of the file; one of another format is not compared with.
const FORMAT: u32 = 1;

/// The most bytes of it: definitions of some hundred thousand columns.
const MOST_BYTES: u64 = 256 << 20;

/// The definitions that should be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Format of this file.
    pub format: u32,
    /// Version of the package that they belong to.
    pub version: String,
    /// When they were recorded, RFC 3339.
    pub taken: String,
    /// Each database by its name within the application.
    pub databases: BTreeMap<String, Definitions>,
}

/// The definitions of one database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definitions {
    /// Newest applied migration; none where a tool of the application alone knows it.
    pub schema: Option<String>,
    /// SHA-256 over all definitions.
    pub fingerprint: String,
    /// Definitions by kind and name.
    pub objects: BTreeMap<String, String>,
}

/// What became of the definitions of one database.
#[derive(Debug)]
pub enum Since {
    /// They are what they were, but for these.
    Compared(Vec<Change>),
    /// They cannot be compared, and why.
    NotCompared(String),
}

impl Settled {
    /// Returns what is different by now in this database.
    pub fn compare(&self, name: &str, now: &Definitions) -> Since {
        let Some(then) = self.databases.get(name) else {
            return Since::NotCompared("nothing was recorded of it".to_owned());
        };
        if then.schema != now.schema {
            let schema = |of: &Definitions| of.schema.clone().unwrap_or_else(|| "none".into());
            let (then, now) = (schema(then), schema(now));
            return Since::NotCompared(format!(
                "its definitions were recorded at schema {then}, and it is at {now}"
            ));
        }
        if then.fingerprint == now.fingerprint {
            return Since::Compared(Vec::new());
        }
        let nothing_meant = Expectations::default();
        Since::Compared(objects::compare(name, &then.objects, &now.objects, &nothing_meant))
    }
}

/// Reads the definitions of one database as they are now.
pub fn definitions(machine: &Machine, name: &str) -> Result<Definitions> {
    let found = machine.databases.iter().find(|shipped| shipped.database.name() == name);
    let shipped = found.ok_or_else(|| Error::failed(format!("there is no database {name}")))?;
    record::definitions(shipped)
}

/// Keeps what is so now as what should be, because somebody says that it is meant.
pub fn accept(machine: &Machine) -> Result<Settled> {
    let databases = machine
        .databases
        .iter()
        .map(|shipped| Ok((shipped.database.name().to_owned(), record::definitions(shipped)?)))
        .collect::<Result<_>>()?;
    let taken = clock::rfc3339(machine.clock.now());
    let settled =
        Settled { format: FORMAT, version: machine.version.to_string(), taken, databases };
    write(&machine.layout, &settled)?;
    Ok(settled)
}

/// Keeps what is so after a good run.
pub(super) fn keep(machine: &Machine, after: &Baseline) -> Result<()> {
    let of = |state: &DatabaseState| Definitions {
        schema: state.schema.clone(),
        fingerprint: state.fingerprint.clone(),
        objects: state.objects.clone(),
    };
    let databases = after.databases.iter().map(|(name, state)| (name.clone(), of(state))).collect();
    let settled = Settled {
        format: FORMAT,
        version: machine.version.to_string(),
        taken: after.taken.clone(),
        databases,
    };
    write(&machine.layout, &settled)
}

fn write(layout: &Layout, settled: &Settled) -> Result<()> {
    fs::make_dir(&layout.upgrade_dir(), 0o755)?;
    let text = serde_json::to_vec(settled).context(|| "cannot write the definitions".into())?;
    // The close of the journal syncs the directory.
    fs::replace_soon(&layout.settled(), &text, 0o600)
}

/// Reads what should be there; none where no upgrade has ended well yet.
pub fn read(layout: &Layout) -> Result<Option<Settled>> {
    let path = layout.settled();
    let unreadable = || format!("cannot read {}", path.display());
    let text = match fs::read_text(&path, MOST_BYTES) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.context(unreadable)?,
    };
    let settled: Settled = serde_json::from_str(&text).context(unreadable)?;
    if settled.format != FORMAT {
        let told = format!("{} has format {}, not {FORMAT}", path.display(), settled.format);
        return Err(Error::new(Outcome::Failed, told));
    }
    Ok(Some(settled))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definitions(schema: &str, index: &str) -> Definitions {
        let objects = BTreeMap::from([("index a_idx".to_owned(), index.to_owned())]);
        Definitions { schema: Some(schema.into()), fingerprint: index.into(), objects }
    }

    #[test]
    fn definitions_of_another_schema_are_not_compared() {
        let then = definitions("0001", "on a (b)");
        let settled = Settled {
            format: FORMAT,
            version: "1".into(),
            taken: "2026-01-01T00:00:00Z".into(),
            databases: [("main".to_owned(), then.clone())].into(),
        };
        let count = |since: Since| match since {
            Since::Compared(changes) => Some(changes.len()),
            Since::NotCompared(_) => None,
        };
        assert_eq!(count(settled.compare("main", &then)), Some(0));
        assert_eq!(count(settled.compare("main", &definitions("0001", "on a (c)"))), Some(1));
        assert_eq!(count(settled.compare("main", &definitions("0002", "on a (c)"))), None);
        assert_eq!(count(settled.compare("other", &then)), None);
    }
}
