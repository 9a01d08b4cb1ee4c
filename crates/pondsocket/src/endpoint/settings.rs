use std::ops::Deref;
use std::sync::Arc;

use crate::engine::outbox::{Bounds, OutboxLimits};
use crate::engine::pace::PacingLimits;
use crate::error::Result;
use crate::limits::memory::Memory;
use crate::limits::origin::Origins;
use crate::options::Options;

/// The options of one endpoint, and what follows from them for all its connections.
#[derive(Debug)]
pub(crate) struct EndpointSettings {
    options: Options,
    pub(crate) origins: Origins,
    /// The limits that the outboxes of its connections share.
    pub(crate) outboxes: Arc<OutboxLimits>,
}

impl EndpointSettings {
    pub(super) fn new(options: Options, memory: &Arc<Memory>) -> Result<EndpointSettings> {
        options.validate()?;
        let bounds = Bounds {
            frames: options.send_channel_buffer,
            bytes: options.outbox_bytes,
            policy: options.slow_client,
            pacing: PacingLimits { wait: options.pacing_wait, rate: options.pacing_rate },
        };
        let outboxes = Arc::new(OutboxLimits { bounds, memory: Arc::clone(memory) });
        Ok(EndpointSettings { origins: Origins::new(&options)?, outboxes, options })
    }
}

impl Deref for EndpointSettings {
    type Target = Options;

    fn deref(&self) -> &Options {
        &self.options
    }
}
