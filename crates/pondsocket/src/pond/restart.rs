//! The restart of a server: the file in which histories, members in their presence grace and sessions outlive it.
//!
//! ```text
//!  start -> claim: note the owner, read the file, delete it
//!                -> restore: before the first client, or the first message that a channel keeps
//!  end of a shutdown -> write: a temporary file, then its rename, if there is no later owner
//! ```
//!
//! A file is used once, and only by the server that follows the one that has written it. Otherwise one position could stand
//! for two messages, or messages of a server in between would be missing without a word. Therefore each server notes at its
//! start that it is the owner; one that ends later than the next one has started writes nothing.
//!
//! A ghost leaves on one server only. Once it is copied for the file its grace has no end on this server any more. If the file
//! is written the ghosts are dropped here, otherwise their leave handlers run here.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once, OnceLock, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::engine::history_file::{
    FileError, HistoryWriter, ReadLimits, Saved, SavedChannel, SavedEndpoint, Written, read,
};
use crate::engine::ids;
use crate::engine::sync::Mutex;
use crate::options::Options;

/// The file of a server, and what was read from it.
#[derive(Debug)]
pub(crate) struct Restart {
    path: PathBuf,
    /// The age from which a file is ignored.
    window: Duration,
    /// The most bytes that are read.
    limits: ReadLimits,
    /// The name of this server as the owner of the file.
    owner: String,
    endpoints: Mutex<Vec<Weak<dyn RestartedEndpoint>>>,
    claim: OnceLock<Claim>,
    restored: Once,
    /// Becomes true when the file is written, or cannot be. Empty before the end of the shutdown.
    written: OnceLock<watch::Receiver<bool>>,
}

/// An endpoint, as far as a restart needs it.
pub(crate) trait RestartedEndpoint: Send + Sync + fmt::Debug {
    /// The pattern of its path.
    fn path(&self) -> &str;
    /// Writes its histories, ghosts and sessions, those that were used last first.
    fn save(&self, out: &mut HistoryWriter<'_>) -> io::Result<()>;
    /// Goes on with what was saved so long ago.
    fn restore(&self, saved: SavedEndpoint, ago: Duration) -> Restored;
    /// Ends the presence grace of all members: of those that were saved without a leave, if the file is written.
    fn end_ghosts(&self, are_saved: bool);
}

/// The number of histories, members and sessions that go on, and of histories and members that do not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Restored {
    pub(crate) channels: usize,
    pub(crate) messages: usize,
    pub(crate) ghosts: usize,
    pub(crate) sessions: usize,
    /// Histories that have expired, and histories and members whose lobby or stamp is gone.
    pub(crate) left_out: usize,
}

/// The outcome of the start.
#[derive(Debug)]
struct Claim {
    /// False if the owner could not be noted: then nothing is read or written.
    is_owner: bool,
    /// The content of the file, until it is restored.
    saved: Mutex<Option<Saved>>,
}

/// The reason for which a file is not read.
#[derive(Debug)]
enum Refusal {
    /// It is a directory, a link or a device.
    NotRegular,
    /// Others than the owner may write to it.
    Writable,
    File(FileError),
    /// It cannot be deleted, so it could be used again.
    NotDeleted(io::Error),
}

impl Restart {
    /// The restart of a server with these options, if they name a file.
    pub(crate) fn new(options: &Options) -> Option<Box<Restart>> {
        let path = options.history_file.clone()?;
        Some(Box::new(Restart {
            path,
            window: options.resume_window,
            // Answers count towards the limit of all memory once they are restored.
            limits: ReadLimits { messages: options.history_bytes, answers: options.memory_limit / 4 },
            owner: format!("{:032x}", ids::fresh()),
            endpoints: Mutex::default(),
            claim: OnceLock::new(),
            restored: Once::new(),
            written: OnceLock::new(),
        }))
    }

    /// Adds an endpoint, whose histories are restored and written.
    pub(crate) fn add(&self, endpoint: Weak<dyn RestartedEndpoint>) {
        self.endpoints.lock().push(endpoint);
    }

