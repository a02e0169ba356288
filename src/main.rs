//! The program. Everything is in the library, so that tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    edge_hub::cli::main(std::env::args_os().skip(1).collect()).into()
}
