//! A network namespace, for root on Linux with the programs `ip` and `tc`.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use super::Cut;

/// A network namespace with two links to the outside, of which one can be cut. Its drop removes it. Namespaces that a killed process
/// has left behind are removed when the next one is made.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    /// The address inside, on the link that cannot be cut.
    pub inside: Ipv4Addr,
    /// The address outside, on the link that can be cut.
    pub outside: Ipv4Addr,
    /// The devices of the link that can be cut, outside and inside.
    devices: [String; 2],
}

/// The prefix of the names of all namespaces, followed by the process id.
const PREFIX: &str = "pond-";

impl Namespace {
    /// Creates a namespace.
    ///
    /// # Errors
    /// The message of the system, if rights, kernel features or programs are missing.
    pub fn new() -> Result<Namespace, String> {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        remove_orphans();
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
        // Tried now, so that a missing kernel module fails here and not in the middle of a test.
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

    /// Drops all packets to the outside (`There`), from the outside (`Back`), or both.
    pub fn cut(&self, what: Cut) {
        self.lose(what).unwrap_or_else(|error| panic!("it could be cut before: {error}"));
    }

    fn lose(&self, what: Cut) -> Result<(), String> {
        let [outside, inside] = &self.devices;
        // A queue of length zero at the sending end drops every packet.
        if what.is_there() {
            run(&format!("tc -n {} qdisc replace dev {inside} root pfifo limit 0", self.name))?;
        }
        if what.is_back() {
            run(&format!("tc qdisc replace dev {outside} root pfifo limit 0"))?;
        }
        Ok(())
    }

    /// Takes the device of the link down.
    pub fn unplug(&self) {
        self.plug("down");
    }

    /// Undoes `cut` and `unplug`.
    pub fn heal(&self) {
        self.plug("up");
        // An error means that there is no queue to remove.
        let _ = run(&format!("tc -n {} qdisc del dev {} root", self.name, self.devices[1]));
        let _ = run(&format!("tc qdisc del dev {} root", self.devices[0]));
    }

    fn plug(&self, state: &str) {
        run(&format!("ip link set {} {state}", self.devices[0])).expect("we have made this device");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // This removes the devices, too. An error means that the namespace was not created completely.
        let _ = run(&format!("ip netns del {}", self.name));
    }
}

/// Removes the namespaces of processes that do not exist any more.
fn remove_orphans() {
    let Ok(folder) = std::fs::read_dir("/run/netns") else { return };
    for entry in folder.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-')).map(|(process, _)| process);
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // An error means that another process has removed it.
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
