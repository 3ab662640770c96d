//! The workspace's own commands: `cargo xtask demo`, `test`, `vm-test`, `package`, `codegen`, ...
//!
//! Light on purpose: everything heavy is a program of another crate that this one builds and starts.

mod apt;
mod bench;
mod codegen;
mod cts;
mod cube;
mod demo;
mod mesa;
mod package;
mod packages;
mod process;
mod python;
mod setup;
mod shaders;
mod test;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Commands of the vw workspace", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing, build, render a scene through vw and say how it went.
    Demo(demo::Options),
    /// Install what is missing, build, and run everything that must pass.
    Test(test::Options),
    /// Boot virtual machines with the guest package in them and run what must pass there.
    VmTest,
    /// Build the packages of guest and host: .deb and a tarball.
    Package,
    /// Write the generated sources anew from the Vulkan registry, or check that they are up to date.
    Codegen(codegen::Options),
    /// Run the Vulkan CTS, which you have, natively and through vw, and report where they differ.
    #[command(disable_help_flag = true)]
    Cts(cts::Options),
    /// Measure vw against the native driver and, with --peer, against Mesa's Venus.
    #[command(disable_help_flag = true)]
    Bench(bench::Options),
    /// Check that every source file is formatted.
    FmtCheck,
    /// Compile the GLSL of the conformance suite to the SPIR-V that is checked in beside it.
    Shaders,
    /// Install the system packages, the programs of others and the second Mesa that tests use.
    Setup(setup::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let workspace = Workspace::locate();
    let result = match &arguments.task {
        Task::Demo(options) => demo::run(&workspace, options),
        Task::Test(options) => test::run(&workspace, options),
        Task::VmTest => test::virtual_machines(&workspace),
        Task::Package => package::run(&workspace),
        Task::Codegen(options) => codegen::run(&workspace, options),
        Task::Cts(options) => cts::run(&workspace, options),
        Task::Bench(options) => bench::run(&workspace, options),
        Task::FmtCheck => process::run(workspace.cargo().args(["fmt", "--all", "--check"])),
        Task::Shaders => shaders::run(&workspace),
        Task::Setup(options) => setup::run(&workspace, options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
