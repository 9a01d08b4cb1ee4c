use http::{HeaderMap, HeaderName};

/// By which a request says which stream it is for.
pub(super) const CONNECTION_ID: HeaderName = HeaderName::from_static("x-connection-id");

/// Whether a header that is a list contains this, whatever its parameters.
pub(super) fn lists(headers: &HeaderMap, name: HeaderName, what: &str) -> bool {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    let mut elements = lines.flat_map(|line| line.split(','));
    elements.any(|element| element.split(';').next().is_some_and(|value| value.trim().eq_ignore_ascii_case(what)))
}
