//! Whether anybody wrote on the new schema since it was migrated.

use crate::database::{Change, Standstill};
use crate::error::{Error, Result};
use crate::upgrade::machine::Machine;

/// Each database as the migrations left it, before any unit was started.
#[derive(Debug)]
pub struct Watch(Vec<(String, Standstill)>);

/// What was written since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// Nothing.
    Nothing,
    /// This, or perhaps this, or it is not known.
    Something(String),
}

impl Watch {
    /// Notes what every database looks like.
    pub fn begin(machine: &Machine) -> Result<Self> {
        let taken = machine.databases.iter().map(|shipped| {
            let mut session = shipped.database.connect()?;
            let still = session.standstill().map_err(|error| {
                let what = shipped.database.described();
                Error::failed(format!("cannot note what {what} looks like")).source(error)
            })?;
            Ok((shipped.database.name().to_owned(), still))
        });
        Ok(Self(taken.collect::<Result<_>>()?))
    }

    /// Finds out what was written since; whoever may have written has ended.
    pub fn since(&self, machine: &Machine) -> Since {
        for (name, before) in &self.0 {
            let shipped = machine.databases.iter().find(|d| d.database.name() == name);
            let Some(shipped) = shipped else { continue };
            let what = match shipped.database.connect() {
                Err(error) => error.message(),
                Ok(mut session) => match session.changed_beside(before) {
                    Ok(Change::None) => continue,
                    Ok(Change::Some(what) | Change::Perhaps(what)) => what,
                    Err(error) => error.to_string(),
                },
            };
            return Since::Something(format!("{name}: {what}"));
        }
        Since::Nothing
    }
}
