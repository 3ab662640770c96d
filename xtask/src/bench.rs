//! `cargo xtask bench`: the table of measurements, by the program `vw-bench`.

use std::ffi::OsString;

use crate::process::{self, Result};
use crate::test::build_products;
use crate::workspace::Workspace;
use crate::{package, packages, setup};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Arguments of `vw-bench`; `--help` shows them all.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    packages::ensure(packages::RUN)?;
    let guests = options.arguments.iter().any(|argument| argument == "--guests");
    if guests {
        setup::for_tests(workspace)?;
    }
    build_products(workspace)?;
    if guests {
        package::make(workspace)?;
    }
    let mut build = workspace.cargo();
    process::run(build.args(["build", "--release", "--quiet", "--package", "vw-benches"]))?;
    let mut command = std::process::Command::new(workspace.release().join("vw-bench"));
    command.args(&options.arguments);
    process::run(&mut command)
}
