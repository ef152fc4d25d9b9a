//! From the bytes of a bundle to a policy that may rule; blocking.
//!
//! Owns the order: nothing is kept before it is compiled, and nothing rules before it is kept.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_core::bundle::{self, Bundle, BundleError, Content, HistoryError, Standing};
use portcullis_core::policy::{Policy, PolicyError};

use super::{BundlePlan, Ruling, store};

/// Why a bundle does not rule.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActivationError {
    /// What it holds.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The history of bundles cannot be read: no bundle could be told from one that was replaced.
    #[error("the history of bundles cannot be read: {0}")]
    History(#[from] HistoryError),
    /// A delta, and no bundle that it could change.
    #[error("a delta bundle came, and there is no bundle that it could change")]
    NoBase,
    /// Its policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// It ruled before.
    #[error("the bundle of revision `{0}` ruled before and was replaced: give it another revision to bring it back")]
    RolledBack(String),
    /// The folder where bundles are kept.
    #[error("the bundle cannot be kept: {0}")]
    Store(#[from] io::Error),
    /// The thread that worked on it is gone.
    #[error("the bundle could not be activated to its end")]
    Thread,
}

/// A policy that may rule.
pub(super) struct Activated {
    pub(super) policy: Arc<Policy>,
    pub(super) ruling: Ruling,
    /// `snapshot` or `delta`.
    pub(super) kind: &'static str,
}

/// Two tasks of one server, the one that ends and the one that begins, do not work on its folder at once.
static ACTIVATING: Mutex<()> = Mutex::new(());

/// Reads, verifies, compiles and keeps what was fetched; `None` when it is what rules.
pub(super) fn activate(
    plan: &BundlePlan,
    bytes: Vec<u8>,
    etag: Option<Arc<str>>,
    in_force: Option<&Ruling>,
) -> Result<Option<Activated>, ActivationError> {
    let _alone = ACTIVATING.lock().unwrap_or_else(PoisonError::into_inner);
    let content = bundle::read(&bytes, &plan.limits, plan.signatures())?;
    let mut history = store::history(&plan.folder)?;
    let refused = |standing: Standing| standing == Standing::Replaced && !plan.danger_allow_rollback;
    let rolled_back = |revision: &str| ActivationError::RolledBack(revision.escape_debug().to_string());
    let (next, kind, bytes) = match content {
        Content::Snapshot(bundle) => (bundle, "snapshot", bytes),
        Content::Delta(delta) => {
            if refused(history.standing(delta.digest())) {
                return Err(rolled_back(delta.manifest().revision()));
            }
            let base = stored(plan)?.ok_or(ActivationError::NoBase)?;
            let next = base.apply(&delta)?;
            history.applied(delta.digest());
            let bytes = next.to_bytes()?;
            (next, "delta", bytes)
        }
    };
    let ruling = Ruling::of(&next);
    match history.standing(ruling.digest) {
        Standing::Active if in_force == Some(&ruling) => {
            store::keep_etag(&plan.folder, etag.as_deref())?;
            return Ok(None);
        }
        standing if refused(standing) => return Err(rolled_back(&ruling.revision)),
        Standing::Active | Standing::New | Standing::Replaced => {}
    }
    let policy = Arc::new(plan.compile(&next)?);
    history.activate(ruling.digest);
    store::keep(&plan.folder, &bytes, etag.as_deref(), &history)?;
    Ok(Some(Activated { policy, ruling, kind }))
}

/// The policy of the bundle that was kept, for a gate that starts; `None` when none was.
///
/// # Errors
/// [`ActivationError`], also for a kept bundle that was replaced.
pub(crate) fn kept(plan: &BundlePlan) -> Result<Option<(Arc<Policy>, Ruling)>, ActivationError> {
    let Some(bundle) = stored(plan)? else {
        return Ok(None);
    };
    let ruling = Ruling::of(&bundle);
    if store::history(&plan.folder)?.standing(ruling.digest) == Standing::Replaced && !plan.danger_allow_rollback {
        return Err(ActivationError::RolledBack(ruling.revision.escape_debug().to_string()));
    }
    let policy = plan.compile(&bundle)?;
    Ok(Some((Arc::new(policy), ruling)))
}

/// The bundle in the folder, verified anew.
fn stored(plan: &BundlePlan) -> Result<Option<Bundle>, ActivationError> {
    let Some(bytes) = store::bundle(&plan.folder, plan.limits.packed_bytes_max)? else {
        return Ok(None);
    };
    match bundle::read(&bytes, &plan.limits, plan.signatures())? {
        Content::Snapshot(bundle) => Ok(Some(bundle)),
        Content::Delta(_) => Ok(None),
    }
}
