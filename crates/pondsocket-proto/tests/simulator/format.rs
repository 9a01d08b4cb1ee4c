//! Inputs, outputs and messages in a line each.

use pondsocket_proto::cluster::message::{Body, Envelope};
use pondsocket_proto::cluster::{Bus, ChannelKey, Input, MemberChange, NodeOutput, Output, Topic};

fn short(topic: &str) -> &str {
    topic.strip_prefix("pondsocket:v1:sim:").unwrap_or(topic)
}

fn at(channel: &ChannelKey) -> &str {
    channel.channel.as_str()
}

pub(crate) fn input(input: &Input) -> String {
    match input {
        Input::Received { topic, message } => format!("{}: {}", short(topic.as_str()), envelope(message)),
        Input::Local { channel, change } => format!("{} {}", at(channel), local(change)),
        Input::Opened { channel, instance, grace, .. } => format!("{} opened, {instance}, grace {grace}", at(channel)),
        Input::Closed { channel, instance } => format!("{} closed, {instance}", at(channel)),
        Input::Bus(Bus::Subscribed(topics)) => {
            format!("subscribed {}", topics.iter().map(|topic| short(topic.as_str())).collect::<Vec<_>>().join(" "))
        }
        Input::Bus(bus) => format!("{bus:?}"),
        Input::Lease(lease) => {
            let alive: Vec<_> = lease.alive.iter().map(|id| id.source()).collect();
            let expired: Vec<_> = lease.expired.iter().map(|id| id.source()).collect();
            let was = if lease.was_expired { ", and mine was" } else { "" };
            format!("alive {}; expired {}{was}", alive.join(" "), expired.join(" "))
        }
        other => format!("{other:?}"),
    }
}

fn local(change: &MemberChange) -> String {
    match change {
        MemberChange::Joined { user, assigns } => format!("{user} joined {}", assigns.to_json()),
        MemberChange::Left { user } => format!("{user} left"),
        MemberChange::Presence { user, presence } => format!("{user} shows {presence:?}"),
        MemberChange::Assigns { user, assigns, key } => format!("{user} assigns {} ({key:?})", assigns.to_json()),
    }
}

pub(crate) fn output(output: &Output) -> String {
    match output {
        Output::Publish { topic, message } => format!("{}: {}", short(topic.as_str()), envelope(message)),
        Output::UpdateSubscriptions { add, remove } => {
            let list =
                |topics: &[Topic]| topics.iter().map(|topic| short(topic.as_str())).collect::<Vec<_>>().join(" ");
            format!("wanted_topics +[{}] -[{}]", list(add), list(remove))
        }
        Output::Node(NodeOutput::RemoteMembers { channel, instance, changes }) => {
            format!("{} ({instance}) {changes:?}", at(channel))
        }
        other => format!("{other:?}"),
    }
}

pub(crate) fn envelope(message: &Envelope) -> String {
    let channel = message.channel.as_ref().map(at).unwrap_or_default();
    let ext = match &message.ext {
        None => "without ext".to_owned(),
        Some(ext) => {
            let mut text = String::new();
            if let Some((before, after)) = ext.change {
                text += &format!("[{before},{after}] ");
            }
            if let Some(request) = &ext.request {
                text += &format!("request {request} ");
            }
            if !ext.have.is_empty() {
                let have: Vec<_> = ext.have.iter().map(|(id, version)| format!("{}@{version}", id.source())).collect();
                text += &format!("have {} ", have.join(" "));
            }
            if let Some(own) = &ext.own {
                text +=
                    &format!("own @{} {:?}", own.version, own.users.iter().map(|user| &*user.id).collect::<Vec<_>>());
            }
            text
        }
    };
    let body = match &message.body {
        Body::State(states) => {
            let one = |state: &pondsocket_proto::cluster::message::ChannelState| {
                let users: Vec<_> = state.users.iter().map(|user| &*user.id).collect();
                format!("{}@{} {users:?}", at(&state.channel), state.version)
            };
            format!("State {}", states.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        Body::Repair(channels) => format!("Repair {}", channels.iter().map(at).collect::<Vec<_>>().join(" ")),
        body => format!("{body:?}"),
    };
    format!("{} {channel} {body} {ext}", message.source)
}