    fn endpoints(&self) -> Vec<Arc<dyn RestartedEndpoint>> {
        self.endpoints.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Reads the file and deletes it. Further calls have no effect. Blocks while the file is read, so it is called at the start.
    pub(crate) fn claim(&self) {
        self.claimed();
    }

    fn claimed(&self) -> &Claim {
        self.claim.get_or_init(|| {
            if let Err(error) = self.note_owner() {
                tracing::error!(target: "pondsocket::server", path = %self.path.display(), %error, "the history file cannot be used");
                return Claim { is_owner: false, saved: Mutex::default() };
            }
            Claim { is_owner: true, saved: Mutex::new(self.take_file()) }
        })
    }

    fn take_file(&self) -> Option<Saved> {
        let path = self.path.display();
        let mut saved = match take(&self.path, self.limits) {
            Ok(saved) => saved?,
            Err(error) => {
                tracing::warn!(target: "pondsocket::server", %path, %error, "history file refused");
                return None;
            }
        };
        // A clock that was set back makes a file younger than it is, and never older.
        let age = SystemTime::now().duration_since(saved.written).unwrap_or_default();
        if age > self.window {
            tracing::warn!(target: "pondsocket::server", %path, ?age, "histories ignored: the file is too old");
            saved.keep_ghosts();
        }
        Some(saved)
    }

    /// Goes on with what was read. Further calls have no effect. Returns when all of it is restored, whichever call does it.
    pub(crate) fn restore(&self) {
        // One load, from the second call on.
        self.restored.call_once(|| {
            let Some(saved) = self.claimed().saved.lock().take() else { return };
            let ago = SystemTime::now().duration_since(saved.written).unwrap_or_default();
            let endpoints = self.endpoints();
            let mut all = Restored::default();
            for saved in saved.endpoints {
                let Some(endpoint) = endpoints.iter().find(|endpoint| endpoint.path() == &*saved.path) else {
                    let left_out = |channel: &SavedChannel| usize::from(channel.ring.is_some()) + channel.ghosts.len();
                    all.left_out += saved.channels.iter().map(left_out).sum::<usize>();
                    continue;
                };
                let Restored { channels, messages, ghosts, sessions, left_out } = endpoint.restore(saved, ago);
                all.channels += channels;
                all.messages += messages;
                all.ghosts += ghosts;
                all.sessions += sessions;
                all.left_out += left_out;
            }
            let Restored { channels, messages, ghosts, sessions, left_out } = all;
            tracing::info!(target: "pondsocket::server", path = %self.path.display(), channels, messages, ghosts, sessions, left_out, ?ago, "histories restored");
        });
    }

    /// Writes the file, once, ends the presence grace of all members, and waits for both until the deadline. On a thread of its
    /// own: a disk that hangs holds up neither the shutdown nor the end of the runtime.
    pub(crate) async fn write(&self, deadline: Instant) {
        // What nobody has asked for yet may be asked for after the next start.
        self.restore();
        if !self.claimed().is_owner {
            return self.endpoints().iter().for_each(|endpoint| endpoint.end_ghosts(false));
        }
        let mut written = self.written.get_or_init(|| self.start_writing()).clone();
        // An error means that the thread has panicked, which is no reason to wait.
        if timeout_at(deadline, written.wait_for(|is_written| *is_written)).await.is_err() {
            tracing::error!(target: "pondsocket::server", path = %self.path.display(), "histories are not written in time");
        }
    }

    fn start_writing(&self) -> watch::Receiver<bool> {
        let (done, written) = watch::channel(false);
        let (path, owner, endpoints) = (self.path.clone(), self.owner.clone(), self.endpoints());
        let write = move || {
            let start = Instant::now();
            let outcome = write_file(&path, &owner, &endpoints);
            let are_saved = matches!(outcome, Ok(Some(_)));
            endpoints.iter().for_each(|endpoint| endpoint.end_ghosts(are_saved));
            let (path, took) = (path.display(), start.elapsed());
            match outcome {
                Ok(Some(Written { channels, messages, ghosts, sessions, bytes })) => {
                    tracing::info!(target: "pondsocket::server", %path, channels, messages, ghosts, sessions, bytes, ?took, "histories written");
                }
                Ok(None) => {
                    tracing::warn!(target: "pondsocket::server", %path, "histories are not written: another server has started with the same file");
                }
                Err(error) => {
                    tracing::error!(target: "pondsocket::server", %path, %error, "histories are not written");
                }
            }
            done.send_replace(true);
        };
        if let Err(error) = std::thread::Builder::new().name("pondsocket-histories".to_owned()).spawn(write) {
            // The sender is dropped with the closure, which ends the wait.
            self.endpoints().iter().for_each(|endpoint| endpoint.end_ghosts(false));
            tracing::error!(target: "pondsocket::server", path = %self.path.display(), %error, "histories are not written");
        }
        written
    }

    fn note_owner(&self) -> io::Result<()> {
        let path = owner_path(&self.path);
        remove_if_there(&path)?;
        create(&path)?.write_all(self.owner.as_bytes())
    }
}

/// Reads a file and deletes it. `None` if there is none.
fn take(path: &Path, limits: ReadLimits) -> Result<Option<Saved>, Refusal> {
    // Before it is opened, which could wait for ever if it is a pipe.
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Refusal::File(FileError::Io(error))),
    };
    if !metadata.is_file() {
        return Err(Refusal::NotRegular);
    }
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o022 != 0 {
        return Err(Refusal::Writable);
    }
    let file = File::open(path).map_err(|error| Refusal::File(FileError::Io(error)))?;
    let saved = read(&mut BufReader::new(file), limits).map_err(Refusal::File)?;
    // Of several servers that read it, the one that deletes it uses it.
    fs::remove_file(path).and_then(|()| sync_directory(path)).map_err(Refusal::NotDeleted)?;
    Ok(Some(saved))
}

