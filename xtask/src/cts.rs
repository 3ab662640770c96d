//! `cargo xtask cts`: the Vulkan CTS natively and through vw, by the program `vw-cts`.

use crate::process::{self, Result};
use crate::test::build_products;
use crate::workspace::Workspace;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Arguments of `vw-cts`: `--deqp PATH/deqp-vk --list FILE ...`; `--help` shows them all.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    build_products(workspace)?;
    let mut command = workspace.cargo();
    command.args(["run", "--release", "--quiet", "--package", "vw-cts", "--"]).args(&options.arguments);
    process::run(command.env("VW_PRODUCTS_BUILT", "1"))
}
