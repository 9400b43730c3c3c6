//! The project's tasks: `cargo xtask setup | demo | test | house | docs | hooks | fuzz | vm | bench | codegen | support`.

mod bench;
mod codegen;
mod demo;
mod docs;
mod fuzz;
mod hooks;
mod house;
mod support;
mod test;
mod toolchain;
mod vm;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The tasks of pgstrobe", version)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what building and testing need
    Setup,
    /// Build, start a throw-away Postgres under load, and print a report of it
    Demo(demo::DemoArgs),
    /// Run every check: format, lints, unit tests, live tests
    Test(test::TestArgs),
    /// Rules about the sources: who may use whom, lengths, licences
    House,
    /// Write the blocks of the documents that are generated from the code
    Docs(docs::DocsArgs),
    /// Have git run the quick checks before each commit
    Hooks,
    /// Feed the parsers millions of random inputs
    Fuzz(fuzz::FuzzArgs),
    /// Run the short tests on other kernels, in virtual machines
    Vm(vm::VmArgs),
    /// Measure what profiling costs
    Bench(bench::BenchArgs),
    /// Write the support table of the README from what the last `cargo xtask test` saw
    Support(support::SupportArgs),
    /// Generate the tables of what Postgres looks like, from each major version itself
    Codegen {
        /// Only compare them with what is committed
        #[arg(long)]
        check: bool,
    },
}

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    // Tasks name files from the root of the repository.
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let done = std::env::set_current_dir(root).map_err(anyhow::Error::from).and_then(|()| match cli.task {
        Task::Setup => toolchain::setup(toolchain::For::Test),
        Task::Demo(args) => demo::run(&args),
        Task::Test(args) => test::run(&args),
        Task::Docs(args) => docs::run(&args),
        Task::Hooks => hooks::install(),
        Task::House => house::run(),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Vm(args) => vm::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Support(args) => support::run(&args),
        Task::Codegen { check } => codegen::run(check),
    });
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
