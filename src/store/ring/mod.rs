//! The ring on flash (flash.md 3).

pub mod batch;
pub mod budget;
pub mod collection;
pub mod engine;
pub mod files;
pub mod fill;
pub mod front;
pub mod index;
pub mod layout;
pub mod log;
pub mod media;
pub mod read;
pub mod reclaim;
pub mod record;
pub mod recover;
pub mod report;
pub mod seal;
pub mod thread;

pub use front::{Fill, Ring};

#[cfg(test)]
mod tests;
