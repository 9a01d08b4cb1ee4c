//! Cases, their outcomes, and the table of these.

use std::any::Any;
use std::env::var;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::fixture::Fixture;
use crate::world::World;

/// The number of cases that run at the same time. Most of the time they wait.
const AT_ONCE: usize = 12;

/// The number of seeds of each fault in the long form.
const SEEDS: u64 = 3;

/// A fault: its name, its world, and the action that causes it.
pub(crate) type Fault = (&'static str, World, Action);
pub(crate) type Action = for<'a> fn(&'a mut Fixture, &'a Form) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// The form of a run, short or long.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    is_long: bool,
    /// Selects the faults whose names contain this text.
    only: String,
    pub(crate) seed: u64,
}

pub(crate) struct FaultCase {
    name: String,
    /// `true` if no other case may run at the same time.
    alone: bool,
    run: Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

/// The measurements of a case.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) healed_after: Option<Duration>,
    pub(crate) told_after: Option<Duration>,
    pub(crate) note: String,
}

impl Form {
    pub(crate) fn of_environment() -> Form {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        Form {
            is_long: var("FAULTS_LONG").is_ok_and(|long| !long.is_empty()),
            only: var("FAULTS_ONLY").unwrap_or_default(),
            seed: var("FAULTS_SEED").map_or_else(|_| now(), |seed| seed.parse().expect("a number")),
        }
    }

    pub(crate) fn pick<T>(&self, short: T, long: T) -> T {
        if self.is_long { long } else { short }
    }

    pub(crate) fn wants(&self, case: &FaultCase) -> bool {
        case.name.contains(&self.only)
    }

    pub(crate) fn cases(&self, fault: &'static Fault) -> Vec<FaultCase> {
        let (name, world, action) = *fault;
        let seeds = self.seed..self.seed + self.pick(1, SEEDS);
        let case = |seed| FaultCase::new(&format!("{name}, seed {seed}"), self.clone().checked(world, action, seed));
        seeds.map(case).filter(|case| self.wants(case)).collect()
    }

    async fn checked(self, world: World, action: Action, seed: u64) -> Outcome {
        let mut fixture = Fixture::set(world, self.pick(24, 48), seed).await;
        fixture.live(Duration::from_secs(1)).await;
        action(&mut fixture, &self).await;
        let healed_after = Some(fixture.heals().await);
        Outcome { healed_after, told_after: fixture.told_after, note: fixture.note }
    }
}

impl FaultCase {
    pub(crate) fn new(name: &str, run: impl Future<Output = Outcome> + Send + 'static) -> FaultCase {
        FaultCase { name: name.to_owned(), alone: false, run: Box::pin(run) }
    }

    /// Marks a case that must not run beside others.
    pub(crate) fn alone(self) -> FaultCase {
        FaultCase { alone: true, ..self }
    }
}

/// Runs the cases and prints the table. Returns `true` if all have passed.
pub(crate) async fn run(cases: Vec<FaultCase>) -> bool {
    let progress = Arc::new(CaseProgress::new(cases.len()));
    let (alone, together): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| case.alone);
    let mut done = run_at_once(together, AT_ONCE, &progress).await;
    done.extend(run_at_once(alone, 1, &progress).await);
    progress.bar.finish_and_clear();
    print(&done);
    !done.is_empty() && done.iter().all(|(_, outcome)| outcome.is_ok())
}

type Done = (String, Result<Outcome, String>);

async fn run_at_once(cases: Vec<FaultCase>, most: usize, progress: &Arc<CaseProgress>) -> Vec<Done> {
    let places = Arc::new(Semaphore::new(most));
    let mut running = JoinSet::new();
    for (number, FaultCase { name, run, .. }) in cases.into_iter().enumerate() {
        let (places, progress) = (Arc::clone(&places), Arc::clone(progress));
        running.spawn(async move {
            let _place = places.acquire_owned().await.expect("never closed");
            progress.start(&name);
            let outcome = tokio::spawn(run).await.map_err(|error| message(error.into_panic().as_ref()));
            progress.finish(&name, outcome.is_ok());
            (number, (name, outcome))
        });
    }
    let mut done = running.join_all().await;
    done.sort_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, done)| done).collect()
}

/// The number of cases that have ended, and the names of those that run.
struct CaseProgress {
    bar: ProgressBar,
    names: Mutex<Vec<String>>,
}

impl CaseProgress {
    fn new(count: usize) -> CaseProgress {
        let bar = ProgressBar::new(count as u64);
        bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {wide_msg}").expect("a template"));
        CaseProgress { bar, names: Mutex::default() }
    }

    fn start(&self, name: &str) {
        self.change(|names| names.push(name.to_owned()));
    }

    fn finish(&self, name: &str, well: bool) {
        self.change(|names| names.retain(|it| it != name));
        self.bar.inc(1);
        // Without a terminal there is no bar.
        if self.bar.is_hidden() {
            println!("{} {name}", if well { "ok" } else { "FAILED" });
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<String>)) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut names);
        self.bar.set_message(names.join(" | "));
    }
}

fn print(done: &[Done]) {
    let width = done.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let time = |time: Option<Duration>| time.map_or("-".into(), |time| format!("{:.1} s", time.as_secs_f64()));
    println!("\n{:width$} | healed | leaves received | ", "");
    for (name, outcome) in done {
        match outcome {
            Ok(Outcome { healed_after, told_after, note }) => {
                println!("{name:width$} | {:>6} | {:>15} | {note}", time(*healed_after), time(*told_after));
            }
            Err(_) => println!("{name:width$} | FAILED"),
        }
    }
    println!();
    for (name, outcome) in done {
        if let Err(fault) = outcome {
            println!("FAILED {name}: {fault}");
        }
    }
    let failed = done.iter().filter(|(_, outcome)| outcome.is_err()).count();
    println!("{} passed, {failed} failed, 0 skipped", done.len() - failed);
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default()
}
