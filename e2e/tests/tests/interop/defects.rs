//! Known defects of published servers.

/// One line of e2e/servers/defects.txt.
#[derive(Debug)]
pub(crate) struct Defect {
    pub(crate) row: String,
    pub(crate) column: String,
    /// It fails only sometimes: then the case is repeated.
    pub(crate) at_times: bool,
    pub(crate) reason: String,
}

/// The defects of all lines.
pub(crate) fn known() -> Vec<Defect> {
    let lines = include_str!("../../../servers/defects.txt").lines().filter(|line| !line.starts_with('#'));
    let defect = |line: &str| {
        let [row, column, often, reason] = line.splitn(4, '|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("no defect: {line}")
        };
        assert!(["always", "at times"].contains(&often), "how often? {line}");
        Defect { row: row.into(), column: column.into(), at_times: often == "at times", reason: reason.into() }
    };
    lines.map(defect).collect()
}

/// The number of attempts that a case has.
pub(crate) fn attempts(row: &str, column: &str) -> usize {
    let at_times = known().iter().any(|defect| defect.at_times && defect.row == row && defect.column == column);
    if at_times { 5 } else { 1 }
}