/// Writes a file in place of an earlier one. `None` if the server is not its owner any more.
fn write_file(path: &Path, owner: &str, endpoints: &[Arc<dyn RestartedEndpoint>]) -> io::Result<Option<Written>> {
    let is_owner = || fs::read(owner_path(path)).is_ok_and(|noted| noted == owner.as_bytes());
    if !is_owner() {
        return Ok(None);
    }
    let temporary = with_suffix(path, ".new");
    remove_if_there(&temporary)?;
    let replaced = write_to(&temporary, endpoints).and_then(|written| fs::rename(&temporary, path).map(|()| written));
    let written = replaced.inspect_err(|_| drop(fs::remove_file(&temporary)))?;
    // A file that may not last is none: its members leave here.
    sync_directory(path).inspect_err(|_| drop(fs::remove_file(path)))?;
    // A server that has started meanwhile has noted itself before it looked for the file. So either it is seen here, or it has
    // found the file.
    if !is_owner() {
        return match fs::remove_file(path) {
            // It goes on with the file, and with its members.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(written)),
            removed => removed.map(|()| None),
        };
    }
    // The file is written in any case, and the next server replaces the note.
    let _ = remove_if_there(&owner_path(path));
    Ok(Some(written))
}

fn write_to(path: &Path, endpoints: &[Arc<dyn RestartedEndpoint>]) -> io::Result<Written> {
    let mut out = BufWriter::new(create(path)?);
    let mut writer = HistoryWriter::new(&mut out, SystemTime::now())?;
    for endpoint in endpoints {
        writer.endpoint(endpoint.path())?;
        endpoint.save(&mut writer)?;
    }
    let written = writer.finish()?;
    out.get_ref().sync_all()?;
    Ok(written)
}

/// Creates a file that only the owner can read. It must not exist: another one could be a link, or readable by others.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes the names in the directory of a file durable.
#[cfg(unix)]
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Elsewhere directories cannot be opened.
#[cfg(not(unix))]
fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn owner_path(path: &Path) -> PathBuf {
    with_suffix(path, ".owner")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotRegular => f.write_str("it is not a regular file"),
            Refusal::Writable => f.write_str("others than its owner may write to it"),
            Refusal::File(error) => error.fmt(f),
            Refusal::NotDeleted(error) => write!(f, "it cannot be deleted: {error}"),
        }
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// An endpoint that cannot be written before the test ends, as if the disk hung.
    #[derive(Debug)]
    struct Hanging(std::sync::Mutex<Receiver<()>>);

    impl RestartedEndpoint for Hanging {
        fn path(&self) -> &str {
            "/"
        }

        fn save(&self, _out: &mut HistoryWriter<'_>) -> io::Result<()> {
            let _ = self.0.lock().expect("no panic").recv();
            Ok(())
        }

        fn restore(&self, _saved: SavedEndpoint, _ago: Duration) -> Restored {
            Restored::default()
        }

        fn end_ghosts(&self, _are_saved: bool) {}
    }

    #[tokio::test]
    async fn a_disk_that_hangs_holds_up_nobody_and_leaves_no_half_of_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("histories");
        let restart = Restart::new(&Options::default().history_file(&file)).expect("it has a file");
        let (release, blocked) = channel();
        let endpoint: Arc<dyn RestartedEndpoint> = Arc::new(Hanging(blocked.into()));
        restart.add(Arc::downgrade(&endpoint));
        for _ in 0..2 {
            let deadline = Instant::now() + Duration::from_millis(20);
            tokio::time::timeout(Duration::from_secs(5), restart.write(deadline)).await.expect("at the deadline");
            assert!(!file.exists());
        }
        drop(release);
        restart.write(Instant::now() + Duration::from_secs(5)).await;
        assert!(file.exists());
    }
}
