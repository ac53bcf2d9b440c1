//! What moves batches between cores: a slot, and what is made of slots.
//!
//! | part | who puts | who takes | what a batch costs |
//! |---|---|---|---|
//! | [`Slot`] | anybody | anybody | a read-modify-write each |
//! | [`ring`] | one core | one core | a store each |
//! | [`Offers`] | the home | anybody | two read-modify-writes each |
//! | [`Completions`] | anybody | the home, by its [`OrderTable`] | two to complete, one to drain |
//!
//! All of them are made at set-up and bounded; none allocates later, waits, or calls the operating system. A [`Doorbell`] wakes
//! who sleeps, and [`Hands`] tell a home whether another core has something for it that is in no ring yet.

mod doorbell;
mod hands;
mod offers;
mod order;
mod ring;
mod slot;

pub use doorbell::Doorbell;
pub use hands::Hands;
pub use offers::Offers;
pub use order::{Completions, OrderTable, Overdue, Stream};
pub use ring::{Consumer, Producer, ring};
pub use slot::Slot;
