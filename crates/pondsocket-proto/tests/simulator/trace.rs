//! A trace of the events for people to read: written only when a schedule is run again because it failed.

#[derive(Debug, Default)]
pub(crate) struct Trace {
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that records nothing.
    pub(crate) fn off() -> Trace {
        Trace { lines: None }
    }

    pub(crate) fn on() -> Trace {
        Trace { lines: Some(Vec::new()) }
    }

    /// Records a line. `line` is called only if the trace is on.
    pub(crate) fn note(&mut self, now: u64, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{:>4}.{:03} {}", now / 1000, now % 1000, line()));
        }
    }

    pub(crate) fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }
}
