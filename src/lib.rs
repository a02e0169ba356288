//! A Kubernetes node at the edge goes on working while its API server is out of reach.

pub mod access;
pub mod admin;
pub mod cache;
pub mod certs;
pub mod cli;
pub mod config;
pub mod error;
pub mod filter;
pub mod from_json;
pub mod health;
pub mod hub;
pub mod limits;
pub mod local;
pub mod object;
pub mod reply;
pub mod request;
pub mod route;
pub mod server;
pub mod store;
pub mod sys;
pub mod upstream;
pub mod watch;
