//! The limits of the number of connections of an endpoint, in all and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::engine::sync::Mutex;
use crate::error::Error;
use crate::limits::address::group;
use crate::limits::gauge::{Gauge, Permit};
use crate::options::Options;

/// The connections that an endpoint has, and those that it is deciding about.
#[derive(Debug, Default)]
pub(crate) struct Admissions {
    slots: Arc<Gauge>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// The permit of one connection, from before the connection handler until the socket is closed. It is taken first, so
/// that a flood of requests cannot run more handlers than there may be connections.
#[derive(Debug)]
pub(crate) struct Admission {
    _slot: Permit,
    /// Boxed, because most servers have no such limit, and every connection holds an admission.
    _address: Option<Box<AddressPermit>>,
}

/// The limit for which a connection is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AdmissionError {
    /// The connections of the endpoint.
    Connections,
    /// The connections of one address.
    Address,
}

#[diagnostic::do_not_recommend]
impl From<AdmissionError> for Error {
    fn from(error: AdmissionError) -> Error {
        match error {
            AdmissionError::Connections => Error::unavailable("too many connections"),
            AdmissionError::Address => Error::too_many_requests("too many connections from this address"),
        }
    }
}

#[derive(Debug)]
struct AddressPermit {
    admissions: Arc<Admissions>,
    address: IpAddr,
}

impl Admissions {
    /// The number of admissions.
    pub(crate) fn count(&self) -> usize {
        self.slots.count()
    }

    /// Admits a connection, unless a limit is reached.
    pub(crate) fn admit(
        self: &Arc<Self>,
        options: &Options,
        address: Option<IpAddr>,
    ) -> Result<Admission, AdmissionError> {
        let most = if options.max_connections == 0 { usize::MAX } else { options.max_connections };
        // Dropped again, and so given back, if the limit of the address refuses the connection.
        let slot = self.slots.permit_below(most).ok_or(AdmissionError::Connections)?;
        let address = match address {
            Some(address) if options.max_connections_per_ip > 0 => {
                Some(Box::new(self.admit_address(options.max_connections_per_ip, group(address))?))
            }
            _ => None,
        };
        Ok(Admission { _slot: slot, _address: address })
    }

    fn admit_address(self: &Arc<Self>, most: usize, address: IpAddr) -> Result<AddressPermit, AdmissionError> {
        let mut by_address = self.by_address.lock();
        let count = by_address.get(&address).copied().unwrap_or(0);
        if count >= most {
            return Err(AdmissionError::Address);
        }
        // Checked and counted under one lock: two connections cannot both take the last permit.
        by_address.insert(address, count + 1);
        Ok(AddressPermit { admissions: Arc::clone(self), address })
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut by_address = self.admissions.by_address.lock();
        match by_address.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            // Addresses without connections are removed: otherwise the map would grow with every address that ever
            // connected.
            _ => drop(by_address.remove(&self.address)),
        }
    }
}

#[cfg(all(test, not(pond_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_permit_is_available_again() {
        let admissions = Arc::new(Admissions::default());
        let options = Options::default().max_connections(3).max_connections_per_ip(2);
        let admit = |address: &str| admissions.admit(&options, Some(address.parse().expect("an address")));
        let first = admit("1.1.1.1").expect("room");
        let second = admit("1.1.1.1").expect("room");
        assert_eq!(admit("1.1.1.1").unwrap_err(), AdmissionError::Address);
        let third = admit("2.2.2.2").expect("room");
        assert_eq!(admit("3.3.3.3").unwrap_err(), AdmissionError::Connections);
        drop(first);
        let again = admit("1.1.1.1").expect("room");
        assert_eq!(admissions.count(), 3);
        drop((second, third, again));
        assert_eq!((admissions.count(), admissions.by_address.lock().len()), (0, 0), "nothing is remembered");
    }
}
