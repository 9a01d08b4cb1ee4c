//! Numbers and text as reports show them.

/// A number with at least three significant digits.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 1e5 => grouped(value),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A share in per cent.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 10.0 { format!("{percent:.1} %") } else { format!("{percent:.0} %") }
}

/// A whole number with a comma after each group of three digits.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = if value < 0.0 { "-".to_owned() } else { String::new() };
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The text as one cell of a table of Markdown.
pub(super) fn cell(text: &str) -> String {
    text.replace('|', "/").replace('\n', " ").replace('\r', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([number(0.0412), number(1.2345), number(23.45), number(2190.4)], ["0.041", "1.23", "23.4", "2190"]);
        assert_eq!([number(0.0), number(1_234_567.8), number(-0.5)], ["0", "1,234,568", "-0.500"]);
    }

    #[test]
    fn groups_of_three_digits_are_counted_from_the_end() {
        assert_eq!(
            [grouped(0.0), grouped(999.0), grouped(20_000.0), grouped(-1e6)],
            ["0", "999", "20,000", "-1,000,000"]
        );
    }

    #[test]
    fn a_small_share_has_a_digit_after_the_point() {
        assert_eq!([percent(0.012), percent(0.347)], ["1.2 %", "35 %"]);
    }
}
