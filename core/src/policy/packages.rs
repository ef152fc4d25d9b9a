//! Which packages the modules of a policy are of.
//!
//! Owns the reading of their names alone: nothing is compiled.

use regorus::Engine;

use super::compile;
use super::syntax;
use super::{Finding, PolicyError, SourceFile};

/// The parts of each module's package, and where it is named.
///
/// # Errors
/// The first module that is no Rego.
pub(crate) fn packages(modules: &[SourceFile]) -> Result<Vec<(Vec<String>, Finding)>, PolicyError> {
    let mut engine = Engine::new();
    let mut packages = Vec::new();
    for file in modules {
        engine
            .add_policy(file.name.clone(), file.text.clone())
            .map_err(|error| compile::located(&error, || compile::start_of(&file.name)))?;
        let Some(module) = engine.get_modules().last().cloned() else {
            continue;
        };
        let package = syntax::literal_path(&module.package.refr).unwrap_or_default();
        let package = package.iter().map(|part| part.to_string()).collect();
        packages.push((package, compile::finding_at(&module.package.span, String::new())));
    }
    Ok(packages)
}
