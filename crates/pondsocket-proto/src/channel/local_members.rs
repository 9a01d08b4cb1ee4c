use std::collections::HashMap;

use super::ghost::Ghosts;
use super::{Assigns, Listener};
use crate::id::{ConnectionId, UserId};
use crate::wire::Object;

/// The index of a connection in a channel. Slots are dense, so that recipients are a plain list. A vacated slot is
/// reused, which is safe because delivery follows the order of the changes: the leave of the previous connection
/// precedes the join of the next one in the queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Slot(pub(super) u32);

impl Slot {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// The slots of one user: nearly always one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Seats {
    /// No connection: the user is in its presence grace.
    None,
    /// The only connection of the user in this channel.
    One(Slot),
    /// Several connections, oldest first.
    Many(Box<Vec<Slot>>),
}

impl Seats {
    /// The slots, oldest first.
    pub fn as_slice(&self) -> &[Slot] {
        match self {
            Seats::None => &[],
            Seats::One(slot) => std::slice::from_ref(slot),
            Seats::Many(slots) => slots,
        }
    }

    fn add(&mut self, slot: Slot) {
        match self {
            Seats::None => *self = Seats::One(slot),
            Seats::One(first) => *self = Seats::Many(Box::new(vec![*first, slot])),
            Seats::Many(slots) => slots.push(slot),
        }
    }

    /// Removes `slot`. Returns `true` if no slot is left.
    fn remove(&mut self, slot: Slot) -> bool {
        match self {
            Seats::None => false,
            Seats::One(only) => *only == slot,
            Seats::Many(slots) => {
                slots.retain(|other| *other != slot);
                // Back to the form without an allocation. So the `Many` of a member always has two slots or more, and
                // one is left here.
                if let [last] = slots[..] {
                    *self = Seats::One(last);
                }
                false
            }
        }
    }
}

/// The number of a membership. It is unique in a channel, also among successive memberships of the same user.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Membership(u64);

/// A user in a channel, with one or more connections, or with none in its presence grace.
#[derive(Clone, Debug)]
pub struct Member {
    /// The number of the membership.
    pub membership: Membership,
    /// The slots of the user's connections.
    pub seats: Seats,
    /// The membership's assigns, shared by all its connections.
    pub assigns: Assigns,
    /// The presence of the user; `None` if the user is not tracked.
    pub presence: Option<Object>,
}

/// The membership that ended with the last connection of a user.
#[derive(Clone, Debug)]
pub struct Departure {
    /// The user that left.
    pub user: UserId,
    /// The member as it was at that moment.
    pub member: Member,
}

/// The state of a user after one of its connections was lost.
#[derive(Clone, Debug)]
pub enum Lost {
    /// The user has other connections in the channel.
    Seated,
    /// It was the last one, and the membership has ended.
    Left(Departure),
    /// It was the last one, and the membership goes on in the presence grace. With the member as it is now.
    Ghost(Departure),
}

/// The user is not a member of the channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a member of the channel")]
pub struct NotMember;

#[derive(Clone, Debug)]
struct Seat {
    connection: ConnectionId,
    user: UserId,
}

/// The members on this node, with their connections, assigns and presence.
#[derive(Debug, Default)]
pub struct LocalMembers {
    /// By slot. The list never shrinks; vacant slots are reused.
    seats: Vec<Option<Seat>>,
    vacant: Vec<Slot>,
    members: HashMap<UserId, Member>,
    /// The number of memberships since the channel was created, from which the next one is numbered.
    memberships: u64,
    /// The size of the presence of all members, in bytes of JSON. Kept up to date at each change, because it is read at
    /// every check of the queue's limits.
    presence_bytes: usize,
    /// The members without connections. Boxed, because most channels never have any.
    ghosts: Option<Box<Ghosts>>,
}

impl LocalMembers {
    /// Seats a connection. Its user becomes a member with it, or keeps the membership it has, whose assigns are
    /// then overwritten key by key. The presence grace of a ghost ends.
    pub fn join(&mut self, connection: ConnectionId, user: &UserId, assigns: Assigns) -> (Slot, Membership) {
        let slot = self.seat(Seat { connection, user: user.clone() });
        match self.members.get_mut(user) {
            Some(member) => {
                if member.seats == Seats::None
                    && let Some(ghosts) = &mut self.ghosts
                {
                    ghosts.end(user);
                }
                member.seats.add(slot);
                member.assigns.merge(assigns);
                (slot, member.membership)
            }
            None => {
                self.memberships += 1;
                let membership = Membership(self.memberships);
                let member = Member { membership, seats: Seats::One(slot), assigns, presence: None };
                self.members.insert(user.clone(), member);
                (slot, membership)
            }
        }
    }

