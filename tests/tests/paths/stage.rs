//! Where paths are played: a lab with an agent.
//!
//! Building one takes seconds, so most paths share one. What changes the network, or has to happen before the agent
//! starts, gets a lab of its own.

use std::{
    ops::Deref,
    sync::{Mutex, Once, PoisonError},
};

use anyhow::{Context as _, Result};
use homeport_tests::{lab::Lab, scene::Scene, settings::Settings};

/// The shared scene, while nobody uses it.
static SHARED: Mutex<Option<Scene>> = Mutex::new(None);

/// A scene, and whether others want it back.
pub(crate) struct Stage {
    scene: Option<Scene>,
    is_shared: bool,
}

impl Stage {
    /// The shared scene, with everything that happened on it before set aside.
    pub(crate) fn shared() -> Result<Self> {
        let free = SHARED.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut scene = match free {
            Some(scene) => scene,
            None => Scene::start(&Settings::default())?,
        };
        scene.mark()?;
        Ok(Self { scene: Some(scene), is_shared: true })
    }

    /// A scene of its own, in a lab where things have happened before.
    pub(crate) fn own(lab: Lab) -> Result<Self> {
        Self::own_with(lab, &Settings::default())
    }

    /// The same, with other settings.
    pub(crate) fn own_with(lab: Lab, settings: &Settings) -> Result<Self> {
        let mut scene = Scene::start_in(lab, settings)?;
        scene.mark()?;
        Ok(Self { scene: Some(scene), is_shared: false })
    }

    /// Gives a shared scene back. One on which something failed is not given back: the next path gets a fresh one.
    pub(crate) fn done(mut self) -> Result<()> {
        if self.is_shared {
            let scene = self.scene.take().context("a scene")?;
            *SHARED.lock().unwrap_or_else(PoisonError::into_inner) = Some(scene);
            static AT_END: Once = Once::new();
            AT_END.call_once(|| {
                // SAFETY: a function without arguments that does not unwind. Statics are not dropped at the end of a
                // process, and an agent and its namespaces would stay.
                unsafe { libc::atexit(clean_up) };
            });
        }
        Ok(())
    }
}

impl Deref for Stage {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        self.scene.as_ref().expect("only taken at the end")
    }
}

extern "C" fn clean_up() {
    drop(SHARED.lock().unwrap_or_else(PoisonError::into_inner).take());
}
