use super::HistoryRules;

impl HistoryRules {
    /// Rules for tests: at most `messages`, with at most `bytes`, are kept for a second.
    pub(in crate::channel) fn of(messages: usize, bytes: usize) -> HistoryRules {
        HistoryRules {
            messages,
            bytes,
            ttl: 1000,
            replay_messages: 100,
            replay_bytes: 100,
            stamp: None,
            replies_overtake: false,
        }
    }
}
