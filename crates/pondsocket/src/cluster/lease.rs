use std::time::Duration;

use pondsocket_proto::cluster::{Lease, NodeId};

use super::bus::BoxFuture;
use super::error::{BusError, BusErrorKind};

/// A table, kept by the engine and judged by its clock, of the nodes that live. It makes one small write for each node
/// and beat, where nodes that tell each other would cost the square of their number.
///
/// Nodes see each other if their buses share a namespace.
pub trait Leases: Send + Sync {
    /// Numbers the next life of the node `name`, and gives that life a lease for `ttl`, in one step. A node calls it before
    /// it says anything, and is known under that number ([`NodeId::incarnation`]) until it ends.
    ///
    /// The number is larger than that of every life of the name that was numbered, has beaten, or holds a lease; and it is
    /// not below the engine's time in milliseconds since 1970, so that lives after a loss of the engine's data are later
    /// than those before, too. What was numbered is remembered for a day at least, however the life ended. No clock of a
    /// node plays a part: one that is wrong would have the node taken for an earlier life of itself. Below 2^53.
    ///
    /// The default is an error. Then lives are numbered by the clocks of their nodes, and one that starts with a clock that
    /// was set back is seen by others only once the lease of its earlier life has been gone for as long as it lasts.
    ///
    /// # Errors
    /// As for [`renew`](Self::renew): the number is lost, if there was one.
    fn acquire<'a>(&'a self, name: &'a str, ttl: Duration) -> BoxFuture<'a, Result<u64, BusError>> {
        let _ = (name, ttl);
        let error = BusError::new(BusErrorKind::Config, "this table of leases does not number lives");
        Box::pin(std::future::ready(Err(error)))
    }

    /// Says that `me` lives for another `ttl`, and answers who else does.
    ///
    /// The answer names in `alive` all nodes whose lease runs, `me` among them; in `expired` those whose lease has run out
    /// and that nobody was told of yet: one beat of one node is told, and the others notice that they are not alive; and
    /// in `was_expired` whether the lease of `me` was gone although it has beaten before, so that others may have taken it
    /// for dead. A lease is gone too if the engine has lost its data. A time to live is kept to the millisecond.
    ///
    /// # Errors
    /// The engine cannot be asked, or does not answer in time: whether the beat has counted is not known. It is no news
    /// about any other node.
    fn renew<'a>(&'a self, me: &'a NodeId, ttl: Duration) -> BoxFuture<'a, Result<Lease, BusError>>;

    /// Takes `me` off the table, so that nobody is told that it has expired. Its next beat is a first one.
    ///
    /// # Errors
    /// As for [`renew`](Self::renew): the lease then ends by itself.
    fn release<'a>(&'a self, me: &'a NodeId) -> BoxFuture<'a, Result<(), BusError>>;
}
