//! A network of one's own, as the kernel makes it: for root on Linux, with the program `ip` and `tc`.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use super::Cut;

/// A network namespace with two ways between it and the outside, of which one can be cut. It goes when it is dropped, and
/// what an earlier process has left when the next one is made.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// The end inside of the way that stays.
    pub inside: Ipv4Addr,
    /// The end outside of the way that can be cut.
    pub outside: Ipv4Addr,
    /// The end outside, by its device, and the one inside.
    devices: [String; 2],
}

/// The prefix of the names of all namespaces, followed by the process id.
const PREFIX: &str = "pond-";

impl Namespace {
    /// Makes one.
    ///
    /// # Errors
    /// Whatever the system says: we may not, it cannot, or there is no `ip`.
    pub fn new() -> Result<Namespace, String> {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        remove_remains();
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let address = |last| Ipv4Addr::new(10, 100 + (process % 100) as u8, number, last);
        let device = |kind| format!("p{process}{kind}{number}");
        let namespace = Namespace {
            name: format!("{PREFIX}{process}-{number}"),
            inside: address(2),
            outside: address(5),
            devices: [device("r"), device("s")],
        };
        run(&format!("ip netns add {}", namespace.name))?;
        run(&format!("ip -n {} link set lo up", namespace.name))?;
        namespace.connect(&device("c"), &device("d"), address(1), address(2))?;
        namespace.connect(&namespace.devices[0], &namespace.devices[1], address(5), address(6))?;
        // Whether it can be cut is better known now.
        namespace.lose(Cut::Both)?;
        namespace.heal();
        Ok(namespace)
    }

    /// A pair of devices, one outside and one inside.
    fn connect(&self, out: &str, within: &str, theirs: Ipv4Addr, ours: Ipv4Addr) -> Result<(), String> {
        let name = &self.name;
        run(&format!("ip link add {out} type veth peer name {within} netns {name}"))?;
        run(&format!("ip addr add {theirs}/30 dev {out}"))?;
        run(&format!("ip link set {out} up"))?;
        run(&format!("ip -n {name} addr add {ours}/30 dev {within}"))?;
        run(&format!("ip -n {name} link set {within} up"))
    }

    /// The command that runs this program inside the namespace.
    pub fn command(&self, program: &Path) -> tokio::process::Command {
        let mut command = tokio::process::Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Drops every packet that goes to the outside (there), comes from it, or both.
    pub fn cut(&self, what: Cut) {
        self.lose(what).unwrap_or_else(|error| panic!("it could be cut before: {error}"));
    }

    fn lose(&self, what: Cut) -> Result<(), String> {
        let [outside, inside] = &self.devices;
        // A queue that holds nothing; it is at the end that sends.
        if what.is_there() {
            run(&format!("tc -n {} qdisc replace dev {inside} root pfifo limit 0", self.name))?;
        }
        if what.is_back() {
            run(&format!("tc qdisc replace dev {outside} root pfifo limit 0"))?;
        }
        Ok(())
    }

    /// Pulls the plug.
    pub fn unplug(&self) {
        self.plug("down");
    }

    /// Undoes all of that.
    pub fn heal(&self) {
        self.plug("up");
        // There may be none to remove.
        let _ = run(&format!("tc -n {} qdisc del dev {} root", self.name, self.devices[1]));
        let _ = run(&format!("tc qdisc del dev {} root", self.devices[0]));
    }

    fn plug(&self, state: &str) {
        run(&format!("ip link set {} {state}", self.devices[0])).expect("we have made this device");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The devices go with it. It may be half made.
        let _ = run(&format!("ip netns del {}", self.name));
    }
}

/// Removes what processes have left that were killed.
fn remove_remains() {
    let Ok(folder) = std::fs::read_dir("/run/netns") else { return };
    for entry in folder.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).map(|(process, _)| process);
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // Another process may do the same.
            let _ = run(&format!("ip netns del {name}"));
        }
    }
}

fn run(command: &str) -> Result<(), String> {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap_or_default()).args(words).output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
