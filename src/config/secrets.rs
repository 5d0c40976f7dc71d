//! The credentials file: variables in the syntax of systemd's `EnvironmentFile`.

/// Returns whether systemd takes this as the name of a variable.
pub fn name_is_valid(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
