//! What goes back to a client: bodies and Status objects.

pub mod refusal;
