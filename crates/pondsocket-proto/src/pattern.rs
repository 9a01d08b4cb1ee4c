//! Patterns of endpoint paths, channel names and event names: compiled once, matched often
//! (docs/protocol.md, Names and patterns).
//!
//! ```
//! use pondsocket_proto::pattern::Pattern;
//!
//! let pattern = Pattern::parse("/files/:owner/*")?;
//! let found = pattern.matches("/files/ada/a%20b/c.txt?v=2").expect("it matches");
//! assert_eq!(found.param("owner"), Some("ada"));
//! assert_eq!(found.wildcard(), Some("a b/c.txt"));
//! assert_eq!(found.query.first("v"), Some("2"));
//! # Ok::<(), pondsocket_proto::pattern::InvalidPattern>(())
//! ```

use std::sync::Arc;

use percent_encoding::percent_decode_str;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Arc<str>,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Segment {
    /// This text, compared byte by byte, undecoded.
    Literal(Box<str>),
    /// Any segment that begins with `prefix`; the rest is the parameter.
    Param { prefix: Box<str>, name: Arc<str> },
    /// All the rest, which may be empty. Always the last segment.
    Wildcard,
}

/// An invalid pattern: it has no clear meaning, or other implementations read it differently.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("invalid pattern `{pattern}`: {reason} in `{segment}`")]
pub struct InvalidPattern {
    /// The whole pattern.
    pub pattern: String,
    /// The segment at fault.
    pub segment: String,
    /// The fault.
    pub reason: PatternFault,
}

/// The faults of a pattern.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PatternFault {
    /// A parameter has no name.
    #[error("a parameter without a name")]
    EmptyName,
    /// Two parameters have the same name.
    #[error("a parameter name that is used twice")]
    DuplicateName,
    /// A `?` or `#`: patterns have no query, only the inputs that they match.
    #[error("a `?` or `#`")]
    Query,
    /// A `*` that is part of a segment.
    #[error("a `*` within a segment")]
    PartialWildcard,
    /// Text behind a `*`.
    #[error("text behind a `*`")]
    AfterWildcard,
}

impl Pattern {
    /// Compiles a pattern. Leading, trailing and doubled slashes make no difference.
    ///
    /// # Errors
    /// Names the segment at fault.
    pub fn parse(text: &str) -> Result<Pattern, InvalidPattern> {
        let mut segments = Vec::new();
        for segment in split(text) {
            let parsed = parse_segment(segment, &segments);
            let parsed = parsed.map_err(|reason| InvalidPattern {
                pattern: text.to_owned(),
                segment: segment.to_owned(),
                reason,
            })?;
            segments.push(parsed);
        }
        Ok(Pattern { text: text.into(), segments })
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns `true` if the pattern has neither parameters nor a wildcard: a match of it is empty but for the query.
    pub fn is_literal(&self) -> bool {
        self.segments.iter().all(|segment| matches!(segment, Segment::Literal(_)))
    }

    /// The text that the pattern matches, without slashes around it, if it has neither parameters nor a wildcard.
    pub fn as_literal(&self) -> Option<String> {
        let literal = |segment: &Segment| match segment {
            Segment::Literal(text) => Some(text.to_string()),
            Segment::Param { .. } | Segment::Wildcard => None,
        };
        Some(self.segments.iter().map(literal).collect::<Option<Vec<_>>>()?.join("/"))
    }

    /// The names of the parameters, in their order.
    pub fn params(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Param { name, .. } => Some(&**name),
            Segment::Literal(_) | Segment::Wildcard => None,
        })
    }

    /// Matches an undecoded path or name, with its query if it has one. Without parameters and query it allocates
    /// nothing.
    pub fn matches(&self, input: &str) -> Option<Match> {
        let (path, query) = input.split_once('?').map_or((input, None), |(path, query)| (path, Some(query)));
        let mut rest = path;
        let mut params = Vec::new();
        for segment in &self.segments {
            if *segment == Segment::Wildcard {
                // Always the last segment, so the match is complete.
                return Some(Match { params, query: Query::of(query), wildcard: Some(decode_all(rest)) });
            }
            let (part, behind) = next_segment(rest)?;
            match segment {
                // Compared undecoded: an escaped slash separates nothing, and other escapes are not equal to the
                // letters that they stand for.
                Segment::Literal(text) if **text != *part => return None,
                Segment::Param { prefix, name } => {
                    params.push((Arc::clone(name), decode(part.strip_prefix(&**prefix)?)));
                }
                _ => {}
            }
            rest = behind;
        }
        // Slashes at the end do not count.
        if next_segment(rest).is_some() {
            return None;
        }
        Some(Match { params, query: Query::of(query), wildcard: None })
    }

    /// Returns `true` if this pattern matches every input that `later` matches, so that `later` can never be reached
    /// behind it. The check is conservative: `false` does not mean that there is such an input.
    pub fn shadows(&self, later: &Pattern) -> bool {
        let covers = |mine: &Segment, other: &Segment| match (mine, other) {
            (Segment::Param { prefix, .. }, Segment::Literal(text)) => text.starts_with(&**prefix),
            (Segment::Param { prefix, .. }, Segment::Param { prefix: narrower, .. }) => narrower.starts_with(&**prefix),
            // A wildcard among `later`'s segments is covered by no segment, and a literal only by itself.
            (mine, other) => mine == other,
        };
        let (mine, open) = match self.segments.split_last() {
            Some((Segment::Wildcard, before)) => (before, true),
            _ => (&self.segments[..], false),
        };
        // A wildcard of `later` counts as one segment here, although it may match none. `covers` rejects it unless this
        // pattern's own wildcard covers it.
        let long_enough = if open { later.segments.len() >= mine.len() } else { later.segments.len() == mine.len() };
        long_enough && mine.iter().zip(&later.segments).all(|(mine, other)| covers(mine, other))
    }
}

