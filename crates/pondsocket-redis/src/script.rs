use redis::{Cmd, Script, cmd};

/// A script, which is sent by its hash. Redis knows it once it was sent as a whole, until the scripts are flushed, a
/// restart, or a failover.
#[derive(Debug)]
pub(crate) struct KnownScript {
    code: String,
    hash: String,
}

impl KnownScript {
    pub(crate) fn new(code: impl Into<String>) -> KnownScript {
        let code = code.into();
        KnownScript { hash: Script::new(&code).get_hash().to_owned(), code }
    }

    /// The command that runs the script on keys, by its hash or as a whole. The arguments follow.
    pub(crate) fn command(&self, whole: bool, keys: &[String]) -> Cmd {
        let mut command = if whole { cmd("EVAL") } else { cmd("EVALSHA") };
        command.arg(if whole { &self.code } else { &self.hash }).arg(keys.len()).arg(keys);
        command
    }
}
