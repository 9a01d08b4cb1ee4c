//! Labels with few values, independently of the input of clients: each value of a label is a time series that a
//! monitoring system stores.

/// The label of a close code. Clients may send thousands of codes: those of RFC 6455 section 7.4.1 have labels of their
/// own, the ranges of section 7.4.2 one label each.
pub(crate) fn close_code(code: u16) -> String {
    match code {
        1000..=1015 => code.to_string(),
        3000..=3999 => "3xxx".into(),
        4000..=4999 => "4xxx".into(),
        _ => "other".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn all_close_codes_map_to_few_labels() {
        let labels: HashSet<_> = (0..=u16::MAX).map(close_code).collect();
        assert_eq!(labels.len(), 19);
        assert_eq!(
            [1001, 1005, 3001, 4999, 999, 1016].map(close_code),
            ["1001", "1005", "3xxx", "4xxx", "other", "other"]
        );
    }
}
