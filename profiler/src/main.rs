//! The thin binary: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use pgstrobe::{cli::Cli, run};

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    ExitCode::from(run::run(Cli::parse()))
}
