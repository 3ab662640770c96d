//! `cargo xtask shaders`: the conformance suite's GLSL to SPIR-V.

use std::fs;
use std::process::Command;

use crate::packages;
use crate::process::{self, Result, file_error};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    packages::ensure(&["glslang-tools"])?;
    let folder = workspace.root.join("conformance/shaders");
    for entry in fs::read_dir(&folder).map_err(file_error("listing the shaders"))? {
        let source = entry.map_err(file_error("listing the shaders"))?.path();
        if source.extension().is_some_and(|extension| extension == "spv") {
            continue;
        }
        let mut target = source.clone().into_os_string();
        target.push(".spv");
        let text = fs::read_to_string(&source).map_err(file_error("reading a shader"))?;
        // Mesh and ray tracing shaders need SPIR-V 1.4.
        let newer = ["GL_EXT_mesh_shader", "GL_EXT_ray_query", "GL_EXT_ray_tracing"];
        let environment =
            if newer.iter().any(|name| text.contains(name)) { "vulkan1.2" } else { "vulkan1.1" };
        let options = ["--quiet", "--target-env", environment, "-V"];
        process::run(Command::new("glslangValidator").args(options).arg(&source).arg("-o").arg(target))?;
    }
    Ok(())
}
