//! No service manager: a container without one, a chroot, an image build.

use crate::error::Result;
use crate::progress::Progress;

use super::{Activity, Load, ServiceManager, Standing, Unit};

/// Says so and does nothing.
#[derive(Debug, Default)]
pub struct Absent;

impl ServiceManager for Absent {
    fn look(&self, names: &[String]) -> Result<Vec<Unit>> {
        let unit = |name: &String| Unit {
            name: name.clone(),
            load: Load::Unusable,
            active: Activity::Down,
            words: "no service manager".into(),
            main_pid: None,
            restarts: 0,
        };
        Ok(names.iter().map(unit).collect())
    }

    fn standing(&self, _: &[String]) -> Result<Vec<Standing>> {
        Ok(Vec::new())
    }

    fn stop(&self, _: &str, _: &dyn Progress) -> Result<()> {
        Ok(())
    }

    fn start(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn schedule(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn restart(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn reload(&self) -> Result<()> {
        Ok(())
    }

    fn is_going_down(&self) -> bool {
        false
    }

    fn is_present(&self) -> bool {
        false
    }
}
