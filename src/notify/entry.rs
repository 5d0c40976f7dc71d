//! Entries in systemd's journal that programs find: stable ids, fields of their own.
//!
//! `systemd/openwatch.catalog` explains each id to whoever reads the journal with `-x`.

use crate::layout::Layout;
use crate::outcome::Outcome;
use crate::system::journald;

use super::{Event, Kind, Work};

/// What an entry is about, as `MESSAGE_ID` tells it; a contract, as exit codes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageId {
    /// An upgrade begins.
    Begun,
    /// An upgrade ended well.
    Succeeded,
    /// An upgrade failed.
    Failed,
    /// An upgrade failed and the data was put back.
    RolledBack,
    /// An upgrade is finished later by itself.
    Deferred,
    /// An upgrade cannot go on without a person.
    Stuck,
    /// A unit was kept from starting, and why.
    GateClosed,
    /// A person opened the gate for a time.
    GateOverridden,
    /// The gate that a person opened is closed again.
    OverrideEnded,
    /// Another host is upgrading the same database.
    WaitingForHost,
    /// Data and program are those of the version before.
    WentBack,
}

impl MessageId {
    /// Every id, as the catalog lists them.
    pub const ALL: [Self; 11] = [
        Self::Begun,
        Self::Succeeded,
        Self::Failed,
        Self::RolledBack,
        Self::Deferred,
        Self::Stuck,
        Self::GateClosed,
        Self::GateOverridden,
        Self::OverrideEnded,
        Self::WaitingForHost,
        Self::WentBack,
    ];

    /// Returns the id as the journal shows it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Begun => "e65bfb4eeb004a25bcf6f349ad4e8918",
            Self::Succeeded => "0016574c38c24970b38ba33a9153538a",
            Self::Failed => "24958a33ce3c4cef9af4d26b7aa77aef",
            Self::RolledBack => "2c406239ce444d2aa22437949d395d07",
            Self::Deferred => "0c52ac7bf3eb443ab8cd2ac9b13fe166",
            Self::Stuck => "f468307832f44e89b21026729a1dc0a2",
            Self::GateClosed => "e76ce1ecd20b4d8294db62646c29398b",
            Self::GateOverridden => "142a5b3f324c43c0bbb32a86cf89dca1",
            Self::OverrideEnded => "ee0c43b431c542f2ba93723b30875ddf",
            Self::WaitingForHost => "44eeae9bc1b14e29af24416799cf5389",
            Self::WentBack => "3a2e2db219684135a4c8012c94b895b4",
        }
    }

    /// Returns how urgent it is, in the words of syslog(3).
    const fn priority(self) -> &'static str {
        match self {
            Self::Stuck => "2",
            Self::Failed | Self::RolledBack => "3",
            Self::Deferred | Self::GateClosed | Self::GateOverridden => "4",
            Self::Begun
            | Self::Succeeded
            | Self::WentBack
            | Self::OverrideEnded
            | Self::WaitingForHost => "5",
        }
    }
}

/// One entry beside its fixed fields.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'s> {
    /// The words.
    pub message: &'s str,
    /// Further fields; the name without `OPENWATCH_`.
    pub fields: &'s [(&'s str, &'s str)],
    /// The unit whose status shows the entry, besides our own.
    pub unit: Option<&'s str>,
}

/// Writes an entry; returns a warning where that fails.
pub fn say(layout: &Layout, id: MessageId, said: &Said<'_>) -> Option<String> {
    let names: Vec<String> =
        said.fields.iter().map(|(name, _)| format!("OPENWATCH_{name}")).collect();
    let mut fields = vec![
        ("MESSAGE", said.message),
        ("MESSAGE_ID", id.text()),
        ("PRIORITY", id.priority()),
        ("SYSLOG_IDENTIFIER", "openwatch"),
        ("OPENWATCH_APP", layout.app()),
    ];
    fields.extend(names.iter().zip(said.fields).map(|(name, (_, value))| (name.as_str(), *value)));
    if let Some(unit) = said.unit {
        // Believed of root only, and what `systemctl status UNIT` looks for.
        fields.push(("OBJECT_SYSTEMD_UNIT", unit));
    }
    let sent = journald::send(&layout.root().join(journald::SOCKET), &fields);
    sent.err().map(|error| format!("no entry in the system's journal: {error}"))
}

/// Writes how an upgrade ended.
pub(super) fn ended(layout: &Layout, event: &Event) -> Option<String> {
    let id = match (event.kind(), event.outcome) {
        (Kind::Succeeded, _) if event.work == Work::Rollback => MessageId::WentBack,
        (Kind::Succeeded, _) => MessageId::Succeeded,
        (Kind::RolledBack, _) => MessageId::RolledBack,
        (Kind::Deferred, _) => MessageId::Deferred,
        (Kind::Failed, Outcome::Stuck) => MessageId::Stuck,
        (Kind::Failed, _) => MessageId::Failed,
    };
    let from = event.from.as_deref().unwrap_or("an unknown version");
    let (app, work, to) = (&event.app, event.work.word(), &event.to);
    let mut message = format!("{app}: {work} from {from} to {to} {}", event.kind().word());
    let line = event.line();
    if !line.is_empty() {
        message = format!("{message}: {line}");
    }
    let fields = [
        ("WORK", work),
        ("FROM", event.from.as_deref().unwrap_or_default()),
        ("TO", event.to.as_str()),
        ("OUTCOME", event.outcome.word()),
        ("RESTORE_POINT", event.restore_point.as_deref().unwrap_or_default()),
        ("STEP", event.step.as_deref().unwrap_or_default()),
        ("NEXT", event.next.as_deref().unwrap_or_default()),
    ];
    say(layout, id, &Said { message: &message, fields: &fields, unit: None })
}