    /// Vacates the slot. Returns the departure if this was the user's last connection, and `Err` if the connection is
    /// not, or no longer, in this slot.
    pub fn leave(&mut self, slot: Slot, connection: ConnectionId) -> Result<Option<Departure>, NotMember> {
        // The caller's slot may be out of date: the connection was evicted, and another one has the slot.
        if !self.is_seated(slot, connection) {
            return Err(NotMember);
        }
        let user = self.vacate(slot);
        let member = self.members.get_mut(&user).ok_or(NotMember)?;
        if member.seats.remove(slot) {
            let member = self.members.remove(&user);
            return Ok(member.map(|member| self.depart(user, member)));
        }
        Ok(None)
    }

    /// Vacates the slot, like [`leave`](Self::leave), of a connection that may come back: the user stays as a ghost until
    /// `until` if this was its last connection. `elsewhere` is the time of its latest join on another node.
    pub(super) fn lose(
        &mut self,
        slot: Slot,
        connection: ConnectionId,
        (until, elsewhere): (u64, Option<u64>),
    ) -> Result<Lost, NotMember> {
        if !self.is_seated(slot, connection) {
            return Err(NotMember);
        }
        let user = self.vacate(slot);
        let member = self.members.get_mut(&user).ok_or(NotMember)?;
        if !member.seats.remove(slot) {
            return Ok(Lost::Seated);
        }
        member.seats = Seats::None;
        self.ghosts.get_or_insert_default().begin(&user, until, elsewhere);
        Ok(Lost::Ghost(Departure { user, member: member.clone() }))
    }

    /// Adds a member of an earlier server, which is in its presence grace until then. `false` if the user is a member.
    pub(super) fn restore(
        &mut self,
        user: &UserId,
        (assigns, presence): (Assigns, Option<Object>),
        until: u64,
    ) -> bool {
        if self.members.contains_key(user) {
            return false;
        }
        self.memberships += 1;
        self.presence_bytes += size(presence.as_ref());
        let member = Member { membership: Membership(self.memberships), seats: Seats::None, assigns, presence };
        self.members.insert(user.clone(), member);
        self.ghosts.get_or_insert_default().begin(user, until, None);
        true
    }

    /// The ghosts whose grace ends on this server, with its ends, the earliest first.
    pub(super) fn ghosts(&self) -> impl Iterator<Item = (u64, &UserId, &Member)> {
        let ends = self.ghosts.iter().flat_map(|ghosts| ghosts.ends());
        ends.filter_map(|(until, user)| Some((until, user, self.members.get(user)?)))
    }

    /// Notes that a ghost was saved for another server, where its grace goes on.
    pub(super) fn save_ghost(&mut self, user: &UserId) {
        if let Some(ghosts) = &mut self.ghosts {
            ghosts.save(user);
        }
    }

    /// The number of ghosts: members without connections, in their presence grace.
    pub fn ghost_count(&self) -> usize {
        self.ghosts.as_ref().map_or(0, |ghosts| ghosts.len())
    }

    /// Returns `true` if the user is a ghost.
    pub fn is_ghost(&self, user: &str) -> bool {
        self.ghosts.as_ref().is_some_and(|ghosts| ghosts.contains(user))
    }

    /// Returns `true` if the user is a ghost, and has joined on another node since it became one.
    pub(super) fn is_back_elsewhere(&self, user: &UserId, joined: u64) -> bool {
        self.ghosts.as_ref().is_some_and(|ghosts| ghosts.is_back_elsewhere(user, joined))
    }

    /// The ghost whose grace ended first, of those whose grace has ended by `now`.
    pub(super) fn first_due_ghost(&self, now: u64) -> Option<&UserId> {
        self.ghosts.as_ref()?.first_due(now)
    }

    /// Removes a user with all its connections.
    pub fn remove(&mut self, user: &UserId) -> Option<Departure> {
        let (user, member) = self.members.remove_entry(user)?;
        if let Some(ghosts) = &mut self.ghosts {
            ghosts.end(&user);
        }
        for slot in member.seats.as_slice() {
            self.vacate(*slot);
        }
        Some(self.depart(user, member))
    }

