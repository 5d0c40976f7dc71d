//! The text format in which Prometheus reads measurements, version 0.0.4.

use std::fmt::Write as _;

/// The media type of the format.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Measurements, each with its help and type, in the order in which they were added.
#[derive(Debug, Default)]
pub struct Page(String);

/// The samples of one measurement.
pub struct Samples<'p> {
    text: &'p mut String,
    name: &'static str,
}

impl Page {
    /// Adds a measurement that may go up and down. Its samples are added to what is returned; a name
    /// is added once.
    pub fn gauge(&mut self, name: &'static str, help: &str) -> Samples<'_> {
        self.family(name, help, "gauge")
    }

    /// Adds a measurement that only goes up; its name ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &str) -> Samples<'_> {
        self.family(name, help, "counter")
    }

    fn family(&mut self, name: &'static str, help: &str, kind: &str) -> Samples<'_> {
        let text = &mut self.0;
        // Writing into a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {}", escaped(help, false));
        let _ = writeln!(text, "# TYPE {name} {kind}");
        Samples { text, name }
    }

    /// Returns the whole text.
    pub fn into_text(self) -> String {
        self.0
    }
}

impl Samples<'_> {
    /// Adds a sample.
    pub fn add(&mut self, labels: &[(&str, &str)], value: impl Into<Value>) -> &mut Self {
        self.text.push_str(self.name);
        for (at, (label, said)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{}\"", escaped(said, true));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = match value.into() {
            Value::Whole(number) => writeln!(self.text, " {number}"),
            // Rust writes no exponent, and NaN as the format has it.
            Value::Fraction(number) => writeln!(self.text, " {number}"),
        };
        self
    }
}

/// The number of a sample.
pub enum Value {
    /// A count, or seconds since 1970.
    Whole(u64),
    /// Seconds with their fraction.
    Fraction(f64),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Whole(u64::from(yes))
    }
}

impl From<std::time::Duration> for Value {
    fn from(duration: std::time::Duration) -> Self {
        Self::Fraction(duration.as_secs_f64())
    }
}

/// Escapes what the format reads; a quotation mark only within a label.
fn escaped(text: &str, label: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if label => out.push_str("\\\""),
            // The format knows no escape for it, and readers break lines at it.
            '\r' => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_labels_stay_within_their_quotation_marks() {
        let mut page = Page::default();
        page.gauge("openwatch_x", "a \\ b\nc \"d\"").add(&[("host", "a\"} 9\n\\\r")], 3_u64);
        assert_eq!(
            page.into_text(),
            "# HELP openwatch_x a \\\\ b\\nc \"d\"\n# TYPE openwatch_x gauge\n\
             openwatch_x{host=\"a\\\"} 9\\n\\\\ \"} 3\n"
        );
    }

    #[test]
    fn numbers_have_no_exponent() {
        let mut page = Page::default();
        let mut samples = page.gauge("openwatch_x", "x");
        samples.add(&[], std::time::Duration::from_millis(1500)).add(&[("a", "b")], true);
        samples.add(&[("a", "c")], 1_800_000_000_000_u64);
        let text = page.into_text();
        assert!(text.ends_with(
            "openwatch_x 1.5\nopenwatch_x{a=\"b\"} 1\nopenwatch_x{a=\"c\"} 1800000000000\n"
        ));
    }
}
