//! `cargo xtask test`: everything that must pass.

use crate::process::{self, Error, Result};
use crate::workspace::Workspace;
use crate::{package, setup};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave out the installation of packages.
    #[arg(long)]
    no_setup: bool,
    /// Only tests whose name contains this.
    filter: Option<String>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if !options.no_setup {
        setup::for_tests(workspace)?;
    }
    build_products(workspace)?;
    if setup::has(workspace, "packages") {
        package::make(workspace)?;
    }
    if options.filter.is_none() {
        loom(workspace)?;
    }
    // Documentation examples are run by cargo alone, nextest leaves them out.
    let nextest = process::exists("cargo-nextest");
    if nextest && options.filter.is_none() {
        process::run(workspace.cargo().args(["test", "--release", "--workspace", "--doc"]))?;
    }
    let mut command = workspace.cargo();
    if nextest {
        command.args(["nextest", "run", "--release", "--workspace", "--no-fail-fast"]);
        command.args(["--test-threads", "2"]);
    } else {
        command.args(["test", "--release", "--workspace", "--no-fail-fast"]);
    }
    command.args(&options.filter);
    // The tests need not build the products again by themselves.
    command.env("VW_PRODUCTS_BUILT", "1");
    let result = process::run(&mut command);
    for line in setup::missing(workspace) {
        eprintln!("xtask: tests were skipped: {line}");
    }
    result
}

/// `cargo xtask vm-test`: the tests in virtual machines alone, of which none may be skipped.
pub(crate) fn virtual_machines(workspace: &Workspace) -> Result<()> {
    setup::for_tests(workspace)?;
    for needed in ["vm", "packages"] {
        if !setup::has(workspace, needed) {
            let why = setup::missing(workspace).join("\n");
            return Err(Error::Message(format!("virtual machines cannot be tested here:\n{why}")));
        }
    }
    build_products(workspace)?;
    package::make(workspace)?;
    let mut command = workspace.cargo();
    command.args([
        "test",
        "--release",
        "--workspace",
        "--test",
        "virtual_machines",
        "--",
        "--test-threads=1",
    ]);
    process::run(command.env("VW_PRODUCTS_BUILT", "1"))
}

/// Builds what the end-to-end tests start: the driver, the renderer, the programs.
pub(crate) fn build_products(workspace: &Workspace) -> Result<()> {
    let packages = [
        "vw-guest-icd",
        "vw-host-renderer",
        "vw-viewer",
        "vw-counting-driver",
        "vw-frame-times",
        "vw-conformance",
    ];
    let mut command = workspace.cargo();
    command.args(["build", "--release"]);
    process::run(command.args(packages.iter().flat_map(|package| ["--package", *package])))
}

/// The ring's memory orderings, and credits, under loom's model. Loom replaces the atomics by a compile-time switch, so these
/// tests are built by themselves, in a folder of their own that leaves the other artifacts fresh.
fn loom(workspace: &Workspace) -> Result<()> {
    process::run(
        workspace
            .cargo()
            .args(["test", "--release", "--package", "vw-transport"])
            .args(["--test", "loom_sleep", "--test", "loom_credit"])
            .env("RUSTFLAGS", "--cfg loom")
            .env("CARGO_TARGET_DIR", workspace.target.join("loom")),
    )
}
