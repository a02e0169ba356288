//! What a request asks for, read from its head alone. Pure: no sockets, no clock, no files.

pub mod accept;
pub mod agent;
pub mod path;
pub mod query;
pub mod target;

pub use accept::{Form, Wanted};
pub use path::{Resource, Target};
pub use query::{Demand, Options};
pub use target::{Asked, Refused, Verb, classify, token_protocol, wants_upgrade};