    /// Replaces the presence of a member; `None` hides it. Returns the previous one.
    pub(super) fn set_presence(&mut self, user: &str, presence: Option<Object>) -> Result<Option<Object>, NotMember> {
        let member = self.members.get_mut(user).ok_or(NotMember)?;
        self.presence_bytes += size(presence.as_ref());
        let before = std::mem::replace(&mut member.presence, presence);
        self.presence_bytes -= size(before.as_ref());
        Ok(before)
    }

    /// The size of the presence of all members, in bytes of JSON.
    pub fn presence_bytes(&self) -> usize {
        self.presence_bytes
    }

    /// Returns `true` if `connection` has the slot `slot`.
    pub fn is_seated(&self, slot: Slot, connection: ConnectionId) -> bool {
        matches!(self.seats.get(slot.index()), Some(Some(seat)) if seat.connection == connection)
    }

    /// The connection in `slot`.
    pub fn connection(&self, slot: Slot) -> Option<ConnectionId> {
        Some(self.seats.get(slot.index())?.as_ref()?.connection)
    }

    /// All seated connections.
    pub fn connections(&self) -> impl Iterator<Item = ConnectionId> {
        self.seats.iter().flatten().map(|seat| seat.connection)
    }

    /// The slots of all seated connections.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        (0..).map(Slot).zip(&self.seats).filter_map(|(slot, seat)| seat.is_some().then_some(slot))
    }

    /// The user of the connection in `slot`.
    pub fn user(&self, slot: Slot) -> Option<&UserId> {
        Some(&self.seats.get(slot.index())?.as_ref()?.user)
    }

    /// The member of this user id.
    pub fn member(&self, user: &str) -> Option<&Member> {
        self.members.get(user)
    }

    /// The member of this user id, for changes of its assigns. Presence is changed by `set_presence`, which counts its
    /// size.
    pub(super) fn member_mut(&mut self, user: &str) -> Option<&mut Member> {
        self.members.get_mut(user)
    }

    /// All members, in no particular order.
    pub fn members(&self) -> impl Iterator<Item = (&UserId, &Member)> {
        self.members.iter()
    }

    /// The number of members.
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// The number of connections.
    pub fn connection_count(&self) -> usize {
        self.seats.len() - self.vacant.len()
    }

    /// The member in `slot`, as a shared copy.
    pub(super) fn listener(&self, slot: Slot) -> Option<Listener> {
        let Seat { connection, user } = self.seats.get(slot.index())?.as_ref()?;
        let member = self.members.get(user)?;
        let (assigns, presence) = (member.assigns.clone(), member.presence.clone());
        Some(Listener { connection: *connection, user: user.clone(), assigns, presence })
    }

    /// The members in all slots, as shared copies in the order of the slots.
    pub(super) fn listeners(&self) -> Vec<Option<Listener>> {
        (0..).map(Slot).take(self.seats.len()).map(|slot| self.listener(slot)).collect()
    }

    fn depart(&mut self, user: UserId, member: Member) -> Departure {
        self.presence_bytes -= size(member.presence.as_ref());
        Departure { user, member }
    }

    fn seat(&mut self, seat: Seat) -> Slot {
        if let Some(slot) = self.vacant.pop() {
            self.seats[slot.index()] = Some(seat);
            return slot;
        }
        self.seats.push(Some(seat));
        Slot(u32::try_from(self.seats.len() - 1).expect("fewer than 2^32 connections in one channel"))
    }

    fn vacate(&mut self, slot: Slot) -> UserId {
        let seat = self.seats[slot.index()].take().expect("only taken seats are vacated");
        self.vacant.push(slot);
        seat.user
    }
}

