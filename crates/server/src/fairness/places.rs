//! Places of connections: how many there are, in all and of each address. A place is given back when it is dropped.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;

/// All places that are taken.
#[derive(Debug, Default)]
pub(crate) struct Places {
    all: Cell<usize>,
    refused: Cell<usize>,
    by_address: RefCell<HashMap<IpAddr, u32>>,
}

/// What a place counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// A connection.
    Taken,
    /// A connection that is refused. They are counted apart: they take no place of others.
    Refused,
    /// A client of this address: a connection or, through a proxy, a request.
    Address(IpAddr),
}

/// A place that is taken until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Rc<Places>,
    counted: Counted,
}

impl Places {
    /// Connections that are not refused.
    pub(crate) fn all(&self) -> usize {
        self.all.get()
    }

    pub(crate) fn refused(&self) -> usize {
        self.refused.get()
    }

    pub(crate) fn of_address(&self, ip: IpAddr) -> u32 {
        self.by_address.borrow().get(&ip).copied().unwrap_or(0)
    }

    pub(crate) fn take(self: &Rc<Self>, counted: Counted) -> Place {
        match counted {
            Counted::Taken => self.all.set(self.all.get() + 1),
            Counted::Refused => self.refused.set(self.refused.get() + 1),
            Counted::Address(ip) => *self.by_address.borrow_mut().entry(ip).or_default() += 1,
        }
        Place { places: self.clone(), counted }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Places { all, refused, by_address } = &*self.places;
        match self.counted {
            Counted::Taken => all.set(all.get() - 1),
            Counted::Refused => refused.set(refused.get() - 1),
            Counted::Address(ip) => {
                let mut by_address = by_address.borrow_mut();
                if let Some(same) = by_address.get_mut(&ip) {
                    *same -= 1;
                    if *same == 0 {
                        by_address.remove(&ip);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_back_when_it_is_dropped() {
        let places = Rc::new(Places::default());
        let ip = IpAddr::from([203, 0, 113, 9]);
        let one = places.take(Counted::Address(ip));
        let (two, other) = (places.take(Counted::Address(ip)), places.take(Counted::Taken));
        assert_eq!((places.of_address(ip), places.all(), places.refused()), (2, 1, 0));
        drop((one, other));
        assert_eq!((places.of_address(ip), places.all()), (1, 0));
        drop(two);
        assert!(places.by_address.borrow().is_empty());
    }
}
