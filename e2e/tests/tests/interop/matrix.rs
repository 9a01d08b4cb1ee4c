//! The matrix of operations and pairs of nodes: its cases, their results, and the table of these.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::defects::{self, Defect};

/// The number of cases that run at the same time, not counting those that mostly wait.
const AT_ONCE: usize = 8;

pub(crate) type Attempt = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An operation that must work between two nodes. An attempt panics if it fails.
pub(crate) struct Case {
    row: &'static str,
    column: String,
    attempts: Vec<Attempt>,
    waits: bool,
}

impl Case {
    pub(crate) fn new(row: &'static str, column: &str, attempt: impl Future<Output = ()> + Send + 'static) -> Case {
        Case { row, column: column.to_owned(), attempts: vec![Box::pin(attempt)], waits: false }
    }

    /// A case with several attempts if the server is known to fail sometimes.
    pub(crate) fn with_attempts(row: &'static str, column: &str, attempt: impl Fn(usize) -> Attempt) -> Case {
        let attempts = (0..defects::attempts(row, column)).map(attempt).collect();
        Case { row, column: column.to_owned(), attempts, waits: false }
    }

    /// Marks a case that takes long and mostly waits.
    pub(crate) fn that_waits(self) -> Case {
        Case { waits: true, ..self }
    }
}

/// The results of all cases.
pub(crate) struct Matrix {
    cells: Vec<Cell>,
    defects: Vec<Defect>,
}

struct Cell {
    /// The position of the case among the others.
    place: usize,
    row: &'static str,
    column: String,
    fault: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum CaseResult {
    Passed,
    Failed,
    Known,
}

impl Matrix {
    pub(crate) async fn of(cases: Vec<Case>) -> Matrix {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut running = JoinSet::new();
        for (place, Case { row, column, attempts, waits }) in cases.into_iter().enumerate() {
            let places = Arc::clone(&places);
            running.spawn(async move {
                let _place = if waits { None } else { Some(places.acquire_owned().await.expect("never closed")) };
                let mut fault = None;
                for attempt in attempts {
                    fault = tokio::spawn(attempt).await.err().map(|error| message(error.into_panic().as_ref()));
                    if fault.is_none() {
                        break;
                    }
                }
                Cell { place, row, column, fault }
            });
        }
        let mut cells = running.join_all().await;
        cells.sort_by_key(|cell| cell.place);
        Matrix { cells, defects: defects::known() }
    }

    /// Appends cases that ran later.
    pub(crate) fn append(&mut self, later: Matrix) {
        self.cells.extend(later.cells);
    }

    /// Returns `true` if all failures are known defects.
    pub(crate) fn is_as_known(&self) -> bool {
        self.count(CaseResult::Failed) == 0 && self.unused().is_empty()
    }

    pub(crate) fn print(&self) {
        let mut columns: Vec<&str> = Vec::new();
        for cell in &self.cells {
            if !columns.contains(&&*cell.column) {
                columns.push(&cell.column);
            }
        }
        let (strangers, published): (Vec<_>, Vec<_>) = columns.into_iter().partition(|it| it.contains("scripted"));
        self.print_table(&published);
        self.print_table(&strangers);
        for cell in &self.cells {
            match (self.result(cell), &cell.fault) {
                (CaseResult::Failed, Some(fault)) => println!("FAILED {}, {}: {fault}", cell.row, cell.column),
                (CaseResult::Failed, None) => println!("FAILED {}, {}: it works now", cell.row, cell.column),
                (CaseResult::Known, _) => {
                    let reason = self.defect(cell).map_or("", |defect| &*defect.reason);
                    println!("known: {}, {}: {reason}", cell.row, cell.column);
                }
                (CaseResult::Passed, _) => {}
            }
        }
        for defect in self.unused() {
            println!("FAILED: there is no such case: {defect:?}");
        }
        let [passed, failed, known] =
            [CaseResult::Passed, CaseResult::Failed, CaseResult::Known].map(|it| self.count(it));
        println!("{passed} passed, {} failed, {known} skipped", failed + self.unused().len());
    }

    fn print_table(&self, columns: &[&str]) {
        let mut rows: Vec<&str> = Vec::new();
        for cell in &self.cells {
            if columns.contains(&&*cell.column) && !rows.contains(&cell.row) {
                rows.push(cell.row);
            }
        }
        let width = rows.iter().map(|row| row.len()).max().unwrap_or_default();
        let heads: String = columns.iter().map(|column| format!(" | {column}")).collect();
        println!("\n{:width$}{heads}", "");
        for row in rows {
            let line: String = columns
                .iter()
                .map(|column| format!(" | {:w$}", self.mark(row, column), w = column.chars().count()))
                .collect();
            println!("{row:width$}{line}");
        }
        println!();
    }

    fn mark(&self, row: &str, column: &str) -> &'static str {
        let cell = self.cells.iter().find(|cell| cell.row == row && cell.column == column);
        match cell.map(|cell| self.result(cell)) {
            Some(CaseResult::Passed) => "ok",
            Some(CaseResult::Failed) => "FAILED",
            Some(CaseResult::Known) => "defect",
            None => "-",
        }
    }

    fn result(&self, cell: &Cell) -> CaseResult {
        match (&cell.fault, self.defect(cell)) {
            (None, defect) if defect.is_none_or(|defect| defect.at_times) => CaseResult::Passed,
            (Some(_), Some(defect)) if !defect.at_times => CaseResult::Known,
            _ => CaseResult::Failed,
        }
    }

    fn defect(&self, cell: &Cell) -> Option<&Defect> {
        self.defects.iter().find(|defect| defect.row == cell.row && defect.column == cell.column)
    }

    /// Known defects of cases that do not exist.
    fn unused(&self) -> Vec<&Defect> {
        let is_case =
            |defect: &Defect| self.cells.iter().any(|cell| defect.row == cell.row && defect.column == cell.column);
        self.defects.iter().filter(|defect| !is_case(defect)).collect()
    }

    fn count(&self, result: CaseResult) -> usize {
        self.cells.iter().filter(|cell| self.result(cell) == result).count()
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default()
}