fn parse_segment(segment: &str, before: &[Segment]) -> Result<Segment, PatternFault> {
    if before.last() == Some(&Segment::Wildcard) {
        return Err(PatternFault::AfterWildcard);
    }
    if segment.contains(['?', '#']) {
        return Err(PatternFault::Query);
    }
    if segment == "*" {
        return Ok(Segment::Wildcard);
    }
    // At the first colon: a prefix contains none, and a name may contain more.
    let Some((prefix, name)) = segment.split_once(':') else {
        if segment.contains('*') {
            return Err(PatternFault::PartialWildcard);
        }
        return Ok(Segment::Literal(segment.into()));
    };
    if name.is_empty() {
        return Err(PatternFault::EmptyName);
    }
    // `room:*` is a prefix with a parameter named `*` (docs/protocol.md, Names and patterns).
    if prefix.contains('*') || name.contains('*') && name != "*" {
        return Err(PatternFault::PartialWildcard);
    }
    let taken = |segment: &Segment| matches!(segment, Segment::Param { name: other, .. } if &**other == name);
    if before.iter().any(taken) {
        return Err(PatternFault::DuplicateName);
    }
    Ok(Segment::Param { prefix: prefix.into(), name: name.into() })
}

fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split('/').filter(|segment| !segment.is_empty())
}

/// The first segment of `rest`, and the text behind it.
fn next_segment(rest: &str) -> Option<(&str, &str)> {
    let rest = rest.trim_start_matches('/');
    if rest.is_empty() {
        return None;
    }
    Some(rest.split_once('/').unwrap_or((rest, "")))
}

/// Percent-decodes one segment: a `+` is kept, bytes that are not UTF-8 become U+FFFD, and an invalid escape is kept as
/// it is.
fn decode(segment: &str) -> Box<str> {
    percent_decode_str(segment).decode_utf8_lossy().into()
}

fn decode_all(rest: &str) -> Box<str> {
    let mut all = String::new();
    // Split before decoding: an escaped slash is part of its segment.
    for segment in split(rest) {
        if !all.is_empty() {
            all.push('/');
        }
        all.push_str(&decode(segment));
    }
    all.into()
}

/// The parts of an input that a pattern matched.
#[derive(Clone, Debug, Default)]
pub struct Match {
    params: Vec<(Arc<str>, Box<str>)>,
    /// The query of the input.
    pub query: Query,
    wildcard: Option<Box<str>>,
}

impl Match {
    /// The value of a parameter, decoded.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All parameters, in the order of the pattern.
    pub fn params(&self) -> impl Iterator<Item = (&str, &str)> {
        self.params.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The part that the `*` matched: decoded, without a leading slash, maybe empty. `None` if the pattern has no `*`.
    pub fn wildcard(&self) -> Option<&str> {
        self.wildcard.as_deref()
    }
}

/// The pairs of a query, decoded, in their order. An invalid escape is kept as it is; `;` is not a separator.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(Box<str>, Box<str>)>);

impl Query {
    /// Parses the text behind the first `?`.
    pub fn parse(text: &str) -> Query {
        let pairs = form_urlencoded::parse(text.as_bytes());
        Query(pairs.map(|(key, value)| (key.into(), value.into())).collect())
    }

    fn of(text: Option<&str>) -> Query {
        text.map(Query::parse).unwrap_or_default()
    }

    /// The first value of `name`.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// All values of `name`.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.iter().filter(move |(key, _)| *key == name).map(|(_, value)| value)
    }

    /// All pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}
