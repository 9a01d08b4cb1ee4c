//! The presence that one client has received (docs/protocol.md, Presence), and the contradictions in it.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;
use tokio::time::Instant;

/// The status of each present user, by id.
pub(crate) type People = BTreeMap<String, String>;

#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// The last list.
    pub(crate) listed: People,
    /// The list that was sent with the client's own JOIN, with all changes since.
    pub(crate) followed: People,
    /// The presence of each user according to the last change. A list may be ahead of the changes, so the list in the
    /// first change does not determine the next one.
    announced: HashMap<String, bool>,
    /// The users reported as leaving, with the time of the report.
    pub(crate) leaves: Vec<(String, Instant)>,
    pub(crate) contradictions: Vec<String>,
}

impl View {
    /// Applies the payload of a PRESENCE message to this user.
    pub(crate) fn take(&mut self, me: &str, payload: &Value, at: Instant) {
        let (user, change) = (text(&payload["userId"]), text(&payload["event"]));
        self.list(payload["presence"].as_array().expect("a list"));
        if self.announced.is_empty() {
            if (&*user, &*change) != (me, "JOIN") {
                self.contradictions.push(format!("{change} of {user} before one's own JOIN"));
            }
            self.followed.clone_from(&self.listed);
        }
        let is_there = change != "LEAVE";
        match (self.announced.insert(user.clone(), is_there), &*change) {
            (Some(true), "JOIN") => self.contradictions.push(format!("JOIN of {user}, which is present")),
            (Some(false), "UPDATE" | "LEAVE") => {
                self.contradictions.push(format!("{change} of {user}, which is absent"))
            }
            _ => {}
        }
        if is_there {
            self.followed.insert(user, text(&payload["changed"]["status"]));
        } else {
            self.followed.remove(&user);
            self.leaves.push((user, at));
        }
    }

    fn list(&mut self, presence: &[Value]) {
        self.listed = presence.iter().map(|shown| (text(&shown["id"]), text(&shown["status"]))).collect();
        if self.listed.len() != presence.len() {
            self.contradictions.push(format!("a user is listed twice in {presence:?}"));
        }
    }
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The view of the user "ann" after these changes, each with the ids listed in it.
    fn after(changes: &[(&str, &str, &[&str])]) -> View {
        let mut view = View::default();
        for (event, user, listed) in changes {
            let shown = |id: &str| json!({ "id": id, "status": "online" });
            let list: Vec<_> = listed.iter().map(|id| shown(id)).collect();
            let payload = json!({ "event": event, "userId": user, "changed": shown(user), "presence": list });
            view.take("ann", &payload, Instant::now());
        }
        view
    }

    fn names(people: &People) -> Vec<&str> {
        people.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_list_may_be_ahead_of_the_changes() {
        let view = after(&[
            ("JOIN", "ann", &["ann", "bob"]),
            ("JOIN", "bob", &["ann", "bob"]),
            ("LEAVE", "eve", &["ann", "bob"]),
        ]);
        assert_eq!((names(&view.followed), names(&view.listed)), (vec!["ann", "bob"], vec!["ann", "bob"]));
        assert!(view.contradictions.is_empty(), "{view:?}");
    }

    #[test]
    fn an_absent_user_is_found_in_the_list_or_in_the_changes() {
        let stale = after(&[("JOIN", "ann", &["ann", "bob"]), ("LEAVE", "bob", &["ann", "bob"])]);
        assert_eq!((names(&stale.followed), names(&stale.listed)), (vec!["ann"], vec!["ann", "bob"]));
        let untold = after(&[("JOIN", "ann", &["ann", "bob"]), ("JOIN", "eve", &["ann", "eve"])]);
        assert_eq!((names(&untold.followed), names(&untold.listed)), (vec!["ann", "bob", "eve"], vec!["ann", "eve"]));
    }

    #[test]
    fn contradictions_are_recorded() {
        let twice =
            after(&[("JOIN", "ann", &["ann"]), ("JOIN", "bob", &["ann", "bob"]), ("JOIN", "bob", &["ann", "bob"])]);
        assert_eq!(twice.contradictions, ["JOIN of bob, which is present"]);
        let gone = after(&[("JOIN", "ann", &["ann"]), ("LEAVE", "bob", &["ann"]), ("UPDATE", "bob", &["ann"])]);
        assert_eq!(gone.contradictions, ["UPDATE of bob, which is absent"]);
        let early = after(&[("JOIN", "bob", &["ann", "bob"])]);
        assert_eq!(early.contradictions, ["JOIN of bob before one's own JOIN"]);
        assert_eq!(after(&[("JOIN", "ann", &["ann", "ann"])]).contradictions.len(), 1);
    }
}