fn size(presence: Option<&Object>) -> usize {
    presence.map_or(0, |presence| presence.as_str().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::new(name).expect("a valid id")
    }

    fn connection(n: u128) -> ConnectionId {
        ConnectionId::from_u128(n)
    }

    #[test]
    fn the_user_stays_until_its_last_connection_leaves() {
        let mut state = LocalMembers::default();
        let first = state.join(connection(1), &user("ada"), Assigns::default()).0;
        let second = state.join(connection(2), &user("ada"), Assigns::default()).0;
        assert_eq!((state.member_count(), state.connection_count()), (1, 2));

        assert!(state.leave(first, connection(1)).expect("seated").is_none());
        assert_eq!(state.member("ada").expect("a member").seats, Seats::One(second));
        let gone = state.leave(second, connection(2)).expect("seated").expect("the last one");
        assert_eq!(gone.user, user("ada"));
        assert_eq!((state.member_count(), state.connection_count()), (0, 0));
    }

    #[test]
    fn a_slot_taken_over_by_another_connection_is_not_left_by_the_first() {
        let mut state = LocalMembers::default();
        let slot = state.join(connection(1), &user("ada"), Assigns::default()).0;
        state.remove(&user("ada")).expect("a member");
        assert_eq!(state.join(connection(2), &user("bob"), Assigns::default()).0, slot);
        assert_eq!(state.leave(slot, connection(1)).err(), Some(NotMember));
        assert!(state.is_seated(slot, connection(2)));
    }

    #[test]
    fn a_user_that_joins_again_has_another_membership_and_a_further_connection_the_same() {
        let mut state = LocalMembers::default();
        let (slot, first) = state.join(connection(1), &user("ada"), Assigns::default());
        let (other, same) = state.join(connection(2), &user("ada"), Assigns::default());
        assert_eq!(first, same);
        state.leave(slot, connection(1)).expect("seated");
        assert_eq!(state.member("ada").expect("a member").membership, first);
        state.leave(other, connection(2)).expect("seated");
        assert_ne!(state.join(connection(1), &user("ada"), Assigns::default()).1, first);
    }

    #[test]
    fn removing_a_user_vacates_all_its_seats() {
        let mut state = LocalMembers::default();
        for n in 0..3 {
            state.join(connection(n), &user("ada"), Assigns::default());
        }
        let gone = state.remove(&user("ada")).expect("a member");
        assert_eq!(gone.member.seats.as_slice().len(), 3);
        assert_eq!(state.connection_count(), 0);
        assert!(state.remove(&user("ada")).is_none());
    }

    #[test]
    fn members_are_found_by_slot_and_by_name() {
        let mut state = LocalMembers::default();
        let ada = state.join(connection(1), &user("ada"), Assigns::default()).0;
        let bob = state.join(connection(2), &user("bob"), Assigns::default()).0;
        let other = state.join(connection(3), &user("ada"), Assigns::default()).0;
        assert_eq!(
            [ada, bob, other].map(|slot| state.user(slot).map(UserId::as_str)),
            [Some("ada"), Some("bob"), Some("ada")]
        );
        assert_eq!(state.connection(bob), Some(connection(2)));
        assert_eq!(state.connections().collect::<Vec<_>>(), [1, 2, 3].map(connection));
        let mut members: Vec<_> = state.members().map(|(user, member)| (user.as_str(), &member.seats)).collect();
        members.sort_by_key(|(user, _)| *user);
        assert_eq!(members, [("ada", &Seats::Many(Box::new(vec![ada, other]))), ("bob", &Seats::One(bob))]);

        state.leave(bob, connection(2)).expect("seated");
        assert_eq!((state.user(bob), state.connection(bob)), (None, None));
        assert_eq!(state.connections().collect::<Vec<_>>(), [1, 3].map(connection));
        assert!(state.member("bob").is_none());
    }

    #[test]
    fn three_connections_of_one_user_leave_in_any_order() {
        let mut state = LocalMembers::default();
        let slots = [1, 2, 3].map(|n| state.join(connection(n), &user("ada"), Assigns::default()).0);
        assert!(state.leave(slots[1], connection(2)).expect("seated").is_none());
        assert_eq!(state.member("ada").expect("a member").seats.as_slice(), [slots[0], slots[2]]);
        assert!(state.leave(slots[0], connection(1)).expect("seated").is_none());
        let gone = state.leave(slots[2], connection(3)).expect("seated").expect("the last one");
        assert_eq!(gone.member.seats, Seats::One(slots[2]));
    }

    #[test]
    fn another_connection_adds_its_assigns_to_those_of_the_membership() {
        let assigns = |key: &str, value: i32| {
            let mut assigns = Assigns::default();
            assigns.set(key, &crate::wire::Json::encode(&value).expect("JSON"));
            assigns
        };
        let mut state = LocalMembers::default();
        state.join(connection(1), &user("ada"), assigns("a", 1));
        state.join(connection(2), &user("ada"), assigns("b", 2));
        assert_eq!(state.member("ada").expect("a member").assigns.to_json(), r#"{"a":1,"b":2}"#);
    }
}
