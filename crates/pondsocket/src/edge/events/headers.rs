use http::{HeaderMap, HeaderName};

/// By which a request says which stream it is for.
pub(super) const CONNECTION_ID: HeaderName = HeaderName::from_static("x-connection-id");

/// Returns `true` if a header that is a list contains this, whatever its parameters. It is compared as bytes: an
/// element that is not ASCII does not hide its neighbours.
pub(super) fn lists(headers: &HeaderMap, name: HeaderName, what: &str) -> bool {
    let elements = headers.get_all(name).into_iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let mut values = elements.filter_map(|element| element.split(|byte| *byte == b';').next());
    values.any(|value| value.trim_ascii().eq_ignore_ascii_case(what.as_bytes()))
}
