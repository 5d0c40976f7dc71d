//! One file per verb that a user can type.
