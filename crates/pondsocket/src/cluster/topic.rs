use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// The topic of messages: an exact name without a meaning for a bus. Globs, colons and all other characters are plain text.
/// Clones share the text.
#[derive(Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Topic {
    fn from(name: &str) -> Topic {
        Topic(name.into())
    }
}

impl From<String> for Topic {
    fn from(name: String) -> Topic {
        Topic(name.into())
    }
}

impl From<Arc<str>> for Topic {
    fn from(name: Arc<str>) -> Topic {
        Topic(name)
    }
}

/// Allows look-ups by name in sets and maps of topics.
impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Topic {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
