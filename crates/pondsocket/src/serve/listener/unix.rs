//! A Unix socket and its file.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// The file of a socket that this process has bound. Its drop removes the file, unless another process has replaced it.
#[derive(Debug)]
pub(in crate::serve) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Listens on a path, whose file gets these permissions.
pub(super) fn bind(path: &Path, mode: u32, backlog: i32) -> io::Result<(UnixListener, SocketFile)> {
    // The directory is locked until the socket listens: of two servers that find the same stale file, the second would
    // otherwise remove the new file of the first.
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let directory = File::open(directory)?;
    directory.lock()?;
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::new(path, &fs::symlink_metadata(path)?);
    // Before `listen`: until then no client can connect, so none connects with the permissions of the umask.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    socket.listen(backlog)?;
    Ok((socket.into(), file))
}

impl SocketFile {
    fn new(path: &Path, metadata: &Metadata) -> SocketFile {
        SocketFile { path: path.to_owned(), device: metadata.dev(), inode: metadata.ino() }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = |file: Metadata| (file.dev(), file.ino()) == (self.device, self.inode);
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            // If this fails the next server removes the file, as a stale one.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the file of a socket on which no process listens, if there is one.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => {}
        Ok(_) => return Err(io::Error::new(ErrorKind::AlreadyExists, "the file is not a socket")),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // Otherwise the call would block while the backlog of a running server is full.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        // Only this error means that no process listens.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error),
        _ => Err(io::Error::new(ErrorKind::AddrInUse, "another process listens on it")),
    }
}
