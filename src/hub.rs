//! Starts every long task and knows everyone.
