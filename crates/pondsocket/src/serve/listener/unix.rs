//! A Unix socket with its file.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// The file of a socket that was bound here. It is removed when this is dropped, unless somebody has replaced it.
#[derive(Debug)]
pub(in crate::serve) struct OwnFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Listens at a path, with these permissions of its file.
pub(super) fn bind(path: &Path, mode: u32, backlog: i32) -> io::Result<(UnixListener, OwnFile)> {
    // Two servers that find the same stale file come one after the other, or one would remove the file of the other.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(folder)?;
    folder.lock()?;
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = OwnFile::of(path, &fs::symlink_metadata(path)?);
    // Nobody can connect before it listens.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    socket.listen(backlog)?;
    Ok((socket.into(), file))
}

impl OwnFile {
    fn of(path: &Path, metadata: &Metadata) -> OwnFile {
        OwnFile { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() }
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        let is_ours = |file: Metadata| (file.dev(), file.ino()) == (self.device, self.inode);
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            // If that fails, the next server removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket on which nobody listens, if there is one.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => {}
        Ok(_) => return Err(io::Error::new(ErrorKind::AlreadyExists, "there is a file that is no socket")),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A server whose queue is full would be waited for.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        // Only this says that nobody listens.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error),
        _ => Err(io::Error::new(ErrorKind::AddrInUse, "a process listens there")),
    }
}
